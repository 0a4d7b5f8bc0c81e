"""What is shown of a target that fails: its last values for a while, then only what cannot mislead."""

from __future__ import annotations

from dataclasses import replace

import pytest

from collectors.base import Observation, Status, Target
from collectors.metric import Families, Kind, Metric, Scope, Unit
from exporter.core.state import State
from exporter.sampling.breaker import FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, Breaker, GlobalBreaker

GAUGE = Metric("pg_example_backends", Kind.GAUGE, Unit.NONE, Scope.ENDPOINT, "A gauge.")
OTHER = Metric("pg_example_locks", Kind.GAUGE, Unit.NONE, Scope.ENDPOINT, "Another gauge.")
COUNTER = Metric("pg_example_commits_total", Kind.COUNTER, Unit.NONE, Scope.ENDPOINT, "A counter.")
TARGET = Target(Scope.ENDPOINT, ("p", "b", "ep"))


class Shown(State):
    """A state that tells what is exposed."""

    @property
    def now(self) -> dict[str, dict[str, object]]:
        return {
            f"{collector}/{target.key}": {metric.name: dict(series) for metric, series in entry.good.families.items()}
            for collector, target, entry in self.entries()
            if entry.good is not None
        }


def seen(status: Status, at: float, **values: int) -> Observation:
    families = Families()
    for metric in (GAUGE, OTHER, COUNTER):
        if metric.name.split("_")[2] in values:
            families.set(metric, (), values[metric.name.split("_")[2]])
    return Observation("databases", TARGET, status, at, families=families)


def test_a_failure_keeps_the_last_values_then_only_counters() -> None:
    state = shown = Shown()
    state.put(seen(Status.OK, 1000, backends=3, commits=9), interval=60)
    state.put(seen(Status.TIMEOUT, 1060), interval=60)
    state.expire(1299)
    assert shown.now["databases/endpoint:ep"] == {"pg_example_backends": {(): 3}, "pg_example_commits_total": {(): 9}}
    assert state.expire(1301) == 1
    assert shown.now["databases/endpoint:ep"] == {"pg_example_commits_total": {(): 9}}
    assert state.expire(9999) == 0, "once is enough"
    state.put(seen(Status.OK, 9999, backends=4, commits=12), interval=60)
    assert shown.now["databases/endpoint:ep"]["pg_example_backends"] == {(): 4}


def test_a_long_interval_is_held_for_twice_as_long() -> None:
    state = State()
    state.put(seen(Status.OK, 0, backends=3), interval=900)
    assert state.expire(1800) == 0
    assert state.expire(1801) == 1


def test_ledger_figures_never_vanish() -> None:
    state = State()
    state.put(seen(Status.OK, 0, backends=3), interval=900, forever=True)
    assert state.expire(1e9) == 0


def test_a_partial_success_updates_what_it_brought_and_keeps_the_rest() -> None:
    state = shown = Shown()
    state.put(seen(Status.OK, 0, backends=3, locks=7), interval=60)
    state.put(seen(Status.TIMEOUT, 60, backends=5), interval=60)
    assert shown.now["databases/endpoint:ep"] == {"pg_example_backends": {(): 5}, "pg_example_locks": {(): 7}}
    entry = state.get("databases", TARGET)
    assert entry is not None
    assert (entry.last.status, entry.good_at) == (Status.TIMEOUT, 0), "a partial success is no success"
    assert state.expire(301) == 1


def test_what_a_failure_says_itself_stays_for_as_long_as_it_fails() -> None:
    state = shown = Shown()
    state.put(seen(Status.OK, 0, backends=3, locks=7, commits=9), interval=60)
    for now in range(60, 3600, 60):
        state.put(seen(Status.UNREACHABLE, now, locks=0), interval=60)
        state.expire(now)
        assert shown.now["databases/endpoint:ep"]["pg_example_locks"] == {(): 0}, "an alert needs it for longer"
    assert state.expire(3600) == 0, "shown anew only when something changed"
    state.put(seen(Status.ASLEEP, 3600), interval=60)
    assert state.expire(3600) == 1
    assert shown.now["databases/endpoint:ep"] == {"pg_example_commits_total": {(): 9}}
    assert state.expire(9999) == 0


def test_an_empty_family_takes_the_old_one_away() -> None:
    state = shown = Shown()
    state.put(seen(Status.OK, 0, backends=3, locks=7), interval=60)
    gone = Families()
    gone.put(GAUGE, {})
    state.put(Observation("databases", TARGET, Status.ASLEEP, 60, families=gone), interval=60)
    assert shown.now["databases/endpoint:ep"] == {"pg_example_locks": {(): 7}}


def test_the_first_status_and_each_change_are_told_once() -> None:
    state = State()
    assert state.put(seen(Status.OK, 0, backends=1), interval=60) is None
    assert state.put(seen(Status.AUTH, 60), interval=60) is Status.OK
    assert state.put(seen(Status.AUTH, 120), interval=60) is None


async def test_targets_that_are_gone_are_dropped() -> None:
    state = shown = Shown()
    state.put(seen(Status.OK, 0, backends=1), interval=60)
    assert await state.forget(lambda collector, target: collector == "other") == 0
    assert await state.forget(lambda collector, target: target.key == "endpoint:other") == 0
    assert await state.forget(lambda collector, target: (collector, target) == ("databases", TARGET)) == 1
    assert shown.now == {}


ABOUT = {
    Scope.ORG: Target(Scope.ORG, ("p",)),
    Scope.PROJECT: Target(Scope.PROJECT, ("p",)),
    Scope.BRANCH: Target(Scope.BRANCH, ("p", "b")),
    Scope.ENDPOINT: TARGET,
    Scope.POOLER: Target(Scope.POOLER, ("p",)),
    Scope.AGENT: Target(Scope.AGENT, ()),
}


def test_an_excluded_project_leaves_at_every_scope_that_names_it_and_is_not_taken_in_again() -> None:
    state = shown = Shown()
    observations = [replace(seen(Status.OK, 0, backends=1), target=target) for target in ABOUT.values()]
    others = [
        replace(observations[0], target=Target(Scope.PROJECT, ("q",))),
        replace(observations[0], target=Target(Scope.ENDPOINT, ("q", "p", "p2"))),
    ]
    for observation in (*observations, *others):
        state.put(observation, interval=60)
    state.exclude(frozenset({"p"}))
    left = {"databases/org:p", "databases/pooler:p", "databases/agent:", "databases/project:q", "databases/endpoint:p2"}
    assert shown.now.keys() == left, "what has the same id in another place stays"
    state.show("owner", observations, interval=60)
    state.restore(observations[3], interval=60)
    assert state.put(observations[3], interval=60) is None
    assert shown.now.keys() == left
    assert state.get("databases", TARGET) is None


def test_a_project_that_is_no_longer_excluded_is_taken_in_again() -> None:
    state = shown = Shown()
    state.exclude(frozenset({"p"}))
    state.put(seen(Status.OK, 0, backends=1), interval=60)
    assert shown.now == {}
    state.exclude(frozenset({"q"}))
    state.restore(seen(Status.OK, 0, backends=2), interval=60)
    assert shown.now == {"databases/endpoint:ep": {"pg_example_backends": {(): 2}}}


def test_what_is_named_by_halves_retires_nothing() -> None:
    state = shown = Shown()
    one, two, three = (
        replace(seen(Status.OK, 0, backends=1), target=Target(Scope.POOLER, (label,))) for label in ("a", "b", "c")
    )
    state.show("owner", [one, two], interval=60)
    state.show("owner", [three], interval=60, complete=False)
    assert shown.now.keys() == {"databases/pooler:a", "databases/pooler:b", "databases/pooler:c"}
    state.show("owner", [two], interval=60)
    assert shown.now.keys() == {"databases/pooler:b"}


def test_the_breaker_opens_after_three_failures_and_waits_longer_each_time() -> None:
    breaker = Breaker()
    for now in (0.0, 60.0):
        breaker.record(Status.TIMEOUT, now)
        assert not breaker.is_open(now)
    breaker.record(Status.TIMEOUT, 120.0)
    assert breaker.is_open(120 + 0.79 * FIRST_PAUSE_SECONDS)
    assert not breaker.is_open(120 + 1.21 * FIRST_PAUSE_SECONDS)
    for _ in range(20):
        breaker.record(Status.TIMEOUT, 1000.0)
    assert not breaker.is_open(1000 + 1.21 * LONGEST_PAUSE_SECONDS), "the pause is bounded"
    breaker.record(Status.OK, 2000.0)
    assert not breaker.is_open(2000.0)


def test_a_wrong_password_opens_the_breaker_at_once() -> None:
    breaker = Breaker()
    breaker.record(Status.AUTH, 0.0)
    assert breaker.is_open(1.0)


@pytest.mark.parametrize("status", [Status.ASLEEP, Status.NO_DATA, Status.UNSUPPORTED, Status.OK, Status.STORE_ERROR])
def test_what_is_no_failure_does_not_count(status: Status) -> None:
    breaker = Breaker()
    for now in range(10):
        breaker.record(status, now)
    assert not breaker.is_open(10)


@pytest.mark.parametrize(
    ("outcomes", "opens"),
    [
        ([Status.TIMEOUT] * 4, False),
        ([Status.TIMEOUT] * 3 + [Status.OK] * 2, True),
        ([Status.TIMEOUT] * 3 + [Status.OK] * 3, False),
        ([Status.TIMEOUT] * 2 + [Status.AUTH] * 2 + [Status.OK], False),
        ([], False),
    ],
)
def test_the_global_breaker_needs_most_to_fail_alike(outcomes: list[Status], opens: bool) -> None:
    breaker = GlobalBreaker()
    breaker.record_round(outcomes, 0.0)
    assert breaker.is_open(1.0) is opens


def test_what_was_known_before_a_restart_is_shown_until_there_is_something_newer() -> None:
    state = shown = Shown()
    state.restore(seen(Status.NO_DATA, 1000, commits=9), interval=60)
    assert shown.now["databases/endpoint:ep"] == {"pg_example_commits_total": {(): 9}}
    entry = state.get("databases", TARGET)
    assert entry is not None
    assert entry.good_at is None, "it is no success"
    state.put(seen(Status.ASLEEP, 1010), interval=60)
    state.expire(99_999)
    assert shown.now["databases/endpoint:ep"] == {"pg_example_commits_total": {(): 9}}
    state.put(seen(Status.OK, 100_000, backends=1, commits=12), interval=60)
    state.restore(seen(Status.NO_DATA, 100_001, commits=9), interval=60)
    assert shown.now["databases/endpoint:ep"]["pg_example_commits_total"] == {(): 12}
