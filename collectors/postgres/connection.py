"""A connection that takes a bounded number of bytes from its server.

libpq keeps a row until it is complete, so a row without end takes memory as fast as the network brings it. What the
socket has received is asked of the kernel, at each turn of psycopg's reading, also while connecting.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Generator
from typing import Any, Self, TypeVar

import psycopg
from psycopg.rows import TupleRow

RECEIVE_LIMIT = 32 * 1024 * 1024
"""Bytes of one session: 6,000 statements are 1.2 MB, the first scan of a database with 120,000 objects 15 MB."""
_TCP_INFO_SIZE = 136
_BYTES_RECEIVED = 128
"""Place of ``tcpi_bytes_received`` in Linux's ``struct tcp_info``, since 4.1."""

State = TypeVar("State")
Ready = TypeVar("Ready")
Result = TypeVar("Result")


class ReceivedTooMuchError(psycopg.OperationalError):
    """The server sent more than :data:`RECEIVE_LIMIT`; the connection is closed."""


def received_bytes(descriptor: int) -> int:
    """Bytes that a TCP socket has received so far; 0 where the kernel does not tell, as for a socket in a folder."""
    if descriptor < 0 or not hasattr(socket, "TCP_INFO"):
        return 0
    # The family is not asked for: any will do to read an option.
    probe = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0, fileno=descriptor)
    try:
        info = probe.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_SIZE)
    except OSError:
        return 0
    finally:
        probe.detach()
    return int(struct.unpack_from("=Q", info, _BYTES_RECEIVED)[0]) if len(info) == _TCP_INFO_SIZE else 0


class BoundedConnection(psycopg.AsyncConnection[TupleRow]):
    """An :class:`psycopg.AsyncConnection` that ends by :class:`ReceivedTooMuchError` when too much comes in."""

    @classmethod
    def _connect_gen(cls, conninfo: str = "") -> Generator[tuple[int, Any], Any, Self]:
        return _bounded(super()._connect_gen(conninfo), lambda state: state[0])

    async def wait(self, gen: Generator[Any, Any, Result], *args: Any, **kwargs: Any) -> Result:
        """See psycopg; ends the connection when it has received too much."""
        descriptor = self.pgconn.socket
        try:
            return await super().wait(_bounded(gen, lambda _: descriptor), *args, **kwargs)
        except ReceivedTooMuchError:
            self.pgconn.finish()
            raise


def _bounded(
    reading: Generator[State, Ready, Result], descriptor: Callable[[State], int]
) -> Generator[State, Ready, Result]:
    """Drive a generator of psycopg's, which yields each time before it reads, and stop it at the limit."""
    try:
        state = next(reading)
        while True:
            ready = yield state
            if received_bytes(descriptor(state)) > RECEIVE_LIMIT:
                reading.close()
                raise ReceivedTooMuchError(f"the server sent over {RECEIVE_LIMIT >> 20} MiB in one session")
            state = reading.send(ready)
    except StopIteration as end:
        result: Result = end.value
        return result
