"""What is looked at on a restored branch, and on its source before: each answers whether the data is what it should be.

Everything on the restored branch runs read-only with a deadline. Only a marker writes, and only where one is set.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from collectors.base import Epoch, NoDataError, Result, Server
from collectors.postgres.database.fingerprint import FingerprintCollector
from collectors.postgres.domain.fingerprint import Fingerprint, FingerprintDelta
from exporter.recovery.journal import Check
from exporter.sampling.domain.schema_comparison import compare
from exporter.settings.recovery import Heartbeat, Sentinel

STATEMENT_SECONDS = 120
CLOCK_SLACK_SECONDS = 1.0
"""A row may say that it is so much younger than the instant gone back to: it is stamped before it is committed."""
_CONNECT_SECONDS = 10
_BETWEEN_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Found:
    """Checks, and the time of the newest data that they met (unix seconds)."""

    checks: tuple[Check, ...]
    newest: float | None = None


async def connect_when_up(dsn: str, seconds: float) -> float:
    """Connect until it works, then leave; answers the seconds that the last, successful connect took.

    Raises:
        ConnectionError: it did not work in time; the text never holds the DSN.
    """
    deadline = time.monotonic() + seconds
    while True:
        began = time.monotonic()
        try:
            async with asyncio.timeout(max(1.0, deadline - began)), await _session(dsn) as session:
                await session.execute("SELECT 1")
            return time.monotonic() - began
        except (psycopg.Error, TimeoutError) as problem:
            if time.monotonic() > deadline:
                raise ConnectionError(_why(problem)) from None
        await asyncio.sleep(_BETWEEN_SECONDS)


async def _session(dsn: str, *, writes: bool = False) -> psycopg.AsyncConnection[Any]:
    params = make_conninfo(dsn, application_name="neonmeter drill", connect_timeout=_CONNECT_SECONDS)
    session = await psycopg.AsyncConnection.connect(params, autocommit=True)
    try:  # By SQL: a pooler or a proxy may refuse them as startup parameters.
        await session.execute(f"SET statement_timeout = '{STATEMENT_SECONDS}s'")
        await session.execute("SET lock_timeout = '5s'")
        if not writes:
            await session.execute("SET default_transaction_read_only = on")
    except BaseException:
        await session.close()
        raise
    return session


async def fingerprint(dsn: str, database: str, expected: Fingerprint | None) -> Check:
    """Whether the schema of the restored database is the one that was kept of its source."""
    name = f"schema {database}"
    try:
        found = await _scan(make_conninfo(dsn, dbname=database), database)
    except (psycopg.Error, NoDataError) as problem:
        return Check(name, False, _why(problem))
    if expected is None:
        return Check(
            name, None, f"{len(found.objects)} objects, {found.digest[:12]}; no stored fingerprint to compare with"
        )
    drift = compare(expected, found, (), time.time())
    taken = datetime.fromtimestamp(expected.taken_at, UTC)
    if not drift.comparable:
        return Check(name, None, f"not comparable: {drift.why}")
    if not drift.changes:
        return Check(name, True, f"{len(found.objects)} objects, {found.digest[:12]}, as read at {taken:%F %TZ}")
    first = ", ".join(
        f"{change.kind} {change.schema}.{change.identity} {change.change}" for change in drift.changes[:3]
    )
    return Check(
        name,
        False,
        f"{len(drift.changes)} objects differ from the reading at {taken:%F %TZ}: {first}; was there a migration?",
    )


async def _scan(dsn: str, database: str) -> Fingerprint:
    # Not a visit of the agent: that leaves a compute alone which its own connect may have woken, and this one it did.
    collector = FingerprintCollector(database)
    async with await _session(dsn) as session:
        results: dict[str, Result] = {}
        async with session.transaction():
            for query in collector.queries(Server(session.info.server_version, {})):
                cursor = await session.execute(query.sql.encode())
                columns = tuple(column.name for column in cursor.description or ())
                results[query.name] = Result(columns, await cursor.fetchall())
    facts = collector.read(results, Epoch("", 0.0, time.time())).facts
    if not isinstance(facts, FingerprintDelta):
        raise NoDataError("nothing was read")
    return facts.onto(None)


async def rows(
    dsn: str, database: str, sentinels: Sequence[Sentinel], heartbeats: Sequence[Heartbeat], at: float
) -> Found:
    """Count the sentinels and read the newest heartbeat of one database."""
    checks: list[Check] = []
    newest: float | None = None
    try:
        async with await _session(make_conninfo(dsn, dbname=database)) as session:
            checks += [await _count(session, sentinel) for sentinel in sentinels]
            for heartbeat in heartbeats:
                check, seen = await _beat(session, heartbeat, at)
                checks.append(check)
                newest = max(filter(None, (newest, seen)), default=None)
    except psycopg.Error as problem:
        checks.append(Check(f"database {database}", False, _why(problem)))
    return Found(tuple(checks), newest)


async def _count(session: psycopg.AsyncConnection[Any], sentinel: Sentinel) -> Check:
    name = f"rows {sentinel.table}"
    try:
        query = sql.SQL("SELECT count(*) FROM {}").format(_table(sentinel.table))
        (count,) = await (await session.execute(query)).fetchone() or (0,)
    except psycopg.Error as problem:
        return Check(name, False, _why(problem))
    return Check(name, count >= sentinel.min_rows, f"{count} rows, at least {sentinel.min_rows} wanted")


async def _beat(session: psycopg.AsyncConnection[Any], beat: Heartbeat, at: float) -> tuple[Check, float | None]:
    name = f"heartbeat {beat.table}.{beat.column}"
    try:
        query = sql.SQL("SELECT extract(epoch FROM max({}))::float8 FROM {}").format(
            sql.Identifier(beat.column), _table(beat.table)
        )
        (newest,) = await (await session.execute(query)).fetchone() or (None,)
    except psycopg.Error as problem:
        return Check(name, False, _why(problem)), None
    if newest is None:
        return Check(name, False, "there is no row"), None
    if newest > at + CLOCK_SLACK_SECONDS:
        return Check(name, False, f"{newest - at:.1f} s later than the restored instant"), None
    return Check(name, True, f"newest is {max(0.0, at - newest):.1f} s older than the instant"), newest


async def statements(dsn: str, text: str) -> tuple[Check, ...]:
    """A file of SQL: every statement must answer true in its first column; a comment before it is its name."""
    checks = []
    try:
        async with await _session(dsn) as session:
            for number, (name, statement) in enumerate(split(text), 1):
                checks.append(await _says_true(session, name or f"statement {number}", statement))
    except psycopg.Error as problem:
        checks.append(Check("SQL file", False, _why(problem)))
    return tuple(checks)


async def _says_true(session: psycopg.AsyncConnection[Any], name: str, statement: str) -> Check:
    try:
        cursor = await session.execute(statement.encode())
        row = await cursor.fetchone() if cursor.description else None
    except psycopg.Error as problem:
        return Check(name, False, _why(problem))
    if row is None or not isinstance(row[0], bool):
        return Check(name, False, "it must return a row whose first column is a boolean")
    return Check(name, row[0], ", ".join(str(value) for value in row[1:])[:200])


def split(text: str) -> list[tuple[str, str]]:
    """Name and text of each statement of a file: one ends where a line ends in a semicolon."""
    found: list[tuple[str, str]] = []
    name, lines = "", list[str]()
    for line in text.splitlines():
        stripped = line.strip()
        if not lines and stripped.startswith("--"):
            name = stripped.lstrip("- ").strip()
        elif stripped:
            lines.append(line)
            if stripped.endswith(";"):
                found.append((name, "\n".join(lines).rstrip().rstrip(";")))
                name, lines = "", []
    return [*found, (name, "\n".join(lines))] if lines else found


async def mark(dsn: str, table: str, name: str) -> float:
    """Write a marker row on the source; answers when, by the server's clock.

    Raises:
        psycopg.Error: it cannot be written.
    """
    query = sql.SQL("INSERT INTO {} (id, at) VALUES (%s, clock_timestamp()) RETURNING extract(epoch FROM at)::float8")
    async with await _session(dsn, writes=True) as session:
        (at,) = await (await session.execute(query.format(_table(table)), [name])).fetchone() or (0.0,)
    return float(at)


async def markers(dsn: str, table: str, before: str, after: str) -> Found:
    """Whether the row that was written before the instant is there, and the one after it is not."""
    try:
        async with await _session(dsn) as session:
            query = sql.SQL("SELECT id, extract(epoch FROM at)::float8 FROM {} WHERE id IN (%s, %s)")
            cursor = await session.execute(query.format(_table(table)), [before, after])
            seen = dict(await cursor.fetchall())
    except psycopg.Error as problem:
        return Found((Check("marker", False, _why(problem)),))
    if before not in seen:
        return Found((Check("marker", False, "the row that was written before the instant is not there"),))
    if after in seen:
        return Found((Check("marker", False, "a row that was written after the instant is there"),), seen[before])
    return Found((Check("marker", True, "the row from before is there, the row from after is not"),), seen[before])


def _table(name: str) -> sql.Identifier:
    return sql.Identifier(*name.split("."))


def _why(problem: BaseException) -> str:
    if isinstance(problem, TimeoutError):
        return "no answer in time"
    if isinstance(problem, psycopg.errors.InsufficientPrivilege):
        return f"{problem.diag.message_primary}: grant it to the role that reads the restored branch (recovery.dsn)"
    if isinstance(problem, psycopg.Error) and problem.diag.message_primary:
        return str(problem.diag.message_primary)[:200]
    return " ".join(str(problem).split())[:200] or type(problem).__name__


def is_for(pattern: str, database: str) -> bool:
    """Whether a glob means this database."""
    return fnmatchcase(database, pattern)


def database_of(dsn: str) -> str:
    """The database of a connection string."""
    found = conninfo_to_dict(dsn)
    return str(found.get("dbname") or found.get("user") or "postgres")
