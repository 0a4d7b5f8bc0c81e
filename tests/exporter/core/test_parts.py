"""Jobs and steps: what one raises is its own status, one log entry and a count, and costs no other its turn."""

from __future__ import annotations

import logging

import pytest

from collectors.base import Status, Target
from collectors.metric import Scope
from exporter.core.parts import Parts, Turns
from exporter.core.selfmetrics import ROUNDS, SelfMetrics
from exporter.core.state import State
from exporter.storage.store import StoreError

AGENT = Target(Scope.AGENT, ())


class Turning:
    """Parts over a state of their own."""

    def __init__(self) -> None:
        self.state = State()
        self.metrics = SelfMetrics()
        self.parts = Parts(self.state, self.metrics, lambda: 100.0)

    async def turn(self, name: str, problem: Exception | None = None) -> Exception | None:
        async def work() -> None:
            if problem is not None:
                raise problem

        return await self.parts.turn(name, work)

    def status(self, name: str) -> str:
        entry = self.state.get(name, AGENT)
        return "" if entry is None else entry.last.status.value

    def counted(self) -> dict[tuple[str, ...], float]:
        return {labels: float(value) for labels, value in self.metrics.families().get(ROUNDS).items()}


async def test_every_step_has_its_turn_and_only_a_bug_a_traceback(caplog: pytest.LogCaptureFixture) -> None:
    turning, full = Turning(), StoreError("neonmeter.db: the disk is full")
    with caplog.at_level(logging.ERROR, "neonmeter"):
        for name, problem in (("a", full), ("b", full), ("c", ValueError("boom")), ("d", None)):
            assert await turning.turn(f"step/{name}", problem) is problem
    assert [turning.status(f"step/{name}") for name in "abcd"] == ["store_error", "store_error", "bug", "ok"]
    assert [record.exc_info is not None for record in caplog.records] == [False, True], "one line for one full disk"
    assert turning.counted() == {
        ("step/a", "store_error"): 1, ("step/b", "store_error"): 1, ("step/c", "bug"): 1, ("step/d", "ok"): 1,
    }  # fmt: skip
    assert turning.parts.problems() == (
        "neonmeter.db: the disk is full",
        "step/c: a bug in neonmeter (ValueError); the log has its traceback",
    )


async def test_a_bug_is_logged_when_it_begins_and_when_it_is_over(caplog: pytest.LogCaptureFixture) -> None:
    turning = Turning()
    with caplog.at_level(logging.INFO, "neonmeter"):
        for _ in range(5):
            await turning.turn("job/round", ValueError("boom"))
        await turning.turn("job/round", KeyError("another"))
        await turning.turn("job/round")
        await turning.turn("job/round")
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR", "INFO"]
    assert caplog.text.count("Traceback") == 2
    assert turning.counted() == {("round", "bug"): 6, ("round", "ok"): 2}
    assert turning.status("job/round") == "ok"
    assert turning.parts.problems() == ()


async def test_success_alone_is_no_reason_to_publish() -> None:
    turning = Turning()
    turning.state.take()
    await turning.turn("job/round")
    assert not turning.state.changed
    await turning.turn("job/round", ValueError("boom"))
    assert turning.state.changed
    turning.state.take()
    await turning.turn("job/round")
    assert turning.state.changed, "that it is well again is"


async def test_a_part_that_is_exercised_often_is_reported_once_a_round() -> None:
    turning = Turning()
    turns = Turns(turning.parts)
    for problem in (None, ValueError("one compute"), None):
        with turns.guard("step/visit") as failures:
            if problem is not None:
                raise problem
        assert failures == ([problem] if problem else [])
    turns.report()
    assert turning.status("step/visit") == Status.BUG.value, "also when later ones went well"
    with turns.guard("step/visit"):
        pass
    turns.report()
    assert turning.counted() == {("step/visit", "bug"): 1, ("step/visit", "ok"): 1}
    turns.report()
    assert turning.counted() == {("step/visit", "bug"): 1, ("step/visit", "ok"): 1}, "nothing was exercised"


async def test_other_settings_have_other_parts() -> None:
    turning = Turning()
    await turning.turn("job/pgbouncer:gone", ValueError("boom"))
    await turning.parts.forget()
    assert turning.status("job/pgbouncer:gone") == ""
    assert turning.parts.problems() == ()
