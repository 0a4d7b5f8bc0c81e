"""What a round of readings leaves behind: pods of a PgBouncer come and go, and none is shown after it went."""

from __future__ import annotations

from collectors.base import Observation, Status, Target
from collectors.metric import Scope
from exporter.app.rounds import gone_instances, instances
from exporter.core.state import State
from exporter.serving.snapshot import SnapshotBuilder


def seen(state: State, at: float, **labels: Status) -> None:
    for label, status in labels.items():
        target = Target(Scope.POOLER, (label.replace("_", ":"),), label)
        state.put(Observation("pgbouncer", target, status, at), interval=30)


def test_a_pod_that_is_not_met_any_more_is_gone() -> None:
    state = State(SnapshotBuilder())
    seen(state, 10, front_a_6432=Status.OK, front_b_6432=Status.OK, frontier=Status.OK)
    assert instances(state, "front").keys() == {"pooler:front:a:6432", "pooler:front:b:6432"}
    seen(state, 40, front_b_6432=Status.OK, front_c_6432=Status.UNREACHABLE)
    assert gone_instances(state, "front", 40) == {"pooler:front:a:6432"}
    assert gone_instances(state, "frontier", 40) == set()


def test_while_the_name_does_not_resolve_nothing_is_gone() -> None:
    state = State(SnapshotBuilder())
    seen(state, 10, front_a_6432=Status.OK)
    seen(state, 40, front=Status.UNREACHABLE)
    assert gone_instances(state, "front", 40) == set()
    seen(state, 70, front_a_6432=Status.OK)
    assert gone_instances(state, "front", 70) == {"pooler:front"}
