"""Every collector that a visit runs in database `postgres`, in the order of the documentation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from collectors.base import SqlCollector
from collectors.postgres.cluster import activity, databases, replication, settings, sizes, statements

COLLECTORS: Final[tuple[type[SqlCollector], ...]] = (
    statements.StatementsCollector,
    replication.ReplicationCollector,
    databases.DatabasesCollector,
    sizes.SizesCollector,
    activity.ActivityCollector,
    settings.SettingsCollector,
)
"""A new collector is its SQL, its file with a test, and a line here."""

ALL: Final[Mapping[str, type[SqlCollector]]] = {collector.name: collector for collector in COLLECTORS}
"""The same by name."""
