"""Every command, in the order of the help. Importing this imports no library."""

from __future__ import annotations

from exporter.awake import commands as awake
from exporter.commands import agent
from exporter.core.command_line import Commands
from exporter.cost import commands as cost
from exporter.demo import commands as demo
from exporter.drift import commands as drift
from exporter.posture.commands import menu_posture
from exporter.recovery.commands import menu_recovery
from exporter.report.commands import menu_report


def add_all(commands: Commands) -> None:
    """Declare them."""
    agent.add_run(commands)
    awake.add_commands(commands)
    demo.add(commands)
    agent.add_health(commands)
    cost.add_commands(commands)
    demo.add_prove(commands)
    menu_report.add(commands)
    drift.add_commands(commands)
    for room in (menu_recovery, menu_posture):
        room.add(commands)
