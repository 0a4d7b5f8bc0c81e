"""The door of every compute: a TCP listener that stays, whether or not a server stands behind it.

A client that connects to a suspended compute waits here while its server starts, which is how Neon's proxy wakes
computes. The door reads the startup packet, because only that says who knocked: a test can then state that a
program woke nothing. Everything after it is bytes in both directions. One thread serves the doors of all computes.
"""

from __future__ import annotations

import asyncio
import struct
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

_SSL_REQUEST = 80877103
_GSSENC_REQUEST = 80877104
_CANCEL_REQUEST = 80877102
_LONGEST_STARTUP = 10_000
_CHUNK = 65536
_CLOSE_SECONDS = 2.0
_STARTUP_SECONDS = 60.0
Result = TypeVar("Result")


class RefusedError(Exception):
    """The compute cannot be reached; the message goes to the client as a FATAL error."""


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who connected, by the startup packet; empty strings where it did not say."""

    application_name: str
    user: str
    database: str


class Behind(Protocol):
    """What a door leads to."""

    def server_port(self) -> int | None:
        """The port of the server when it takes connections now; never blocks."""

    def wake(self, visitor: Visitor) -> int:
        """Start the server if there is none, and return its port; may block.

        Raises:
            RefusedError: it does not start, or is disabled.
        """

    def connected(self, visitor: Visitor) -> None:
        """A visitor's bytes are about to reach the server; never blocks."""

    def sent(self, count: int) -> None:
        """So many bytes went from the server to a client; never blocks."""


def parse_startup(body: bytes) -> Visitor:
    """Read the parameters of a StartupMessage (what follows its length and protocol version).

    Raises:
        ValueError: it is not one.
    """
    words = body.split(b"\0")
    pairs = dict(zip(words[0::2], words[1::2], strict=False))
    if b"user" not in pairs:
        raise ValueError("a startup packet without a user")
    user = pairs[b"user"].decode(errors="replace")
    return Visitor(
        application_name=pairs.get(b"application_name", b"").decode(errors="replace"),
        user=user,
        database=pairs.get(b"database", b"").decode(errors="replace") or user,
    )


def fatal(message: str) -> bytes:
    """An ErrorResponse that libpq prints as it is (SQLSTATE 57P03, cannot_connect_now)."""
    fields = ((b"S", b"FATAL"), (b"V", b"FATAL"), (b"C", b"57P03"), (b"M", message.encode()))
    body = b"".join(b"%c%s\0" % field for field in fields) + b"\0"
    return b"E" + struct.pack("!I", len(body) + 4) + body


class Front:
    """All doors, in one background thread with one event loop."""

    def __init__(self, holder: Executor) -> None:
        self._keeper = holder
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="twin-front", daemon=True)
        self._servers: list[asyncio.Server] = []
        self._open: set[asyncio.Task[None]] = set()
        self._thread.start()

    def listen(self, behind: Behind, port: int, host: str = "127.0.0.1") -> int:
        """Open a door (0 picks a free port) and return its port.

        Raises:
            OSError: the port is taken.
        """
        return self._run(self._listen(behind, host, port))

    def shut(self, port: int) -> None:
        """Close one door; connections through it end with their server."""
        for server in [door for door in self._servers if door.sockets and door.sockets[0].getsockname()[1] == port]:
            self._servers.remove(server)
            self._loop.call_soon_threadsafe(server.close)

    def stop(self) -> None:
        """Close every door and every connection through them."""
        if self._loop.is_closed():
            return
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    async def _listen(self, behind: Behind, host: str, port: int) -> int:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await self._serve(behind, reader, writer)
            except (OSError, EOFError, ValueError, asyncio.CancelledError):
                pass  # A connection that breaks is its client's affair; a cancelled one is our own stop.
            finally:
                await _shut(writer)

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.ensure_future(serve(reader, writer))
            self._open.add(task)
            task.add_done_callback(self._open.discard)

        server = await asyncio.start_server(accept, host, port)
        self._servers.append(server)
        bound: int = server.sockets[0].getsockname()[1]
        return bound

    async def _close(self) -> None:
        for server in self._servers:
            server.close()
        for task in tuple(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _serve(self, behind: Behind, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(_STARTUP_SECONDS):
            code, packet = await _first_packet(reader, writer)
        if code == _CANCEL_REQUEST:
            port = behind.server_port()  # Cancelling wakes nobody: without a server there is nothing to cancel.
            if port is not None:
                _, server = await asyncio.open_connection("127.0.0.1", port)
                server.write(packet)
                await server.drain()
                await _shut(server)
            return
        visitor = parse_startup(packet[8:])
        try:
            from_server, to_server = await self._reach(behind, visitor)
        except RefusedError as problem:
            writer.write(fatal(str(problem)))
            await writer.drain()
            return
        try:
            behind.connected(visitor)
            to_server.write(packet)
            await _proxy(_pump(reader, to_server), _pump(from_server, writer, behind.sent))
        finally:
            await _shut(to_server)

    async def _reach(self, behind: Behind, visitor: Visitor) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        port, problem = behind.server_port(), OSError()
        for _ in range(4):  # It may be suspended, or die, between a look and our connect.
            if port is None:
                port = await self._loop.run_in_executor(self._keeper, behind.wake, visitor)
            try:
                return await asyncio.open_connection("127.0.0.1", port)
            except OSError as refused:
                port, problem = None, refused
                await asyncio.sleep(0.05)
        raise RefusedError(f"the compute does not take connections: {problem}")


async def _first_packet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[int, bytes]:
    while True:
        head = await reader.readexactly(8)
        length, code = struct.unpack("!II", head)
        if not 8 <= length <= _LONGEST_STARTUP:
            raise ValueError("not the PostgreSQL protocol")
        packet = head + await reader.readexactly(length - 8)
        if code not in (_SSL_REQUEST, _GSSENC_REQUEST):
            return code, packet
        writer.write(b"N")
        await writer.drain()


async def _proxy(*ways: Coroutine[Any, Any, None]) -> None:
    """Carry bytes until either side ends; what the server said last still reaches the client."""
    pumps = [asyncio.ensure_future(way) for way in ways]
    try:
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for pump in pumps:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)


async def _pump(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, count: Callable[[int], None] | None = None
) -> None:
    while data := await reader.read(_CHUNK):
        if count is not None:
            count(len(data))
        writer.write(data)
        await writer.drain()


async def _shut(writer: asyncio.StreamWriter) -> None:
    """Close after what was written has left; a client that does not read is cut off."""
    writer.close()
    try:
        async with asyncio.timeout(_CLOSE_SECONDS):
            await writer.wait_closed()
    except (OSError, asyncio.CancelledError):
        writer.transport.abort()
