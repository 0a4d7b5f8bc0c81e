"""The commands of cost; each stands beside its options, and nothing heavy is imported before it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exporter.cost.commands import close, cost, ledger, prices

if TYPE_CHECKING:
    from exporter.core.command_line import Commands


def add_commands(commands: Commands) -> None:
    """Declare them, in the order of the help."""
    cost.add_cost(commands)
    ledger.add(commands)
    cost.add_outlook(commands)
    close.add(commands)
    cost.add_budget(commands)
    prices.add(commands)
    cost.add_savings(commands)
