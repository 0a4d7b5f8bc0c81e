"""Closing real ledgers: what is refused, what is locked, and what comes later."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collectors.base import Observation
from collectors.metric import Metric
from exporter.cost.allocation.costs import Costs
from exporter.cost.closing import reconciliation
from exporter.cost.closing.close import AlreadyBookedError, Closer, NotReadyError, closed
from exporter.cost.closing.store import CLOSE_SCHEMA, sqlite_closes
from exporter.cost.domain.close import Booking
from exporter.cost.domain.extra import Base, Category, ExtraLine, Split
from exporter.cost.domain.reconcile import Context, InvoiceRow, reconcile
from exporter.pricing.domain.calendar import HOUR, day_seconds
from exporter.pricing.domain.components import Component
from exporter.pricing.domain.usage import UsageFact
from exporter.pricing.ratecard import load
from exporter.storage.ledger.sqlite import SqliteLedger
from exporter.storage.ledger.sqlite_sql import LEDGER_SCHEMA
from exporter.storage.store import Store

OCTOBER, NOVEMBER, DECEMBER = (day_seconds(f"2026-{month}-01") for month in (10, 11, 12))
NOW = NOVEMBER + 3 * 86400
CARD = load()
EXTRA = (
    ExtraLine("Support", Category.PURCHASE, amount=Fraction(100), first=OCTOBER, org_id="org-1", split=Split.PRO_RATA),
    ExtraLine("VAT", Category.TAX, percent=Fraction(19), base=Base.ALL, first=OCTOBER),
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(tmp_path / "neonmeter.db", {"ledger": LEDGER_SCHEMA, "close": CLOSE_SCHEMA})
    yield opened
    opened.close()


def fact(value: int, start: int, branch: str = "b1", *, at: int = 0, plan: str = "launch_v3") -> UsageFact:
    return UsageFact("org-1", "p1", branch, start, "hourly", plan, "compute_unit_seconds", value, at or start + HOUR)


def seeded(store: Store, *, through: int = NOVEMBER + HOUR) -> SqliteLedger:
    ledger = SqliteLedger(store)
    facts = [fact(1234, OCTOBER + hour * HOUR, branch) for hour in range(24) for branch in ("b1", "b2", "b3")]
    facts.append(fact(3600, NOVEMBER, "b1"))
    ledger.put(facts, read_through={"org-1": through})
    return ledger


def closer(store: Store, ledger: SqliteLedger, extra: tuple[ExtraLine, ...] = ()) -> Closer:
    return Closer(sqlite_closes(store), Costs(ledger, lambda start, end: (), CARD), extra=extra)


def told(problem: pytest.ExceptionInfo[NotReadyError]) -> str:
    return "\n".join(problem.value.reasons)


def test_a_month_that_is_not_over_is_never_closed(store: Store) -> None:
    with pytest.raises(NotReadyError, match="2026-11 is not over; close it on 2026-12-01") as problem:
        closer(store, seeded(store)).close(NOVEMBER, NOW, force=True)
    assert problem.value.final


def test_a_month_without_usage_is_not_closed(store: Store) -> None:
    with pytest.raises(NotReadyError, match="no usage of 2026-09"):
        closer(store, seeded(store)).close(day_seconds("2026-09-01"), NOW, force=True)


def test_data_must_reach_the_end_or_the_month_bears_a_mark(store: Store) -> None:
    closing = closer(store, seeded(store, through=NOVEMBER - 5 * HOUR))
    with pytest.raises(NotReadyError) as problem:
        closing.close(OCTOBER, NOW)
    assert "org-1: usage has been read through 2026-10-31 19:00 UTC only" in told(problem)
    assert not problem.value.final
    booking = closing.close(OCTOBER, NOW, force=True)
    assert "19:00 UTC only" in booking.forced
    assert closing.store.of(OCTOBER)[0].forced == booking.forced


def test_the_last_hours_are_waited_for(store: Store) -> None:
    with pytest.raises(NotReadyError, match=r"may still be revised until 2026-11-01 06:00 UTC"):
        closer(store, seeded(store)).close(OCTOBER, NOVEMBER + HOUR)


def test_usage_without_a_price_is_not_closed_in_silence(store: Store) -> None:
    ledger = seeded(store)
    ledger.put([fact(5, OCTOBER + 50 * HOUR, plan="business")])
    with pytest.raises(NotReadyError) as problem:
        closer(store, ledger).close(OCTOBER, NOW)
    assert "usage without a price (business: compute)" in told(problem)


def test_a_declared_line_that_cannot_be_placed_is_told(store: Store) -> None:
    ledger = seeded(store)
    ledger.put([replace_org(fact(5, OCTOBER, "b9"), "org-2")], read_through={"org-2": NOVEMBER + HOUR})
    extra = (ExtraLine("Support", Category.PURCHASE, amount=Fraction(1), first=OCTOBER),)
    with pytest.raises(NotReadyError, match=r"cost\.extra_lines: Support: 2 organisations"):
        closer(store, ledger, extra).close(OCTOBER, NOW)


def replace_org(usage: UsageFact, org: str) -> UsageFact:
    return usage._replace(org_id=org, project_id=f"p-{org}")


def test_a_close_is_whole_cents_and_says_what_it_rests_on(store: Store) -> None:
    closing = closer(store, seeded(store), EXTRA)
    booking = closing.close(OCTOBER, NOW, by="ana")
    (found,) = closing.store.of(OCTOBER)
    assert found == booking
    cents = {line.key.component: line.cents for line in found.lines}
    # 3 branches x 24 h x 1234 CU-s at 0.106 is 2.6160...; Support 100; 19 % of what stands before.
    assert cents == {"compute": 262, "Support": 10000, "VAT": 1950}
    assert [part.cents for part in found.lines[0].allocations] == [88, 87, 87]
    assert (found.by, found.through, found.rounding) == ("ana", NOVEMBER + HOUR, "half_up")
    assert len(found.facts) == 64
    with pytest.raises(AlreadyBookedError, match="2026-10 is closed already"):
        closing.close(OCTOBER, NOW)


def test_the_hash_is_of_the_usage_alone(store: Store, tmp_path: Path) -> None:
    closing = closer(store, seeded(store))
    before = closing.draft(OCTOBER, NOW).facts
    closing.costs.ledger.put([fact(1234, OCTOBER, at=OCTOBER + 9 * HOUR)])
    assert closing.draft(OCTOBER, NOW).facts == before, "read again, the same"
    closing.costs.ledger.put([fact(1235, OCTOBER, at=OCTOBER + 10 * HOUR)])
    assert closing.draft(OCTOBER, NOW).facts != before


def test_what_came_late_is_booked_once_in_the_open_month(store: Store) -> None:
    closing = closer(store, seeded(store), EXTRA)
    closing.close(OCTOBER, NOW)
    closed_then = closing.store.of(OCTOBER)
    assert closing.book_corrections(OCTOBER, NOW) is None
    closing.costs.ledger.put([fact(90_000, OCTOBER + 700 * HOUR, "b2", at=NOW)])
    pending = closing.pending(OCTOBER, NOW)
    assert {line.key.component: line.cents for line in pending.lines} == {"compute": 265, "VAT": 50}
    booking = closing.book_corrections(OCTOBER, NOW, by="ben")
    assert booking is not None
    assert (booking.sequence, booking.booked_in) == (1, NOVEMBER)
    assert closing.book_corrections(OCTOBER, NOW) is None, "booked once"
    found = closed(closing.store, OCTOBER)
    assert found is not None
    assert (found.booking, *found.corrections) == (*closed_then, booking)


def test_closing_the_next_month_books_what_is_pending(store: Store) -> None:
    closing = closer(store, seeded(store))
    closing.close(OCTOBER, NOW)
    closing.costs.ledger.put(
        [fact(0, OCTOBER, "b2", at=NOW), fact(7, DECEMBER - HOUR, at=DECEMBER)], read_through={"org-1": DECEMBER + HOUR}
    )
    closing.close(NOVEMBER, DECEMBER + 86400)
    found = closed(closing.store, NOVEMBER)
    assert found is not None
    (carried,) = found.carried
    assert (carried.month, carried.booked_in, carried.cents) == (OCTOBER, NOVEMBER, -4)
    assert found.cents == found.booking.cents - 4


def test_usage_that_is_gone_corrects_nothing(store: Store) -> None:
    closing = closer(store, seeded(store))
    closing.close(OCTOBER, NOW)
    with store.transaction() as cursor:
        for table in ("ledger_usage", "ledger_day"):
            cursor.execute(f"DELETE FROM {table}")
    fresh = closer(store, SqliteLedger(store))
    assert fresh.pending(OCTOBER, NOW).lines == ()
    assert "no longer in the ledger" in fresh.pending(OCTOBER, NOW).held[0]


updates = st.lists(
    st.lists(
        st.tuples(
            st.sampled_from(["b1", "b2", "b9"]), st.sampled_from([0, 5, 743]), st.integers(0, 10**6),
            st.sampled_from(["launch_v3", "scale_v3"]),
        ),
        min_size=1, max_size=3,
    ),
    min_size=1, max_size=3,
)  # fmt: skip


@given(updates)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_closed_rows_never_change_and_corrections_make_up_the_rest(
    tmp_path_factory: pytest.TempPathFactory, later: list[list[tuple[str, int, int, str]]]
) -> None:
    store = Store.open(tmp_path_factory.mktemp("close") / "n.db", {"ledger": LEDGER_SCHEMA, "close": CLOSE_SCHEMA})
    try:
        closing = closer(store, seeded(store), EXTRA)
        first = closing.close(OCTOBER, NOW)
        for step, facts in enumerate(later, 1):
            at = NOW + step * HOUR
            closing.costs.ledger.put([fact(v, OCTOBER + h * HOUR, b, at=at, plan=p) for b, h, v, p in facts])
            closing.book_corrections(OCTOBER, at)
            bookings = closing.store.of(OCTOBER)
            assert bookings[0] == first
            assert lines_of(bookings) == lines_of([closing.draft(OCTOBER, at)])
            assert closing.book_corrections(OCTOBER, at) is None
    finally:
        store.close()


def lines_of(bookings: tuple[Booking, ...] | list[Booking]) -> dict[object, int]:
    sums: dict[object, int] = {}
    for booking in bookings:
        for line in booking.lines:
            sums[line.key] = sums.get(line.key, 0) + line.cents
    return {key: cents for key, cents in sums.items() if cents}


def test_closed_months_are_series(store: Store) -> None:
    closing = closer(store, seeded(store), EXTRA)
    assert reconciliation.observe(closing.store, NOW) == []
    booking = closing.close(OCTOBER, NOW)
    value = series(reconciliation.observe(closing.store, NOW))
    assert value(reconciliation.CLOSED, ()) == NOVEMBER
    rows = [
        InvoiceRow(2, "Compute", (Component.COMPUTE,), Fraction(3)),
        InvoiceRow(3, "HIPAA", (), Fraction(7), org_id="org-1"),
    ]
    variances = reconcile(booking.lines, rows, Context(OCTOBER, CARD, booking.through))
    closing.store.save_statement(OCTOBER, reconciliation.variance_dict(variances, (), origin="x.csv", at=1))
    value = series(reconciliation.observe(closing.store, NOW))
    assert value(reconciliation.VARIANCE, ("org-1", "compute")) == Fraction("0.38")
    assert value(reconciliation.VARIANCE, ("org-1", "extra")) == 7
    assert value(reconciliation.VARIANCE, ("org-1", "Support")) == -100


def series(observations: list[Observation]) -> Callable[[Metric, tuple[str, ...]], Fraction]:
    def value(metric: Metric, labels: tuple[str, ...]) -> Fraction:
        for observation in observations:
            for own, found in observation.families.get(metric).items():
                if (*observation.target.labels, *own) == labels:
                    return Fraction(found)
        raise AssertionError(f"no {metric.name}{labels}")

    return value
