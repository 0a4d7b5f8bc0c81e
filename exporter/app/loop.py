"""The event loop of the agent: look-ups of host names may hang, and then hold up nobody else.

asyncio resolves names on its default executor, six threads on two cores: six look-ups that hang stop everything that
uses it, and the end of the process. psycopg and httpx resolve through the loop, so this is the one place to mend it.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Coroutine
from typing import Any, TypeVar

from collectors.threads import DaemonThreads

LOOKUP_SECONDS = 5.0
"""After these a look-up has failed; its thread may go on."""
THREADS = 64
THREADS_PER_ZONE = 8
"""Look-ups at a time of names with the same parent: one zone whose servers hang leaves the others their threads."""

Answer = TypeVar("Answer")
Addresses = list[tuple[Any, ...]]
_Key = tuple[str | bytes | None, str | bytes | int | None, int, int, int, int]


class Resolver:
    """Resolves host names on threads of its own. Lives on one event loop."""

    def __init__(self, *, seconds: float = LOOKUP_SECONDS) -> None:
        self._seconds = seconds
        self._threads = DaemonThreads("resolver", THREADS)
        self._zones: dict[str, asyncio.Semaphore] = {}
        self._running: dict[_Key, asyncio.Task[Addresses]] = {}

    async def addresses(self, key: _Key) -> Addresses:
        """What ``socket.getaddrinfo`` returns. Callers that ask the same share one look-up, also one that hangs.

        Raises:
            OSError: it does not resolve, or not in time.
        """
        task = self._running.get(key)
        if task is None:
            task = self._running[key] = asyncio.ensure_future(self._look_up(key))
            task.add_done_callback(lambda done: self._ended(key, done))
        try:
            async with asyncio.timeout(self._seconds):
                return await asyncio.shield(task)
        except TimeoutError:
            text = f"the host name was not resolved within {self._seconds:g} s"
            raise socket.gaierror(socket.EAI_AGAIN, text) from None

    def _ended(self, key: _Key, task: asyncio.Task[Addresses]) -> None:
        self._running.pop(key, None)
        if not task.cancelled():
            task.exception()  # those who waited have it, or gave up

    async def _look_up(self, key: _Key) -> Addresses:
        host = key[0].decode("ascii", "replace") if isinstance(key[0], bytes) else key[0] or ""
        zone = self._zones.setdefault(host.partition(".")[2].lower(), asyncio.Semaphore(THREADS_PER_ZONE))
        async with zone:
            return await self._threads.run(lambda: _resolve(key))


def _resolve(key: _Key, extra_flags: int = 0) -> Addresses:
    host, port, family, kind, protocol, flags = key
    return list(socket.getaddrinfo(host, port, family, kind, protocol, flags | extra_flags))


class AgentLoop(asyncio.SelectorEventLoop):
    """A loop with a :class:`Resolver`."""

    def __init__(self) -> None:
        super().__init__()
        self._resolver: Resolver | None = None

    async def getaddrinfo(
        self,
        host: bytes | str | None,
        port: bytes | str | int | None,
        *,
        family: int = 0,
        type: int = 0,  # noqa: A002 - the signature of asyncio
        proto: int = 0,
        flags: int = 0,
    ) -> Any:
        """As ``socket.getaddrinfo``; numeric addresses without a thread."""
        key = (host, port, family, type, proto, flags)
        try:
            return _resolve(key, socket.AI_NUMERICHOST)
        except socket.gaierror:
            pass
        if self._resolver is None:
            self._resolver = Resolver()
        return await self._resolver.addresses(key)


def run(main: Coroutine[Any, Any, Answer]) -> Answer:
    """Run a program on such a loop, as ``asyncio.run`` does."""
    with asyncio.Runner(loop_factory=AgentLoop) as runner:
        return runner.run(main)
