"""One guarded session per visit, because a session is what costs: it keeps a compute awake, and a hung one hangs us.

Everything due is sent in one pipeline: BEGIN READ ONLY, the limits, the evidence, a guard that stops the rest on the
server when our own connect woke it, then every collector's queries. A query that fails is dropped, and what it took
down with it runs again. The application's deadline shuts the socket down: a frozen server answers neither
statement_timeout nor a cancel request, and psycopg would wait for both.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import time
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import TupleRow

from collectors.base import Epoch, Query, Result, Server, SqlCollector, Status
from collectors.postgres.connection import BoundedConnection
from collectors.postgres.errors import VisitError, explain, explain_value
from collectors.postgres.evidence import APPLICATION_NAME, EVIDENCE_SQL, WAKE_MARGIN, Evidence, parse

MAX_ROUNDS = 8
"""How often the rest runs again after a failed query: a broken collector must not eat the visit of the others."""

_log = logging.getLogger("neonmeter.collectors")

Connection = psycopg.AsyncConnection[TupleRow]
Key = tuple[str, str]
"""Collector name, query name."""


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Seconds: for the connect with TLS, for the whole visit, for one statement, for a lock."""

    connect: float = 5.0
    session: float = 5.0
    statement: float = 3.0
    lock: float = 0.3


@dataclass(slots=True)
class Visit:
    """What one visit brought. ``status`` is of the visit as a whole; single queries that failed are in ``failures``.

    ``opened_at`` is our wall clock (unix seconds), ``seconds`` the duration with connect and close. ``server`` is what
    to pass as ``probe`` next time, with ``evidence.postmaster_start`` as ``probed_start``; None: probe again.
    ``woke_it``: our connect started the server (rule R8), so nothing else was read.
    """

    status: Status
    error: str
    opened_at: float
    seconds: float = 0.0
    evidence: Evidence | None = None
    server: Server | None = None
    results: dict[str, dict[str, Result]] = field(default_factory=dict)
    failures: dict[Key, tuple[Status, str]] = field(default_factory=dict)
    epoch: Epoch | None = None
    woke_it: bool = False
    round_trips: int = 0


async def visit(
    conninfo: str,
    collectors: Sequence[SqlCollector],
    *,
    endpoint_id: str = "",
    deadlines: Deadlines = Deadlines(),
    probe: Server | None = None,
    probed_start: float = 0.0,
) -> Visit:
    """Open one session, read the evidence and everything the collectors ask, close it. Never raises for the server.

    One round trip after the connect when ``probe`` is known and still of this server's life, else two.

    Raises:
        asyncio.CancelledError: the task was cancelled; the socket is shut down and the connection closed before.
    """
    session = _Session(collectors, endpoint_id, deadlines, probe, probed_start)
    began = time.monotonic()
    try:
        params = _parameters(conninfo)
        await _within(deadlines.session, session.run(params), session)
    except VisitError as problem:
        session.visit.status, session.visit.error = problem.status, problem.message
    except Exception as problem:
        # Not the text: what is unforeseen may quote anything.
        session.visit.status, session.visit.error = Status.BUG, f"{type(problem).__name__} in the visit itself"
    session.visit.seconds = time.monotonic() - began
    return session.visit


async def _within(seconds: float, work: Coroutine[Any, Any, None], session: _Session) -> None:
    """Run the visit as a task of its own: so a cancel from outside reaches the socket first, not psycopg's waiting."""
    task = asyncio.ensure_future(work)
    late = False
    try:
        await asyncio.wait({task}, timeout=seconds)
        late = not task.done()
    finally:
        if not task.done():
            session.cut(task)
            task.add_done_callback(_forget)
            # A cut socket ends every wait of psycopg at once; the limit is for what nobody foresaw.
            await asyncio.wait({task}, timeout=1.0)
            task.cancel()
    if late:
        where = "connecting" if session.connection is None else "waiting for an answer"
        raise VisitError(Status.TIMEOUT, f"the visit was cut after {seconds:g} s while {where}")
    task.result()


def _forget(task: asyncio.Future[None]) -> None:
    # How a task that was cut ended is no news, but while it keeps its exception, that keeps the half-made connection.
    with contextlib.suppress(asyncio.CancelledError, Exception):
        task.result()


def _parameters(conninfo: str) -> dict[str, Any]:
    """The connection parameters: our name, no pooler, and no round trip for GSSAPI.

    Raises:
        VisitError: the string does not parse, or names a pooler's host.
    """
    try:
        params: dict[str, Any] = conninfo_to_dict(conninfo)
    except psycopg.Error:
        # libpq quotes the string, with its password, in its complaint.
        raise VisitError(Status.UNREACHABLE, "the connection string cannot be parsed") from None
    host = str(params.get("host") or "")
    if "-pooler" in host:
        raise VisitError(
            Status.UNSUPPORTED,
            f"{host} is Neon's connection pooler, which keeps server connections open: use the direct host",
        )
    params["application_name"] = APPLICATION_NAME
    params.pop("fallback_application_name", None)
    params.pop("connect_timeout", None)
    params["client_encoding"] = "UTF8"
    params.setdefault("gssencmode", "disable")
    return params


class _Session:
    """The state of one visit while it runs, so that it can be cut from outside at any moment."""

    def __init__(
        self,
        collectors: Sequence[SqlCollector],
        endpoint_id: str,
        deadlines: Deadlines,
        probe: Server | None,
        probed_start: float,
    ) -> None:
        self.collectors = collectors
        self.endpoint_id = endpoint_id
        self.deadlines = deadlines
        self.probe = probe
        self.probed_start = probed_start
        self.connection: Connection | None = None
        self.began = time.monotonic()
        self.visit = Visit(Status.OK, "", opened_at=time.time())

    def cut(self, task: asyncio.Future[None]) -> None:
        """End the visit now: shut the socket down, or abandon the connect."""
        if self.connection is None:
            task.cancel()
            return
        # A duplicate of the descriptor: closing it leaves libpq's own alone.
        with (
            contextlib.suppress(OSError, psycopg.Error),
            socket.socket(fileno=os.dup(self.connection.fileno())) as ours,
        ):
            ours.shutdown(socket.SHUT_RDWR)

    async def run(self, params: Mapping[str, Any]) -> None:
        """Connect, read, close.

        Raises:
            VisitError: the visit as a whole failed.
        """
        password = str(params.get("password") or "")
        try:
            self.connection = await self._connect(params)
            try:
                await self._read(self.connection)
            finally:
                await self.connection.close()
        except psycopg.Error as problem:
            raise explain(problem, password, connecting=self.connection is None) from None

    async def _connect(self, params: Mapping[str, Any]) -> Connection:
        self.began = time.monotonic()
        try:
            async with asyncio.timeout(self.deadlines.connect):
                return await BoundedConnection.connect(make_conninfo(**params), autocommit=True, prepare_threshold=None)
        except TimeoutError:
            limit = f"{self.deadlines.connect:g} s"
            raise VisitError(Status.TIMEOUT, f"no session within {limit} of connecting") from None

    async def _read(self, connection: Connection) -> None:
        """The evidence first, then everything due, in one pipeline when the server is known, else in two."""
        todo = self._plan(self.probe) if self.probe is not None else {}
        opening = [EVIDENCE_SQL, self._guard()]
        if self.probe is None:
            opening.append(probe_sql(self.collectors))
        cursors, error = await self._send(connection, [*opening, *todo.values()])
        if cursors[0].pgresult is None:
            raise error or VisitError(Status.BUG, "the evidence query returned no result")
        await self._take_evidence(cursors[0])
        if self.visit.woke_it:
            raise VisitError(Status.ASLEEP, "our connect woke the compute: nothing else was read")
        if self.probe is None:
            if error is not None:
                raise error
            self.visit.server = await _server(cursors[2])
        elif error is not None and cursors[1].pgresult is None:
            # The guard stopped it: the server was restarted since it was probed, and may have other columns now.
            cursors, error = await self._send(connection, [probe_sql(self.collectors)], again=True)
            if error is not None:
                raise error
            self.visit.server = await _server(cursors[0])
        else:
            self.visit.server = self.probe
            todo, error = await self._keep(connection, todo, cursors[2:], error), None
            await self._rest(connection, todo, again=bool(todo))
            return
        await self._rest(connection, self._plan(self.visit.server), again=False)

    async def _take_evidence(self, cursor: psycopg.AsyncCursor[TupleRow]) -> None:
        row = await cursor.fetchone()
        evidence = parse(row or (), connect_seconds=time.monotonic() - self.began)
        self.visit.evidence = evidence
        self.visit.woke_it = evidence.woken_by_us
        self.visit.epoch = Epoch(
            self.endpoint_id, evidence.postmaster_start, evidence.server_clock, evidence.statistics_since
        )

    def _plan(self, server: Server) -> dict[Key, str]:
        """Every query of every collector; one that cannot even name its queries is a failure of its own."""
        todo: dict[Key, str] = {}
        for collector in self.collectors:
            queries: tuple[Query, ...] = ()
            try:
                queries = collector.queries(server)
            except Exception as problem:
                # A bug of one collector must not cost the others their visit.
                _log.exception("collector %s failed to build its queries; this is a bug in neonmeter", collector.name)
                self.visit.failures[collector.name, ""] = (Status.BUG, f"{type(problem).__name__}: {problem}")
            self.visit.results[collector.name] = {}
            todo.update({(collector.name, query.name): query.sql for query in queries})
        return todo

    async def _rest(self, connection: Connection, todo: dict[Key, str], *, again: bool) -> None:
        """Run what is left, round by round; each round that fails drops exactly one query."""
        rounds = 0
        while todo:
            if rounds == MAX_ROUNDS:
                late = (Status.TIMEOUT, "not reached: too many queries failed in this visit")
                self.visit.failures.update(dict.fromkeys(todo, late))
                return
            cursors, error = await self._send(connection, list(todo.values()), again=again)
            todo = await self._keep(connection, todo, cursors, error)
            again, rounds = True, rounds + 1

    async def _keep(
        self,
        connection: Connection,
        todo: dict[Key, str],
        cursors: Sequence[psycopg.AsyncCursor[TupleRow]],
        error: psycopg.Error | None,
    ) -> dict[Key, str]:
        """Store what answered, blame the first that did not, return what was only taken down with it."""
        left = dict(todo)
        for (key, _), cursor in zip(todo.items(), cursors, strict=False):
            if cursor.pgresult is None:
                break
            del left[key]
            columns = tuple(column.name for column in cursor.description or ())
            try:
                rows = await cursor.fetchall() if columns else []
            except (psycopg.DataError, UnicodeError) as problem:
                # A value Python cannot hold (an infinite timestamp) is this query's failure, not the visit's.
                self.visit.failures[key] = (Status.BUG, explain_value(problem))
                continue
            self.visit.results[key[0]][key[1]] = Result(columns, rows)
        if error is None:
            return {}
        if connection.closed or connection.broken:
            raise error
        if left:
            key = next(iter(left))
            del left[key]
            failed = explain(error, "", connecting=False)
            self.visit.failures[key] = (failed.status, failed.message)
            if failed.status is Status.UNSUPPORTED:
                # The cached columns were wrong (an extension was updated): the next visit probes again.
                self.visit.server = None
        return left

    async def _send(
        self, connection: Connection, statements: Sequence[str], *, again: bool = False
    ) -> tuple[list[psycopg.AsyncCursor[TupleRow]], psycopg.Error | None]:
        """One transaction in one round trip. A cursor without a pgresult failed, or was aborted by one that did."""
        settings = _settings_sql(self.deadlines)
        before = [*(["ROLLBACK"] if again else []), "BEGIN READ ONLY", settings]
        cursors: list[psycopg.AsyncCursor[TupleRow]] = []
        error: psycopg.Error | None = None
        self.visit.round_trips += 1
        try:
            async with connection.pipeline():
                for statement in [*before, *statements, "COMMIT"]:
                    cursor = connection.cursor()
                    cursors.append(cursor)
                    await cursor.execute(statement.encode())
        except psycopg.Error as problem:
            error = problem
            if connection.closed or connection.broken:
                raise
        done = cursors[len(before) :]
        # Where sending stopped early, the cursors that never were have no result either.
        return done + [connection.cursor() for _ in range(len(statements) - len(done))], error

    def _guard(self) -> str:
        """A statement that fails, and so stops the pipeline on the server, when we woke it or its life is another."""
        elapsed = time.monotonic() - self.began + WAKE_MARGIN
        start = "extract(epoch FROM pg_catalog.pg_postmaster_start_time())::float8"
        stop = f"{start} >= extract(epoch FROM pg_catalog.clock_timestamp())::float8 - {elapsed:.3f}"
        if self.probe is not None and self.probed_start:
            stop += f" OR abs({start} - {self.probed_start:.3f}) > 1"
        return f"SELECT 1 / CASE WHEN {stop} THEN 0 ELSE 1 END"


def _settings_sql(limits: Deadlines) -> str:
    """SET LOCAL of everything in one message. JIT would spend 100 ms on a catalogue query's first run.

    Without client_connection_check_interval a statement runs on after we cut the socket, until its own timeout.
    The search_path is pg_catalog and where pg_stat_statements lives, so that nobody's schema can put a function of
    its own under a name that we call.
    """
    wanted = {
        "statement_timeout": f"{limits.statement * 1000:.0f}",
        "lock_timeout": f"{limits.lock * 1000:.0f}",
        "idle_in_transaction_session_timeout": f"{limits.session * 1000:.0f}",
        "client_connection_check_interval": "500",
        "jit": "off",
    }
    values = ", ".join(f"('{name}', '{value}')" for name, value in wanted.items())
    path = (
        "coalesce((SELECT 'pg_catalog, ' || pg_catalog.quote_ident(n.nspname) FROM pg_catalog.pg_extension AS e JOIN "
        "pg_catalog.pg_namespace AS n ON n.oid = e.extnamespace WHERE e.extname = 'pg_stat_statements'), 'pg_catalog')"
    )
    return (
        "SELECT pg_catalog.set_config(name, value, true) FROM "
        f"(VALUES {values}, ('search_path', {path})) AS wanted (name, value) "
        "WHERE pg_catalog.current_setting(name, true) IS NOT NULL"
    )


def probe_sql(collectors: Sequence[SqlCollector]) -> str:
    """The version and the columns of every relation the collectors probe; what is absent or invisible gives no row."""
    names = sorted({relation for collector in collectors for relation in collector.probes})
    quoted = ", ".join("'" + name.replace("'", "''") + "'" for name in names)
    return (
        "SELECT pg_catalog.current_setting('server_version_num')::int4, probed.name, a.attname::text "
        f"FROM (SELECT NULL AS name UNION ALL SELECT unnest(ARRAY[{quoted}]::text[])) AS probed "
        "LEFT JOIN pg_catalog.pg_attribute AS a "
        "ON a.attrelid = pg_catalog.to_regclass(probed.name) AND a.attnum > 0 AND NOT a.attisdropped"
    )


async def _server(cursor: psycopg.AsyncCursor[TupleRow]) -> Server:
    columns: dict[str, set[str]] = {}
    version = 0
    for found, relation, column in await cursor.fetchall():
        version = int(found)
        if relation is not None and column is not None:
            columns.setdefault(relation, set()).add(column)
    return Server(version, {relation: frozenset(names) for relation, names in columns.items()})
