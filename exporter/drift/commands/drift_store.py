"""What the commands of drift read: the agent's store, opened for reading, also beside a running agent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from exporter.app.wiring import SCHEMAS
from exporter.drift.settings import DriftTree
from exporter.drift.sources import SourceError
from exporter.drift.workspace import DriftWorkspace, open_workspace
from exporter.tenancy.rules import rules_of


@contextmanager
def opened(settings: DriftTree) -> Iterator[DriftWorkspace]:
    """The desk over the store.

    Raises:
        SourceError: there is no store yet.
        StoreError: it cannot be used.
    """
    if not settings.storage.path.exists():
        raise SourceError(f"storage.path: {settings.storage.path} is not there yet; `neonmeter run` fills it")
    with open_workspace(settings, SCHEMAS, rules_of(settings)) as workspace:
        yield workspace
