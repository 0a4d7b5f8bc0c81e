"""The one thread that writes to the disk, so that the event loop never waits for a flush."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Answer = TypeVar("Answer")


class WriterThread:
    """Runs blocking store work in order, one piece at a time."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="disk")

    async def run(self, act: Callable[[], Answer]) -> Answer:
        """Run ``act`` on the disk's thread and wait for it; what it raises is raised here."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, act)

    def close(self) -> None:
        """Finish what is begun, drop what nobody waits for any more, end the thread."""
        self._thread.shutdown(wait=True, cancel_futures=True)
