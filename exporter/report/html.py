"""The review as one HTML file: inline sheet, inline pictures, no script, nothing loaded from anywhere.

It reads on a screen in light and dark, and prints on A4. What finance needs is on the first page; the rest is proof.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from importlib.resources import files
from typing import TYPE_CHECKING

from exporter.documents.cents import cents, money
from exporter.documents.charts import Step, range_bar, sparkline, stacked_bars, waterfall
from exporter.documents.tables import Cell, Kind, Table, shown
from exporter.documents.when import month_name, month_short
from exporter.report.changes import EFFECT_TITLES
from exporter.report.facts import NOT_TENANTS, WORDS, Range, ReviewFacts
from exporter.report.method import method
from exporter.report.review import Review
from exporter.version import __version__

if TYPE_CHECKING:
    from markupsafe import Markup

ROWS = 40
"""Rows of a long table on the page; the files beside it have all."""
_RIGHT = (Kind.USD, Kind.CHANGE, Kind.PRICE, Kind.SHARE, Kind.NUMBER, Kind.COUNT)
_WORDS = {"good": "fine", "warn": "look", "bad": "wrong"}
_PAGES = {"components"}
"""Sections that begin a new sheet of paper."""


@dataclass(frozen=True, slots=True)
class _Head:
    title: str
    right: bool


@dataclass(frozen=True, slots=True)
class _Cell:
    html: Markup | str
    style: str = ""


@dataclass(frozen=True, slots=True)
class _Row:
    cells: tuple[_Cell, ...]
    own: bool


@dataclass(frozen=True, slots=True)
class _View:
    columns: tuple[_Head, ...]
    rows: tuple[_Row, ...]
    total: tuple[_Cell, ...]
    note: str = ""
    heading: str = ""


@dataclass(frozen=True, slots=True)
class _Section:
    key: str
    title: str
    views: tuple[_View, ...] = ()
    hint: str = ""
    chart: Markup | str = ""
    long: bool = False
    page: bool = False
    method: tuple[tuple[str, str], ...] = ()


def html(review: Review) -> str:
    """The whole file."""
    from jinja2 import Environment, StrictUndefined  # noqa: PLC0415 - of the extra neonmeter[report]
    from markupsafe import Markup  # noqa: PLC0415

    templates = files("exporter.report").joinpath("templates")
    environment = Environment(autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True)
    facts = review.facts
    series = _series(facts)
    return environment.from_string(templates.joinpath("review.html.j2").read_text("utf-8")).render(
        css=Markup(templates.joinpath("review.css").read_text("utf-8")),  # noqa: S704 - our own file
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
        legend=[{"style": f"s{min(i, 7)}", "name": facts.name(key)} for i, key in enumerate(series)],
        variances=_waterfall(review),
        bridge_note="Usage: more or less of the same. Price: the same use at another price.",
        components=_view(review.tables["components"]) if "components" in review.tables else None,
        movers=[{"name": m.name, "why": m.why, "text": money(m.cents, sign=True)} for m in review.movers],
        todo_title="What to do, and what it saves a month" if facts.waste else "What the data is worth",
        todo=[
            {"what": t.what, "sub": t.sub, "usd": t.usd, "level": t.level, "word": _WORDS.get(t.level, "")}
            for t in review.todo
        ],
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


def _markup(text: str) -> Markup:
    from markupsafe import Markup  # noqa: PLC0415

    return Markup(text)  # noqa: S704 - made by our own charts, which escape what they are given


def _trend(facts: ReviewFacts, series: Sequence[str]) -> Markup:
    months = [(month_short(month.start), month.costs) for month in facts.trend]
    whole = [row.budget for row in facts.budgets if row.whole]
    mark = whole[0] if len(whole) == 1 else None
    return _markup(stacked_bars("trend", "Cost by month and component, USD", months, series, mark=mark))


def _waterfall(review: Review) -> Markup | str:
    facts, table = review.facts, review.tables.get("bridge")
    if facts.last is None or table is None or table.cents is None:
        return ""
    steps = [Step(month_short(facts.last.start), facts.last.total, money(cents(facts.last.total)), whole=True)]
    for i, column in enumerate(table.columns[1:-1], 1):
        cells = [row[i] for row in table.cents]
        change = sum(cell for cell in cells if isinstance(cell, int))
        if change or column.title in EFFECT_TITLES.values():
            steps.append(Step(column.title.partition(" ")[0], Fraction(change, 100), money(change, sign=True)))
    steps.append(Step(month_short(facts.this.start), facts.this.total, money(cents(facts.this.total)), whole=True))
    return _markup(waterfall("bridge", "From last month's cost to this month's", steps))


def _sections(review: Review) -> Iterator[_Section]:
    for key, table in review.tables.items():
        view = replace(_view(table.limited(ROWS), bars=key in _BARS, trend=_sparks(review, key)), heading="")
        yield _Section(
            key,
            table.title,
            (view,),
            hint=review.facts.notes.get(key, ""),
            long=len(view.rows) > 14,
            page=key in _PAGES,
        )
        ahead = review.facts.next_month or review.facts.month_end
        if key == ("bridge" if "bridge" in review.tables else "components") and ahead:
            yield _next(review.facts, ahead)
    yield _Section("method", "How these figures come about", method=method(review.facts))


_BARS = {"components", "organisations", "projects", "tenants"}


def _next(facts: ReviewFacts, span: Range) -> _Section:
    texts = (money(cents(span.p10)), money(cents(span.p50)), money(cents(span.p90)))
    title = f"Forecast for {month_name(span.month)}"
    total = facts.this.total
    now = (total, f"{month_name(facts.this.start)}{'' if facts.this.complete else ' so far'}: {money(cents(total))}")
    chart = range_bar("next", title, (span.p10, span.p50, span.p90), texts, now)
    hint = f"One month in ten should come out below {texts[0]}, and one in ten above {texts[2]}."
    why = f" Worked out from the {span.why}; confidence {span.confidence}." if span.why else ""
    return _Section("forecast", title, hint=hint + why, chart=_markup(chart))


def _sparks(review: Review, key: str) -> dict[str, Markup]:
    if key != "components" or len(review.facts.trend) < 3:
        return {}
    facts = review.facts
    names = {name for month in facts.trend for name in month.costs}
    return {
        facts.name(name): _markup(sparkline([month.costs.get(name, Fraction()) for month in facts.trend]))
        for name in sorted(names)
    }


def _view(table: Table, *, bars: bool = False, trend: dict[str, Markup] | None = None) -> _View:
    seen = shown(table)
    share = table.at("share") if bars and any(column.key == "share" for column in table.columns) else None
    most = max((_number(row[share]) for row in table.rows), default=Fraction()) if share is not None else Fraction()
    heads = [_Head(column.title, column.kind in _RIGHT) for column in table.columns]
    if share is not None:
        heads.append(_Head("", right=False))
    if trend:
        heads.append(_Head("Trend", right=False))
    rows = []
    for row in seen.rows:
        cells = [_cell(table, i, cell, seen.text(i, cell)) for i, cell in enumerate(row)]
        if share is not None:
            width = float(_number(row[share]) / most * 100) if most > 0 else 0.0
            cells.append(_Cell(_markup(f'<div class="bar"><i style="width:{max(0.0, width):.1f}%"></i></div>'), "b"))
        if trend:
            cells.append(_Cell(trend.get(str(row[0]), "")))
        rows.append(_Row(tuple(cells), own=_is_own(table, str(row[0]))))
    extra = len(heads) - len(table.columns)
    total = [_cell(table, i, cell, seen.text(i, cell)) for i, cell in enumerate(seen.total or ())]
    total += [_Cell("")] * extra if total else []
    return _View(tuple(heads), tuple(rows), tuple(total), table.note)


def _is_own(table: Table, name: str) -> bool:
    return table.key == "tenants" and name in _OWN


_OWN = {WORDS[name] for name in NOT_TENANTS}


def _number(cell: Cell) -> Fraction:
    return Fraction(cell) if isinstance(cell, (int, Fraction)) else Fraction()


def _cell(table: Table, column: int, cell: Cell, text: str) -> _Cell:
    kind, key = table.columns[column].kind, table.columns[column].key
    if kind in _RIGHT:
        return _Cell(text if cell is not None or kind is not Kind.TEXT else "", "r")
    if key == "level":
        return _Cell(_markup(f'<span class="pill {text}">{_WORDS.get(text, "")}</span>'))
    return _Cell(text, {"command": "code", "from": "day", "to": "day"}.get(key, "text"))
