"""When things run: named jobs on APScheduler, one run of each at a time, drained at the end.

APScheduler 3 plans by the system's clock: set back, it sleeps for as long as the step was; set forward, it lists every
run that it believes to have missed before it coalesces them. So here it never learns from the clock what is due. Each
job has a `MonotonicInterval`, which knows on the monotonic clock when the next run is due and answers "so many seconds
from now": of a step forward there is at most one run too early, never a list. And several times a second the plans are
compared with the clock, and made anew when it was set: a step back delays a run by `FOLLOW_SECONDS` at most.

A job that raises is a bug of ours: it is logged and counted, and the job keeps its place in the schedule.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

from apscheduler.events import EVENT_JOB_MAX_INSTANCES, JobSubmissionEvent
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.base import BaseTrigger

Job = Callable[[], Awaitable[None]]

FOLLOW_SECONDS = 0.25
"""The plans are compared with the system's clock this often."""
_SLACK_SECONDS = 0.05
"""The clock may be slewed by so much before the plans are made anew."""
_log = logging.getLogger("neonmeter.schedule")


class MonotonicInterval(BaseTrigger):  # type: ignore[misc]  # APScheduler has no types
    """Every ``seconds`` of the monotonic clock from ``first`` on; what was missed is not made up for."""

    def __init__(self, first: float, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        """``first`` is the first run on the monotonic ``clock``."""
        self._first = self.due = first
        self._seconds = seconds
        self._clock = clock

    def left(self) -> float:
        """Seconds until the run that is planned."""
        return max(0.0, self.due - self._clock())

    def get_next_fire_time(self, _previous: datetime | None, now: datetime) -> datetime:
        """Plan the next run; the system's time of it, if that clock is not set until then.

        A run that began less than a tenth of the interval early was the one that is due then.
        """
        passed = (self._clock() - self._first) / self._seconds
        self.due = self._first + self._seconds * max(0, math.floor(passed + 0.1) + 1)
        return now + timedelta(seconds=self.left())


class Schedule:
    """The jobs of one running agent. All of them run on the event loop that called ``start``."""

    def __init__(
        self,
        on_bug: Callable[[str], None],
        on_missed: Callable[[str], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``on_bug`` gets the name of a job that raised, ``on_missed`` of one that was due while it still ran.

        ``clock`` is for ``next_due`` alone.
        """
        self._scheduler = AsyncIOScheduler(
            timezone=UTC, job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None}
        )
        self._scheduler.add_listener(lambda event: self._missed(event, on_missed), EVENT_JOB_MAX_INSTANCES)
        self._triggers: dict[str, MonotonicInterval] = {}
        self._running: dict[str, asyncio.Task[None]] = {}
        self._on_bug = on_bug
        self._stopped = False
        self._clock = clock
        self._planned = _difference()
        self._shown: dict[str, tuple[float, float]] = {}
        """By job, the run that is planned, on the monotonic clock and in unix seconds."""
        self._follower: asyncio.TimerHandle | None = None

    def every(self, name: str, seconds: float, job: Job, *, first_in: float = 0.0) -> None:
        """Run ``job`` every ``seconds``, first after ``first_in`` seconds. A run that takes longer delays the next."""

        async def guarded() -> None:
            await self._run(name, job)

        trigger = self._triggers[name] = MonotonicInterval(time.monotonic() + first_in, seconds)
        start = datetime.now(UTC) + timedelta(seconds=first_in)
        self._scheduler.add_job(guarded, trigger, id=name, name=name, next_run_time=start, replace_existing=True)

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
        self._follow()

    def _follow(self) -> None:
        """Plan anew when the system's clock was set: it says nothing about what is due."""
        self._follower = asyncio.get_running_loop().call_later(FOLLOW_SECONDS, self._follow)
        difference = _difference()
        if abs(difference - self._planned) < _SLACK_SECONDS:
            return
        self._planned = difference
        for name, trigger in self._triggers.items():
            self._scheduler.modify_job(name, next_run_time=datetime.now(UTC) + timedelta(seconds=trigger.left()))

    def next_due(self, name: str) -> float | None:
        """When a job runs next, unix seconds."""
        trigger = self._triggers.get(name)
        if trigger is None:
            return None
        due, at = self._shown.get(name, (None, 0.0))
        if due != trigger.due:  # Worked out once for each run: what it shows must not tremble.
            at = self._clock() + trigger.left()
            self._shown[name] = (trigger.due, at)
        return at

    async def stop(self, grace_seconds: float) -> None:
        """Start nothing more, wait for what runs up to the grace period, then cancel it."""
        self._stopped = True  # also for what was begun and has not had its first turn yet
        if self._follower is not None:
            self._follower.cancel()
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


def _difference() -> float:
    """The system's clock minus the monotonic one."""
    return time.time() - time.monotonic()
