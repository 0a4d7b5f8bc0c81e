"""The commands of awake: their options. Nothing heavy is imported here."""

from __future__ import annotations

from exporter.core.command_line import Commands


def add(commands: Commands) -> None:
    """Declare them, in the order of the help."""
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
