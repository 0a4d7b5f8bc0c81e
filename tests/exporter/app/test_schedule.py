"""Jobs run on time and one at a time, survive their own bugs, and are drained at the end."""

from __future__ import annotations

import asyncio
import logging

import pytest

from exporter.app.schedule import Schedule


@pytest.mark.fault("ourselves: a job raises an error")
async def test_a_bug_in_a_job_is_counted_and_the_job_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    bugs: list[str] = []
    runs = 0
    twice = asyncio.Event()

    async def broken() -> None:
        nonlocal runs
        runs += 1
        if runs == 2:
            twice.set()
        raise ValueError("boom")

    schedule = Schedule(bugs.append, on_missed=print)
    schedule.every("broken", 0.05, broken)
    with caplog.at_level(logging.ERROR, "neonmeter"):
        schedule.start()
        await asyncio.wait_for(twice.wait(), 120)
        await schedule.stop(1)
    assert bugs[:2] == ["broken", "broken"]
    assert "this is a bug in neonmeter" in caplog.text


async def test_a_slow_job_is_never_run_twice_at_once() -> None:
    inside = most = 0

    async def slow() -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        await asyncio.sleep(0.2)
        inside -= 1

    missed: list[str] = []
    counted = asyncio.Event()

    def miss(name: str) -> None:
        missed.append(name)
        counted.set()

    schedule = Schedule(print, miss)
    logging.getLogger("apscheduler").setLevel(logging.CRITICAL)
    schedule.every("slow", 0.02, slow)
    schedule.start()
    await asyncio.wait_for(counted.wait(), 120)
    await asyncio.sleep(0.5)
    await schedule.stop(60)
    assert most == 1
    assert set(missed) == {"slow"}, "and it is counted"
    assert inside == 0


async def test_stop_waits_for_what_runs_and_then_cancels_it() -> None:
    ended: list[str] = []
    started = asyncio.Semaphore(0)

    async def quick() -> None:
        started.release()
        await asyncio.sleep(0.2)
        ended.append("quick")

    async def endless() -> None:
        started.release()
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    schedule = Schedule(print, print)
    schedule.every("quick", 60, quick)
    schedule.every("endless", 60, endless)
    schedule.start()
    for _ in range(2):
        await asyncio.wait_for(started.acquire(), 120)
    await schedule.stop(3)
    assert ended == ["quick", "cancelled"]
