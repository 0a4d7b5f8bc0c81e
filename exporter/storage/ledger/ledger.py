"""The ledger: usage as Neon reported it, kept for good, because the API forgets hourly figures after 168 hours.

Facts are raw integers per bucket with the time they were read; money is worked out from them, never stored in their
place. Writing is idempotent: a bucket that is read again replaces what was there, in one transaction with everything
that derives from it (sums per day, how far the data goes). So a kill at any moment loses nothing that was committed
and counts nothing twice.

It lives in the agent's own file, or in a PostgreSQL database that replicas share (``ledger.url``): ``open_ledger``
knows which. Both pass the same tests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from exporter.pricing.domain.usage import UsageFact
from exporter.storage.ledger.base import Changes, Compacted, DurableLedger, Holdings, Ledger, Through, from_rows
from exporter.storage.ledger.sqlite import SqliteLedger
from exporter.storage.ledger.sqlite_sql import LEDGER_SCHEMA
from exporter.storage.store import Store

if TYPE_CHECKING:
    from exporter.settings import CoreSettings

__all__ = [
    "LEDGER_SCHEMA",
    "Changes",
    "Compacted",
    "DurableLedger",
    "Holdings",
    "Ledger",
    "SqliteLedger",
    "Through",
    "UsageFact",
    "from_rows",
    "open_ledger",
]


def open_ledger(settings: CoreSettings, store: Store, *, read_only: bool = False) -> DurableLedger:
    """The ledger of these settings: in the store, or in PostgreSQL. Opens no connection yet.

    The store must have the room ``ledger``; ``read_only`` neither makes nor changes tables in PostgreSQL.
    """
    if settings.ledger.url is None:
        return SqliteLedger(store)
    from exporter.storage.ledger.postgres import PostgresLedger  # noqa: PLC0415 - psycopg is for those who use it

    return PostgresLedger.of(settings.ledger, read_only=read_only)
