"""The review of a seeded quarter, end to end: through the command, from the ledger to the files."""

from __future__ import annotations

import csv
import re
import zipfile
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from io import StringIO
from pathlib import Path
from xml.etree import ElementTree

import pytest

from exporter.commands.main import main
from exporter.cost.allocation.rows import CostReport
from exporter.documents.tables import Kind, shown
from exporter.documents.text import cents, money
from exporter.report.facts import ReviewFacts
from exporter.report.review import Review, review_of
from exporter.report.sources import ReviewSources
from tests.exporter.report.seeded import write_settings

MONTH = "2026-05"


@pytest.fixture(scope="session")
def review(facts: ReviewFacts) -> Review:
    return review_of(facts)


@pytest.fixture(scope="session")
def written(config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("out")
    for name in ("one", "two"):
        assert main(["report", "--config", str(config), "--month", MONTH, "--out", str(folder / name)]) == 0
    return folder


def test_the_same_ledger_gives_the_same_bytes(written: Path) -> None:
    first, second = ({p.relative_to(d): p.read_bytes() for p in d.rglob("*") if p.is_file()}
                     for d in (written / "one", written / "two"))  # fmt: skip
    assert first == second
    assert {str(path) for path in first} >= {f"review-{MONTH}.{end}" for end in ("html", "xlsx", "md")}
    assert {str(path) for path in first} >= {f"focus-1.4-billing-period-{MONTH}.csv", f"review-{MONTH}-csv/leaves.csv"}


def test_the_page_loads_nothing_and_runs_nothing(written: Path) -> None:
    text = (written / "one" / f"review-{MONTH}.html").read_text()
    assert not re.findall(r"""(?:src|href)\s*=\s*["'](?!#)|@import|url\(|<script|<link|<iframe|javascript:""", text)
    assert "http" not in text
    assert "Example &lt;Ltd&gt;" in text
    assert "prefers-color-scheme:dark" in text
    assert "@page{size:A4" in text
    # Every chart can be told to who does not see it.
    charts = re.findall(r'<svg class="chart.*?</svg>', text, re.DOTALL)
    assert len(charts) == 3
    assert all("<title" in chart and "<desc" in chart for chart in charts)
    ElementTree.fromstring(charts[0])


def test_the_totals_are_those_of_the_cost_report(review: Review, opened: tuple[ReviewSources, object]) -> None:
    facts = review.facts
    report = CostReport(facts.this.costs)
    assert report.ties()
    total = cents(Fraction(report.total))
    assert total == cents(facts.this.total)
    assert money(total) in review.headline
    for key in ("components", "organisations", "projects", "tenants", "tag-env", "tag-team", "tag-cost_center"):
        table = shown(review.tables[key])
        assert table.total is not None
        usd = review.tables[key].at("usd")
        assert table.total[usd] == total, key
        assert sum(int(row[usd] or 0) for row in table.rows) == total, key
    by_tenant = {row.tenant: row.cost for row in _summed(report)}
    costs: dict[str, Fraction] = {}
    for row in facts.this.rows:
        costs[row.tenant] = costs.get(row.tenant, Fraction()) + row.cost
    assert {t: round(float(c), 9) for t, c in by_tenant.items() if c} == {
        t: round(float(c), 9) for t, c in costs.items()
    }


def _summed(report: CostReport) -> list[object]:
    rows = {}
    for row in report.group("tenant"):
        held = rows.setdefault(row.tenant, row)
        if held is not row:
            held.units += row.units
    return list(rows.values())


def test_the_variance_leads_from_last_month_to_this_to_the_cent(review: Review) -> None:
    facts = review.facts
    assert facts.last is not None
    table = review.tables["bridge"]
    assert table.cents is not None
    change = table.at("change")
    for row in table.cents:
        assert sum(int(cell) for cell in row[1:change]) == row[change]  # type: ignore[arg-type]
    assert sum(int(row[change]) for row in table.cents) == cents(facts.this.total) - cents(facts.last.total)  # type: ignore[arg-type]
    assert facts.variances is not None
    assert facts.variances.effects["price"] > 0, "snapshots begin to cost in May"


def test_nothing_is_hidden_from_the_tenants(review: Review) -> None:
    names = {str(row[0]) for row in review.tables["tenants"].rows}
    assert {"Awake, but idle", "Shared by all", "Not attributed", "neonmeter itself"} <= names


def test_the_parts_that_there_is_ground_for_are_there(review: Review) -> None:
    keys = set(review.tables)
    assert {"unit-costs", "key-figures", "budgets", "allowances", "quality", "movers"} <= keys
    assert review.facts.day_one is not None
    assert review.facts.next_month is not None
    assert review.facts.next_month.p10 <= review.facts.next_month.p50 <= review.facts.next_month.p90
    assert "waste" not in keys, "nobody judged: no section, not an empty one"


def test_the_chat_text_is_short_and_plain(written: Path) -> None:
    text = (written / "one" / f"review-{MONTH}.md").read_text()
    assert len(text) < 4000
    assert "May 2026" in text
    assert "Example \\<Ltd\\>" in text


def test_the_spreadsheet_opens_and_its_cents_add_up(written: Path, review: Review) -> None:
    with zipfile.ZipFile(written / "one" / f"review-{MONTH}.xlsx") as book:
        assert book.testzip() is None
        names = [sheet.get("name") for sheet in ElementTree.fromstring(book.read("xl/workbook.xml")).iter()
                 if sheet.tag.endswith("}sheet")]  # fmt: skip
        sheet = ElementTree.fromstring(book.read("xl/worksheets/sheet2.xml"))
        core = book.read("docProps/core.xml").decode()
    assert names[:3] == ["Summary", "What it was for", "From last month to this"]
    assert "2026-06-01T00:00:00Z" in core
    space = {"x": sheet.tag[1:].partition("}")[0]}
    column = [cell for cell in sheet.iterfind(".//x:c", space) if re.fullmatch(r"B\d+", str(cell.get("r")))]
    values = [Decimal(str(cell.findtext("x:v", namespaces=space))) for cell in column[1:]]
    formula = column[-1].findtext("x:f", namespaces=space)
    assert formula == f"SUM(B2:B{len(values)})"
    assert sum(values[:-1]) == values[-1] == Decimal(cents(review.facts.this.total)).scaleb(-2)


def test_the_csvs_are_exact_and_harmless(written: Path, facts: ReviewFacts) -> None:
    folder = written / "one" / f"review-{MONTH}-csv"
    rows = list(csv.DictReader(StringIO((folder / "leaves.csv").read_text())))
    assert abs(sum(Decimal(row["cost_usd"]) for row in rows) - Decimal(float(facts.this.total))) < Decimal("1e-9")
    for path in folder.glob("*.csv"):
        for row in csv.reader(StringIO(path.read_text())):
            assert not [cell for cell in row if cell[:1] in "=@" and cell], path.name
            assert not [cell for cell in row if re.fullmatch(r"-?\d+(\.\d+)?[eE][-+]?\d+", cell)], path.name


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--month", "2026-13"], "--month: '2026-13' is not a month"),
        (["--month", MONTH, "--format", "pdf"], "--format: pdf is unknown"),
        (["--month", "2031-01"], "no usage of January 2031"),
    ],
)
def test_what_cannot_be_done_is_one_clear_line(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert main(["report", "--config", str(config), "--out", str(tmp_path / "out"), *arguments]) == 2
    told = capsys.readouterr().err
    assert said in told
    assert len(told.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_an_open_month_says_so(config: Path, opened: tuple[ReviewSources, object], tmp_path: Path) -> None:

    from exporter.pricing.domain.calendar import DAY
    from exporter.report.gather import gather
    from exporter.report.html import html
    from exporter.report.parts import PARTS
    from tests.exporter.report.seeded import year

    sources = opened[0]
    half = year().months[-1] + 9 * DAY

    class Half:
        """The ledger as it was on the tenth of May."""

        def __getattr__(self, name: str) -> object:
            return getattr(sources.ledger, name)

        def through(self) -> object:
            found = sources.ledger.through()
            return replace(found, orgs=dict.fromkeys(found.orgs, half))

        def priceable(self, start: int, end: int, cuts: tuple[int, ...] = ()) -> object:
            return sources.ledger.priceable(start, min(end, half), cuts) if start < half else []

        def hours(self, metric: str, start: int, end: int) -> object:
            return [fact for fact in sources.ledger.hours(metric, start, end) if fact.start < half]

        def revisions(self, start: int, end: int) -> object:
            return {day: n for day, n in sources.ledger.revisions(start, end).items() if day < half}

    found = gather(replace(sources, ledger=Half()), half, PARTS)  # type: ignore[arg-type]
    assert not found.this.complete
    assert found.next_month is None
    assert found.month_end is not None
    assert found.month_end.p50 > found.this.total
    text = html(review_of(found))
    assert "May 2026 has cost" in text
    assert "The month is not complete" in text


def test_money_columns_never_show_a_float(review: Review) -> None:
    for table in review.tables.values():
        for i, column in enumerate(table.columns):
            if column.kind is Kind.USD:
                assert all(cell is None or isinstance(cell, (int, Fraction)) for cell in (row[i] for row in table.rows))


def test_settings_of_the_report_are_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = write_settings(tmp_path, report={"tags": [{"project": "x", "tags": {"team": " "}}]})
    assert main(["report", "--config", str(wrong), "--month", MONTH, "--out", str(tmp_path)]) == 2
    assert "report.tags[0].tags" in capsys.readouterr().err


def test_a_shorter_month_is_no_smaller_use(facts: ReviewFacts) -> None:
    """The same on each day: what changed is the calendar, and the mover says so."""
    from exporter.cost.domain.cost_variance import CostVariance, CostVariances, Item
    from exporter.pricing.domain.components import Component
    from exporter.report.changes import branch_movers

    assert facts.last is not None
    days = Fraction(31, 30)  # May against April
    item = Item("o", "p", "b", Component.ROOT_STORAGE)
    before = Fraction(30)
    for after, why in ((before * days, "more days in the month"), (before * days * 2, "more stored data")):
        move = CostVariance(item, before, after, volume=after - before)
        table = branch_movers(replace(facts, variances=CostVariances((move,))))
        assert table is not None
        assert table.rows[0][-1] == why
