"""Every collector that reads SQL in a visit: its name, and how it is built for one target."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from collectors.base import SqlCollector
from collectors.metric import Metric
from collectors.postgres.cluster import activity, databases, replication, settings, sizes, statements


@dataclass(frozen=True, slots=True)
class Options:
    """What the settings decide for one target.

    ``expected_slots`` of its branch, ``top`` series per kind of session, ``wanted_settings`` of the desired state.
    """

    expected_slots: tuple[str, ...] = ()
    top: int = 20
    wanted_settings: tuple[str, ...] = ()


ALL: Mapping[str, Callable[[Options], SqlCollector]] = {
    "statements": lambda _: statements.StatementsCollector(),
    "replication": lambda options: replication.ReplicationCollector(options.expected_slots),
    "databases": lambda _: databases.DatabasesCollector(),
    "sizes": lambda _: sizes.SizesCollector(),
    "activity": lambda options: activity.ActivityCollector(options.top),
    "settings": lambda options: settings.SettingsCollector(options.wanted_settings),
}
"""Every collector that reads SQL, by name. A new one is its file, its SQL, a line here and a test."""

SQL_METRICS: tuple[tuple[Metric, ...], ...] = tuple(make(Options()).metrics for make in ALL.values())
"""The metrics of these collectors in the same order, for the catalogue."""

__all__ = ["ALL", "SQL_METRICS", "Options"]
