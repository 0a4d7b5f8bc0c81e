"""The commands of the demo: their options. Nothing heavy is imported here."""

from __future__ import annotations

from pathlib import Path

from exporter.core.command_line import Commands


def add(commands: Commands) -> None:
    """Declare them, in the order of the help."""
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
