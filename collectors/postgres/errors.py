"""What went wrong in a visit, in the closed words of `Status` and one line for a person.

libpq reports a failed connect as text without a code, so that part is recognised by its words; a failed query has a
SQLSTATE. No message of ours ever carries a connection string or a password.
"""

from __future__ import annotations

import psycopg

from collectors.base import Status
from collectors.postgres.connection import ReceivedTooMuchError
from collectors.postgres.refusals import reason_of, refusal

LONGEST = 300
"""Characters of a server's text that a message quotes."""

_BY_STATE = {
    "55P03": Status.TIMEOUT,  # lock_timeout
    "57014": Status.TIMEOUT,  # statement_timeout
    "25P03": Status.TIMEOUT,  # idle_in_transaction_session_timeout
    "42501": Status.NO_PRIVILEGE,
    "42P01": Status.UNSUPPORTED,  # no such relation
    "42883": Status.UNSUPPORTED,  # no such function
    "42703": Status.UNSUPPORTED,  # no such column
    "3F000": Status.UNSUPPORTED,  # no such schema
    "0A000": Status.UNSUPPORTED,
    "55000": Status.UNSUPPORTED,  # an extension that is not preloaded, a slot function on the wrong kind
    "25006": Status.BUG,  # a collector tried to write
    "28P01": Status.AUTH,
    "28000": Status.AUTH,
}
_BY_CLASS = {
    "08": Status.UNREACHABLE,
    "53": Status.UNREACHABLE,
    "57": Status.UNREACHABLE,
    "58": Status.UNREACHABLE,
    "28": Status.AUTH,
}


_OF_THE_SERVER = frozenset({"08", "28", "53", "57", "58", "XX"})
"""Classes under which Neon tells a quota or a disabled endpoint in the middle of a session, too."""


class VisitError(Exception):
    """A visit failed as a whole. ``status`` for the label, ``message`` for a person."""

    def __init__(self, status: Status, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def explain(problem: psycopg.Error, password: str, *, connecting: bool) -> VisitError:
    """Tell a psycopg error by its SQLSTATE, or by its words while connecting."""
    if isinstance(problem, ReceivedTooMuchError):
        return VisitError(Status.TRUNCATED, f"{problem}: the rest was not read")
    state = problem.sqlstate
    text = reason_of(str(problem))
    known = refusal(text)
    if state is not None and not (known and known.neon and state[:2] in _OF_THE_SERVER):
        status = _BY_STATE.get(state) or _BY_CLASS.get(state[:2]) or Status.BUG
        return VisitError(status, f"{_one_line(str(problem), password)} ({state})")
    if known is not None:
        # libpq's and PostgreSQL's own words say no more than ours; Neon's carry numbers and names.
        return VisitError(known.status, f"{known.message}{f' ({_one_line(text, password)})' if known.neon else ''}")
    what = "connecting failed" if connecting else "the session was lost"
    return VisitError(Status.UNREACHABLE, f"{what}: {_one_line(text, password)}")


def explain_value(problem: Exception) -> str:
    """One line for a value that could not be read."""
    return f"a value cannot be read: {_one_line(str(problem), '')}"


def _one_line(text: str, password: str) -> str:
    line = next((splitline.strip() for splitline in text.splitlines() if splitline.strip()), "no message")
    if password:
        line = line.replace(password, "***")
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 3]}..."
