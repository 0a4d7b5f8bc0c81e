"""Every text in place of a session, said by a server to the real libpq, has its status and leaves its remedy whole."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import yaml

from collectors.base import Status
from collectors.postgres.refusals import reason_of
from collectors.postgres.session import Visit, visit
from exporter.demo.postgres import free_port
from exporter.sampling.breaker import Breaker
from exporter.serving.page import STATUS_PILLS
from tests.collectors.visiting import PATIENT

TEXTS: dict[str, list[dict[str, str]]] = yaml.safe_load(
    (Path(__file__).parents[2] / "evidence" / "proxy_texts.yaml").read_text("utf-8")
)
CASES = [(row["text"], Status(row["status"]), source) for source, rows in TEXTS.items() for row in rows]
GENERIC = ("connecting failed", "the session was lost")


def error_response(text: str, severity: str = "ERROR", state: str = "XX000") -> bytes:
    """The message by which Neon's proxy and PostgreSQL refuse a login (protocol 3.0, ErrorResponse)."""
    fields = b"".join(
        code + value.encode() + b"\0" for code, value in ((b"S", severity), (b"C", state), (b"M", text))
    )  # fmt: skip
    return b"E" + struct.pack("!I", len(fields) + 5) + fields + b"\0"


@asynccontextmanager
async def refusing(text: str, severity: str = "ERROR") -> AsyncIterator[int]:
    """The port of a server that refuses every login with a text."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        (length,) = struct.unpack("!I", await reader.readexactly(4))
        await reader.readexactly(length - 4)
        writer.write(error_response(text, severity))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def refused(text: str, hosts: str = "127.0.0.1", ports: str = "") -> Visit:
    async with refusing(text) as port:
        where = f"host={hosts} port={ports.format(port=port) or port}"
        return await visit(f"{where} user=x password=s3cret sslmode=disable", [], deadlines=PATIENT)


@pytest.mark.parametrize(("text", "status", "source"), CASES)
async def test_each_text_has_its_status_and_keeps_its_remedy(text: str, status: Status, source: str) -> None:
    found = await refused(text)
    assert (found.status, found.error.count("\n")) == (status, 0)
    assert not found.error.startswith(GENERIC)
    assert "connection to server" not in found.error and "127.0.0.1" not in found.error
    if source != "postgres" and status is not Status.AUTH:
        assert text[:200] in found.error  # Neon's own words, with what they say to do


async def test_a_limit_of_the_proxy_is_not_a_server_without_slots() -> None:
    for text, status, _ in CASES:
        if status is Status.RATE_LIMITED:
            assert "no slot free" not in (await refused(text)).error


async def test_a_text_that_nobody_knows_is_quoted_without_the_address() -> None:
    found = await refused("something new: s3cret")
    assert (found.status, found.error) == (Status.UNREACHABLE, "connecting failed: something new: ***")


async def test_of_several_addresses_the_server_that_spoke_is_quoted() -> None:
    text = "Your project has exceeded the data transfer quota. Upgrade your plan to increase limits."
    found = await refused(text, "127.0.0.1,127.0.0.1", f"{free_port()},{{port}}")
    assert found.status is Status.QUOTA
    found = await refused(text, "127.0.0.1,127.0.0.1", f"{{port}},{free_port()}")
    assert found.status is Status.QUOTA


def test_the_reason_stands_without_what_libpq_puts_before_it() -> None:
    before = (
        'connection to server at "ep-cool-darkness-123456.eu-central-1.aws.neon.tech" (203.0.113.9), port 5432 failed: '
    )
    assert reason_of(f"{before}ERROR:  no luck\n") == "no luck"
    assert reason_of(f"{before}Connection refused\n\tIs the server running?") == "Connection refused"
    assert reason_of(f"{before}Connection refused\n{before}FATAL:  no luck") == "no luck"
    assert reason_of("") == "no message"


def test_every_status_has_a_word_on_the_pages_and_a_place_in_the_breaker() -> None:
    assert set(STATUS_PILLS) == set(Status)
    for status in (Status.QUOTA, Status.RATE_LIMITED, Status.CONTROL_PLANE, Status.NOT_FOUND):
        breaker = Breaker()
        for _ in range(3):
            breaker.record(status, 0.0)
        assert breaker.is_open(1.0), status
    for status in (Status.AUTH, Status.IP_NOT_ALLOWED, Status.NETWORK_BLOCKED, Status.NO_SNI):
        breaker = Breaker()
        breaker.record(status, 0.0)
        assert breaker.is_open(1.0), status
