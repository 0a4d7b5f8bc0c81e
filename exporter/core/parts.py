"""The jobs of the agent and the steps of its rounds, each guarded by itself: what fails costs one turn of one part.

How a part ended is a status like that of any collector (target: the agent itself), so it is exported, alerted on and
shown on /targets. An error of ours that a person can act on (a full disk) is logged as one line; anything else is a
bug, logged with its traceback when it first occurs, not at every turn.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from collectors.base import Observation, Status, Target
from collectors.errors import NeonmeterError
from collectors.metric import Scope
from exporter.core import selfmetrics
from exporter.core.selfmetrics import SelfMetrics
from exporter.core.state import State

JOB, STEP = "job/", "step/"
"""Beginnings of the names of parts: of what the schedule runs, and of what is a part of that."""
_AGENT = Target(Scope.AGENT, (), "neonmeter")
_log = logging.getLogger("neonmeter.parts")


class Parts:
    """Lives on the event loop."""

    def __init__(self, state: State, metrics: SelfMetrics, clock: Callable[[], float] = time.time) -> None:
        self._state = state
        self._metrics = metrics
        self._clock = clock
        self._failing: dict[str, tuple[object, str]] = {}
        """By part: what is known of its failure by the log, and a sentence for a person."""

    async def turn(self, name: str, work: Callable[[], Awaitable[object]]) -> Exception | None:
        """Do ``work`` as one turn of a part; answers what it raised, which is reported then."""
        with self.guard(name) as failures:
            await work()
        return failures[0] if failures else None

    @contextmanager
    def guard(self, name: str) -> Iterator[list[Exception]]:
        """Run the block as one turn of a part. What it raises is reported, put into the list, and goes no further."""
        failures: list[Exception] = []
        began = time.monotonic()
        try:
            yield failures
        except Exception as problem:
            failures.append(problem)
            self.failed(name, problem, time.monotonic() - began)
        else:
            self.succeeded(name, time.monotonic() - began)

    def failed(self, name: str, problem: Exception, seconds: float = 0.0) -> None:
        """Report a failure of a part: its status, a count, and the log when it is new."""
        if isinstance(problem, NeonmeterError):
            counted, text = problem.outcome, str(problem)
            status = Status.STORE_ERROR if counted == Status.STORE_ERROR.value else Status.UNREACHABLE
            mark: tuple[object, object] = (type(problem), text)
        else:
            text = f"a bug in neonmeter ({type(problem).__name__}); the log has its traceback"
            status, counted, mark = Status.BUG, "bug", (type(problem), place_of(problem))
        self._metrics.inc(selfmetrics.ROUNDS, (_label(name), counted))
        self._put(name, status, seconds, text)
        if self._failing.get(name, ("", ""))[0] == mark:
            return
        if status is not Status.BUG:
            if all(known != mark for known, _ in self._failing.values()):  # One full disk is one line.
                _log.error("%s", text)
        else:
            _log.error("%s failed; this is a bug in neonmeter", name, exc_info=problem)
        self._failing[name] = (mark, text)

    def succeeded(self, name: str, seconds: float = 0.0) -> None:
        """Report that a part had its turn and ended well."""
        self._metrics.inc(selfmetrics.ROUNDS, (_label(name), "ok"))
        failed = self._failing.pop(name, None) is not None
        self._put(name, Status.OK, seconds, quiet=not failed)  # That all is well is no reason to publish now.
        if failed:
            _log.info("%s: ok again", name)

    async def forget(self) -> None:
        """Drop all jobs and steps: other settings have others, and each shows itself at its next turn."""
        self._failing.clear()
        await self._state.forget(lambda collector, _: is_part(collector))

    def problems(self) -> tuple[str, ...]:
        """A sentence for a person about each part that fails; the same trouble of several parts once."""
        return tuple(
            dict.fromkeys(
                text if issubclass(mark[0], NeonmeterError) else f"{name}: {text}"  # type: ignore[index]
                for name, (mark, text) in self._failing.items()
            )
        )

    def _put(self, name: str, status: Status, seconds: float, error: str = "", *, quiet: bool = False) -> None:
        observation = Observation(name, _AGENT, status, self._clock(), seconds, error=error)
        self._state.put(observation, interval=0.0, quiet=quiet)  # It brings no series of its own that could be held.


class Turns:
    """Turns of parts that a round exercises once for each compute: reported as one turn each, when the round ends."""

    def __init__(self, parts: Parts | None = None) -> None:
        """Without ``parts`` failures are only logged."""
        self._parts = parts
        self._failed: dict[str, Exception | None] = {}
        """The parts that were exercised, with the first failure of each."""

    @contextmanager
    def guard(self, name: str) -> Iterator[list[Exception]]:
        """Run the block as a piece of a part's turn. What it raises is put into the list and goes no further."""
        failures: list[Exception] = []
        try:
            yield failures
        except Exception as problem:  # reported by report()
            failures.append(problem)
        if self._failed.get(name) is None:
            self._failed[name] = failures[0] if failures else None

    def report(self) -> None:
        """Report all parts that were exercised since the last report."""
        exercised, self._failed = self._failed, {}
        for name, failure in exercised.items():
            if self._parts is None:
                if failure is not None:
                    _log.error("%s failed", name, exc_info=failure)
            elif failure is None:
                self._parts.succeeded(name)
            else:
                self._parts.failed(name, failure)


def is_part(collector: str) -> bool:
    """Whether the name of a collector is that of a job or a step."""
    return collector.startswith((JOB, STEP))


def _label(name: str) -> str:
    """The label ``job`` of the count: jobs have it without the prefix."""
    return name.removeprefix(JOB)


def place_of(problem: BaseException) -> tuple[str, int]:
    """Where an exception came from: the innermost frame of its traceback."""
    trace = problem.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return ("", 0) if trace is None else (trace.tb_frame.f_code.co_filename, trace.tb_lineno)
