"""What the commands of drift read: the agent's store, opened for reading, also beside a running agent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from exporter.app.wiring import ROOMS, rules_of
from exporter.drift.sources import SourceError
from exporter.drift.workspace import Desk, open_desk
from exporter.settings import Settings


@contextmanager
def opened(settings: Settings) -> Iterator[Desk]:
    """The desk over the store.

    Raises:
        SourceError: there is no store yet.
        StoreError: it cannot be used.
    """
    if not settings.ledger.path.exists():
        raise SourceError(f"ledger.path: {settings.ledger.path} is not there yet; `neonmeter run` fills it")
    with open_desk(settings, ROOMS, rules_of(settings)) as desk:
        yield desk
