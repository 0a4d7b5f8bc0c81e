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
from collectors.neon.errors import NeonError
from collectors.neon.models import (
    BranchPage,
    EndpointPage,
    OperationPage,
    OrganizationPage,
    ProjectAnswer,
    ProjectPage,
    ProjectUsagePage,
)
from tests.collectors.neon.control_plane import KEY, NOW, ControlPlane, refuse
from tests.collectors.neon.control_plane import http_date as as_http_date

EMPTY = {"projects": []}


@pytest.fixture
def plane() -> ControlPlane:
    plane = ControlPlane()
    plane.add("alpha")
    return plane


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
        name for text in public for name in inspect.signature(getattr(NeonClient, text)).parameters
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


@pytest.mark.fault("network: an answer that drips")
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


@pytest.mark.fault("API: the key file is gone")
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


@pytest.mark.fault("API: a redirect to another host")
async def test_redirects_are_not_followed(plane: ControlPlane) -> None:
    plane.faults = [refuse("/projects", 302, None, Location="https://neon.test/elsewhere")]
    error = await failure(plane)
    assert "redirect" in str(error) and len(plane.requests) == 1
