"""The Neon API client: it can read and nothing else, because no method takes a verb.

One client is shared by everything that asks Neon, and so are its token buckets: Neon limits by account, not by caller.
Every failure is a :class:`NeonError` with a closed status. The key is asked for at each request, so a rotated key file
is picked up at once, and it appears in no error, no log line and no repr.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, Self, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from collectors.base import Status
from collectors.http_body import ACCEPT_ENCODING, BodyReader, BodyTooLargeError
from collectors.neon.errors import NeonError, advice, clock_time, http_date, one_line, retried, retry_after
from collectors.neon.models import ErrorAnswer, Page

ATTEMPTS = 5
BODY_LIMIT = 64 * 1024 * 1024
"""Bytes of one answer, decompressed: 10,000 branches are about 12 MB."""
LONGEST_HOLD = 3600.0
"""Seconds: a Retry-After beyond that is taken as this, so that a date in the far future cannot end all reading."""
_PARSED_ON_THE_LOOP = 256 * 1024
MOST_PAGES = 1000
_CONSUMPTION_BURST = 5
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 20.0
_PATH = re.compile(r"(/[A-Za-z0-9_.-]+)+\Z")
_ID_AFTER = {"projects": "project_id", "branches": "branch_id", "endpoints": "endpoint_id", "organizations": "org_id"}

Params = Mapping[str, str | int]
Answer = TypeVar("Answer", bound=BaseModel)
Item = TypeVar("Item")


class TokenBucket:
    """Requests per minute with a burst, for all callers of a client; they are served in the order in which they came.

    Its state is one number, the instant at which the bucket is full again: a reservation is exact and needs no timer.
    """

    def __init__(
        self,
        per_minute: int,
        burst: int,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Start full.

        Raises:
            ValueError: a rate or a burst below one would never let anything through.
        """
        if per_minute < 1 or burst < 1:
            raise ValueError(f"a rate of {per_minute} a minute with a burst of {burst} allows no request")
        self._interval = 60.0 / per_minute
        self._burst = burst
        self._clock = clock
        self._sleep = sleep
        self._full_at = clock()
        self._held_until = self._full_at

    def reserve(self) -> float:
        """Take one token, possibly from the future; returns the seconds to wait before using it."""
        now = self._clock()
        due = max(self._full_at, now)
        self._full_at = due + self._interval
        return max(0.0, due - now - (self._burst - 1) * self._interval)

    async def acquire(self) -> None:
        """Wait for a token. A caller that is cancelled while it waits leaves its token unused."""
        wait = self.reserve()
        if wait > 0:
            await self._sleep(wait)

    def hold(self, seconds: float) -> None:
        """Let nobody through for a while: the server said 429 to one caller, and that holds for all."""
        self._held_until = max(self._held_until, self._clock() + seconds)
        self._full_at = max(self._full_at, self._held_until + (self._burst - 1) * self._interval)

    @property
    def held(self) -> float:
        """Seconds for which the server asked to be left alone; 0 when it did not."""
        return max(0.0, self._held_until - self._clock())


@dataclass(frozen=True, slots=True)
class Listing(Generic[Item]):
    """All pages of one list.

    ``truncated``: there is more that paging could not reach. ``bad_items``: items that could not be read and are
    missing. ``unavailable``: ids that Neon knows and could not fetch in time.
    """

    items: tuple[Item, ...]
    server_now: float
    pages: int
    truncated: bool = False
    bad_items: int = 0
    unavailable: frozenset[str] = frozenset()

    @property
    def complete(self) -> bool:
        """Whether what is absent here does not exist."""
        return not (self.truncated or self.bad_items)


@dataclass(frozen=True, slots=True)
class _Reply:
    status: int
    headers: httpx.Headers
    body: bytes


@dataclass(frozen=True, slots=True)
class RawAnswer:
    """One answer as it came, before anything of it is read; ``seconds`` is how long it took."""

    path: str
    params: Params | None
    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float


class _RetryError(Exception):
    """An attempt failed in a way that another may mend."""

    def __init__(self, error: NeonError, pause: float | None = None) -> None:
        super().__init__(error.message)
        self.error = error
        self.pause = pause


def route_of(path: str) -> str:
    """The path with its ids replaced by their names: safe and bounded as a label."""
    parts = path.split("/")
    for index in range(1, len(parts)):
        if parts[index - 1] in _ID_AFTER:
            parts[index] = "{" + _ID_AFTER[parts[index - 1]] + "}"
    return "/".join(parts)


class NeonClient:
    """Reads the Neon API over one connection pool.

    ``timeout`` bounds one attempt as a whole. A request gives up after five attempts or four timeouts of time, not
    counting what it waits for its turn in the token bucket.
    """

    def __init__(
        self,
        api_url: str,
        key: Callable[[], str],
        *,
        requests_per_minute: int = 600,
        burst: int = 30,
        consumption_per_minute: int = 30,
        timeout: float = 30.0,
        transport: httpx.AsyncBaseTransport | None = None,
        on_request: Callable[[str, int | None, float], None] | None = None,
        on_answer: Callable[[RawAnswer], None] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        user_agent: str = "neonmeter",
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Open nothing yet; ``key`` is called before each attempt and may raise OSError.

        ``clock`` (unix seconds) stands in for a server that does not tell its own.
        """
        self._clock = clock
        self._url = api_url.rstrip("/")
        self._key = key
        self._timeout = timeout
        self._on_request = on_request
        self._on_answer = on_answer
        self._sleep = sleep
        self.requests_per_minute = requests_per_minute
        """What the caller allows, for whoever plans how much to ask."""
        self._bucket = TokenBucket(requests_per_minute, burst, sleep=sleep)
        self._consumption = TokenBucket(
            consumption_per_minute, min(_CONSUMPTION_BURST, consumption_per_minute), sleep=sleep
        )
        self._bodies = BodyReader(BODY_LIMIT)
        self._http = httpx.AsyncClient(
            transport=transport,
            timeout=httpx.Timeout(timeout),
            limits=httpx.Limits(max_connections=16, max_keepalive_connections=16),
            headers={"Accept": "application/json", "Accept-Encoding": ACCEPT_ENCODING, "User-Agent": user_agent},
            follow_redirects=False,  # a redirect would carry the key to a host that nobody configured
        )

    def __repr__(self) -> str:
        return f"NeonClient({self._url!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connection pool."""
        await self._http.aclose()

    async def get(self, path: str, params: Params | None, model: type[Answer]) -> tuple[Answer, float]:
        """Read one resource; returns it and the server's clock (unix seconds, from the Date header).

        Raises:
            NeonError: it could not be read, after the retries that make sense.
        """
        if not _PATH.match(path) or "/.." in path:
            raise NeonError(Status.BUG, f"{one_line(path, 80)!r} is not a path of the Neon API")
        gives_up = time.monotonic() + 4 * self._timeout
        bucket = self._consumption if path.startswith("/consumption_history") else self._bucket
        garbage = 0
        for attempt in range(1, ATTEMPTS + 1):
            waited = time.monotonic()
            if bucket.held > 4 * self._timeout:
                raise _held_back(path, bucket.held)
            await bucket.acquire()
            gives_up += time.monotonic() - waited
            try:
                reply = await self._attempt(path, params)
                if len(reply.body) <= _PARSED_ON_THE_LOOP:
                    return self._parse(path, reply, model), self._server_now(reply)
                return await asyncio.to_thread(self._parse, path, reply, model), self._server_now(reply)
            except _RetryError as problem:
                pause = problem.pause if problem.pause is not None else _full_jitter(attempt)
                if problem.error.status is Status.RATE_LIMITED or pause > 4 * self._timeout:
                    bucket.hold(pause)
                garbage += problem.error.http_status == 200
                if attempt == ATTEMPTS or garbage > 1 or time.monotonic() + pause > gives_up:
                    raise problem.error from None
                await self._sleep(pause)
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def pages(
        self,
        path: str,
        params: Params,
        model: type[Page[Item]],
        *,
        enough: Callable[[tuple[Item, ...]], bool] | None = None,
    ) -> Listing[Item]:
        """Read a list to its end, or until ``enough`` says so of a page.

        The last page has a cursor too, but fewer items than the ``limit`` of ``params``. A list that repeats is cut.

        Raises:
            NeonError: a page could not be read; what came before it is lost, because half a list is worse than none.
        """
        items: list[Item] = []
        bad, unavailable, cursors = 0, set[str](), set[str]()
        cursor: str | None = None
        limit, before = params.get("limit"), None
        for count in range(1, MOST_PAGES + 1):
            page, server_now = await self.get(path, {**params, "cursor": cursor} if cursor else params, model)
            good = tuple(item for item in page.items if item is not None)
            items += good
            bad += len(page.items) - len(good)
            unavailable.update(page.unavailable_project_ids or ())
            following = page.pagination.cursor if page.pagination else None
            last = isinstance(limit, int) and len(page.items) < limit and not page.unavailable_project_ids
            ended = last or not following or not (page.items or page.unavailable_project_ids)
            repeated = following in cursors or (good == before and bool(good))
            if ended or repeated or (enough is not None and enough(good)):
                cut = repeated and not ended
                return Listing(tuple(items), server_now, count, cut, bad, frozenset(unavailable))
            cursors.add(following or "")
            cursor, before = following, good
        return Listing(tuple(items), server_now, MOST_PAGES, True, bad, frozenset(unavailable))

    async def _attempt(self, path: str, params: Params | None) -> _Reply:
        route = route_of(path)
        headers = {"Authorization": f"Bearer {self._read_key(route)}"}
        began, status = time.monotonic(), None
        try:
            async with (
                asyncio.timeout(self._timeout),
                self._http.stream("GET", self._url + path, params=params, headers=headers) as response,
            ):
                status = response.status_code
                body = await self._read_body(route, response)
                if self._on_answer is not None:
                    took = time.monotonic() - began
                    self._on_answer(RawAnswer(path, params, status, response.headers, body, took))
                return _Reply(status, response.headers, body)
        except (TimeoutError, httpx.TimeoutException):
            raise _RetryError(
                NeonError(
                    Status.TIMEOUT, f"GET {route}: no answer within {self._timeout:g} s; Neon or the network is slow"
                )
            ) from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as problem:
            text = self._hide(one_line(str(problem) or type(problem).__name__, 160))
            message = (
                f"GET {route}: no connection to {self._url} ({text}); check neon.api_url, the network and the proxy"
            )
            raise _RetryError(NeonError(Status.UNREACHABLE, message)) from None
        finally:
            if self._on_request is not None:
                self._on_request(route, status, time.monotonic() - began)

    async def _read_body(self, route: str, response: httpx.Response) -> bytes:
        try:
            return await self._bodies.read(response, BODY_LIMIT)
        except BodyTooLargeError as problem:
            raise NeonError(Status.TRUNCATED, f"GET {route}: {problem}", http_status=response.status_code) from None

    def _read_key(self, route: str) -> str:
        try:
            key = self._key().strip()
        except OSError as problem:
            raise NeonError(
                Status.AUTH, f"GET {route}: the API key cannot be read ({problem.strerror or type(problem).__name__})"
            ) from None
        if not key:
            raise NeonError(Status.AUTH, f"GET {route}: no API key: set NEON_API_KEY or neon.api_key_file")
        if not (key.isascii() and key.isprintable()) or " " in key:
            raise NeonError(Status.AUTH, f"GET {route}: the API key has invalid characters; copy it again")
        return key

    def _parse(self, path: str, reply: _Reply, model: type[Answer]) -> Answer:
        if reply.status != 200:
            raise self._refusal(path, reply)
        try:
            return model.model_validate_json(reply.body)
        except ValidationError as problem:
            first = problem.errors(include_url=False, include_context=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"]) or "the body"
            message = (
                f"GET {route_of(path)}: the answer is not what Neon's API documents"
                f" ({one_line(where, 80)}: {one_line(first['msg'], 120)});"
                " check that neon.api_url is Neon's API and not a proxy's page"
            )
            error = NeonError(Status.UNREACHABLE, message, _request_id(reply), reply.status)
            raise _RetryError(error) from None

    def _refusal(self, path: str, reply: _Reply) -> Exception:
        try:
            answer = ErrorAnswer.model_validate_json(reply.body)
        except ValidationError:
            answer = ErrorAnswer()
        status, what = advice(reply.status)
        words = f" (Neon says: {self._hide(one_line(answer.message, 200))})" if answer.message else ""
        request_id = answer.request_id or _request_id(reply)
        trace = f" [request {one_line(request_id, 80)}]" if request_id else ""
        message = f"GET {route_of(path)}: HTTP {reply.status}: {what}{words}{trace}"
        pause = (
            retry_after(reply.headers.get("Retry-After"), self._server_now(reply)) if retried(reply.status) else None
        )
        if pause is not None:
            pause = min(pause, LONGEST_HOLD)
            if pause > 4 * self._timeout:
                message += f"; not asked again before {clock_time(self._clock() + pause)}"
        error = NeonError(status, message, request_id or None, reply.status)
        return _RetryError(error, pause) if retried(reply.status) else error

    def _hide(self, text: str) -> str:
        try:
            key = self._key().strip()
        except OSError:
            return text
        return text.replace(key, "***") if key else text

    def _server_now(self, reply: _Reply) -> float:
        at = http_date(reply.headers.get("Date"))
        return self._clock() if at is None else at


def _held_back(path: str, seconds: float) -> NeonError:
    until = clock_time(time.time() + seconds)
    return NeonError(
        Status.RATE_LIMITED,
        f"GET {route_of(path)}: not asked before {until}, as Neon wants it (Retry-After); lower"
        " neon.requests_per_minute, or see what else uses this account",
    )


def _request_id(reply: _Reply) -> str | None:
    found: str | None = reply.headers.get("X-Request-ID") or reply.headers.get("X-Neon-Ret-Request-ID")
    return found


def _full_jitter(attempt: int) -> float:
    ceiling = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** (attempt - 1))
    return random.uniform(0.0, ceiling)  # noqa: S311 - spreads retries in time, guards nothing
