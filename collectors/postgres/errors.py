"""What went wrong in a visit, in the closed words of `Status` and one line for a person.

libpq reports a failed connect as text without a code, so that part is recognised by its words; a failed query has a
SQLSTATE. No message of ours ever carries a connection string or a password.
"""

from __future__ import annotations

import psycopg

from collectors.base import Status

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

# First hit wins. The words are libpq's, PostgreSQL's and those of Neon's proxy, in lower case.
_BY_WORDS = (
    ("password authentication failed", Status.AUTH, "the password is wrong, or the role does not exist"),
    ("no password supplied", Status.AUTH, "the server requires a password; none is configured"),
    ("is not permitted to log in", Status.AUTH, "the role has no LOGIN"),
    ("no pg_hba.conf entry", Status.AUTH, "the server refuses this role, database or address (pg_hba.conf)"),
    ("permission denied for database", Status.NO_PRIVILEGE, "the role has no CONNECT on the database"),
    ("not allowed to connect", Status.NO_PRIVILEGE, "the project's IP allow list refuses this address"),
    ("too many connections for role", Status.UNREACHABLE, "too many connections for our role (its CONNECTION LIMIT)"),
    ("too many", Status.UNREACHABLE, "too many connections: the server has no slot free"),
    ("remaining connection slots", Status.UNREACHABLE, "too many connections: the server has no slot free"),
    ("starting up", Status.UNREACHABLE, "the server is starting up"),
    ("shutting down", Status.UNREACHABLE, "the server is shutting down"),
    ("connection refused", Status.UNREACHABLE, "connection refused: nothing listens there"),
    ("failed to resolve", Status.UNREACHABLE, "the host name does not resolve"),
    ("name or service not known", Status.UNREACHABLE, "the host name does not resolve"),
    ("endpoint is disabled", Status.UNREACHABLE, "the endpoint is disabled"),
    ("certificate", Status.UNREACHABLE, "the server's certificate does not verify"),
    ("server does not support ssl", Status.UNREACHABLE, "the server does not speak TLS"),
    ("timeout expired", Status.TIMEOUT, "no session in time"),
    ("server closed the connection", Status.UNREACHABLE, "the server closed the connection"),
)


class VisitError(Exception):
    """A visit failed as a whole. ``status`` for the label, ``message`` for a person."""

    def __init__(self, status: Status, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def explain(problem: psycopg.Error, password: str, *, connecting: bool) -> VisitError:
    """Tell a psycopg error by its SQLSTATE, or by its words while connecting."""
    text = _one_line(str(problem), password)
    state = problem.sqlstate
    if state is not None:
        status = _BY_STATE.get(state) or _BY_CLASS.get(state[:2]) or Status.BUG
        return VisitError(status, f"{text} ({state})")
    words = text.lower()
    if "database" in words and "does not exist" in words:
        return VisitError(Status.UNSUPPORTED, "the database does not exist")
    for sign, status, message in _BY_WORDS:
        if sign in words:
            return VisitError(status, message)
    what = "connecting failed" if connecting else "the session was lost"
    return VisitError(Status.UNREACHABLE, f"{what}: {text}")


def explain_value(problem: Exception) -> str:
    """One line for a value that could not be read."""
    return f"a value cannot be read: {_one_line(str(problem), '')}"


def _one_line(text: str, password: str) -> str:
    line = next((splitline.strip() for splitline in text.splitlines() if splitline.strip()), "no message")
    if password:
        line = line.replace(password, "***")
    return line[:200]
