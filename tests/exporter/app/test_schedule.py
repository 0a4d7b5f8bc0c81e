"""Jobs run on time and one at a time, survive their own bugs, and are drained at the end."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.app.schedule import MonotonicInterval, Schedule
from tests.fix_clock import SystemClock


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


@given(
    st.floats(0, 100),
    st.floats(0.1, 1000),
    st.lists(st.tuples(st.floats(0, 50), st.integers(-(10**9), 10**9)), max_size=20),
)
def test_of_whatever_the_clock_shows_one_run_is_planned_and_it_is_the_next(
    first: float, seconds: float, turns: list[tuple[float, int]]
) -> None:
    passed = 0.0
    trigger = MonotonicInterval(first, seconds, lambda: passed)
    assert trigger.left() == first
    for later, off in turns:
        passed += later
        now = datetime(2026, 11, 29, tzinfo=UTC) + timedelta(seconds=off)
        planned = trigger.get_next_fire_time(None, now)
        assert planned > now, "APScheduler lists runs until one lies in the future: it is the first that it asks for"
        assert 0 < trigger.left() <= max(seconds, first) * 1.1 + 1e-6
        assert (planned - now).total_seconds() == pytest.approx(trigger.left(), abs=1e-5)
        assert trigger.due >= first


COUNTING = """
import asyncio, json, resource, sys, time
from exporter.app.schedule import Schedule

async def main():
    began = {}
    async def job():
        began.setdefault("job", []).append(time.monotonic())
    async def slow():
        began.setdefault("slow", []).append(time.monotonic())
    schedule = Schedule(print, print)
    schedule.every("job", 0.1, job)
    schedule.every("slow", 600.0, slow, first_in=600.0)
    schedule.start()
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while await reader.readline():
        mark, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF)
        while len([at for at in began["job"] if at > mark]) < 20:
            await asyncio.sleep(0.05)
        after = resource.getrusage(resource.RUSAGE_SELF)
        kilobytes = after.ru_maxrss - before.ru_maxrss
        print(json.dumps([time.monotonic() - mark, kilobytes, time.time(), len(began.get("slow", []))]), flush=True)
    await schedule.stop(1)

asyncio.run(main())
"""


def test_a_clock_that_is_set_neither_stops_nor_floods_it(system_clock: SystemClock, tmp_path: Path) -> None:
    environment = {**os.environ, **system_clock.environment}
    with (
        (tmp_path / "errors").open("w+") as errors,
        subprocess.Popen(
            [sys.executable, "-c", COUNTING],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=environment,
        ) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            before, steps_forward = 0, 0
            for ahead in (0, -3600, -30, 86_400 * 30, 86_400 * 400, 0, 1):
                system_clock.set(ahead)
                steps_forward, before = steps_forward + (ahead > before), ahead
                process.stdin.write(b"\n")
                process.stdin.flush()
                line = process.stdout.readline()
                assert line, (tmp_path / "errors").read_text()
                took, kilobytes, _, others = json.loads(line)
                print(f"{ahead:+d} s: 20 runs of a job of 0.1 s in {took:.1f} s, {kilobytes} kB more")
                assert kilobytes < 10_000
                assert others <= steps_forward, "a step forward begins a run early at most once each"
        finally:
            process.stdin.close()
            process.wait(60)
