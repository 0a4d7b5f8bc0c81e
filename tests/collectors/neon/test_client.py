"""The client: what it sends, what it retries, how it fails, and what it never shows."""

from __future__ import annotations

import asyncio
import gzip
import inspect
import json
import logging
import traceback
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import respx
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.base import Status
from collectors.neon import client as module
from collectors.neon.client import NeonClient, route_of
from collectors.neon.errors import NeonError, http_date, retry_after
from collectors.neon.models import (
    BranchPage,
    EndpointPage,
    OperationPage,
    OrganizationPage,
    ProjectAnswer,
    ProjectPage,
    ProjectUsagePage,
)
from collectors.neon.ratelimit import TokenBucket
from tests.collectors.neon.control_plane import KEY, NOW, ControlPlane, refuse
from tests.collectors.neon.control_plane import http_date as as_http_date

EMPTY = {"projects": []}


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


# --- what it sends -----------------------------------------------------------------------------------------------


def test_no_method_takes_a_verb() -> None:
    public = [name for name, _ in inspect.getmembers(NeonClient, callable) if not name.startswith("_")]
    assert sorted(public) == ["aclose", "get", "pages"]
    assert not {"method", "verb", "json", "data", "content"} & {
        name for each in public for name in inspect.signature(getattr(NeonClient, each)).parameters
    }
    assert inspect.getsource(module).count("_http.") == inspect.getsource(module).count('_http.stream("GET"') + 1


@respx.mock
async def test_request_and_answer() -> None:
    route = respx.get("https://neon.test/api/v2/projects", params={"limit": 400}).respond(
        200, json=EMPTY, headers={"Date": as_http_date(NOW)}
    )
    async with NeonClient("https://neon.test/api/v2/", lambda: f"{KEY}\n") as client:
        page, server_now = await client.get("/projects", {"limit": 400}, ProjectPage)
    assert page.items == () and server_now == NOW
    sent = route.calls.last.request
    assert sent.headers["Authorization"] == f"Bearer {KEY}" and sent.headers["Accept"] == "application/json"


async def test_the_key_is_read_for_each_request(plane: ControlPlane) -> None:
    keys = iter(["napi_old", KEY])
    seen = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers["Authorization"])
        return httpx.Response(200, json=EMPTY)

    async with NeonClient("https://neon.test", lambda: next(keys), transport=httpx.MockTransport(answer)) as client:
        await client.get("/projects", None, ProjectPage)
        await client.get("/projects", None, ProjectPage)
    assert seen == ["Bearer napi_old", f"Bearer {KEY}"]


@pytest.mark.parametrize(
    "path", ["projects", "/projects/../users", "/projects/a b", "/projects?x=1", "//x", "/a\n", ""]
)
async def test_only_plain_paths(plane: ControlPlane, path: str) -> None:
    assert (await failure(plane, path)).status is Status.BUG
    assert not plane.requests


def test_routes_hold_no_ids() -> None:
    assert route_of("/projects/cool-name-1/branches/br-x-1") == "/projects/{project_id}/branches/{branch_id}"
    assert route_of("/organizations/org-1") == "/organizations/{org_id}"
    assert route_of("/consumption_history/v2/projects") == "/consumption_history/v2/projects"


# --- how it fails ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "status", "attempts"),
    [
        (301, Status.UNREACHABLE, 1), (400, Status.BUG, 1), (401, Status.AUTH, 1), (402, Status.NO_PRIVILEGE, 1),
        (403, Status.NO_PRIVILEGE, 1), (404, Status.UNSUPPORTED, 1), (406, Status.UNSUPPORTED, 1),
        (408, Status.TIMEOUT, 5), (418, Status.UNSUPPORTED, 1), (423, Status.UNREACHABLE, 5),
        (429, Status.RATE_LIMITED, 5), (500, Status.UNREACHABLE, 5), (502, Status.UNREACHABLE, 5),
        (503, Status.UNREACHABLE, 5), (504, Status.TIMEOUT, 5),
    ],
)  # fmt: skip
async def test_every_status(plane: ControlPlane, code: int, status: Status, attempts: int) -> None:
    body = {"code": "X", "message": f"no\nluck with {KEY}", "request_id": "req-1"}
    plane.faults = [refuse("/", code, body, Location="https://evil.test")]
    error = await failure(plane, "/projects/secret-project-1/branches")
    assert (error.status, error.http_status, error.request_id) == (status, code, "req-1")
    assert len(plane.requests) == attempts
    assert "GET /projects/{project_id}/branches" in str(error) and "secret-project-1" not in str(error)
    assert "no luck with ***" in str(error) and "[request req-1]" in str(error) and "\n" not in str(error)
    assert KEY not in repr(error)


@pytest.mark.parametrize("code", [429, 423, 500, 503, 504])
async def test_a_passing_trouble_is_not_seen(plane: ControlPlane, code: int) -> None:
    troubles = iter([code, code, None])

    def sometimes(request: httpx.Request) -> httpx.Response | None:
        trouble = next(troubles)
        return None if trouble is None else httpx.Response(trouble)

    plane.faults = [sometimes]
    async with plane.client() as client:
        page, _ = await client.get("/projects", None, ProjectPage)
    assert len(page.items) == 1 and len(plane.requests) == 3


@pytest.mark.parametrize(
    ("raised", "status"),
    [
        (httpx.ReadTimeout("slow"), Status.TIMEOUT),
        (httpx.ConnectTimeout("slow"), Status.TIMEOUT),
        (httpx.ConnectError(f"refused {KEY}"), Status.UNREACHABLE),
        (httpx.RemoteProtocolError("cut"), Status.UNREACHABLE),
        (OSError("no route"), Status.UNREACHABLE),
    ],
)
async def test_no_answer(plane: ControlPlane, raised: Exception, status: Status) -> None:
    def fault(request: httpx.Request) -> httpx.Response:
        raise raised

    plane.faults = [fault]
    error = await failure(plane)
    assert (error.status, error.http_status) == (status, None)
    assert len(plane.requests) == 5 and KEY not in str(error)


async def test_a_server_that_never_ends_its_answer(plane: ControlPlane) -> None:
    class Drip(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            while True:
                yield b" "
                await asyncio.sleep(0.01)

    plane.faults = [lambda request: httpx.Response(200, stream=Drip())]
    error = await failure(plane, timeout=0.1)
    assert error.status is Status.TIMEOUT and "within 0.1 s" in str(error)


async def test_an_answer_without_end_in_size(plane: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BODY_LIMIT", 1 << 20)
    bomb = gzip.compress(b" " * (8 << 20))
    plane.faults = [lambda request: httpx.Response(200, content=bomb, headers={"Content-Encoding": "gzip"})]
    error = await failure(plane)
    assert error.status is Status.TRUNCATED and "1 MiB" in str(error) and len(plane.requests) == 1


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>log in</html>", b"{", b"null", b"[]", b"{}", b'{"projects":null}', b'{"projects":{}}', b"\xff\xfe",
     b'{"projects":[]', b"[" * 100_000, b'{"projects":"x"}'],
)  # fmt: skip
async def test_garbage_is_an_error_and_never_an_empty_list(plane: ControlPlane, body: bytes) -> None:
    plane.faults = [lambda request: httpx.Response(200, content=body)]
    error = await failure(plane)
    assert error.status is Status.UNREACHABLE and "check that neon.api_url" in str(error)
    assert len(plane.requests) == 2, "one more try, for an answer that was cut"


async def test_corrupt_compression_is_an_error(plane: ControlPlane) -> None:
    plane.faults = [lambda request: httpx.Response(200, stream=Broken(), headers={"Content-Encoding": "gzip"})]
    assert (await failure(plane)).status is Status.UNREACHABLE


class Broken(httpx.AsyncByteStream):
    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b"this is not gzip"


MODELS = (ProjectPage, BranchPage, EndpointPage, OperationPage, OrganizationPage, ProjectUsagePage, ProjectAnswer)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
    | st.sampled_from(["2026-11-23T05:00:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59+14:00", "br-a"]),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(
        st.sampled_from(["projects", "branches", "endpoints", "operations", "organizations", "project", "pagination",
                         "cursor", "id", "project_id", "branch_id", "host", "settings", "periods", "consumption",
                         "metrics", "last_active", "unavailable_project_ids", "pg_settings", "owner"]),
        inner, max_size=6,
    ),
    max_leaves=25,
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(body=st.binary(max_size=60) | json_values.map(lambda value: json.dumps(value).encode()))
def test_no_bytes_raise_anything_but_a_neon_error(body: bytes) -> None:
    async def run() -> None:
        async def no_sleep(seconds: float) -> None:
            return None

        transport = httpx.MockTransport(lambda request: httpx.Response(200, content=body))
        async with NeonClient("https://neon.test", lambda: KEY, transport=transport, sleep=no_sleep) as client:
            for model in MODELS:
                try:
                    await client.get("/projects", None, model)
                except NeonError as error:
                    assert error.status is Status.UNREACHABLE

    asyncio.run(run())


@pytest.mark.parametrize("key", ["", " \n", "napi with space", "napi_é", "napi\x00x"])
async def test_a_key_that_cannot_be_one(key: str) -> None:
    transport = httpx.MockTransport(lambda request: httpx.Response(200, json=EMPTY))
    async with NeonClient("https://neon.test", lambda: key, transport=transport) as client:
        with pytest.raises(NeonError) as caught:
            await client.get("/projects", None, ProjectPage)
    assert caught.value.status is Status.AUTH
    assert not key.strip() or key not in str(caught.value)


async def test_a_key_file_that_is_gone() -> None:
    def key() -> str:
        raise FileNotFoundError(2, "No such file or directory", "/run/secrets/neon")

    async with NeonClient("https://neon.test", key) as client:
        with pytest.raises(NeonError, match="No such file") as caught:
            await client.get("/projects", None, ProjectPage)
    assert caught.value.status is Status.AUTH


async def test_the_key_shows_nowhere(plane: ControlPlane, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    plane.faults = [refuse("/", 500)]
    async with plane.client() as client:
        assert KEY not in repr(client)
        try:
            await client.get("/projects", None, ProjectPage)
        except NeonError as error:
            shown = "".join(traceback.format_exception(error))
    assert KEY not in shown and KEY not in caplog.text


async def test_redirects_are_not_followed(plane: ControlPlane) -> None:
    plane.faults = [refuse("/projects", 302, None, Location="https://neon.test/elsewhere")]
    error = await failure(plane)
    assert "redirect" in str(error) and len(plane.requests) == 1


# --- pace --------------------------------------------------------------------------------------------------------


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
        with pytest.raises(ValueError, match="lets nothing through"):
            TokenBucket(rate, burst)


async def test_callers_share_one_bucket_and_consumption_has_its_own(plane: ControlPlane) -> None:
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    plane.faults = [lambda request: httpx.Response(200, json=EMPTY)]
    async with plane.client(sleep=sleep, requests_per_minute=60, burst=4, consumption_per_minute=6) as client:
        await asyncio.gather(*(client.get("/projects", None, ProjectPage) for _ in range(6)))
        assert [round(wait) for wait in waits] == [1, 2]
        waits.clear()
        path = "/consumption_history/v2/projects"
        await asyncio.gather(*(client.get(path, None, ProjectUsagePage) for _ in range(7)))
        assert [round(wait) for wait in waits] == [10, 20]


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


# --- paging ------------------------------------------------------------------------------------------------------


async def test_pages_are_joined(plane: ControlPlane) -> None:
    for number in range(7):
        plane.add(f"p{number}")
    plane.page_size = 3
    async with plane.client() as client:
        listing = await client.pages("/projects", {"limit": 3}, ProjectPage)
    assert len(listing.items) == 8 and listing.pages == 4 and listing.complete


def page(ids: str, **pagination: str) -> dict[str, Any]:
    return {"branches": [{"id": each, "project_id": "p"} for each in ids], "pagination": pagination}


@pytest.mark.parametrize(
    ("pages", "items", "truncated"),
    [
        ([page("ab", next="1"), page("c")], "abc", False),
        ([page("ab", next="1"), page("c", next="")], "abc", False),
        ([page("ab", next="1"), page("", next="2")], "ab", False),
        ([page("ab", next="1"), page("", next="1")], "ab", False),
        ([page("ab", next="1"), page("ab", next="1")], "abab", True),
        ([page("ab", next="1"), page("c", next="2"), page("a", next="1")], "abca", True),
    ],
)
async def test_paging_ends(plane: ControlPlane, pages: list[dict[str, Any]], items: str, truncated: bool) -> None:
    answers = iter(pages)
    plane.faults = [lambda request: httpx.Response(200, json=next(answers))]
    async with plane.client() as client:
        listing = await client.pages("/projects/p/branches", {}, BranchPage)
    assert "".join(branch.id for branch in listing.items) == items
    assert listing.truncated is truncated and listing.pages == len(pages)


async def test_endless_cursors_end(plane: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_PAGES", 20)
    plane.faults = [lambda request: httpx.Response(200, json=page("a", next=f"n{len(plane.requests)}"))]
    async with plane.client() as client:
        listing = await client.pages("/projects/p/branches", {}, BranchPage)
    assert listing.truncated and len(plane.requests) == 20


async def test_a_page_of_only_unavailable_projects_is_not_the_end(plane: ControlPlane) -> None:
    answers = iter([
        {"projects": [], "unavailable_project_ids": ["x"], "pagination": {"cursor": "1"}},
        {"projects": [{"id": "a"}], "unavailable_project_ids": ["y"]},
    ])  # fmt: skip
    plane.faults = [lambda request: httpx.Response(200, json=next(answers))]
    async with plane.client() as client:
        listing = await client.pages("/projects", {}, ProjectPage)
    assert listing.unavailable == {"x", "y"} and len(listing.items) == 1
