"""What the agent does takes time in proportion to the fleet, and never keeps the event loop from turning."""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import count, pairwise
from pathlib import Path

import pytest

from exporter.app.interpreter import collect_garbage, tune_interpreter
from tests.exporter.app.large_fleet import FleetAgent, LargeFleet, LargePlane, settle_memory, visit_all

BRANCHES = 1
TIMES_LINEAR = 1.5
"""How much more than ten times as long ten times as many projects may take."""
LARGE = 1_000
"""Beyond so many projects one run takes long enough to say something."""
NOISE_SECONDS = 0.2
"""What takes less CPU than this is not judged: beside busy processes the same work may take twice as much."""
LAG_SECONDS = 0.25
"""The longest that the event loop may stand still in a fleet of 10,000 projects."""
BEAT_SECONDS = 0.05
AGAIN_SECONDS = 700.0
"""After so long every feature works everything out again."""


Step = Callable[[], Awaitable[None]]


def steps_of(here: FleetAgent) -> Iterator[tuple[str, Step]]:
    """Everything that the agent does in a round, by name: each feature, and what is the agent's own."""
    generation = here.generation

    async def feature(name: str) -> None:
        run = generation.runs[name]
        await run.before_visits(here.inventory)
        await run.on_inventory(here.inventory)
        for job in run.jobs:
            await job.run()
        assert all(isinstance(note, str) for note in run.notes())

    async def control_plane() -> None:
        await generation.control_plane.look()

    async def tenants() -> None:
        await generation.tenants.look(here.inventory)

    async def visits() -> None:
        await generation.visitor.round(here.inventory)
        await visit_all(here)

    yield "control plane", control_plane
    yield "tenants", tenants
    yield "visits", visits
    for name in generation.runs:
        yield name, lambda name=name: feature(name)  # type: ignore[misc]
    yield "publishing", here.publish


async def seconds_of(step: Step, plane: LargePlane) -> float:
    """CPU of all threads, without what the control plane's answers took: those are another program's."""
    gc.collect()
    began, answers = time.process_time(), plane.cpu
    await step()
    return time.process_time() - began - (plane.cpu - answers)


async def costs(fleet: LargeFleet, folder: Path, runs: int, monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """CPU seconds of each step, the best of several runs: the first round after a start, and the next ones."""
    best: dict[str, float] = {}
    for number in range(runs):
        with fleet.agent(folder / str(number), monkeypatch) as here:
            for life in ("first", "again"):
                for name, step in steps_of(here):
                    spent = await seconds_of(step, fleet.plane)
                    best[f"{name}, {life}"] = min(spent, best.get(f"{name}, {life}", spent))
                here.later(AGAIN_SECONDS)
    return best


async def compare(
    sizes: Sequence[int], folder: Path, monkeypatch: pytest.MonkeyPatch, times_linear: float = TIMES_LINEAR
) -> None:
    found: dict[int, dict[str, float]] = {}
    for size in sizes:
        place = folder / str(size)
        place.mkdir()
        fleet = await LargeFleet.read(size, BRANCHES, place, monkeypatch)
        settle_memory()
        found[size] = await costs(fleet, place, 1 if size > LARGE else 2, monkeypatch)
    worse = []
    for smaller, larger in pairwise(sizes):
        for name, spent in found[larger].items():
            ratio = spent / max(found[smaller][name], 1e-9) / (larger / smaller)
            print(
                f"{name:24} {smaller:>5} {found[smaller][name]:8.4f} s {larger:>5} {spent:8.4f} s x linear {ratio:.2f}"
            )
            if ratio > times_linear and spent > NOISE_SECONDS:
                worse.append(f"{name}: {larger} projects take {ratio:.2f} times as long as linear, {spent:.3f} s")
    assert not worse, "\n".join(worse)


async def test_every_feature_is_linear_in_a_small_fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # What is quadratic takes five times as long as linear here; the large fleet holds the goal.
    await compare((20, 100), tmp_path, monkeypatch, times_linear=3)


@pytest.mark.deep
async def test_every_feature_is_linear(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await compare((50, 500, 5_000), tmp_path, monkeypatch)


async def beat(worst: list[float]) -> None:
    """Measure how late the event loop turns, as the agent does, and collect garbage as it does."""
    loop = asyncio.get_running_loop()
    for number in count(1):
        planned = loop.time() + BEAT_SECONDS
        await asyncio.sleep(BEAT_SECONDS)
        worst[0] = max(worst[0], loop.time() - planned)
        if number % 40 == 0:
            collect_garbage()


@pytest.fixture
def tuned() -> Iterator[None]:
    """The interpreter of an agent."""
    threshold, interval = gc.get_threshold(), sys.getswitchinterval()
    tune_interpreter()
    yield
    gc.set_threshold(*threshold)
    sys.setswitchinterval(interval)
    gc.unfreeze()


@pytest.mark.deep
@pytest.mark.usefixtures("tuned")
async def test_the_event_loop_turns_in_a_fleet_of_ten_thousand_projects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = await LargeFleet.read(10_000, BRANCHES, tmp_path, monkeypatch)
    lags: dict[str, float] = {}
    with fleet.agent(tmp_path / "agent", monkeypatch) as here:
        for life in ("first", "again"):
            for name, step in steps_of(here):
                worst = [0.0]
                heart = asyncio.create_task(beat(worst))
                await step()
                await asyncio.sleep(2 * BEAT_SECONDS)
                heart.cancel()
                lags[f"{name}, {life}"] = worst[0]
                print(f"{name}, {life}: {worst[0]:.3f} s", flush=True)
            here.later(AGAIN_SECONDS)
    assert not {name: lag for name, lag in lags.items() if lag >= LAG_SECONDS}
