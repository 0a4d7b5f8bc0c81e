"""The commands of the running agent and of what it sees: their options. Nothing heavy is imported here."""

from __future__ import annotations

from pathlib import Path

from exporter.core.command_line import Commands


def add(commands: Commands) -> None:
    """Declare them, in the order of the help."""
    commands.add("run", "exporter.app.agent:run_command", "collect and serve until stopped (the default)")
    check = commands.add(
        "check", "exporter.commands.check:check_command", "one pass: what works, what does not, and why", json=True
    )
    check.add_argument("--no-sql", action="store_true", help="open no session, not even on computes that are awake")
    config = commands.add("config", "exporter.commands.config:config_command", "judge, show or explain the settings")
    config.add_argument("what", choices=["check", "show", "schema", "example"])
    commands.add(
        "inventory", "exporter.commands.reading:inventory_command", "projects, branches and computes", json=True
    )
    metrics = commands.add("metrics", "exporter.commands.reading:metrics_command", "every metric that there is")
    metrics.add_argument("--format", choices=["md", "json"], default="md")
    _awake(commands)
    _demo(commands)
    health = commands.add("healthcheck", "exporter.commands.reading:healthcheck_command", "exit 0 if the agent is well")
    health.add_argument("--url", metavar="URL", help="ask there instead of the configured http.listen")
    commands.add("version", "exporter.commands.main:version_command", "print the version")


def _awake(commands: Commands) -> None:
    commands.add(
        "awake",
        "exporter.awake.commands.awake:awake_command",
        "who keeps computes awake, and what that costs",
        json=True,
    )
    verify = commands.add(
        "verify-wake", "exporter.awake.commands.verify_wake:verify_command", "measure what watching costs"
    )
    verify.add_argument("--endpoint", required=True, metavar="EP", help="endpoint id, or project/branch")
    verify.add_argument("--minutes", type=float, default=30.0, metavar="N", help="end after that time (default: 30)")
    verify.add_argument("--every", type=float, default=5.0, metavar="SECONDS", help="look that often (default: 5)")


def _demo(commands: Commands) -> None:
    demo = commands.add("demo", "exporter.demo.command:demo_command", "everything, on embedded parts")
    demo.add_argument("--for", dest="seconds", type=float, metavar="SECONDS", help="end by itself after that time")
    demo.add_argument("--state", type=Path, metavar="DIR", help="keep ledger and clusters there between runs")
    twin = commands.add("twin", "exporter.demo.command:twin_command", "a fake Neon to point any client at")
    for parser in (demo, twin):
        parser.add_argument(
            "--listen", default="127.0.0.1:0", metavar="HOST:PORT", help="where to serve (default: free)"
        )
    twin.add_argument("--world", default="small", metavar="small|posture|large:PxB|FILE", help="what it contains")
    twin.add_argument(
        "--history", action="store_true", help="a key that may write makes branches of the past (to try `drill`)"
    )
    twin.add_argument("--state", type=Path, metavar="DIR", help="keep clusters and history there between runs")
