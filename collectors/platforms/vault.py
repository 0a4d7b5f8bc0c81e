"""OpenBao or Vault: which keys there are and how old, whose passwords are rotated, whether anybody keeps an audit.

It can read and nothing else, because no method takes a verb: lists are GET as well. Key material and passwords lie
under other paths, which the policy deploy/openbao/neonmeter.hcl refuses. The token appears in no error and no repr.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote

import httpx

from collectors.base import Known, Status, Unread
from collectors.http_body import BodyTooLargeError, BoundedClient
from collectors.neon.errors import one_line
from collectors.platforms.domain.security import StaticRole, TransitKey, VaultFacts

DEADLINE_SECONDS = 60.0
"""Of a whole look: a thousand keys are a thousand requests."""
_REQUEST_SECONDS = 10.0
MOST_KEYS = 5000
_FAN_OUT = 8
_BODY_LIMIT = 8 * 1024 * 1024
_NOT_USED = Unread(Status.UNSUPPORTED, "no such mount is configured")

T = TypeVar("T")
Token = Callable[[], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class VaultTarget:
    """Where it is, and how its token is had.

    ``token`` is awaited at every look, so a rotated file is picked up; it may raise OSError. ``transit`` and
    ``database`` are mounts, None where there is none. ``ca_file`` None: the system's authorities.
    """

    name: str
    address: str
    token: Token = field(repr=False)
    transit: str | None = "transit"
    database: str | None = "database"
    namespace: str = ""
    ca_file: Path | None = None


@dataclass(frozen=True, slots=True)
class _Health:
    """``GET sys/health``: open to everybody."""

    sealed: bool
    standby: bool


async def read_vault(target: VaultTarget, *, deadline_seconds: float = DEADLINE_SECONDS) -> VaultFacts:
    """Look once. Never raises for what is wrong there: each part says it by itself."""
    ends = asyncio.get_running_loop().time() + deadline_seconds
    try:
        look = _Look(target, ends)
    except (OSError, ssl.SSLError) as problem:
        text = one_line(problem.strerror or str(problem), 120)
        return _nothing(target.name, Unread(Status.BUG, f"the CA file of {target.name} cannot be used ({text})"))
    async with look:
        health = await look.part(look.health())
        if isinstance(health, _Health) and health.sealed:
            sealed = Unread(Status.UNREACHABLE, f"{target.name} is sealed: it answers no request until it is unsealed")
            return _nothing(target.name, sealed, health)
        refused = await look.sign_in()
        if refused is not None:
            return _nothing(target.name, refused, health)
        (names, keys), roles, audits = await asyncio.gather(look.transit(), look.database(), look.part(look.audits()))
        found = VaultFacts(target.name, keys=keys, key_names=names, static_roles=roles, audits=audits)
        return _with_health(found, health)


def _nothing(name: str, why: Unread, health: Known[_Health] | None = None) -> VaultFacts:
    found = VaultFacts(name, keys=why, key_names=why, static_roles=why, audits=why)
    return _with_health(found, why if health is None else health)


def _with_health(found: VaultFacts, health: Known[_Health]) -> VaultFacts:
    if isinstance(health, Unread):
        return replace(found, sealed=health)
    return replace(found, sealed=health.sealed, standby=health.standby)


class _RefusedError(Exception):
    """An answer that is not what was asked for."""

    def __init__(self, status: Status, text: str, http_status: int | None = None) -> None:
        super().__init__(text)
        self.why = Unread(status, text)
        self.http_status = http_status


class _Look:
    """One connection pool and one token, until the deadline."""

    def __init__(self, target: VaultTarget, ends: float) -> None:
        self._target = target
        self._ends = ends
        self._token = ""
        self._gate = asyncio.Semaphore(_FAN_OUT)
        verify = ssl.create_default_context(cafile=None if target.ca_file is None else str(target.ca_file))
        self._http = BoundedClient(
            _BODY_LIMIT,
            base_url=f"{target.address.rstrip('/')}/v1/",
            verify=verify,
            timeout=min(_REQUEST_SECONDS, max(0.1, ends - asyncio.get_running_loop().time())),
            limits=httpx.Limits(max_connections=_FAN_OUT),
            headers={
                "X-Vault-Request": "true",
                **({"X-Vault-Namespace": target.namespace} if target.namespace else {}),
            },
            follow_redirects=False,  # a redirect would carry the token to a host that nobody configured
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def sign_in(self) -> Unread | None:
        """Fetch the token; why not, when that fails."""
        try:
            async with asyncio.timeout_at(self._ends):
                token = (await self._target.token()).strip()
        except TimeoutError:
            return Unread(Status.TIMEOUT, f"{self._target.name}: no token in time")
        except OSError as problem:
            why = problem.strerror or str(problem) or type(problem).__name__
            return Unread(Status.AUTH, f"the token of {self._target.name} cannot be obtained ({one_line(why, 160)})")
        if not token or not (token.isascii() and token.isprintable()) or " " in token:
            return Unread(Status.AUTH, f"the token of {self._target.name} is empty or has invalid characters")
        self._token = token
        return None

    async def part(self, work: Awaitable[T]) -> Known[T]:
        """What the work answers, or why it does not."""
        try:
            async with asyncio.timeout_at(self._ends):
                return await work
        except TimeoutError:
            return Unread(Status.TIMEOUT, f"{self._target.name} did not answer in time")
        except _RefusedError as problem:
            return problem.why
        except (TypeError, ValueError, AttributeError) as problem:
            return Unread(Status.BUG, f"{self._target.name} gave an unexpected answer ({one_line(str(problem), 120)})")

    async def health(self) -> _Health:
        """Any of its statuses is an answer: they say standby, sealed or new."""
        reply = await self._get("sys/health", {}, token=False)
        body = _json(reply)
        if "sealed" not in body:
            raise _RefusedError(Status.UNREACHABLE, f"{self._target.name}: {reply.status_code} and no health: {_HINT}")
        return _Health(bool(body["sealed"]), bool(body.get("standby")))

    async def transit(self) -> tuple[Known[tuple[str, ...]], Known[tuple[Known[TransitKey], ...]]]:
        """The names of all keys, and the keys."""
        mount = self._target.transit
        if mount is None:
            return _NOT_USED, _NOT_USED
        names = await self.part(self._names(f"{mount}/keys"))
        if isinstance(names, Unread):
            return names, names
        return names, await self._each(f"{mount}/keys", names[:MOST_KEYS], _key)

    async def database(self) -> Known[tuple[Known[StaticRole], ...]]:
        """The roles whose passwords are rotated."""
        mount = self._target.database
        if mount is None:
            return _NOT_USED
        names = await self.part(self._names(f"{mount}/static-roles"))
        if isinstance(names, Unread):
            return names
        return await self._each(f"{mount}/static-roles", names[:MOST_KEYS], _static_role)

    async def audits(self) -> tuple[str, ...]:
        """Where it writes who did what."""
        data = await self._data("sys/audit")
        return tuple(sorted(one_line(name, 100) for name, entry in data.items() if isinstance(entry, Mapping)))

    async def _each(
        self, path: str, names: tuple[str, ...], shape: Callable[[str, Mapping[str, Any]], T]
    ) -> tuple[Known[T], ...]:
        async def one(name: str) -> T:
            async with self._gate:
                return shape(name, await self._data(f"{path}/{quote(name, safe='')}"))

        async def told(name: str) -> Known[T]:
            found = await self.part(one(name))
            return Unread(found.status, f"{one_line(name, 100)}: {found.why}") if isinstance(found, Unread) else found

        return tuple(await asyncio.gather(*(told(name) for name in names)))

    async def _names(self, path: str) -> tuple[str, ...]:
        try:
            keys = (await self._data(path, {"list": "true"})).get("keys") or ()
        except _RefusedError as problem:
            if problem.http_status == 404 and problem.why.status is Status.NO_DATA:
                return ()  # so it answers for a list of nothing
            raise
        return tuple(str(entry) for entry in keys)

    async def _data(self, path: str, params: Mapping[str, str] | None = None) -> Mapping[str, Any]:
        reply = await self._get(path, params or {}, token=True)
        body = _json(reply)
        if reply.status_code != 200:
            raise self._refusal(path, reply.status_code, body)
        data = body.get("data")
        if not isinstance(data, Mapping):
            raise _RefusedError(Status.BUG, f"{self._target.name}: {path} returned no data")
        return data

    async def _get(self, path: str, params: Mapping[str, str], *, token: bool) -> httpx.Response:
        headers = {"X-Vault-Token": self._token} if token else {}
        try:
            return await self._http.get(path, params=params, headers=headers)
        except BodyTooLargeError as problem:
            raise _RefusedError(Status.TRUNCATED, f"{self._target.name}: {path}: {problem}") from None
        except httpx.TimeoutException:
            raise _RefusedError(Status.TIMEOUT, f"{self._target.name} did not answer in time") from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as problem:
            text = one_line(str(problem) or type(problem).__name__, 160)
            raise _RefusedError(
                Status.UNREACHABLE, f"no connection to {self._target.name} at {self._target.address} ({text})"
            ) from None

    def _refusal(self, path: str, status: int, body: Mapping[str, Any]) -> _RefusedError:
        said = "; ".join(str(entry) for entry in body.get("errors") or ())
        words = f" (it says: {one_line(said.replace(self._token, '***'), 160)})" if said else ""
        closed, advice = _meaning(status, said)
        return _RefusedError(closed, f"{self._target.name}: {path}: HTTP {status}: {advice}{words}", status)


_HINT = "is this address an OpenBao or a Vault?"


def _meaning(status: int, said: str) -> tuple[Status, str]:
    """The closed status of an answer that is not 200, and what to do about it."""
    for fits, closed, advice in (
        # OpenBao says a bare "permission denied" of a token that it does not know, and a list of errors of a policy.
        (status in (400, 403) and (said.strip() == "permission denied" or "token" in said), Status.AUTH,
         "the token was refused: it has expired, was revoked, or belongs to another server"),
        (status in (401, 403), Status.NO_PRIVILEGE,
         "the token may not read this: give it the policy deploy/openbao/neonmeter.hcl"),
        (status == 404 and not said, Status.NO_DATA, "nothing exists at this path"),
        (status == 404, Status.UNSUPPORTED, "no such mount"),
        (status == 429, Status.RATE_LIMITED, "too many requests"),
        (300 <= status < 400, Status.UNREACHABLE,
         "it redirects to another node: name the active one, or the load balancer"),
        (status == 503, Status.UNREACHABLE, "it is sealed or not ready"),
        (status >= 500, Status.UNREACHABLE, "it failed"),
    ):  # fmt: skip
        if fits:
            return closed, advice
    return Status.UNSUPPORTED, "it refused the request"


def _json(reply: httpx.Response) -> Mapping[str, Any]:
    try:
        body = reply.json()
    except ValueError:
        return {}
    return body if isinstance(body, Mapping) else {}


def _text(data: Mapping[str, Any], name: str) -> str:
    value = data.get(name)
    return one_line(value, 200) if isinstance(value, str) else ""


def _count(data: Mapping[str, Any], name: str) -> int:
    value = data.get(name)
    return int(value) if isinstance(value, int | float | str) and str(value) else 0


def _instant(value: object) -> float | None:
    """Unix seconds of an RFC 3339 text (nanoseconds are cut), or of a number."""
    if isinstance(value, int | float):
        return float(value)
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return moment.timestamp() if moment.year > 1970 and moment.tzinfo else None


def _key(name: str, data: Mapping[str, Any]) -> TransitKey:
    latest = _count(data, "latest_version")
    versions = data.get("keys")
    made = versions.get(str(latest)) if isinstance(versions, Mapping) else None
    if isinstance(made, Mapping):  # of an asymmetric key: an object with its public half
        made = made.get("creation_time")
    return TransitKey(
        name=one_line(name, 200),
        type=_text(data, "type"),
        latest_version=latest,
        rotated_at=_instant(made),
        min_decryption_version=_count(data, "min_decryption_version"),
        min_encryption_version=_count(data, "min_encryption_version"),
        auto_rotate_seconds=_count(data, "auto_rotate_period"),
        exportable=bool(data.get("exportable")),
        plaintext_backup=bool(data.get("allow_plaintext_backup")),
        deletion_allowed=bool(data.get("deletion_allowed")),
        imported=bool(data.get("imported_key")),
        soft_deleted=bool(data.get("soft_deleted")),
    )


def _static_role(name: str, data: Mapping[str, Any]) -> StaticRole:
    return StaticRole(
        name=one_line(name, 200),
        username=_text(data, "username"),
        db_name=_text(data, "db_name"),
        rotation_seconds=_count(data, "rotation_period"),
        schedule=_text(data, "rotation_schedule"),
        rotated_at=_instant(data.get("last_vault_rotation")),
    )
