"""What the commands of drift read: the agent's store, opened for reading, also beside a running agent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from exporter.app.wiring import SCHEMAS, rules_of
from exporter.drift.sources import SourceError
from exporter.drift.workspace import DriftWorkspace, open_workspace
from exporter.settings import Settings


@contextmanager
def opened(settings: Settings) -> Iterator[DriftWorkspace]:
    """The desk over the store.

    Raises:
        SourceError: there is no store yet.
        StoreError: it cannot be used.
    """
    if not settings.ledger.path.exists():
        raise SourceError(f"ledger.path: {settings.ledger.path} is not there yet; `neonmeter run` fills it")
    with open_workspace(settings, SCHEMAS, rules_of(settings)) as workspace:
        yield workspace
