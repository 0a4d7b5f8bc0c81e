"""When things run: named jobs on APScheduler, one run of each at a time, drained at the end.

A job that raises is a bug of ours: it is logged and counted, and the job keeps its place in the schedule.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

from apscheduler.events import EVENT_JOB_MAX_INSTANCES, JobSubmissionEvent
from apscheduler.schedulers.asyncio import AsyncIOScheduler

Job = Callable[[], Awaitable[None]]

_log = logging.getLogger("neonmeter.schedule")


class Schedule:
    """The jobs of one running agent. All of them run on the event loop that called ``start``."""

    def __init__(self, on_bug: Callable[[str], None], on_missed: Callable[[str], None]) -> None:
        """``on_bug`` gets the name of a job that raised, ``on_missed`` of one that was due while it still ran."""
        self._scheduler = AsyncIOScheduler(
            timezone=UTC, job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None}
        )
        self._scheduler.add_listener(lambda event: self._missed(event, on_missed), EVENT_JOB_MAX_INSTANCES)
        self._running: dict[str, asyncio.Task[None]] = {}
        self._on_bug = on_bug
        self._stopped = False

    def every(self, name: str, seconds: float, job: Job, *, first_in: float = 0.0) -> None:
        """Run ``job`` every ``seconds``, first after ``first_in`` seconds. A run that takes longer delays the next."""

        async def guarded() -> None:
            await self._run(name, job)

        start = datetime.now(UTC) + timedelta(seconds=first_in)
        self._scheduler.add_job(
            guarded, "interval", seconds=seconds, id=name, name=name, next_run_time=start, replace_existing=True
        )

    @staticmethod
    def _missed(event: JobSubmissionEvent, on_missed: Callable[[str], None]) -> None:
        on_missed(event.job_id)

    async def _run(self, name: str, job: Job) -> None:
        task = asyncio.current_task()
        if task is None or name in self._running or self._stopped:
            return
        self._running[name] = task
        try:
            await job()
        except asyncio.CancelledError:
            # Only `stop` cancels, and awaits; let through, APScheduler would log it as a failure with its traceback.
            _log.info("job %s was cancelled", name)
        except Exception:
            _log.exception("job %s failed; this is a bug in neonmeter", name)
            self._on_bug(name)
        finally:
            self._running.pop(name, None)

    def start(self) -> None:
        """Begin to run jobs; needs a running event loop."""
        self._scheduler.start()

    def next_due(self, name: str) -> float | None:
        """When a job runs next, unix seconds."""
        job = self._scheduler.get_job(name)
        return job.next_run_time.timestamp() if job is not None and job.next_run_time else None

    async def stop(self, grace_seconds: float) -> None:
        """Start nothing more, wait for what runs up to the grace period, then cancel it."""
        self._stopped = True  # also for what was begun and has not had its first turn yet
        if self._scheduler.running:
            self._scheduler.pause()
        deadline = time.monotonic() + grace_seconds
        while self._running and time.monotonic() < deadline:
            await asyncio.wait(list(self._running.values()), timeout=deadline - time.monotonic())
        left = list(self._running.values())
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)
