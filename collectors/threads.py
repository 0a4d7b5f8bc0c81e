"""Blocking calls that may never return, each on a daemon thread of its own, in bounded number.

Neither an executor of asyncio nor one of ``concurrent.futures`` will do for them: a few calls that hang take all of
its threads, and the interpreter waits for those at its end.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

Answer = TypeVar("Answer")


class DaemonThreads:
    """At most ``most`` threads at a time; whoever comes later waits for one of them to end."""

    def __init__(self, name: str, most: int) -> None:
        self._name = name
        self._free = asyncio.Semaphore(most)

    async def run(self, call: Callable[[], Answer]) -> Answer:
        """Run ``call`` on a thread and wait for it; what it raises is raised here.

        Who is cancelled leaves at once. The thread goes on until its call returns, and occupies its place until then.
        """
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Answer] = loop.create_future()

        def ended(value: Answer | None, problem: BaseException | None) -> None:
            self._free.release()
            if answer.done():
                return
            if problem is not None:
                answer.set_exception(problem)
            else:
                answer.set_result(value)  # type: ignore[arg-type]  # None only where the call returned it

        def work() -> None:
            value, problem = None, None
            try:
                value = call()
            except BaseException as raised:  # raised again where it is awaited
                problem = raised
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(ended, value, problem)

        await self._free.acquire()
        try:
            threading.Thread(target=work, name=self._name, daemon=True).start()
        except BaseException:
            self._free.release()
            raise
        return await answer
