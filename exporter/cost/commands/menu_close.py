"""The commands of the books: closing a month, budgets. Their options; nothing heavy is imported here."""

from __future__ import annotations

from exporter.core.command_line import Commands


def add(commands: Commands) -> None:
    """Declare them, in the order of the help."""
    _close(commands)
    budget = commands.add(
        "budget",
        "exporter.cost.commands.budget:budget_command",
        "what is spent of each budget, and what will be",
        json=True,
    )
    budget.add_argument("--months", action="store_true", help="the closed months against their budgets instead")


def _close(commands: Commands) -> None:
    close = commands.add(
        "close", "exporter.cost.commands.close:close_command", "lock a month in whole cents, check it with the invoice",
        json=True,
    )  # fmt: skip
    close.add_argument("month", nargs="?", metavar="YYYY-MM", help="the month")
    close.add_argument("--invoice", metavar="FILE", help="lines of the invoice (CSV): say where they differ, and why")
    close.add_argument("--org", metavar="ID", help="whose invoice it is, where its lines do not say")
    close.add_argument("--corrections", action="store_true", help="book what a closed month has changed by since")
    close.add_argument("--dry-run", action="store_true", help="show it, write nothing")
    close.add_argument("--force", action="store_true", help="close though data is missing; the month carries the mark")
    close.add_argument("--by", metavar="NAME", help="who closes it (default: the user of the system)")
    close.add_argument("--list", action="store_true", help="the closed months")
