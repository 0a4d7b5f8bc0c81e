"""The review as one HTML file: inline sheet, inline pictures, no script, nothing loaded from anywhere.

It reads on a screen in light and dark, and prints on A4. What finance needs is on the first page; the rest is proof.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from markupsafe import Markup

from exporter.documents.charts import SERIES, Step, range_bar, sparkline, stacked_bars, waterfall
from exporter.documents.html import LEVELS, TableView, render, table_view
from exporter.documents.text import cents, money, month_name, month_short
from exporter.report.changes import EFFECT_TITLES
from exporter.report.facts import Range, ReviewFacts
from exporter.report.review import Review
from exporter.version import __version__

MOST_ROWS = 40
"""Rows of a long table on the page; the files beside it have all."""
_NEW_PAGE = {"components"}
"""Sections that begin a new sheet of paper."""
_BARS = {"components", "organisations", "projects", "tenants"}


@dataclass(frozen=True, slots=True)
class _Section:
    key: str
    title: str
    view: TableView | None = None
    hint: str = ""
    chart: Markup | str = ""
    long: bool = False
    page: bool = False
    method: tuple[tuple[str, str], ...] = ()


def html(review: Review) -> str:
    """The whole file."""
    facts = review.facts
    series = _series(facts)
    return render(
        "exporter.report:review.html.j2",
        title=f"Database costs, {month_name(facts.this.start)}",
        month=month_name(facts.this.start),
        last_month=month_name(facts.last.start) if facts.last else "",
        company=facts.company,
        as_of=review.as_of,
        headline=review.headline,
        why=review.why,
        tiles=review.tiles,
        tile_columns=3 if len(review.tiles) in (3, 5, 6) else 4,
        trend=_trend(facts, series),
        trend_months=len(facts.trend),
        legend=[{"style": f"s{min(i, SERIES - 1)}", "name": facts.name(key)} for i, key in enumerate(series)],
        variances=_waterfall(review),
        variance_note="Usage: more or less of the same. Price: the same use at another price.",
        components=table_view(review.tables["components"]) if "components" in review.tables else None,
        movers=[
            {"name": mover.name, "why": mover.why, "text": money(mover.cents, sign=True)} for mover in review.movers
        ],
        todo_title="What to do, and what it saves a month" if facts.waste else "What the data is worth",
        todo=review.todo,
        levels=LEVELS,
        sections=list(_sections(review)),
        version=__version__,
        disclaimer="It is no invoice." if not facts.this.closed else "",
    )


def _series(facts: ReviewFacts) -> list[str]:
    """What the bars are made of, the largest first (at the bottom)."""
    sums: dict[str, Fraction] = {}
    for month in facts.trend:
        for name, usd in month.costs.items():
            sums[name] = sums.get(name, Fraction()) + usd
    return sorted((name for name, usd in sums.items() if usd > 0), key=lambda name: (-sums[name], name))


def _trend(facts: ReviewFacts, series: Sequence[str]) -> Markup:
    months = [(month_short(month.start), month.costs) for month in facts.trend]
    whole = [row.budget for row in facts.budgets if row.whole]
    mark = whole[0] if len(whole) == 1 else None
    return stacked_bars("trend", "Cost by month and component, USD", months, series, mark=mark)


def _waterfall(review: Review) -> Markup | str:
    facts, table = review.facts, review.tables.get("bridge")
    if facts.last is None or table is None or table.cents is None:
        return ""
    steps = [Step(month_short(facts.last.start), facts.last.total, money(cents(facts.last.total)), whole=True)]
    for i, column in enumerate(table.columns[1:-1], 1):
        amounts = [row[i] for row in table.cents]
        change = sum(amount for amount in amounts if isinstance(amount, int))
        if change or column.title in EFFECT_TITLES.values():
            steps.append(Step(column.title.partition(" ")[0], Fraction(change, 100), money(change, sign=True)))
    steps.append(Step(month_short(facts.this.start), facts.this.total, money(cents(facts.this.total)), whole=True))
    return waterfall("bridge", "From last month's cost to this month's", steps)


def _sections(review: Review) -> Iterator[_Section]:
    for key, table in review.tables.items():
        view = table_view(table.limited(MOST_ROWS), bars=key in _BARS, trend=_sparklines(review, key))
        yield _Section(
            key,
            table.title,
            view,
            hint=review.facts.notes.get(key, ""),
            long=len(view.rows) > 14,
            page=key in _NEW_PAGE,
        )
        ahead = review.facts.next_month or review.facts.month_end
        if key == ("bridge" if "bridge" in review.tables else "components") and ahead:
            yield _forecast(review.facts, ahead)
    yield _Section("method", "How these figures come about", method=tuple(_method(review.facts)))


def _forecast(facts: ReviewFacts, span: Range) -> _Section:
    texts = (money(cents(span.p10)), money(cents(span.p50)), money(cents(span.p90)))
    title = f"Forecast for {month_name(span.month)}"
    total = facts.this.total
    now = (total, f"{month_name(facts.this.start)}{'' if facts.this.complete else ' so far'}: {money(cents(total))}")
    chart = range_bar("next", title, (span.p10, span.p50, span.p90), texts, now)
    hint = f"One month in ten should come out below {texts[0]}, and one in ten above {texts[2]}."
    why = f" Worked out from the {span.why}; confidence {span.confidence}." if span.why else ""
    return _Section("forecast", title, hint=hint + why, chart=chart)


def _sparklines(review: Review, key: str) -> Mapping[str, Markup]:
    """The costs of each component over the months, by the component's name."""
    if key != "components" or len(review.facts.trend) < 3:
        return {}
    facts = review.facts
    names = {name for month in facts.trend for name in month.costs}
    return {
        facts.name(name): sparkline([month.costs.get(name, Fraction()) for month in facts.trend])
        for name in sorted(names)
    }


def _method(facts: ReviewFacts) -> Iterator[tuple[str, str]]:
    """How the figures come about: terms and their explanation, for who has to answer for them."""
    yield (
        "Usage",
        "Neon's own consumption figures, hour by hour, kept as whole numbers in neonmeter's ledger. Neon gives "
        "usage and no prices.",
    )
    yield "Prices", f"{facts.rates or 'no price was needed'}. A billing month has 744 hours, a GB is 10^9 bytes."
    yield (
        "Rounding",
        "Amounts are exact fractions until they are shown. A table is rounded to the cent together with its total, "
        "so its rows always add up to it; the same row may differ by a cent in another table.",
    )
    yield (
        "Tenants",
        "The compute of an hour goes to tenants by how long their statements were busy; the rest of the hour is "
        "idle, and an hour in which nothing was observed is not attributed. Nothing is spread to hide a rest.",
    )
    yield (
        "From month to month",
        "Price effect: this month's quantity times the change of the price. Usage effect: last month's price times "
        "the change of the quantity. New and gone branches stand apart. Together they are the difference, exactly.",
    )
    if facts.next_month or facts.day_one:
        yield (
            "Forecast",
            "From the days so far, by weekday and trend; the range is how far such forecasts were off before.",
        )
