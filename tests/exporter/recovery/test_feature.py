"""Windows, snapshots, targets and drills as series, from what is known; nothing is shown that is not known."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from collectors.base import Status, Unread
from collectors.metric import Metric, Series
from collectors.neon.inventory import Inventory
from collectors.neon.models import Branch, Project
from collectors.neon.snapshots import Snapshot
from collectors.platforms.domain.security import DrillFacts
from exporter.app.settings import Settings
from exporter.core.state import State
from exporter.posture.fact_cache import FactCache
from exporter.posture.outside import Drills
from exporter.posture.sources import Outcome
from exporter.recovery import series as metrics
from exporter.recovery.feature import DrillHistory, RecoveryRun, drill_facts
from exporter.recovery.journal import BEGAN, ENDED, FAILED, OK, Drill, DrillJournal, copy_name
from exporter.recovery.series import RecoveryFacts, earliest_restorable, observe
from exporter.settings.recovery import RecoverySettings, RecoveryTarget
from tests.exporter.recovery.test_journal import drill

NOW = 1_795_000_000.0
HOUR, DAY = 3600.0, 86400.0
TARGETS = RecoverySettings(
    targets=[
        RecoveryTarget(project="shop", branch="main", rto_seconds=900, rpo_seconds=300),
        RecoveryTarget(project="shop", branch="api", rto_seconds=60, rpo_seconds=60),
        RecoveryTarget(project="*", branch="main", rto_seconds=7200, rpo_seconds=86400),
    ]
)


def branch(name: str, **more: Any) -> Branch:
    made = {"id": f"br-{name}", "project_id": "p", "name": name, "parent_id": "br-main", **more}
    return Branch.model_construct(
        None, **{"created_at": NOW - 30 * DAY, "last_reset_at": None, "default": False, **made}
    )


def inventory(*branches: Branch, retention: int | None = 7 * 86400) -> Inventory:
    project = Project(id="p", name="shop", history_retention_seconds=retention)
    known = {entry.id: entry for entry in branches}
    return Inventory(
        org_id="o", org_name="", plan="", projects={"p": project}, branches=known, endpoints={},
        unknown_project_ids=frozenset(), notes=(), server_now=NOW, skew=0.0, taken_at=NOW, requests=1, holdings={},
    )  # fmt: skip


def series(known: RecoveryFacts, *branches: Branch, **more: Any) -> dict[Metric, Series]:
    (one,) = observe(TARGETS, inventory(*branches, **more), known, NOW)
    return dict(one.families.items())


NOTHING = RecoveryFacts({}, (), {})


@given(
    now=st.floats(1e9, 2e9), retention=st.floats(0, 3e6), created=st.none() | st.floats(1e9, 2e9),
    reset=st.none() | st.floats(1e9, 2e9),
)  # fmt: skip
def test_the_earliest_instant_is_in_the_window_and_in_the_life(
    now: float, retention: float, created: float | None, reset: float | None
) -> None:
    earliest = earliest_restorable(now, retention, created, reset)
    assert earliest >= now - retention
    assert all(earliest >= value for value in (created, reset) if value is not None)
    assert earliest in {now - retention, created, reset}


def test_the_window_is_cut_by_age_and_by_reset() -> None:
    found = series(
        NOTHING,
        branch("main", parent_id="", default=True),
        branch("young", protected=True, created_at=NOW - HOUR),
        branch("reset", protected=True, last_reset_at=NOW - 2 * HOUR),
        branch("preview"),
    )
    assert found[metrics.WINDOW] == {("br-main",): 7 * DAY, ("br-young",): HOUR, ("br-reset",): 2 * HOUR}
    assert found[metrics.EARLIEST]["br-young",] == NOW - HOUR
    assert metrics.WINDOW not in series(NOTHING, branch("main", parent_id="", default=True), retention=None)


def test_snapshots_that_are_not_told_are_not_zero() -> None:
    main = branch("main", parent_id="", default=True)
    taken = [Snapshot(id=f"s{n}", source_branch_id="br-main", created_at=None) for n in range(2)]
    taken = [snapshot.model_copy(update={"created_at": NOW - (n + 1) * HOUR}) for n, snapshot in enumerate(taken)]
    assert metrics.SNAPSHOTS not in series(RecoveryFacts({"p": None}, (), {}), main)
    none = series(RecoveryFacts({"p": ()}, (), {}), main)
    assert none[metrics.SNAPSHOTS] == {("br-main",): 0}
    assert metrics.SNAPSHOT_AGE not in none
    some = series(RecoveryFacts({"p": taken}, (), {"p": NOW - 3 * HOUR}), main)
    assert some[metrics.SNAPSHOTS] == {("br-main",): 2}
    assert some[metrics.SNAPSHOT_AGE] == {("br-main",): HOUR}
    assert some[metrics.OFFSITE_AGE] == {(): 3 * HOUR}


def ended(number: int, result: str, at: float, **more: Any) -> Drill:
    return drill(number, result=result, ended_at=at, branch_id="br-main", **more)


def test_drills_against_targets() -> None:
    drills = [
        ended(1, OK, NOW - DAY, rto_seconds=12.5, rpo_seconds=3.0),
        ended(2, FAILED, NOW - HOUR),
        drill(3, branch_id="br-main"),  # It runs.
    ]
    main, api = branch("main", parent_id="", default=True), branch("api")
    found = series(RecoveryFacts({}, drills, {}), main, api, branch(copy_name(NOW), id="br-copy"))
    key = ("br-main", "pitr")
    assert found[metrics.LAST_RESULT] == {key: 0}
    assert found[metrics.LAST_SUCCESS] == {key: NOW - DAY}
    assert found[metrics.LAST_DURATION] == {key: 12.5}
    assert found[metrics.LAST_RPO] == {key: 3.0}
    assert found[metrics.RTO_TARGET] == {key: 900, ("br-api", "pitr"): 60}
    assert found[metrics.LEFT] == {(): 1}
    assert ("br-copy",) not in found[metrics.WINDOW]


def test_what_was_never_drilled_has_targets_alone() -> None:
    found = series(NOTHING, branch("main", parent_id="", default=True))
    assert found[metrics.RPO_TARGET] == {("br-main", "pitr"): 300}
    assert not found.keys() & {metrics.LAST_RESULT, metrics.LAST_SUCCESS, metrics.LAST_DURATION, metrics.LAST_RPO}


async def test_the_file_is_read_when_it_changed(tmp_path: Path) -> None:
    settings = Settings(recovery={"drills": tmp_path / "drills", "targets": TARGETS.targets})
    state, book = State(), DrillJournal(tmp_path / "drills")
    run = RecoveryRun(settings.recovery, book, state, offsite=lambda: {"p": NOW - HOUR})
    seen = inventory(branch("main", parent_id="", default=True))

    async def shown(metric: Metric) -> Series:
        await run.on_inventory(seen)
        ((_, _, entry),) = state.entries()
        assert entry.good is not None
        return entry.good.families.get(metric)

    assert await shown(metrics.LAST_RESULT) == {}
    book.write(BEGAN, drill(1, branch_id="br-main"), NOW)
    book.write(ENDED, ended(1, OK, NOW, rto_seconds=1.0), NOW)
    assert await shown(metrics.LAST_RESULT) == {("br-main", "pitr"): 1}
    book.path.write_text("not one of ours\n")
    assert await shown(metrics.LAST_RESULT) == {("br-main", "pitr"): 1}  # What was known stays; the log says why.
    book.path.unlink()
    assert await shown(metrics.LAST_RESULT) == {}


def test_facts_for_posture() -> None:
    drills = [ended(1, OK, 10.0, rto_seconds=5.0, rpo_seconds=1.0), ended(2, FAILED, 20.0), drill(3)]
    found = drill_facts(drills, ["p", "q"])
    assert (found["p/pitr"].last_success_at, found["p/pitr"].rto_seconds) == (10.0, 5.0)
    assert found["p/pitr"].last_result == FAILED
    assert found["q/pitr"].last_success_at is None


def test_every_project_with_a_target_must_have_been_drilled(tmp_path: Path) -> None:
    journal = DrillJournal(tmp_path / "drills")
    journal.write(ENDED, ended(1, OK, 10.0), NOW)
    projects = [("p", "shop"), ("q", "blog")]

    def facts(**recovery: Any) -> Mapping[str, DrillFacts]:
        return DrillHistory(Settings(recovery={"drills": journal.path, **recovery})).drill_facts(projects)

    assert {key: fact.last_success_at for key, fact in facts().items()} == {"p/pitr": 10.0, "q/pitr": None}
    target = {"project": "shop", "rto_seconds": 1, "rpo_seconds": 1}
    assert list(facts(targets=[target])) == ["p/pitr"], "without a target the other one need not be"
    journal.path.write_text("not one of ours\n")
    for fact in facts().values():
        assert isinstance(fact.last_success_at, Unread) and "drill verify" in fact.last_success_at.why


async def test_posture_takes_the_drills_from_whoever_answers(tmp_path: Path) -> None:
    journal = DrillJournal(tmp_path / "drills")
    journal.write(ENDED, ended(1, OK, 10.0), NOW)
    answers: list[DrillHistory] = []
    source, cache = Drills(lambda: answers[0] if answers else None), FactCache()
    here = inventory(branch("main", parent_id="", default=True))
    assert await source.read(here, cache, NOW) == Outcome()
    assert await cache.load() == {}, "nobody answers, so nothing is known"
    answers.append(DrillHistory(Settings(recovery={"drills": journal.path})))
    assert await source.read(here, cache, NOW) == Outcome()
    known = cache.get("drill", "p/pitr", DrillFacts)
    assert known is not None and known[1].last_success_at == 10.0
    journal.path.write_text("not one of ours\n")
    assert (await source.read(here, cache, NOW)).status is Status.NO_DATA
