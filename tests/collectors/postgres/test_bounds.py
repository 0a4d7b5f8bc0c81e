"""What a server may send in one session is bounded, before and after the login, whatever kind of message it is."""

from __future__ import annotations

import asyncio
import os
import struct
import tracemalloc
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from collectors.base import Status
from collectors.pgbouncer.console import PoolerTarget, observe
from collectors.postgres import connection
from collectors.postgres.session import Deadlines, visit
from exporter.demo.postgres import Cluster
from tests.bench.measure import rss_megabytes
from tests.collectors.reading_fake import FakeCollector
from tests.collectors.visiting import PATIENT, monitor, open_sockets, sessions_left, settled

PATIENTLY = Deadlines(connect=60, session=60, statement=60)
FILL = b"a" * 65536


def message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!I", len(body) + 4) + body


def row_without_end() -> bytes:
    return b"D" + struct.pack("!I", 0x3FFFFFF0)


def notices() -> bytes:
    return message(b"N", b"SNOTICE\0VNOTICE\0C00000\0M" + b"flood " * 500 + b"\0\0") * 20


def parameters() -> bytes:
    parameters.count += 1  # type: ignore[attr-defined]
    return b"".join(
        message(b"S", b"p%d\0" % (parameters.count * 1000 + number) + b"v" * 1000 + b"\0")  # type: ignore[attr-defined]
        for number in range(100)
    )


parameters.count = 0  # type: ignore[attr-defined]
LOGGED_IN = message(b"R", struct.pack("!I", 0))
KINDS: dict[str, tuple[bytes, Callable[[], bytes]]] = {
    # what is sent first, and then again and again
    "a row without end, before the login is over": (LOGGED_IN + row_without_end(), lambda: FILL),
    "notices after the login": (LOGGED_IN, notices),
    "parameters": (LOGGED_IN, parameters),
}
READY = message(b"Z", b"I")
AFTER = {
    "a row without end": (message(b"1", b"") + row_without_end(), lambda: FILL),
    "an error without end": (b"E" + struct.pack("!I", 0x3FFFFFF0), lambda: FILL),
    "notices": (b"", notices),
    "parameters": (b"", parameters),
}


@asynccontextmanager
async def door(first: bytes, then: Callable[[], bytes]) -> AsyncIterator[tuple[int, list[int]]]:
    """A listener that speaks the first words of PostgreSQL and then sends without end; its port, and bytes sent."""
    sent: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sent.append(0)
        try:
            (length,) = struct.unpack("!I", await reader.readexactly(4))
            code = await reader.readexactly(length - 4)
            if struct.unpack("!I", code[:4])[0] == 80877103:
                writer.write(b"N")
                (length,) = struct.unpack("!I", await reader.readexactly(4))
                await reader.readexactly(length - 4)
            writer.write(first)
            while True:
                part = then()
                writer.write(part)
                sent[-1] += len(part)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1], sent


@pytest.mark.parametrize("kind", [*KINDS, *(f"after: {name}" for name in AFTER)])
@pytest.mark.fault("database: a row, or anything else, without end")
async def test_a_session_ends_at_its_limit(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "RECEIVE_LIMIT", 4 << 20)
    first, then = KINDS[kind] if kind in KINDS else AFTER[kind.removeprefix("after: ")]
    if kind not in KINDS:
        first = LOGGED_IN + READY + first
    before = open_sockets()
    async with door(first, then) as (port, sent):
        tracemalloc.start()
        made = await visit(f"host=127.0.0.1 port={port} user=x password=y sslmode=disable", [], deadlines=PATIENTLY)
        tracemalloc.stop()
        assert made.status is Status.TRUNCATED, (made.status, made.error)
        assert "4 MiB" in made.error and made.seconds < 50
        # What the kernel holds for us, and what the sender's holds for it, comes on top.
        assert sum(sent) < 4 * (4 << 20), sent
        pooler = PoolerTarget("p", lambda: f"host=127.0.0.1 port={port} user=x sslmode=disable")
        (observation,) = await observe(pooler, deadline_seconds=60)
        assert observation.status is Status.TRUNCATED, observation.error
    for _ in range(500):  # the door's own ends are closed a moment later
        if open_sockets() <= before:
            return
        await asyncio.sleep(0.02)
    assert open_sockets() <= before


async def test_a_large_answer_within_the_limit_is_read_whole(postgres: Cluster) -> None:
    await settled(postgres)
    sql = "SELECT n, repeat(md5(n::text), 32) FROM generate_series(1, 16000) AS n"
    made = await visit(monitor(postgres), [FakeCollector(sql)], deadlines=PATIENTLY)
    assert made.status is Status.OK and len(made.results["fake"]["q0"].rows) == 16000


async def test_a_query_whose_answer_is_too_large_ends_the_visit(
    postgres: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "RECEIVE_LIMIT", 4 << 20)
    sql = "SELECT repeat('x', 1000000) FROM generate_series(1, 200)"
    await settled(postgres)
    before = rss_megabytes(os.getpid())
    made = await visit(monitor(postgres), [FakeCollector(sql)], deadlines=PATIENTLY)
    assert made.status is Status.TRUNCATED, made.error
    assert rss_megabytes(os.getpid()) - before < 100
    assert sessions_left(postgres) == 0
    assert (await visit(monitor(postgres), [], deadlines=PATIENT)).status is Status.OK
