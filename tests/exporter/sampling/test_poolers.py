"""What a reading of a PgBouncer leaves behind: pods come and go, and none is shown after it went."""

from __future__ import annotations

import pytest

from collectors.base import Observation, Status, Target
from collectors.metric import Scope
from collectors.pgbouncer import console
from exporter.core.state import State
from exporter.sampling.poolers import Poolers
from exporter.settings import PoolerSettings

FRONT, FRONTIER = (PoolerSettings(name=name, dsn="postgresql://stats@h/pgbouncer") for name in ("front", "frontier"))


class World:
    """Poolers whose instances answer as they are told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.state = State()
        self.poolers = Poolers([FRONT, FRONTIER], self.state, deadline_seconds=5)
        self._answers: dict[str, Status] = {}
        monkeypatch.setattr(console, "observe", self._observe)

    async def _observe(self, target: console.PoolerTarget, *, deadline_seconds: float) -> list[Observation]:
        del target, deadline_seconds
        targets = [(Target(Scope.POOLER, (label,), label), status) for label, status in self._answers.items()]
        return [Observation("pgbouncer", target, status, 10) for target, status in targets]

    async def read(self, pooler: PoolerSettings, **answers: Status) -> set[str]:
        """One reading; ``front_a_6432`` is instance ``front:a:6432``. All poolers that are shown afterwards."""
        self._answers = {label.replace("_", ":"): status for label, status in answers.items()}
        await self.poolers.read(pooler)
        return self.shown()

    def shown(self) -> set[str]:
        return {target.key for _, target, _ in self.state.entries()}


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


async def test_a_pod_that_is_not_met_any_more_is_gone(world: World) -> None:
    await world.read(FRONTIER, frontier=Status.OK)
    await world.read(FRONT, front_a_6432=Status.OK, front_b_6432=Status.OK)
    shown = await world.read(FRONT, front_b_6432=Status.OK, front_c_6432=Status.UNREACHABLE)
    assert shown == {"pooler:front:b:6432", "pooler:front:c:6432", "pooler:frontier"}


async def test_while_the_name_does_not_resolve_nothing_is_gone(world: World) -> None:
    await world.read(FRONT, front_a_6432=Status.OK)
    assert await world.read(FRONT, front=Status.UNREACHABLE) == {"pooler:front:a:6432", "pooler:front"}
    assert await world.read(FRONT, front_a_6432=Status.OK) == {"pooler:front:a:6432"}


async def test_a_pooler_that_is_no_longer_configured_is_gone(world: World) -> None:
    await world.read(FRONTIER, frontier=Status.OK)
    await world.read(FRONT, front_a_6432=Status.OK)
    Poolers([FRONTIER], world.state, deadline_seconds=5).forget_others()
    assert world.shown() == {"pooler:frontier"}
