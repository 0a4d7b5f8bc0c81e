"""One look at one database by its DSN: for scratch databases in CI and for baselines in git, never for the agent."""

from __future__ import annotations

import asyncio

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from collectors.base import Status
from collectors.postgres.database.fingerprint import BusyError, FingerprintCollector
from collectors.postgres.domain.fingerprint import Fingerprint, FingerprintDelta
from collectors.postgres.session import Deadlines, Visit, visit
from exporter.sampling.runner import run

DEADLINES = Deadlines(connect=10, session=120, statement=60, lock=0.3)
"""Wider than the agent's: somebody asked for it and waits, and 10,000 tables take two seconds."""
ATTEMPTS = 6
"""A table that is dropped under a look fails it; so does a server that came up this second, as one does in CI."""


class ScanError(Exception):
    """The database cannot be read: one line for a person, never with the password."""


async def scan(dsn: str, database: str | None = None, *, column_order: bool = False) -> Fingerprint:
    """Read the fingerprint of one database in one guarded session: read only, no lock awaited longer than 300 ms.

    Raises:
        ScanError: it cannot be reached or read, or its tables stay locked.
    """
    try:
        name = database or str(conninfo_to_dict(dsn).get("dbname") or "")
    except psycopg.ProgrammingError:
        raise ScanError("the DSN cannot be parsed; write postgresql://USER:PASSWORD@HOST/DATABASE") from None
    if not name:
        raise ScanError("the DSN names no database: end it with /DATABASE, or give --database")
    collector = FingerprintCollector(name, column_order=column_order)
    why = ""
    for attempt in range(ATTEMPTS):
        made = await visit(make_conninfo(dsn, dbname=name), [collector], deadlines=DEADLINES)
        try:
            return _fingerprint(collector, made)
        except ScanError as problem:
            why = str(problem)
            if made.status not in (Status.OK, Status.ASLEEP) or attempt == ATTEMPTS - 1:
                break
        await asyncio.sleep(0.5)
    raise ScanError(f"{name}: {why}")


def _fingerprint(collector: FingerprintCollector, session: Visit) -> Fingerprint:
    if session.status is not Status.OK:
        raise ScanError(session.error)
    if session.failures:
        raise ScanError("; ".join(sorted({text for _, text in session.failures.values()})))
    outcome = run(collector, session, collector.datname)
    if isinstance(outcome.no_data, BusyError):
        raise ScanError(f"{outcome.error}; try again when the migration is over")
    if outcome.reading is None or not isinstance(outcome.reading.facts, FingerprintDelta):
        raise ScanError(outcome.error or "nothing was read")
    return outcome.reading.facts.onto(None)
