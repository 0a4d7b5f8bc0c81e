"""The lease: which of several agents works, kept in PostgreSQL so that never two do.

The holder renews a row again and again, in a session that holds an advisory lock. Another agent takes over when the row
has stood still for a whole lease, by its own clock: then it ends that session if it is still there, takes the lock and
changes the row. So neither a step of anybody's wall clock nor a broken connection alone moves the lease. The holder
stops by itself after two thirds of a lease without a confirmed renewal, which leaves a third for ending what is under
way. A clean stop gives the lease back at once.

Each takeover raises the lease's token. Whatever the holder writes for its successor checks the token in the same
transaction, and a takeover waits for such a transaction to end, so nothing of a late holder is written after it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

import psycopg
from psycopg.conninfo import make_conninfo

from collectors.errors import NeonmeterError
from exporter.storage.ledger.postgres_link import SCHEMA, Cursor
from exporter.storage.store import StoreError

LEASE_TABLE: Final = """
CREATE TABLE lease (
    name text PRIMARY KEY, token bigint NOT NULL, holder text NOT NULL, renewals bigint NOT NULL,
    released boolean NOT NULL, renewed_at timestamptz NOT NULL,
    -- Makes the token part of a key: a takeover, which changes it, waits for whoever checks it; a renewal does not.
    UNIQUE (name, token)
);
"""
HOLD: Final = 2 / 3
"""The part of a lease after which a holder that could not renew it stops."""
_TRIES: Final = 6
"""Renewals in a lease."""
_OPTIONS: Final = {
    "application_name": "neonmeter lease",
    "connect_timeout": "3",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "5000",
    "options": (
        f"-c search_path={SCHEMA} -c statement_timeout=4s -c lock_timeout=3s -c timezone=UTC "
        "-c idle_in_transaction_session_timeout=5s "
        # A host that vanished says nothing: the server asks for it, and lets go of its advisory lock.
        "-c tcp_keepalives_idle=5 -c tcp_keepalives_interval=2 -c tcp_keepalives_count=3"
    ),
}


class LeaseError(NeonmeterError):
    """Another agent may work now, or could not be told what this one is about to do.

    It is no `StoreError`: who may go on without a disk may not go on without the lease.
    """

    outcome = "lease_error"


def steady_clock() -> float:
    """Seconds that never go back and, where the system has such a clock, go on while the machine is suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds the lease now, as its row says."""

    token: int
    holder: str
    renewals: int
    released: bool


class Lease:
    """One agent's view of one lease. Safe to share between threads; every method blocks, no property does."""

    def __init__(
        self,
        conninfo: Callable[[], Mapping[str, str]],
        name: str,
        holder: str,
        seconds: float,
        *,
        clock: Callable[[], float] = steady_clock,
    ) -> None:
        """``conninfo`` as for `PostgresConnection`, whose tables must be there; ``holder`` is this agent, for people.

        ``seconds`` must be the same at every agent of a group.
        """
        self._conninfo = conninfo
        self._name = name
        self._me = holder
        self._seconds = seconds
        self._clock = clock
        self._lock_key = int.from_bytes(blake2b(f"neonmeter {name}".encode(), digest_size=8).digest(), signed=True)
        self._connection: psycopg.Connection[tuple[Any, ...]] | None = None
        self._turn = threading.Lock()
        self._holds_until = float("-inf")
        self._last: Holder | None = None
        self._still_since = 0.0
        self.token: int | None = None
        """The token of this agent's tenure; None while another holds the lease."""
        self.problem = ""
        """Why the last step failed; empty when it did not."""

    @property
    def pace(self) -> float:
        """Seconds between two steps."""
        return self._seconds / _TRIES

    @property
    def remaining(self) -> float:
        """For how many seconds this agent may still work; not more than 0 when it may not."""
        return self._holds_until - self._clock() if self.token is not None else 0.0

    @property
    def other(self) -> str:
        """Who holds it, when this agent does not and somebody does; empty otherwise."""
        return "" if self._last is None or self._last.released else self._last.holder

    def step(self) -> bool:
        """Renew the lease, or take it if it is free; whether this agent holds it now. Call it every ``pace`` seconds.

        Never raises for a database that is away: ``problem`` says so, and the lease runs out by itself.
        """
        with self._turn:
            try:
                done = self._renew() if self.token is not None else self._take()
                self.problem = ""
            except (psycopg.Error, OSError) as problem:
                self.problem = str(problem).strip().partition("\n")[0] or type(problem).__name__
                self._drop()
                done = False
            if self.token is not None and self.remaining <= 0:
                self._give_up()
            return done

    def give_up(self) -> None:
        """Stop being the holder; another agent takes over when the lease has run out."""
        with self._turn:
            self._give_up()

    def release(self) -> None:
        """Give the lease back, so that another agent need not wait; what is under way must have ended."""
        with self._turn:
            token = self.token
            if token is None:
                return
            with suppress(psycopg.Error, OSError):
                self._execute("UPDATE lease SET released = true WHERE name = %s AND token = %s", self._name, token)
            self._give_up()

    def close(self) -> None:
        """Let go of the connection."""
        with self._turn:
            self._drop()

    def _give_up(self) -> None:
        self.token, self._holds_until, self._last = None, float("-inf"), None
        self._drop()  # With the connection the advisory lock goes.

    def _renew(self) -> bool:
        began = self._clock()
        rows = self._execute(
            "UPDATE lease SET renewals = renewals + 1, renewed_at = now() WHERE name = %s AND token = %s RETURNING 1",
            self._name,
            self.token,
        )
        if not rows:
            self._give_up()
            return False
        # After a lost connection the lock is taken again when the server has let go of the old session's.
        self._execute("SELECT pg_try_advisory_lock(%s) WHERE NOT EXISTS (" + _MINE + ")", self._lock_key, *self._halves)
        self._holds_until = began + HOLD * self._seconds
        return True

    @property
    def _halves(self) -> tuple[int, int]:
        unsigned = self._lock_key % 2**64
        return unsigned >> 32, unsigned & 0xFFFFFFFF

    def _take(self) -> bool:
        began = self._clock()
        found = self._look()
        if self._last is None or (found.token, found.renewals) != (self._last.token, self._last.renewals):
            self._last, self._still_since = found, self._clock()
        if not found.released and began - self._still_since < self._seconds:
            return False
        if not self._execute("SELECT pg_try_advisory_lock(%s)", self._lock_key)[0][0]:
            # A holder that is frozen, or whose host vanished, keeps its session; it has not renewed for a whole lease.
            self._execute(_END_HOLDER, *self._halves)
            return False
        began = self._clock()
        rows = self._execute(
            "UPDATE lease SET token = token + 1, holder = %s, renewals = renewals + 1, released = false,"
            " renewed_at = now() WHERE name = %s AND token = %s AND renewals = %s AND released = %s RETURNING token",
            self._me,
            self._name,
            found.token,
            found.renewals,
            found.released,
        )
        if not rows:
            self._execute("SELECT pg_advisory_unlock(%s)", self._lock_key)
            return False
        self._holds_until = began + HOLD * self._seconds
        self.token = int(rows[0][0])
        return True

    def _look(self) -> Holder:
        rows = self._execute("SELECT token, holder, renewals, released FROM lease WHERE name = %s", self._name)
        if not rows:
            self._execute(
                "INSERT INTO lease VALUES (%s, 0, '', 0, true, now()) ON CONFLICT (name) DO NOTHING RETURNING 1",
                self._name,
            )
            return self._look()
        return Holder(*rows[0])

    def _execute(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        if self._connection is None:
            self._connection = self._connect()
        cursor = self._connection.execute(statement.encode(), values)
        return cursor.fetchall() if cursor.description else []

    def _connect(self) -> psycopg.Connection[tuple[Any, ...]]:
        parameters = dict(self._conninfo())
        options = f"{parameters.pop('options', '')} {_OPTIONS['options']}".strip()
        conninfo = make_conninfo("", **{**_OPTIONS, **parameters, "options": options})
        connection = psycopg.connect(conninfo, autocommit=True)
        connection.prepare_threshold = None
        return connection

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(psycopg.Error):
                connection.close()


_MINE: Final = (
    "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid() AND granted"
    " AND classid::bigint = %s AND objid::bigint = %s"
)


_END_HOLDER: Final = (
    "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted"
    " AND pid <> pg_backend_pid() AND classid::bigint = %s AND objid::bigint = %s"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


def check_token(cursor: Cursor, name: str, token: int | None) -> None:
    """Make sure that a tenure is still in force until the end of the cursor's transaction.

    Raises:
        StoreError: another agent has taken over.
    """
    cursor.execute("SELECT 1 FROM lease WHERE name = %s AND token = %s FOR KEY SHARE", (name, token))
    if token is None or cursor.fetchone() is None:
        raise StoreError("ledger.standby: another agent has taken over; nothing more is written by this one")
