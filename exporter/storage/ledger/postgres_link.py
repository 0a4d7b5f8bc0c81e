"""The way to a shared PostgreSQL: two connections that come back by themselves, and tables that keep up.

One connection writes and one reads, each for one caller at a time, so that a long reading does not hold up a write. A
connection that was lost is opened anew and what was asked is asked again: everything here is idempotent, also when the
answer to a commit was lost. After a failed connect nobody tries for some seconds, so that a server that is away costs a
round one deadline and not one for each question.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final, TypeVar

import psycopg
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from exporter.storage.store import StoreError

Answer = TypeVar("Answer")
Cursor = psycopg.Cursor[tuple[Any, ...]]

SCHEMA = "neonmeter"
LOCK: Final = 0x6E656F6E6D657465
"""The advisory lock of everything that writes: sums are derived from what was there, so writers take turns."""
_OPTIONS: Final = {
    "application_name": "neonmeter ledger",
    "connect_timeout": "5",
    "keepalives_idle": "30",
    "tcp_user_timeout": "20000",
    "options": (
        f"-c search_path={SCHEMA} -c statement_timeout=120s -c lock_timeout=20s -c timezone=UTC "
        # A writer that froze with the lock in its hand must not stop the others for ever.
        "-c idle_in_transaction_session_timeout=30s"
    ),
}
_WRITING: Final = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"
_READING: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_TRY_AGAIN = (errors.SerializationFailure, errors.DeadlockDetected, errors.LockNotAvailable)
_ATTEMPTS = 5
_REST_SECONDS = 10.0
_ADVICE: Final[Mapping[type[psycopg.Error], str]] = {
    errors.InvalidPassword: "check ledger.password or ledger.password_file",
    errors.InvalidAuthorizationSpecification: "check the user in ledger.url, and pg_hba.conf",
    errors.InvalidCatalogName: "create the database, or name another one in ledger.url",
    errors.InsufficientPrivilege: "grant it to the user in ledger.url (docs/ledger.md)",
    errors.DiskFull: "the server's disk is full: free space; nothing was half written",
    errors.DataCorrupted: "the server's files are damaged: restore a backup",
    errors.IndexCorrupted: "an index on the server is damaged: REINDEX it",
    errors.ReadOnlySqlTransaction: "the server is a standby or read-only: name the primary in ledger.url",
    errors.QueryCanceled: "it took longer than 120 s: check what else runs on the server",
}
_ADVICE_BY_TEXT: Final = {
    "password authentication failed": _ADVICE[errors.InvalidPassword],
    "no password supplied": _ADVICE[errors.InvalidPassword],
    "no pg_hba.conf entry": _ADVICE[errors.InvalidAuthorizationSpecification],
    'database "': _ADVICE[errors.InvalidCatalogName],
    'role "': _ADVICE[errors.InvalidAuthorizationSpecification],
}


def parameters_of(url: str, password: Callable[[], str | None]) -> Callable[[], Mapping[str, str]]:
    """What answers libpq's parameters for a URL; ``password`` is asked each time and may raise OSError."""
    parameters = {key: str(value) for key, value in conninfo_to_dict(url).items() if value is not None}

    def conninfo() -> Mapping[str, str]:
        text = password()
        return parameters | ({"password": text} if text is not None else {})

    return conninfo


class PostgresConnection:
    """Two connections to one database. Safe to share between threads."""

    def __init__(
        self,
        conninfo: Callable[[], Mapping[str, str]],
        schemas: Mapping[str, Sequence[str]],
        *,
        read_only: bool = False,
        lock: int | None = LOCK,
    ) -> None:
        """``conninfo`` answers libpq's parameters at each connect, so that a password may rotate; it may raise OSError.

        ``schemas`` are tables by numbered migrations, as in :class:`exporter.storage.store.Store`. ``lock`` is the
        advisory lock that writers take turns by; None: what is written derives from nothing that others write.
        """
        self._lock = lock
        self._conninfo = conninfo
        self._schemas = schemas
        self._read_only = read_only
        self._writer = _Line()
        self._reader = _Line()
        self._ready = False
        self._down_until = 0.0
        self._down = ""

    def write(self, act: Callable[[Cursor], Answer]) -> Answer:
        """Run ``act`` in one transaction that no other writer's overlaps; it may be run more than once.

        Raises:
            StoreError: the server cannot be reached, or refused.
        """
        if self._read_only:
            raise StoreError("ledger.url: opened for reading only")

        def locked(cursor: Cursor) -> Answer:
            if self._lock is not None:
                cursor.execute("SELECT pg_advisory_xact_lock(%s)", (self._lock,))
            return act(cursor)

        return self._run(self._writer, _WRITING, locked)

    def read(self, act: Callable[[Cursor], Answer]) -> Answer:
        """Run ``act`` over one consistent state; writers are not held up.

        Raises:
            StoreError: the server cannot be reached, or refused.
        """
        return self._run(self._reader, _READING, act)

    def close(self) -> None:
        """Close both connections. May be called twice; the next question opens them again."""
        for line in (self._writer, self._reader):
            with line.lock:
                line.drop()

    def _run(self, line: _Line, begin: str, act: Callable[[Cursor], Answer]) -> Answer:
        with line.lock:
            lost = False
            for attempt in range(_ATTEMPTS):
                try:
                    with _transaction(self._open(line), begin) as cursor:
                        return act(cursor)
                except _TRY_AGAIN as problem:
                    if attempt == _ATTEMPTS - 1:
                        raise self._explained(problem) from problem
                    time.sleep(0.05 * 2**attempt)
                except psycopg.Error as problem:
                    broken = line.connection is None or line.connection.closed or line.connection.broken
                    if not broken:
                        raise self._explained(problem) from problem
                    line.drop()
                    if lost:
                        raise self._explained(problem) from problem
                    lost = True
                except BaseException:
                    if line.connection is not None and line.connection.broken:
                        line.drop()
                    raise
            raise AssertionError("unreachable")

    def _open(self, line: _Line) -> psycopg.Connection[tuple[Any, ...]]:
        if line.connection is not None and not line.connection.closed:
            return line.connection
        if time.monotonic() < self._down_until:
            raise StoreError(self._down)
        try:
            parameters = dict(self._conninfo())
        except OSError as problem:  # the file of a password
            raise StoreError(f"ledger.password_file: {problem}") from None
        options = f"{parameters.pop('options', '')} {_OPTIONS['options']}".strip()
        try:
            conninfo = make_conninfo("", **{**_OPTIONS, **parameters, "options": options})
            connection = psycopg.connect(conninfo, autocommit=True)
        except psycopg.Error as problem:
            error = self._explained(problem)
            self._down, self._down_until = str(error), time.monotonic() + _REST_SECONDS
            raise error from None
        connection.prepare_threshold = None  # a pooler in transaction mode knows no prepared statements
        try:
            self._migrate(connection)
        except BaseException:
            connection.close()
            raise
        line.connection = connection
        return connection

    def _migrate(self, connection: psycopg.Connection[tuple[Any, ...]]) -> None:
        """Make the tables, or bring them up to date; once in the life of this link."""
        if self._ready:
            return
        with _transaction(connection, _READING if self._read_only else _WRITING) as cursor:
            if not self._read_only:
                cursor.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK,))
            found = self._versions(cursor)
            for name, migrations in self._schemas.items():
                version = found.get(name, 0)
                if version > len(migrations):
                    raise StoreError(
                        f"ledger.url: written by a newer neonmeter (its part {name!r} has version {version}, this one "
                        f"knows {len(migrations)}); install that version or newer"
                    )
                if version == len(migrations):
                    continue
                if self._read_only:
                    raise StoreError("ledger.url: it has no ledger of this version yet; start `neonmeter run` once")
                for script in migrations[version:]:
                    cursor.execute(script)
                cursor.execute(
                    "INSERT INTO room VALUES (%s, %s) ON CONFLICT (name) DO UPDATE SET version = excluded.version",
                    (name, len(migrations)),
                )
        self._ready = True

    def _versions(self, cursor: Cursor) -> dict[str, int]:
        cursor.execute("SELECT to_regclass(%s)", (f"{SCHEMA}.room",))
        row = cursor.fetchone()
        if row is not None and row[0] is not None:
            return {str(name): int(version) for name, version in cursor.execute("SELECT name, version FROM room")}
        if not self._read_only:
            cursor.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
            cursor.execute("CREATE TABLE room (name text PRIMARY KEY, version integer NOT NULL)")
        return {}

    @staticmethod
    def _explained(problem: psycopg.Error) -> StoreError:
        text = str(problem).strip().splitlines() or [type(problem).__name__]
        advice = next((advice for kind, advice in _ADVICE.items() if isinstance(problem, kind)), None)
        if advice is None and isinstance(problem, psycopg.OperationalError):
            # A refused connect has no code of its own, only what the server said.
            known = (advice for words, advice in _ADVICE_BY_TEXT.items() if words in str(problem))
            advice = next(known, "is the server of ledger.url up and reachable? Retrying")
        return StoreError(f"ledger.url: {text[0]}" + (f"; {advice}" if advice else ""))


class _Line:
    """One connection and whose turn it is."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.connection: psycopg.Connection[tuple[Any, ...]] | None = None

    def drop(self) -> None:
        connection, self.connection = self.connection, None
        if connection is not None:
            with suppress(psycopg.Error):
                connection.close()


@contextmanager
def _transaction(connection: psycopg.Connection[tuple[Any, ...]], begin: str) -> Iterator[Cursor]:
    with connection.cursor() as cursor:
        cursor.execute(begin)
        try:
            yield cursor
            cursor.execute("COMMIT")
        except BaseException:
            with suppress(psycopg.Error):
                cursor.execute("ROLLBACK")
            raise
