"""Why nobody got a session: the words of libpq, of PostgreSQL and of Neon's proxy, told as a status and a remedy.

A failed connect has no SQLSTATE in libpq, only text. Neon's proxy answers in the name of a compute that does not run,
so its words are the only ones that tell a quota from a network. Sources: libpq's fe-connect.c, PostgreSQL's
postmaster.c and auth.c, and proxy/src of Neon's public source (auth, compute, control_plane, sasl, pglb).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from collectors.base import Status


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a text means. ``message`` is for a person and says what to do; ``neon``: the words are Neon's."""

    pattern: str
    """A regular expression, found anywhere in the text, whatever the case."""
    status: Status
    message: str
    neon: bool = False


_NO_SLOT = "too many connections: the server has no slot free"
_SNI = "Neon's proxy was not told which endpoint: connect to the endpoint's own host name, by a libpq with SNI"
_LIMITER = "Neon's proxy limits connection attempts to this endpoint; the server itself may be well. Tried again later"
_QUOTA = "a quota of the Neon account or project is used up: raise the plan or the project's quota"

# First hit wins: what is special stands before what is general.
REFUSALS = (
    # Neon's proxy and control plane.
    Refusal(r"vpc endpoint id", Status.NETWORK_BLOCKED,
            "the project admits no connection but from its VPC endpoints: allow this one in the Neon console", True),
    Refusal(r"endpoint id is not specified|inconsistent project name inferred|project name \(.* must contain only",
            Status.NO_SNI, _SNI, True),
    Refusal(r"blocked network", Status.NETWORK_BLOCKED,
            "the project admits no connections from public networks (block_public_connections)", True),
    Refusal(r"ip address .* is not allowed|not allowed to connect", Status.IP_NOT_ALLOWED,
            "the project's IP allow list refuses this address: add it in the Neon console", True),
    Refusal(r"too many connections? (attempts|to this endpoint)|failed to acquire permit|attempts are currently ongoing"
            r"|rate limit", Status.RATE_LIMITED, _LIMITER, True),
    Refusal(r"too many active endpoints|active endpoints limit|concurrently active endpoints", Status.QUOTA,
            "the account has no active compute left to start: its limit of active computes is reached", True),
    Refusal(r"check your quotas", Status.QUOTA,
            "Neon says that a quota may be used up, or the project is under maintenance", True),
    Refusal(r"quota|exceeded the .*limit|(compute|active) time .*exceeded|upgrade your plan|unpaid|suspended due to",
            Status.QUOTA, _QUOTA, True),
    Refusal(r"endpoint (is|has been) disabled|(endpoint|compute) .*\bdisabled\b", Status.DISABLED,
            "the endpoint is disabled: enable it in the Neon console if it is needed", True),
    Refusal(r"maintenance", Status.STARTING, "the project is under maintenance; tried again later", True),
    Refusal(r"(endpoint|branch|project|resource).* (cannot|could not) be found|(endpoint|branch|project) not found",
            Status.NOT_FOUND, "Neon has no such endpoint (any more), or its host name is mistyped", True),
    Refusal(r"couldn't connect to compute node|compute node .*not (ready|running)|running operations|already taken"
            r"|endpoint is (idle|starting)|compute is (starting|not ready)|concurrency limit",
            Status.STARTING, "the compute is starting, restarting or busy with one of Neon's operations", True),
    Refusal(r"control plane request failed|console responded", Status.CONTROL_PLANE,
            "Neon's control plane failed to start or find the compute; see Neon's status page", True),
    Refusal(r"unsupported startup parameter", Status.UNSUPPORTED,
            "this is a pooled host, which refuses startup parameters: use the direct host", True),
    Refusal(r"connection is insecure", Status.UNSUPPORTED, "Neon requires TLS: set sslmode in postgres.dsn", True),
    Refusal(r"authentication timed out|disconnected due to inactivity", Status.TIMEOUT,
            "the proxy ended the login: the network or this machine is too slow", True),
    Refusal(r"channel binding|authentication protocol violation|unsupported authentication method"
            r"|malformed password message", Status.AUTH,
            "the login failed in its protocol: is libpq too old, or something in between that ends TLS?", True),
    # PostgreSQL.
    Refusal(r"password authentication failed", Status.AUTH, "the password is wrong, or the role does not exist"),
    Refusal(r"no password supplied", Status.AUTH, "the server requires a password; none is configured"),
    Refusal(r"is not permitted to log in", Status.AUTH, "the role has no LOGIN"),
    Refusal(r"role .* does not exist", Status.AUTH, "the role does not exist"),
    Refusal(r"no pg_hba\.conf entry|pg_hba\.conf rejects", Status.AUTH,
            "the server refuses this role, database or address (pg_hba.conf)"),
    Refusal(r"(authentication|peer|ident|certificate authentication) failed for user", Status.AUTH,
            "the server refuses this role's way to log in"),
    Refusal(r"permission denied for database", Status.NO_PRIVILEGE, "the role has no CONNECT on the database"),
    Refusal(r"database .* does not exist", Status.UNSUPPORTED, "the database does not exist"),
    Refusal(r"not currently accepting connections|invalid database", Status.UNSUPPORTED,
            "the database admits no connections (ALLOW_CONNECTIONS, or an unfinished DROP)"),
    Refusal(r"too many connections for role", Status.UNREACHABLE,
            "too many connections for our role (its CONNECTION LIMIT)"),
    Refusal(r"too many connections for database", Status.UNREACHABLE,
            "too many connections for the database (its CONNECTION LIMIT)"),
    Refusal(r"too many (clients|connections)|remaining connection slots", Status.UNREACHABLE, _NO_SLOT),
    Refusal(r"starting up|in recovery mode|not yet accepting connections|consistent recovery state", Status.STARTING,
            "the server is starting up"),
    Refusal(r"shutting down|due to administrator command", Status.UNREACHABLE, "the server is shutting down"),
    Refusal(r"because of crash of another server process", Status.UNREACHABLE, "the server crashed and restarts"),
    # libpq.
    Refusal(r"failed to resolve|name or service not known|could not translate host name|name resolution",
            Status.UNREACHABLE, "the host name does not resolve"),
    Refusal(r"connection refused", Status.UNREACHABLE, "connection refused: nothing listens there"),
    Refusal(r"no route to host|network is unreachable|host is unreachable", Status.UNREACHABLE,
            "no route to the host: a network or firewall is in the way"),
    Refusal(r"certificate", Status.UNREACHABLE, "the server's certificate does not verify"),
    Refusal(r"server does not support ssl", Status.UNREACHABLE, "the server does not speak TLS"),
    Refusal(r"timeout expired|connection timed out", Status.TIMEOUT, "no session in time"),
    Refusal(r"server closed the connection|connection reset|broken pipe|eof detected", Status.UNREACHABLE,
            "the server closed the connection"),
)  # fmt: skip

_SEVERITY = re.compile(r"(?:FATAL|ERROR|PANIC):\s*(.+)")
_QUOTED = re.compile(r"\"[^\"]*\"|'[^']*'")
_ATTEMPT = re.compile(r"^connection to server (?:at|on socket) .*?failed: (.+)$")


def reason_of(text: str) -> str:
    """The line of libpq's text that tells most, without the address before it.

    A host with several addresses gives a line for each attempt: what a server said counts before what the network did,
    and of each the last, because libpq ends with the address that it tried last.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    said = [match.group(1) for line in lines if (match := _SEVERITY.search(line))]
    if said:
        return said[-1]
    attempts = [match.group(1) for line in lines if (match := _ATTEMPT.match(line))]
    return attempts[-1] if attempts else (lines[0] if lines else "no message")


def refusal(text: str) -> Refusal | None:
    """What a text means; None when its words are not known."""
    words = _QUOTED.sub('""', text)  # A database may be called "quota", and a role "maintenance".
    return next((known for known in REFUSALS if re.search(known.pattern, words, re.IGNORECASE)), None)
