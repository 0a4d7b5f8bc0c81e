"""The twin's control plane for tests: Neon's API over a small world, without computes behind it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from exporter.demo.api import TwinApi, TwinApiSettings, serve
from exporter.demo.meter import Meter
from exporter.demo.world import ERAS, World
from exporter.demo.worldfile import build_world, load


class MovableClock:
    """A clock that a test moves; it starts at a whole hour and goes only when told."""

    def __init__(self, now: float | None = None) -> None:
        self.now = time.time() // 3600 * 3600 if now is None else now

    def __call__(self) -> float:
        return self.now

    def forward(self, seconds: float) -> float:
        self.now += seconds
        return self.now


@dataclass(frozen=True)
class Twin:
    """A control plane and what it is made of."""

    api: TwinApi
    world: World
    meter: Meter
    clock: MovableClock

    @property
    def url(self) -> str:
        return self.api.url

    @property
    def key(self) -> str:
        return self.api.settings.org_key


TwinMaker = Callable[..., Twin]


@pytest.fixture
def make_twin() -> Iterator[TwinMaker]:
    """Start control planes over the built-in small world: ``make_twin(TwinApiSettings(...), now=...)``."""
    with ExitStack() as running:

        def make(
            settings: TwinApiSettings | None = None,
            *,
            now: float | None = None,
            refresh: float = 0.0,
            era: str = "2026-10",
        ) -> Twin:
            clock = MovableClock(now)
            world = build_world(load("small"), clock)
            world.era = ERAS[era]
            meter = Meter(world, refresh=refresh)
            return Twin(running.enter_context(serve(world, meter, settings)), world, meter, clock)

        yield make


@pytest.fixture
def twin_api(make_twin: TwinMaker) -> Twin:
    """One control plane over the small world: two projects, six branches, five computes, all suspended."""
    return make_twin()
