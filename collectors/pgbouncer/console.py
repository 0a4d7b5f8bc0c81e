"""Self-run PgBouncer, read through its console: it never opens a server connection, so it never wakes a compute.

The console is no SQL: no transaction, no parameters, no pipeline, one SHOW a round trip. A user in ``stats_users`` is
enough. A DNS name with several addresses (a headless Kubernetes service) is as many instances, and each is read and
shown by itself, because through one virtual address the counters of different pods would take turns.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import re
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from collectors.base import Observation, Result, Status, Target, Unread
from collectors.metric import Scope
from collectors.neon.errors import one_line
from collectors.pgbouncer.shows import CONSOLE, METRICS, SHOWS, config_of, families_of
from collectors.platforms.domain.security import PoolerFacts
from collectors.postgres.connection import BoundedConnection, ReceivedTooMuchError

__all__ = ["METRICS", "PoolerTarget", "observe", "read_pooler"]

NAME = "pgbouncer"
SECURITY_SETTINGS = (
    "admin_users", "auth_dbname", "auth_type", "auth_user", "client_tls_protocols", "client_tls_sslmode",
    "ignore_startup_parameters", "log_connections", "log_disconnections", "log_pooler_errors", "max_client_conn",
    "max_prepared_statements", "pool_mode", "server_tls_protocols", "server_tls_sslmode", "stats_users",
)  # fmt: skip
"""Settings that controls read; SHOW CONFIG also has paths and queries, which are not taken."""
_SECURITY_SHOWS = ("VERSION", "CONFIG")
_FAN_OUT = 8
_PORT = "6432"
_REFUSALS: tuple[tuple[str, Status, str], ...] = (
    (r"password authentication failed|SASL authentication failed|no such user|login rejected|no password supplied"
     r"|wrong password|no authentication method|certificate", Status.AUTH,
     "the user or the password was refused: check the DSN and the password of this pgbouncer entry"),
    (r"not allowed|admin access needed|permission denied", Status.NO_PRIVILEGE,
     "the user may not use the console: add it to stats_users in pgbouncer.ini"),
    (r"timeout expired|timed out", Status.TIMEOUT, "no answer in time: is the host right, and the port open?"),
    (r"no more connections allowed|too many clients", Status.UNREACHABLE,
     "it is full: max_client_conn is reached, so applications are refused too"),
    (r"no such database", Status.UNSUPPORTED, "there is no console: is this really a PgBouncer?"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class PoolerTarget:
    """A PgBouncer to read. ``conninfo`` is called at each visit, so a rotated password is picked up; never shown."""

    name: str
    conninfo: Callable[[], str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Instance:
    """One PgBouncer process: its value of label ``pooler``, and how to connect to it."""

    label: str
    conninfo: str = field(repr=False)


class _Failure(Exception):  # noqa: N818 - an outcome with a status, caught where observations are made
    def __init__(self, status: Status, text: str) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why nothing could be read from an instance."""

    status: Status
    why: str


async def ask(
    target: PoolerTarget, shows: tuple[str, ...], *, deadline_seconds: float = 5.0
) -> dict[str, Mapping[str, Result] | Refusal]:
    """Some of the SHOWs of every instance behind the target, by the instance's label; one that is refused is absent."""
    try:
        async with asyncio.timeout(deadline_seconds):
            instances = await _instances(target)
    except (_Failure, TimeoutError) as problem:
        status = problem.status if isinstance(problem, _Failure) else Status.TIMEOUT
        return {target.name: Refusal(status, str(problem) or f"{target.name}: the name did not resolve in time")}
    found: dict[str, Mapping[str, Result] | Refusal] = {}
    for instance in instances:
        try:
            found[instance.label], _ = await _visit(instance.conninfo, deadline_seconds, shows, shows)
        except _Failure as problem:
            found[instance.label] = Refusal(problem.status, str(problem))
    return found


async def observe(target: PoolerTarget, *, deadline_seconds: float = 5.0) -> list[Observation]:
    """Read every instance behind the target; one observation each, with the instance as label ``pooler``.

    An instance that answers some of the SHOWs gives what it answered, and ``error`` names the rest. The deadline holds
    for each instance and ends by closing the socket, so a frozen process costs no more than that.
    """
    began = time.monotonic()
    try:
        async with asyncio.timeout(deadline_seconds):
            instances = await _instances(target)
    except (_Failure, TimeoutError) as problem:
        status = problem.status if isinstance(problem, _Failure) else Status.TIMEOUT
        error = str(problem) or f"{target.name}: the name did not resolve within {deadline_seconds:g} s"
        seconds = time.monotonic() - began
        return [Observation(NAME, _target(target.name), status, time.time(), seconds, error=error)]
    gate = asyncio.Semaphore(_FAN_OUT)

    async def one(instance: _Instance) -> Observation:
        async with gate:
            return await _observe_instance(instance, deadline_seconds)

    return list(await asyncio.gather(*(one(instance) for instance in instances)))


def _target(label: str) -> Target:
    return Target(Scope.POOLER, (label,), label)


async def _observe_instance(instance: _Instance, deadline_seconds: float) -> Observation:
    at, began = time.time(), time.monotonic()
    try:
        shows, refused = await _visit(instance.conninfo, deadline_seconds)
    except _Failure as problem:
        seconds = time.monotonic() - began
        return Observation(NAME, _target(instance.label), problem.status, at, seconds, error=str(problem))
    families = families_of(shows)
    rows = sum(len(result.rows) for result in shows.values())
    error = "; ".join(f"SHOW {show}: {text}" for show, text in refused.items())
    seconds = time.monotonic() - began
    return Observation(NAME, _target(instance.label), Status.OK, at, seconds, families, rows, error)


async def _instances(target: PoolerTarget) -> list[_Instance]:
    try:
        options = conninfo_to_dict(target.conninfo())
    except OSError as problem:
        why = problem.strerror or type(problem).__name__
        raise _Failure(Status.AUTH, f"the password of pgbouncer {target.name!r} cannot be read ({why})") from None
    except (psycopg.Error, ValueError):
        # The text of the error would quote the DSN.
        raise _Failure(Status.BUG, f"the DSN of pgbouncer {target.name!r} is malformed") from None
    hosts = str(options.get("host") or "").split(",")
    ports = str(options.get("port") or _PORT).split(",")
    given = [address for address in str(options.get("hostaddr") or "").split(",") if address]
    places: list[tuple[str, str, str]] = []
    for index, host in enumerate(hosts):
        _refuse_neon(target, host)
        port = ports[index] if index < len(ports) else ports[-1]
        found = [given[index]] if index < len(given) else await _addresses(target, host, port)
        places += [(host, address, port) for address in found]
    return [
        _Instance(
            target.name if len(places) == 1 else f"{target.name}:{address or host}:{port}",
            _conninfo(options, host, address, port),
        )
        for host, address, port in places
    ]


def _refuse_neon(target: PoolerTarget, host: str) -> None:
    if host.rstrip(".").endswith(".neon.tech") or re.match(r"ep-[a-z0-9-]+-pooler(\.|\Z)", host):
        raise _Failure(
            Status.UNSUPPORTED,
            f"pgbouncer {target.name!r} is a Neon host: Neon's pooler has no console, and a connection to it would"
            " wake the compute; name a PgBouncer that you run",
        )


def _conninfo(options: Mapping[str, object], host: str, address: str, port: str) -> str:
    changed: dict[str, str | None] = {
        "host": host or None,
        "hostaddr": address or None,
        "port": port,
        "dbname": CONSOLE,  # through any other database a SHOW would reach the server behind, and wake it
        "options": "",  # PgBouncer refuses the parameter; empty also keeps PGOPTIONS out
        "application_name": str(options.get("application_name") or "neonmeter"),
    }
    unchanged = {key: str(value) for key, value in options.items() if value is not None and key not in changed}
    return make_conninfo("", **unchanged, **changed)


async def _addresses(target: PoolerTarget, host: str, port: str) -> list[str]:
    """The addresses of a name; one empty string for what needs no look-up (an address, a socket, localhost)."""
    if not host or host.startswith(("/", "@")) or host == "localhost" or _is_address(host):
        return [""]
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, int(port), type=socket.SOCK_STREAM)
    except (OSError, ValueError, UnicodeError):
        text = f"the host of pgbouncer {target.name!r} does not resolve: check the name, and DNS on this machine"
        raise _Failure(Status.UNREACHABLE, text) from None
    by_family: dict[int, set[str]] = {}
    for family, _, _, _, address in found:
        by_family.setdefault(family, set()).add(str(address[0]))
    # A pod with both families is one process: only one family counts, or each would be shown twice.
    return sorted(by_family.get(socket.AF_INET) or by_family.get(socket.AF_INET6) or {""})


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


async def _visit(
    conninfo: str,
    deadline_seconds: float,
    wanted: tuple[str, ...] = SHOWS,
    telling: tuple[str, ...] = ("STATS", "POOLS"),
) -> tuple[dict[str, Result], dict[str, str]]:
    """The SHOWs over one connection: what was answered, and what was refused with its reason.

    Without one of the ``telling`` ones it is a failure.
    """
    loop = asyncio.get_running_loop()
    ends = loop.time() + deadline_seconds
    late = f"no answer within {deadline_seconds:g} s: the process is frozen or overloaded, or a firewall drops packets"
    try:
        async with asyncio.timeout_at(ends):
            connection = await BoundedConnection.connect(
                conninfo, autocommit=True, cursor_factory=psycopg.AsyncClientCursor
            )
    except TimeoutError:
        raise _Failure(Status.TIMEOUT, late) from None
    except (psycopg.Error, OSError, UnicodeError) as problem:
        raise _refusal(problem) from None
    # Cancelling a query would wait for the answer that does not come, so the deadline closes the socket instead.
    deadline = loop.call_at(ends, _shut_down, connection.pgconn.socket)
    try:
        shows, refused = await _read_shows(connection, wanted)
    except psycopg.Error as problem:
        raise (_Failure(Status.TIMEOUT, late) if loop.time() >= ends else _refusal(problem)) from None
    finally:
        deadline.cancel()
        await connection.close()
    if not shows.keys() & set(telling):
        raise _classify("; ".join(refused.values()))
    return shows, refused


async def _read_shows(
    connection: psycopg.AsyncConnection[tuple[object, ...]], wanted: tuple[str, ...]
) -> tuple[dict[str, Result], dict[str, str]]:
    shows: dict[str, Result] = {}
    refused: dict[str, str] = {}
    for show in wanted:
        try:
            cursor = await connection.execute(f"SHOW {show}")
            rows = await cursor.fetchall() if cursor.description is not None else []
        except psycopg.Error as problem:
            if connection.closed or connection.broken:
                raise
            refused[show] = _reason(problem)
            continue
        columns = tuple(column.name for column in cursor.description or ())
        shows[show] = Result(columns, rows)
    return shows, refused


def _shut_down(descriptor: int) -> None:
    try:
        with socket.socket(fileno=os.dup(descriptor)) as duplicate:
            duplicate.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # closed already, which is what was wanted


def _reason(problem: BaseException) -> str:
    text = str(problem).strip()
    # Several addresses give several lines; the server's own text stands after its severity.
    texts = re.findall(r"(?:FATAL|ERROR):\s*(.+)", text)
    return one_line(texts[-1] if texts else text.splitlines()[0] if text else type(problem).__name__, 200)


def _refusal(problem: BaseException) -> _Failure:
    if isinstance(problem, ReceivedTooMuchError):
        return _Failure(Status.TRUNCATED, f"{problem}: is this a PgBouncer?")
    return _classify(_reason(problem))


def _classify(reason: str) -> _Failure:
    for pattern, status, advice in _REFUSALS:
        if re.search(pattern, reason, re.IGNORECASE):
            return _Failure(status, f"{advice} ({reason})")
    return _Failure(Status.UNREACHABLE, f"no connection: is PgBouncer running, and the host and port right? ({reason})")


async def read_pooler(target: PoolerTarget, *, deadline_seconds: float = 5.0) -> tuple[PoolerFacts, ...]:
    """The release and the set-up of every instance behind the target, as far as security depends on it.

    Never raises for what is wrong there: each part says it by itself.
    """
    answers = await ask(target, _SECURITY_SHOWS, deadline_seconds=deadline_seconds)
    return tuple(_security(name, answer) for name, answer in answers.items())


def _security(name: str, answer: Mapping[str, Result] | Refusal) -> PoolerFacts:
    if isinstance(answer, Refusal):
        why = Unread(answer.status, answer.why)
        return PoolerFacts(name, why, why)
    config = {key: value for key, value in config_of(answer).items() if key in SECURITY_SETTINGS}
    rows = answer["VERSION"].rows if "VERSION" in answer else []
    refused = "the user may not see it: add it to stats_users in pgbouncer.ini"
    return PoolerFacts(
        name,
        version=str(rows[0][0]) if rows else Unread(Status.NO_PRIVILEGE, refused),
        config=config or Unread(Status.NO_PRIVILEGE, refused),
    )
