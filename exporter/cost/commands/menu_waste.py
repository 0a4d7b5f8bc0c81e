"""The commands of savings: their options. Nothing heavy is imported here."""

from __future__ import annotations

from exporter.core.command_line import Commands


def add(commands: Commands) -> None:
    """Declare them, in the order of the help."""
    commands.add(
        "waste",
        "exporter.cost.commands.waste:waste_command",
        "what is paid for and of no use, and what ends it",
        json=True,
    )
    what_if = commands.add(
        "whatif",
        "exporter.cost.commands.whatif:whatif_command",
        "a month of the ledger under other settings",
        json=True,
    )
    what_if.add_argument("--month", metavar="YYYY-MM", help="a month of the ledger (default: the present one)")
    what_if.add_argument("--project", metavar="GLOB", default="*", help="projects to change, by id or name")
    what_if.add_argument("--plan", metavar="PLAN", help="launch, scale or agent; allowances and rates of that plan")
    what_if.add_argument(
        "--suspend-timeout", metavar="SECONDS", help="suspend after so many seconds (60 to 604800; never)"
    )
    what_if.add_argument("--history", metavar="AGE", help="history window, such as 1d or 6h")
    what_if.add_argument("--min-cu", metavar="CU", help="autoscaling minimum, such as 0.25")
    what_if.add_argument("--branch-ttl", metavar="AGE", help="child branches are gone at that age, such as 7d")
