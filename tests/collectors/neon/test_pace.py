"""The pace of the client: token buckets, Retry-After, and who waits for whom."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from collectors.base import Status
from collectors.neon.client import LONGEST_HOLD, TokenBucket
from collectors.neon.errors import NeonError, http_date, retry_after
from collectors.neon.models import BranchPage, ProjectPage, ProjectUsagePage
from tests.collectors.neon.control_plane import NOW, ControlPlane, refuse
from tests.collectors.neon.control_plane import http_date as as_http_date

EMPTY: dict[str, Any] = {"projects": []}


@pytest.fixture
def plane() -> ControlPlane:
    plane = ControlPlane()
    plane.add("alpha")
    return plane


class Clock:
    """Time that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)


async def failure(plane: ControlPlane, path: str = "/projects", **options: Any) -> NeonError:
    async with plane.client(**options) as client:
        with pytest.raises(NeonError) as caught:
            await client.get(path, None, ProjectPage)
    return caught.value


@pytest.mark.parametrize(("header", "expected"), [("7", 7.0), ("0", 0.0), ("1.5", 1.5), (None, None), ("soon", None),
                                                  ("-3", None), ("", None), ("9" * 30, None)])  # fmt: skip
def test_retry_after_seconds(header: str | None, expected: float | None) -> None:
    assert retry_after(header) == expected


def test_retry_after_date() -> None:
    assert retry_after(as_http_date(NOW + 12), now=NOW) == 12
    assert retry_after(as_http_date(NOW - 12), now=NOW) == 0
    assert http_date(as_http_date(NOW)) == NOW and http_date("Blursday") is None


async def test_retry_after_is_honoured_and_jitter_else(plane: ControlPlane) -> None:
    plane.faults = [refuse("/", 503, None, **{"Retry-After": "3"})]
    await failure(plane)
    assert plane.slept == [3, 3, 3, 3]
    plane.faults = [refuse("/", 503)]
    await failure(plane)
    assert len(plane.slept) == 4
    assert all(0 <= pause <= 0.5 * 2**n for n, pause in enumerate(plane.slept)), "full jitter: from zero to the ceiling"


async def test_a_wait_that_is_too_long_is_not_begun(plane: ControlPlane) -> None:
    plane.faults = [refuse("/", 429, None, **{"Retry-After": "3600"})]
    error = await failure(plane)
    assert error.status is Status.RATE_LIMITED and plane.slept == [] and len(plane.requests) == 1


LONG = ["121", "600", "3600", "86400", "9" * 18, as_http_date(NOW + 600), as_http_date(NOW + 10**9)]


@pytest.mark.fault("API: it asks to be left alone for long (Retry-After)")
@pytest.mark.parametrize("code", [429, 503])
@pytest.mark.parametrize("header", LONG)
async def test_a_long_retry_after_is_honoured_by_everybody_and_told(
    plane: ControlPlane, header: str, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr("collectors.neon.client.time.monotonic", clock)
    plane.faults = [refuse("/", code, None, **{"Retry-After": header})]
    async with plane.client(sleep=clock.sleep) as client:
        client._bucket._clock = clock
        client._bucket._full_at = client._bucket._held_until = clock.now
        for _ in range(20):
            with pytest.raises(NeonError, match=r"before \d\d:\d\d:\d\d UTC") as caught:
                await client.get("/projects", None, ProjectPage)
        assert caught.value.status is Status.RATE_LIMITED, "then nobody asks, and the status says so"
        assert len(plane.requests) == 1
        plane.faults = []
        clock.now += min(
            float(header) if header.isdigit() else 600.0 if header == LONG[-2] else LONGEST_HOLD, LONGEST_HOLD
        )
        await client.get("/projects", None, ProjectPage)
        assert clock.now <= LONGEST_HOLD + 1, "a date in the far future ends nothing for good"


@pytest.mark.parametrize("header", ["-5", "soon", "", "1e9", "nan", "inf", "5;5", "Blursday", "0x10"])
async def test_a_retry_after_that_says_nothing_is_not_obeyed(plane: ControlPlane, header: str) -> None:
    plane.faults = [refuse("/", 429, None, **{"Retry-After": header})]
    error = await failure(plane)
    assert error.status is Status.RATE_LIMITED and len(plane.requests) == 5 and "UTC" not in str(error)


async def test_the_bucket_is_exact() -> None:
    clock = Clock()
    bucket = TokenBucket(60, 5, clock=clock, sleep=clock.sleep)
    for _ in range(5):
        await bucket.acquire()
    assert clock.now == 0, "the burst goes through at once"
    for _ in range(10):
        await bucket.acquire()
    assert clock.now == pytest.approx(10), "then one a second"
    clock.now += 1000
    assert [bucket.reserve() for _ in range(6)] == [0, 0, 0, 0, 0, pytest.approx(1)]


async def test_the_bucket_holds_everybody_after_a_429() -> None:
    clock = Clock()
    bucket = TokenBucket(60, 5, clock=clock, sleep=clock.sleep)
    bucket.hold(30)
    assert bucket.reserve() == pytest.approx(30)
    assert bucket.reserve() == pytest.approx(31)


def test_a_bucket_that_lets_nothing_through_is_refused() -> None:
    for rate, burst in ((0, 1), (1, 0)):
        with pytest.raises(ValueError, match="allows no request"):
            TokenBucket(rate, burst)


async def test_callers_share_one_bucket_and_consumption_has_its_own(plane: ControlPlane) -> None:
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    plane.faults = [lambda request: httpx.Response(200, json=EMPTY)]
    async with plane.client(sleep=sleep, requests_per_minute=6, burst=4, consumption_per_minute=6) as client:
        await asyncio.gather(*(client.get("/projects", None, ProjectPage) for _ in range(6)))
        assert waits == pytest.approx([10, 20], abs=5)  # This clock does run.
        waits.clear()
        path = "/consumption_history/v2/projects"
        await asyncio.gather(*(client.get(path, None, ProjectUsagePage) for _ in range(7)))
        assert waits == pytest.approx([10, 20], abs=5)


async def test_a_429_to_one_caller_holds_back_all(plane: ControlPlane) -> None:
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    answers = iter([429, 200, 200])
    plane.faults = [lambda request: httpx.Response(next(answers), json=EMPTY, headers={"Retry-After": "30"})]
    async with plane.client(sleep=sleep) as client:
        await client.get("/projects", None, ProjectPage)
        waits.clear()
        await client.get("/projects", None, ProjectPage)  # no time has passed: this sleep moves no clock
    assert len(waits) == 1 and waits[0] == pytest.approx(30, abs=5)


async def test_on_request_hears_of_every_attempt(plane: ControlPlane) -> None:
    heard: list[tuple[str, int | None]] = []
    answers = iter([503, None, 200])

    def fault(request: httpx.Request) -> httpx.Response | None:
        answer = next(answers)
        if answer is None:
            raise httpx.ConnectError("no")
        return None if answer == 200 else httpx.Response(answer)

    plane.faults = [fault]
    async with plane.client(on_request=lambda route, status, seconds: heard.append((route, status))) as client:
        await client.get("/projects/alpha/branches", None, BranchPage)
    route = "/projects/{project_id}/branches"
    assert heard == [(route, 503), (route, None), (route, 200)]
