"""The ledger on a real file: idempotent, newest reading wins, sums tie, and a kill loses nothing."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collectors.neon.consumption import UsageRow
from exporter.finops.cost_metrics import ADJUSTMENTS, COST
from exporter.finops.costs import Costs
from exporter.finops.ledger import LEDGER_SCHEMA, Changes, SqliteLedger, UsageFact, from_rows
from exporter.finops.ratecard import load
from exporter.storage.store import Store
from tests.exporter import ledger_writer

HOUR, DAY = 3600, 86400
T0 = 1793491200


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[SqliteLedger]:
    store = Store.open(tmp_path / "neonmeter.db", {"ledger": LEDGER_SCHEMA})
    yield SqliteLedger(store)
    store.close()


def fact(
    value: int,
    at: int,
    *,
    start: int = T0,
    plan: str = "launch_v3",
    branch: str = "b1",
    metric: str = "compute_unit_seconds",
    granularity: str = "hourly",
) -> UsageFact:
    return UsageFact("org", "p1", branch, start, granularity, plan, metric, value, at)


def test_the_same_reading_twice_changes_nothing(ledger: SqliteLedger) -> None:
    facts = [fact(10, T0 + 60), fact(20, T0 + 60, branch="b2")]
    assert ledger.put(facts) == Changes(new=2)
    assert ledger.put(facts) == Changes()
    assert ledger.usage(T0, T0 + HOUR) == facts
    assert ledger.revisions(T0, T0 + DAY) == {T0: 1}
    assert ledger.mismatches() == 0


def test_a_bucket_that_grew_is_replaced(ledger: SqliteLedger) -> None:
    ledger.put([fact(10, T0 + 60)])
    assert ledger.put([fact(30, T0 + 120)]) == Changes(grown=1)
    assert ledger.usage(T0, T0 + HOUR) == [fact(30, T0 + 120)]
    assert ledger.revisions(T0, T0 + DAY) == {T0: 2}


def test_a_smaller_reading_holds_and_is_a_correction(ledger: SqliteLedger) -> None:
    ledger.put([fact(30, T0 + 60)])
    assert ledger.put([fact(10, T0 + 120)]) == Changes(shrunk=1)
    assert ledger.usage(T0, T0 + HOUR) == [fact(10, T0 + 120)]
    assert ledger.tally() == {"facts": 1, "corrections": 1}
    assert ledger.mismatches() == 0


def test_an_older_reading_that_comes_late_changes_nothing(ledger: SqliteLedger) -> None:
    ledger.put([fact(30, T0 + 120)])
    assert ledger.put([fact(10, T0 + 60)]) == Changes()
    assert ledger.usage(T0, T0 + HOUR) == [fact(30, T0 + 120)]


def test_a_bucket_read_again_under_another_plan_is_not_counted_twice(ledger: SqliteLedger) -> None:
    ledger.put([fact(30, T0 + 60), fact(5, T0 + 60, branch="b2")])
    assert ledger.put([fact(30, T0 + 120, plan="scale_v3")]) == Changes(new=1, moved=1)
    assert [(f.plan, f.value) for f in ledger.usage(T0, T0 + HOUR, "p1")] == [("launch_v3", 5), ("scale_v3", 30)]
    assert sum(f.value for f in ledger.priceable(T0, T0 + DAY)) == 35
    assert ledger.mismatches() == 0


def test_a_change_of_plan_within_an_hour_keeps_both_parts(ledger: SqliteLedger) -> None:
    parts = [fact(10, T0 + 60), fact(20, T0 + 60, plan="scale_v3")]
    ledger.put(parts)
    assert ledger.put([p._replace(observed_at=T0 + 120) for p in parts]) == Changes()
    assert sum(f.value for f in ledger.usage(T0, T0 + HOUR)) == 30


def test_all_of_a_batch_or_none(ledger: SqliteLedger) -> None:
    with pytest.raises(ValueError, match="-1"):
        ledger.put([fact(10, T0), fact(-1, T0)])
    with pytest.raises(ValueError, match="granularity"):
        ledger.put([fact(10, T0), fact(1, T0, granularity="weekly")])
    assert ledger.usage(0, 2**40) == []
    with pytest.raises(OverflowError):
        ledger.put([fact(10, T0), fact(2**70, T0, branch="b2")])
    assert ledger.usage(0, 2**40) == []
    assert ledger.put([fact(10, T0)]) == Changes(new=1)


def test_through_is_the_newest_reading_of_each_owner(ledger: SqliteLedger) -> None:
    ledger.put([fact(10, T0 + 5 * HOUR), fact(10, T0 + 5 * HOUR, start=T0 + 2 * HOUR)])
    assert ledger.through().projects == {("org", "p1"): T0 + 3 * HOUR}
    # The newest bucket still grows, and hours without any use are read too.
    ledger.put([fact(1, T0 + 6 * HOUR + 60, start=T0 + 6 * HOUR)], read_through={"org": T0 + 6 * HOUR, "quiet": T0})
    assert ledger.through().orgs == {"org": T0 + 6 * HOUR, "quiet": T0}
    assert ledger.through().projects == {("org", "p1"): T0 + 6 * HOUR + 60}
    # A reading that missed a project does not move the organisation: the next one begins where this one did.
    ledger.put([fact(1, T0 + 9 * HOUR, start=T0 + 7 * HOUR)])
    assert ledger.through().orgs["org"] == T0 + 6 * HOUR
    ledger.put([], read_through={"org": T0 + 5 * HOUR})
    assert ledger.through().orgs["org"] == T0 + 6 * HOUR


def test_sums_by_day_and_hours_of_one_metric(ledger: SqliteLedger) -> None:
    facts = [fact(hour + 1, T0 + DAY, start=T0 + hour * HOUR) for hour in range(30)]
    facts += [fact(12, T0 + DAY, start=f.start, branch="", metric="extra_branches_month") for f in facts]
    facts.append(fact(999, T0 + DAY, granularity="daily"))
    ledger.put(facts)
    by_cut = ledger.priceable(T0, T0 + 2 * DAY, [T0 + DAY])
    assert [(f.start, f.value) for f in by_cut if f.branch_id] == [(T0, 300), (T0 + DAY, 165)]
    assert [(f.start, f.value) for f in ledger.priceable(T0, T0 + 2 * DAY) if f.branch_id] == [(T0, 465)]
    assert [f.value for f in by_cut if not f.branch_id] == [12] * 30
    assert [f.value for f in ledger.hours("compute_unit_seconds", T0 + 3 * HOUR, T0 + 5 * HOUR)] == [4, 5]
    assert [f.value for f in ledger.window(T0, T0 + 2 * HOUR)] == [3, 12, 12]
    assert ledger.hours("compute_unit_seconds", T0 + 40 * HOUR, T0 + 50 * HOUR) == []


def test_hours_need_not_begin_on_the_hour(ledger: SqliteLedger) -> None:
    odd = fact(7, T0 + DAY, start=T0 + 1391)
    ledger.put([fact(5, T0 + DAY), odd])
    assert [f.value for f in ledger.hours("compute_unit_seconds", T0, T0 + HOUR)] == [5, 7]


def test_rows_of_the_consumption_reader_become_facts() -> None:
    row = UsageRow("p1", "b1", "scale_v3", T0, "hourly", "compute_unit_seconds", 9)
    assert from_rows("org", [row], 12.9) == [
        UsageFact("org", "p1", "b1", T0, "hourly", "scale_v3", "compute_unit_seconds", 9, 12)
    ]


readings = st.lists(
    st.lists(
        st.tuples(
            st.sampled_from(["b1", "b2"]),
            st.integers(0, 60),
            st.sampled_from(["launch_v3", "scale_v3"]),
            st.integers(0, 1000),
            st.integers(0, 5),
        ),
        max_size=8,
    ),
    max_size=6,
)


@given(readings)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_sums_tie_after_any_sequence_of_readings(tmp_path_factory: pytest.TempPathFactory, batches: object) -> None:
    store = Store.open(tmp_path_factory.mktemp("ledger") / "l.db", {"ledger": LEDGER_SCHEMA})
    try:
        book = SqliteLedger(store)
        for one in batches:  # type: ignore[attr-defined]
            book.put([fact(v, at, start=T0 + h * HOUR, plan=p, branch=b) for b, h, p, v, at in one])
        assert book.mismatches() == 0
        held = book.usage(0, 2**40)
        assert len({f[:7] for f in held}) == len(held)
        assert sum(f.value for f in book.priceable(0, 2**40)) == sum(f.value for f in held)
        assert book.tally()["facts"] >= len(held)
    finally:
        store.close()


def test_threads_share_a_ledger(ledger: SqliteLedger) -> None:
    def write(branch: str) -> None:
        for hour in range(20):
            ledger.put([fact(1, T0 + DAY, start=T0 + hour * HOUR, branch=branch)])

    threads = [threading.Thread(target=write, args=(f"b{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ledger.usage(T0, T0 + DAY)) == 80
    assert ledger.mismatches() == 0


def kill_and_check(path: Path, kills: int, seed: int) -> None:
    chance = random.Random(seed)
    counter, net_before = Decimal(0), Decimal(0)
    for _ in range(kills):
        command = [sys.executable, "-m", "tests.exporter.ledger_writer", str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            first = writer.stdout.readline()
            time.sleep(chance.random() * 0.15)
            writer.send_signal(signal.SIGKILL)
            said = [first, *writer.stdout.readlines()]
        whole = [line.split() for line in said if line.endswith("\n")]
        committed = max(int(n) for kind, n in whole if kind == "put")
        counter = max([counter, *(Decimal(n) for kind, n in whole if kind == "counter")])
        store = Store.open(path, {"ledger": LEDGER_SCHEMA})
        try:
            net_before, counter = check(SqliteLedger(store), committed, counter, net_before)
        finally:
            store.close()


def check(book: SqliteLedger, committed: int, counter: Decimal, net_before: Decimal) -> tuple[Decimal, Decimal]:
    held = book.usage(0, 2**40)
    hours, rest = divmod(len(held), ledger_writer.WIDTH)
    assert rest == 0, "half a batch is there"
    assert hours >= committed + 1, "a committed batch is gone"
    newest = T0 + (hours - 1) * HOUR
    expected = {ledger_writer.FINAL if f.start < newest else ledger_writer.FIRST for f in held}
    assert {f.value for f in held} == expected
    assert all(f.value == (ledger_writer.FINAL if f.start < newest else ledger_writer.FIRST) for f in held)
    assert book.mismatches() == 0
    assert book.tally() == {"facts": len(held), "corrections": 0}
    observed = Costs(book, lambda start, end: (), load()).observe(newest)
    counted = sum((v for o in observed for v in o.families.get(COST).values()), Decimal())
    taken = sum((v for o in observed for v in o.families.get(ADJUSTMENTS).values()), Decimal())
    assert counted >= counter, "a counter went back"
    net = counted - taken
    assert net >= net_before
    used = sum(f.value for f in held)
    assert abs(net - Decimal("0.106") * used / 3600) < Decimal("1e-9"), "a cost was counted twice, or lost"
    return net, counted


def test_kill_9_loses_nothing_and_doubles_nothing(tmp_path: Path) -> None:
    kill_and_check(tmp_path / "neonmeter.db", kills=6, seed=1)


@pytest.mark.deep
def test_kill_9_two_hundred_times(tmp_path: Path) -> None:
    kill_and_check(tmp_path / "neonmeter.db", kills=200, seed=2)
