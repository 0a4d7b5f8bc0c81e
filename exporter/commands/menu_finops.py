"""The commands of the money: their options. Nothing heavy is imported here."""

from __future__ import annotations

from exporter.commands.parser import Commands


def add(commands: Commands) -> None:
    """Declare them, in the order of the help."""
    cost = commands.add(
        "cost", "exporter.commands.reading:cost_command", "what each branch and tenant cost this month", json=True
    )
    cost.add_argument("--month", metavar="YYYY-MM", help="a month of the ledger (default: the present one)")
    cost.add_argument("--explain", action="store_true", help="show how every level adds up to the one above")
