"""The one thread that writes to the disk, so that the event loop never waits for a flush.

What waits at the same time is flushed together. Nobody is answered before the flush that holds his work.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

from exporter.storage.store import Store

Answer = TypeVar("Answer")
PACE_SECONDS = 0.1
"""What can wait is flushed this long after the last flush, at the latest; at once when that is longer ago."""


@dataclass(slots=True)
class _Piece(Generic[Answer]):
    act: Callable[[], Answer]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Answer]
    answer: Answer | None = None
    problem: BaseException | None = None

    def work(self) -> None:
        try:
            self.answer = self.act()
        except BaseException as problem:  # raised where it is awaited
            self.problem = problem

    def deliver(self) -> None:
        if self.future.done():
            return
        if self.problem is not None:
            self.future.set_exception(self.problem)
        else:
            self.future.set_result(self.answer)  # type: ignore[arg-type]


class WriterThread:
    """Runs blocking store work in order, one piece at a time."""

    def __init__(self, store: Store | None = None) -> None:
        """What writes into ``store`` shares its flushes; without one, each piece flushes for itself."""
        self._store = store
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="disk")
        self._lock = threading.Lock()
        self._waiting: list[_Piece[object]] = []
        self._called = False
        """Whether the thread was asked to take what waits, and has not begun."""
        self._timed = False
        self._flushed = 0.0

    async def run(self, act: Callable[[], Answer], *, patient: bool = False) -> Answer:
        """Run ``act`` on the disk's thread and wait until it is flushed; what it raises is raised here.

        ``patient``: it may wait `PACE_SECONDS` for others, so that few flushes carry many.

        Raises:
            StoreError: the flush failed; then nothing of it is on the disk.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()
        wait = self._flushed + PACE_SECONDS - time.monotonic() if patient else 0.0
        with self._lock:
            self._waiting.append(_Piece(act, loop, future))  # type: ignore[arg-type]
            now = wait <= 0 and not self._called
            self._called = self._called or now
            later = wait > 0 and not self._called and not self._timed
            self._timed = self._timed or later
        if now:
            self._thread.submit(self._work)
        elif later:
            loop.call_later(wait, self._in_time)
        return await future

    def _in_time(self) -> None:
        with self._lock:
            self._timed = False
            called, self._called = self._called, True
        if not called:
            with suppress(RuntimeError):  # Closed meanwhile: `close` has done it.
                self._thread.submit(self._work)

    def _work(self) -> None:
        with self._lock:
            pieces, self._waiting, self._called = self._waiting, [], False
        if all(piece.future.cancelled() for piece in pieces):
            return
        try:
            with self._store.together() if self._store is not None else nullcontext():
                for piece in pieces:
                    if not piece.future.cancelled():
                        piece.work()
        except Exception as problem:  # the flush: nobody's work is on the disk
            for piece in pieces:
                piece.problem = problem
        self._flushed = time.monotonic()
        for loop in {piece.loop for piece in pieces}:
            of_loop = [piece for piece in pieces if piece.loop is loop]
            with suppress(RuntimeError):  # The loop is closed: nobody waits.
                loop.call_soon_threadsafe(_deliver, of_loop)

    def close(self) -> None:
        """Finish what is begun, drop what nobody waits for any more, end the thread."""
        with suppress(RuntimeError):  # Closed before.
            self._thread.submit(self._work)
        self._thread.shutdown(wait=True)


def _deliver(pieces: list[_Piece[object]]) -> None:
    for piece in pieces:
        piece.deliver()
