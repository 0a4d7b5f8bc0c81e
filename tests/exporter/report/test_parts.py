"""What other rooms find, in the review: waste as the agent kept it, the invoice, an anomaly with its dollars."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from exporter.app.features import SCHEMAS
from exporter.cost.allocation.costs import Costs
from exporter.cost.allocation.weights import WeightSource
from exporter.cost.closing.close import ClosedMonth
from exporter.cost.domain.waste.waste import Findings, Waste
from exporter.cost.domain.weights import Confidence
from exporter.cost.savings.store import WasteStore
from exporter.cost.tags import Tagging
from exporter.pricing.domain.calendar import DAY, HOUR, day_seconds
from exporter.pricing.domain.usage import UsageFact
from exporter.pricing.ratecard import load
from exporter.report.facts import ReviewFacts
from exporter.report.gather import gather
from exporter.report.html import html
from exporter.report.parts import add_anomalies, add_reconciliation, add_waste
from exporter.report.review import review_of
from exporter.report.sources import ReviewSources
from exporter.storage.ledger.sqlite import SqliteLedger
from exporter.storage.store import Store
from exporter.storage.tables import KeyValueStore

MARCH = day_seconds("2026-03-01")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(tmp_path / "neonmeter.db", SCHEMAS)
    yield opened
    opened.close()


def sources_on(store: Store) -> ReviewSources:
    return ReviewSources(
        SqliteLedger(store), WeightSource(lambda start, end: ()), load(), {}, Tagging((), {}), store=store, company="E"
    )


def costs_on(sources: ReviewSources) -> Costs:
    return Costs(sources.ledger, sources.weights, sources.card)


def test_waste_is_what_the_agent_last_kept_of_the_month(store: Store, facts: ReviewFacts) -> None:
    sources = sources_on(store)
    book = WasteStore(KeyValueStore(store))
    found = Waste("idle", "p", "b", Fraction("12.34"), "idle", "Delete it", "neonctl ...", Confidence.EXACT)
    small = replace(found, usd_per_month=Fraction(1, 3), branch_id="c")
    empty = replace(found, usd_per_month=Fraction())
    for day, these in ((3, (found, found)), (5, (small, found, empty))):
        book.save(Findings(these, (), Fraction(100)), facts.this.start + day * DAY)
    added = add_waste(sources, costs_on(sources), facts)
    assert [row.usd_per_month for row in added.waste] == [Fraction("12.34"), Fraction(1, 3)]
    assert added.waste_cost == 100
    assert "2026-05-06" in added.notes["waste"]
    review = review_of(added)
    assert [tile.figure for tile in review.tiles if tile.title == "Can be saved"] == ["$12.67"]
    assert "Delete it" in html(review)
    assert add_waste(sources, costs_on(sources), replace(facts, this=replace(facts.this, start=MARCH))).waste == ()


def test_the_invoice_stands_beside_the_closed_month(store: Store, facts: ReviewFacts) -> None:
    line = {"line": "Compute", "ours": "10.00", "invoice": "10.02", "cause": "rounding", "why": ""}
    statement = {"variance": "0.02", "lines": [line]}
    booked = ClosedMonth(facts.this.start, None, (), (), statement)  # type: ignore[arg-type]
    sources = sources_on(store)
    added = add_reconciliation(sources, costs_on(sources), replace(facts, this=replace(facts.this, booked=booked)))
    assert added.reconciliation[0].invoice == Fraction("10.02")
    assert added.reconciliation[0].cause == "rounding"
    assert added.findings[-1].level == "warn"


def test_an_anomaly_counts_in_each_month_with_the_dollars_that_fell_into_it(store: Store) -> None:
    ledger = SqliteLedger(store)
    wild = range(MARCH - 3 * DAY, MARCH + 4 * DAY, DAY)
    facts = []
    for day in range(MARCH - 56 * DAY, MARCH + 20 * DAY, DAY):
        value = 86400 * 8 if day in wild else 3600 * 4
        facts += [
            UsageFact("o", "p", "b", day + hour * HOUR, "hourly", "scale_v3", "compute_unit_seconds", value // 24)
            for hour in range(24)
        ]
    ledger.put(facts, read_through={"o": MARCH + 20 * DAY})
    sources = sources_on(store)
    months = [gather(sources, at, (add_anomalies,)) for at in (MARCH - DAY, MARCH)]
    assert [len(month.anomalies) for month in months] == [1, 1]
    february, march = (sum((row.usd for row in month.anomalies), Fraction()) for month in months)
    a_day = Fraction(86400 * 8 - 3600 * 4, 3600)
    assert february == 3 * a_day * Fraction("0.26")
    assert 0 < march <= 4 * a_day * Fraction("0.26")


def test_names_that_somebody_chose_can_be_anything(store: Store) -> None:
    """Tags that are called as tables are, tenants that are called as components or ids are, markup in names."""
    from io import BytesIO
    from types import SimpleNamespace
    from zipfile import ZipFile

    from exporter.report.files import csv_files, markdown, workbook

    ledger = SqliteLedger(store)
    ledger.put([UsageFact("o", "p", "b", MARCH, "hourly", "scale_v3", "compute_unit_seconds", 3600)],
               read_through={"o": MARCH + DAY})  # fmt: skip
    hours = [SimpleNamespace(project_id="p", branch_id="b", tenant=name, hour=MARCH, busy_us=9 * 10**8, calls=1)
             for name in ("compute", "p", "=1+1")]  # fmt: skip
    tags = {"project": "x/y", "a b": "<i>", "a/b": "z", "PROJECT": "q"}
    rules = [SimpleNamespace(project="*", branch="*", tags=tags)]
    names = {"p": "<b>&\"'", "b": "../main", "o": "=cmd()"}
    sources = ReviewSources(
        ledger, WeightSource(lambda start, end: [h for h in hours if start <= h.hour < end]), load(), names,
        Tagging(rules, names), store=store, company="<script>alert(1)</script>",
    )  # fmt: skip
    review = review_of(gather(sources, MARCH))
    text = html(review)
    assert "<script" not in text
    assert "<b>" not in text.replace("<b>&lt;script&gt;", "")
    assert [row[0] for row in review.tables["tenants"].rows][:3] == ["=1+1", "compute", "p"]
    files = dict(csv_files(review))
    assert {"tag-a-b.csv", "tag-a-b-2.csv", "tag-PROJECT.csv", "tag-project-2.csv", "projects.csv"} <= set(files)
    assert "'=1+1" in files["tenants.csv"]
    assert not [name for name in files if "/" in name]
    with ZipFile(BytesIO(workbook(review))) as book:
        assert book.testzip() is None
        assert b"<f>1+1" not in book.read("xl/worksheets/sheet5.xml")
    assert "<script" not in markdown(review).replace("\\<script", "")
