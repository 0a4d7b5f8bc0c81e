"""Bodies from outside have a bound, on the wire and decompressed, for every HTTP client that the agent has."""

from __future__ import annotations

import asyncio
import gzip
import re
import time
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.base import Status, Unread
from collectors.http_body import BodyReader, BodyTooLargeError, BoundedClient, _decoded
from collectors.neon.client import BODY_LIMIT, NeonClient
from collectors.neon.errors import NeonError
from collectors.neon.models import ProjectPage
from collectors.platforms.s3 import BucketTarget, read_bucket
from collectors.platforms.vault import VaultTarget, read_vault
from collectors.platforms.vault_login import LoginError, approle, fixed
from tests.collectors.hostile_http import answer, bomb, endless, serving

REQUEST = httpx.Request("GET", "http://somewhere/")
PLAIN = httpx.Response(200, request=REQUEST)
CODED: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "x-gzip": ("x-gzip", gzip.compress),
    "members": ("gzip", lambda body: gzip.compress(body[: len(body) // 2]) + gzip.compress(body[len(body) // 2 :])),
    "deflate": ("deflate", zlib.compress),
    "raw deflate": ("deflate", lambda body: zlib.compress(body, wbits=-15)),
}


@given(body=st.binary(max_size=5000), coding=st.sampled_from(sorted(CODED)), spare=st.integers(-3, 3))
def test_every_body_within_the_limit_is_read_and_no_other(body: bytes, coding: str, spare: int) -> None:
    name, pack = CODED[coding]
    limit = max(0, len(body) + spare)
    if len(body) > limit:
        with pytest.raises(BodyTooLargeError):
            _decoded(pack(body), name, limit, PLAIN)
    else:
        assert _decoded(pack(body), name, limit, PLAIN) == body


@given(body=st.binary(min_size=200, max_size=2000), cut=st.integers(1, 30), coding=st.sampled_from(sorted(CODED)))
def test_a_body_that_was_cut_is_damaged_and_never_shorter(body: bytes, cut: int, coding: str) -> None:
    name, pack = CODED[coding]
    packed = pack(body)[:-cut]
    try:
        found = _decoded(packed, name, 1 << 20, PLAIN)
    except httpx.DecodingError:
        return
    assert found == body, "only its checksum may be missing"


@pytest.mark.parametrize("size", [0, 10, 70_000, 1 << 20, (1 << 20) + 1, 3 << 20, 3 << 20 | 1])
@pytest.mark.parametrize("coding", ["identity", *CODED])
async def test_a_client_reads_bodies_of_any_size_up_to_its_limit(size: int, coding: str) -> None:
    body = bytes(index * index % 251 for index in range(1000)) * (size // 1000 + 1)
    name, pack = CODED.get(coding, ("identity", bytes))
    with serving(answer(pack(body[:size]), f"Content-Encoding: {name}")) as url:
        async with BoundedClient(3 << 20) as http:
            if size > 3 << 20:
                with pytest.raises(BodyTooLargeError, match="over 3 MiB"):
                    await http.get(url)
            else:
                assert (await http.get(url)).content == body[:size]


STACKED = ["gzip, gzip", "gzip,gzip", "deflate, gzip", "GZIP , x-gzip", "gzip, identity, gzip", "gzip, br, gzip, zstd"]


@pytest.mark.parametrize("coding", [*STACKED, "br", "zstd", "snappy", "compress"])
@pytest.mark.fault("API: compressed twice, or in an unknown way")
async def test_stacked_and_unknown_codings_are_refused_unread(coding: str) -> None:
    with serving(answer(bomb(256, "gzip", "gzip"), f"Content-Encoding: {coding}")) as url:
        tracemalloc.start()
        async with NeonClient(url, lambda: "a-key", sleep=no_sleep) as client:
            with pytest.raises(NeonError, match=r"compressed \d times|was not offered") as caught:
                await client.get("/projects", None, ProjectPage)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert caught.value.status is Status.UNREACHABLE and peak < 16 << 20


async def no_sleep(_seconds: float) -> None:
    await asyncio.sleep(0)


@pytest.mark.parametrize("coding", ["gzip", "deflate", "raw"])
@pytest.mark.fault("API: a compressed body that becomes enormous")
async def test_a_bomb_takes_no_more_than_the_limit_and_holds_up_nobody(coding: str) -> None:
    header = "deflate" if coding == "raw" else coding
    lags: list[float] = []

    async def watch() -> None:
        while True:
            began = time.perf_counter()
            await asyncio.sleep(0.005)
            lags.append(time.perf_counter() - began)

    with serving(answer(bomb(512, coding), f"Content-Encoding: {header}")) as url:
        tracemalloc.start()
        async with NeonClient(url, lambda: "a-key", sleep=no_sleep) as client:
            watching = asyncio.create_task(watch())
            found = await asyncio.gather(
                *(client.get("/projects", None, ProjectPage) for _ in range(4)), return_exceptions=True
            )
            watching.cancel()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert all(isinstance(problem, NeonError) and problem.status is Status.TRUNCATED for problem in found)
    # One at a time: a body of the limit, grown by doubling, and what its step became.
    assert peak < 2.5 * BODY_LIMIT, f"{peak >> 20} MiB"
    assert len(lags) > 3, "the loop went on while they were decoded"


@pytest.mark.fault("API: a body without end")
async def test_a_body_without_end_is_cut_at_the_limit() -> None:
    with serving(endless) as url:
        async with BoundedClient(4 << 20) as http:
            with pytest.raises(BodyTooLargeError, match="over 4 MiB"):
                await http.get(url)
        async with NeonClient(url, lambda: "a-key", sleep=no_sleep) as client:
            with pytest.raises(NeonError) as caught:
                await client.get("/projects", None, ProjectPage)
    assert caught.value.status is Status.TRUNCATED


HOSTILE = {
    "bomb": answer(bomb(64, "gzip"), "Content-Encoding: gzip"),
    "nested": answer(bomb(256, "gzip", "gzip"), "Content-Encoding: gzip, gzip"),
    "large": answer(bomb(16)),
}


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.fault("platforms: a key store or bucket that answers without end")
async def test_key_stores_and_buckets_are_bounded_too(kind: str) -> None:
    with serving(HOSTILE[kind]) as url:
        tracemalloc.start()
        facts = await read_vault(VaultTarget("vault", url, fixed(lambda: "token")))
        assert isinstance(facts.keys, Unread) and facts.keys.status in (Status.TRUNCATED, Status.UNREACHABLE)
        with pytest.raises(LoginError):
            await approle(url, "role", lambda: "secret")()
        bucket = await read_bucket(BucketTarget("b", "", "eu-central-1", url, lambda: ("key", "secret")))
        assert isinstance(bucket.newest, Unread)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 80 << 20, f"{peak >> 20} MiB"


async def test_large_bodies_are_read_one_after_the_other() -> None:
    reader, open_now, most = BodyReader(8 << 20), 0, 0

    class Counted(httpx.AsyncByteStream):
        async def __aiter__(self):  # type: ignore[no-untyped-def]
            nonlocal open_now, most
            yield b"x" * (2 << 20)
            open_now += 1
            most = max(most, open_now)
            await asyncio.sleep(0.01)
            yield b"x"
            open_now -= 1

    bodies = [httpx.Response(200, stream=Counted(), request=REQUEST) for _ in range(5)]
    assert [len(body) for body in await asyncio.gather(*map(reader.read, bodies))] == [(2 << 20) + 1] * 5
    assert most == 1


@pytest.mark.house
def test_no_http_client_is_without_a_bound() -> None:
    """httpx reads whole bodies: only the client of Neon's API, which reads them by itself, may use it bare."""
    root = Path(__file__).parents[2]
    bare = {
        str(path.relative_to(root))
        for room in ("exporter", "collectors")
        for path in (root / room).rglob("*.py")
        if re.search(r"httpx\.(AsyncClient|Client|get|post|request|stream)\(", path.read_text())
    }
    assert bare == {"collectors/neon/client.py"}
