"""Every command, in the order of the help. Importing this imports no library."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exporter.awake import commands as awake
from exporter.commands import agent
from exporter.core.command_line import Commands
from exporter.cost import commands as cost
from exporter.demo import commands as demo
from exporter.drift import commands as drift
from exporter.posture import commands as posture
from exporter.recording import commands as recording
from exporter.recovery import commands as recovery
from exporter.report import commands as report

if TYPE_CHECKING:
    from exporter.feature.ports import RestoreDrills
    from exporter.settings import CoreSettings


def add_all(commands: Commands) -> None:
    """Declare them."""
    agent.add_run(commands)
    awake.add_commands(commands)
    demo.add(commands)
    agent.add_health(commands)
    cost.add_commands(commands)
    demo.add_prove(commands)
    report.add_commands(commands)
    drift.add_commands(commands)
    recovery.add_commands(commands)
    posture.add_commands(commands, _drills)
    recording.add(commands)


def _drills(settings: CoreSettings) -> RestoreDrills:
    """Who tells posture of restore drills when no agent runs."""
    from exporter.recovery.feature import DrillHistory

    return DrillHistory(settings)
