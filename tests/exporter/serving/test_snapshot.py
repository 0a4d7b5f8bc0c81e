"""The snapshot is well formed whatever came and went, costs what changed, and never shows half a generation."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from collectors.base import Target
from collectors.metric import Families, Kind, Metric, Scope, Unit
from exporter.serving.render import render
from exporter.serving.snapshot import EMPTY, SLOTS, SnapshotBuilder
from tests.exporter.serving.served import CALLS, MARK, SIZE, endpoint, families, plain
from tests.fix_prometheus import promtool_check


def samples(text: bytes) -> dict[str, list[float]]:
    """Values by family; the families must come sorted, each once, with its lines together."""
    read = [
        (family.name, [sample.value for sample in family.samples])
        for family in text_string_to_metric_families(text.decode())
    ]
    names = [name for name, _ in read]
    assert names == sorted(set(names))
    return dict(read)


def test_empty() -> None:
    assert plain(EMPTY) == b""
    assert plain(SnapshotBuilder().publish(1.0)) == b""


def test_families_are_whole_and_sorted_and_generations_count() -> None:
    builder = SnapshotBuilder()
    for number in range(20):
        builder.put(number, endpoint(number), families(number, 3))
    first = builder.publish(11.0)
    assert (first.generation, first.published_at, first.series) == (1, 11.0, 140)
    text = plain(first)
    assert {name: len(values) for name, values in samples(text).items()} == {
        "neonmeter_test_mark": 20, "pg_test_calls": 60, "pg_test_size_bytes": 60,
    }  # fmt: skip
    assert text.count(b"# TYPE") == text.count(b"# HELP") == 3
    assert promtool_check(text) == ""
    again = builder.publish(12.0)
    assert again.generation == 2
    assert again.plain == first.plain


ACTION = st.tuples(st.integers(0, 30), st.sampled_from(["put", "put", "one", "none", "drop"]), st.integers(0, 9))


@settings(max_examples=60, deadline=None)
@given(st.lists(ACTION, max_size=80))
def test_any_history_ends_in_what_a_fresh_render_says(history: list[tuple[int, str, int]]) -> None:
    builder = SnapshotBuilder()
    there: dict[int, Families] = {}
    for number, action, mark in history:
        if action == "drop":
            builder.drop(number)
            there.pop(number, None)
            continue
        made = Families() if action == "none" else families(mark, mark)
        if action == "one":
            made = Families()
            made.set(SIZE, ("x",), mark)
        builder.put(number, endpoint(number), made)
        there[number] = made
        if mark == 3:
            builder.publish(0.0)
    snapshot = builder.publish(1.0)
    wanted = sorted(
        line
        for number, made in there.items()
        for lines in render(endpoint(number), made).values()
        for line in lines.splitlines()
    )
    text = plain(snapshot)
    samples(text)
    assert sorted(line for line in text.splitlines() if not line.startswith(b"#")) == wanted
    assert snapshot.series == len(wanted)
    assert builder.keys() == there.keys()


def test_a_change_renews_the_pages_of_that_target_only() -> None:
    builder = SnapshotBuilder()
    for number in range(40 * SLOTS):
        builder.put(number, endpoint(number), families(1))
    before = builder.publish(1.0)
    builder.put(3, endpoint(3), families(2))
    after = builder.publish(2.0)
    for old, new, chunks in ((before.plain, after.plain, 41), (before.gzip, after.gzip, 3)):
        assert len(old) == len(new) == 3 * chunks
        assert sum(one is not two for one, two in zip(old, new, strict=True)) == 3


def test_equal_values_renew_nothing() -> None:
    builder = SnapshotBuilder()
    builder.put("a", endpoint(1), families(1))
    before = builder.publish(1.0)
    builder.put("a", endpoint(1), families(1))
    assert all(one is two for one, two in zip(before.gzip, builder.publish(2.0).gzip, strict=True))


def test_a_snapshot_never_changes() -> None:
    builder = SnapshotBuilder()
    builder.put("a", endpoint(1), families(1))
    first = builder.publish(1.0)
    text = plain(first)
    builder.put("a", endpoint(1), families(2))
    builder.drop("a")
    builder.publish(2.0)
    assert plain(first) == text


def test_freed_slots_are_taken_again() -> None:
    builder = SnapshotBuilder()
    for number in range(4 * SLOTS):
        builder.put(number, endpoint(number), families(1))
    chunks = len(builder.publish(1.0).plain)
    generator = random.Random(5)
    alive = list(range(4 * SLOTS))
    for number in range(4 * SLOTS, 400):
        builder.drop(alive.pop(generator.randrange(len(alive))))
        builder.put(number, endpoint(number), families(1))
        alive.append(number)
    assert len(builder.publish(2.0).plain) == chunks


def test_cut_series_are_told_and_forgotten() -> None:
    small = Metric("pg_test_small", Kind.GAUGE, Unit.NONE, Scope.ENDPOINT, "Small.", ("datname",), max_series=2)

    def made(count: int) -> Families:
        some = Families()
        some.put(small, {(str(i),): i for i in range(count)})
        return some

    builder = SnapshotBuilder()
    assert builder.put("a", endpoint(1), made(5)) == 3
    assert builder.put("b", endpoint(2), made(3)) == 1
    assert builder.truncated() == {"pg_test_small": 4}
    assert builder.publish(1.0).series == 4
    assert builder.put("a", endpoint(1), made(2)) == 0
    assert builder.truncated() == {"pg_test_small": 1}
    builder.drop("b")
    assert builder.truncated() == {"pg_test_small": 0}


def test_a_source_may_change_its_target() -> None:
    builder = SnapshotBuilder()
    builder.put("a", endpoint(1), families(1, 1))
    builder.put("a", endpoint(2), families(1, 1))
    text = plain(builder.publish(1.0))
    assert b"00000001" not in text
    assert text.count(b"ep-wet-fog-00000002") == 3


def test_two_declarations_of_one_name_are_refused_and_leave_nothing() -> None:
    twin = Metric(CALLS.name, Kind.COUNTER, Unit.NONE, Scope.ENDPOINT, "Other.", ("datname", "user"))
    builder = SnapshotBuilder()
    builder.put("a", endpoint(1), families(1))
    text = plain(builder.publish(1.0))
    made = Families()
    made.set(MARK, (), 1)
    made.set(twin, ("a", "b"), 1)
    with pytest.raises(ValueError, match="another declaration"):
        builder.put("b", endpoint(2), made)
    assert plain(builder.publish(2.0)) == text
    assert builder.keys() == {"a"}


def test_a_broken_observation_leaves_the_last_one() -> None:
    builder = SnapshotBuilder()
    builder.put("a", endpoint(1), families(1))
    text = plain(builder.publish(1.0))
    broken = Families()
    broken.put(CALLS, {("too few",): 1})
    with pytest.raises(ValueError, match="zip"):
        builder.put("a", endpoint(1), broken)
    assert plain(builder.publish(2.0)) == text


def test_unknown_key_may_be_dropped() -> None:
    SnapshotBuilder().drop(Target(Scope.AGENT, ()))
