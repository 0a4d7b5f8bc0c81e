"""The meter: whole units that add up, whatever happened and however it is asked."""

from __future__ import annotations

import json
from collections.abc import Sequence
from fractions import Fraction
from math import floor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.demo.meter import Meter, MeterFileError
from exporter.demo.view import BRANCH_METRICS
from exporter.demo.world import TwinBranch, TwinProject, World
from tests.fix_twin import MovableClock

START = 1_795_003_200.0 // 3600 * 3600
HOUR = int(START) // 3600
GB = 10**9


def world(*, children: int = 2, retention: int = 7200, root_bytes: int = 0) -> tuple[World, MovableClock]:
    clock = MovableClock(START)
    made = World("org-x", "X", "launch_v3", clock)
    made.projects["p"] = TwinProject("p", "p", "aws-eu-central-1", 18, retention, START, START)
    made.branches["root"] = TwinBranch("root", "p", "main", created_at=START, logical_size=root_bytes)
    for number in range(children):
        made.branches[f"child{number}"] = TwinBranch(f"child{number}", "p", f"c{number}", "root", created_at=START)
    return made, clock


def hours(first: int, count: int) -> list[tuple[int, int]]:
    return [(HOUR + first + number, HOUR + first + number + 1) for number in range(count)]


def values(rows: Sequence[object], metric: str) -> list[int]:
    return [row.get(metric, 0) for row in rows]  # type: ignore[attr-defined]


def test_awake_seconds_times_cu_fall_into_their_hours() -> None:
    made, clock = world()
    meter = Meter(made, refresh=0)
    meter.awake("root", START + 3000, START + 4000, 0.25)
    clock.forward(7200)
    assert values(meter.branch("p", "root", hours(0, 2)), "compute_unit_seconds") == [150, 100]
    assert values(meter.branch("p", "root", [(HOUR, HOUR + 24)]), "compute_unit_seconds") == [250]


def test_nothing_is_lost_to_rounding() -> None:
    """Ninety minutes in slices of a third of a second: no slice is a whole CU-second, the sum is."""
    made, clock = world()
    meter = Meter(made, refresh=0)
    for number in range(3 * 5400):
        meter.awake("root", START + number / 3, START + (number + 1) / 3, 0.25)
    clock.forward(7200)
    assert values(meter.branch("p", "root", hours(0, 2)), "compute_unit_seconds") == [900, 450]


def test_root_is_billed_for_its_size_and_a_child_for_what_it_changed() -> None:
    made, clock = world(children=1)
    meter = Meter(made, refresh=0)
    meter.size("root", START, 2 * GB)
    meter.size("child0", START, 2 * GB)
    meter.wal("child0", START + 1800, GB)
    clock.forward(3600)
    meter.wal("child0", clock(), 9 * GB)
    clock.forward(3600)
    assert values(meter.branch("p", "root", hours(0, 2)), "root_branch_bytes_month") == [2 * GB, 2 * GB]
    child = meter.branch("p", "child0", hours(0, 2))
    assert values(child, "child_branch_bytes_month") == [GB // 2, 2 * GB]
    assert values(child, "root_branch_bytes_month") == [0, 0]


def test_wal_leaves_the_history_window() -> None:
    made, clock = world(retention=7200)
    meter = Meter(made, refresh=0)
    meter.wal("root", START + 1800, 100 * 3600)
    clock.forward(5 * 3600)
    restore = values(meter.branch("p", "root", hours(0, 5)), "instant_restore_bytes_month")
    assert restore == [50 * 3600, 100 * 3600, 50 * 3600, 0, 0]


def test_a_busy_history_window_stays_small() -> None:
    made, clock = world(retention=7200)
    meter = Meter(made, refresh=0)
    for second in range(3 * 7200):
        meter.wal("root", clock.forward(1), 3600 * (second + 1))
    assert len(meter.to_json()["leaving"]["root"]) <= 501
    last = values(meter.branch("p", "root", hours(5, 1)), "instant_restore_bytes_month")
    assert last == [pytest.approx(7200 * 3600, rel=0.01)]


def test_children_are_counted_by_the_hour_until_they_end() -> None:
    made, clock = world(children=12)
    meter = Meter(made, refresh=0)
    clock.forward(3600)
    for number in range(6):
        meter.branch_ended(f"child{number}", clock() + 1800)
    clock.forward(7200)
    assert values(meter.project("p", hours(0, 3)), "extra_branches_month") == [12, 9, 6]
    assert values(meter.branch("p", "child0", hours(0, 3)), "extra_branches_month") == [0, 0, 0]


def test_a_new_branch_is_noticed() -> None:
    made, clock = world(children=0)
    meter = Meter(made, refresh=0)
    clock.forward(3600)
    made.branches["late"] = TwinBranch("late", "p", "late", "root", created_at=clock())
    meter.branches_changed()
    clock.forward(3600)
    assert values(meter.project("p", hours(0, 2)), "extra_branches_month") == [0, 1]


def test_snapshots_belong_to_the_project() -> None:
    made, clock = world()
    meter = Meter(made, refresh=0)
    meter.snapshot("p", "s", START, 3 * GB)
    clock.forward(1800)
    meter.snapshot("p", "s", clock(), 0)
    clock.forward(1800)
    assert values(meter.project("p", hours(0, 1)), "snapshot_storage_bytes_month") == [3 * GB // 2]


def test_the_running_hour_grows_at_each_refresh_and_not_between() -> None:
    made, clock = world(root_bytes=3600)
    meter = Meter(made, refresh=900)

    def seen() -> int:
        return values(meter.branch("p", "root", hours(0, 1)), "root_branch_bytes_month")[0]

    clock.forward(600)
    assert seen() == 600
    clock.forward(600)
    assert seen() == 600
    clock.forward(300)
    assert seen() == 1500


def test_periods_split_when_the_plan_changes() -> None:
    made, clock = world()
    meter = Meter(made, refresh=0)
    clock.forward(7200)
    meter.plan(clock(), "scale_v3")
    first, second = meter.periods()
    assert (first.plan, first.start, first.end) == ("launch_v3", HOUR, HOUR + 2)
    assert (second.plan, second.start, second.end) == ("scale_v3", HOUR + 2, None)
    assert first.id != second.id
    assert made.plan == "scale_v3"


def test_a_killed_twin_goes_on_from_its_file(tmp_path: Path) -> None:
    made, clock = world(children=1, root_bytes=3600)
    meter = Meter(made, refresh=0)
    meter.awake("root", START, START + 1800, 0.25)
    meter.wal("root", START, 7200)
    meter.plan(START + 3600, "scale_v3")
    clock.forward(1800)
    meter.save(tmp_path / "meter.json")
    again, clock_again = world(children=1, root_bytes=999)
    clock_again.now = clock.forward(1800)
    loaded = Meter.load(again, tmp_path / "meter.json", refresh=0)
    assert loaded.project("p", hours(0, 2)) == meter.project("p", hours(0, 2))
    assert values(loaded.branch("p", "root", hours(0, 1)), "root_branch_bytes_month") == [3600]
    assert loaded.periods() == meter.periods()
    assert again.plan == "scale_v3"
    assert list(tmp_path.iterdir()) == [tmp_path / "meter.json"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 99}', "nonsense"])
def test_a_file_of_something_else_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "meter.json"
    path.write_text(text)
    with pytest.raises(MeterFileError):
        Meter.load(world()[0], path)


EVENT = st.tuples(
    st.sampled_from(["root", "child0", "child1"]),
    st.sampled_from(["awake", "size", "wal", "egress"]),
    st.floats(0, 5000, allow_nan=False).map(lambda entry: round(entry, 6)),
    st.integers(0, 10**10),
    st.sampled_from([0.25, 0.5, 1.0, 3.75]),
)


def play(meter: Meter, clock: MovableClock, events: Sequence[tuple[str, str, float, int, float]]) -> Fraction:
    """Let events happen one after another; the exact CU-seconds of them."""
    exact = Fraction(0)
    for branch, kind, seconds, amount, cu in events:
        began = clock()
        clock.now = round(began + seconds, 6)
        if kind == "awake":
            meter.awake(branch, began, clock(), cu)
            exact += Fraction(round(clock() * 10**6) - round(began * 10**6), 10**6) * Fraction(cu)
        elif kind == "size":
            meter.size(branch, clock(), amount)
        elif kind == "wal":
            meter.wal(branch, clock(), amount)
        else:
            meter.egress(branch, clock(), amount)
    return exact


@settings(max_examples=60, deadline=None)
@given(st.lists(EVENT, max_size=12), st.lists(EVENT, max_size=12))
def test_sums_hold_at_every_level(early: list[tuple[str, str, float, int, float]], late: list[tuple]) -> None:
    made, clock = world()
    meter = Meter(made, refresh=0)
    exact = play(meter, clock, early)
    before = meter.project("p", [(HOUR, HOUR + 48)])[0]
    meter = Meter.from_json(made, json.loads(json.dumps(meter.to_json())), refresh=0)
    exact += play(meter, clock, late)
    span = int(clock()) // 3600 + 1 - HOUR
    branches = {branch: meter.branch("p", branch, hours(0, span)) for branch in made.branches}
    project = meter.project("p", hours(0, span))
    whole = meter.project("p", [(HOUR, HOUR + span)])[0]
    for metric in BRANCH_METRICS:
        by_hour = [sum(entry) for entry in zip(*(values(rows, metric) for rows in branches.values()), strict=True)]
        assert values(project, metric) == by_hour
        assert whole.get(metric, 0) == sum(by_hour)
        assert whole.get(metric, 0) >= before.get(metric, 0)
    counted = whole.get("compute_unit_seconds", 0)
    assert floor(exact) - 2 <= counted <= floor(exact)  # three branches, each cut to whole units once
    assert all(value > 0 for row in project for value in row.values())
