"""HTML documents: one Jinja2 environment that escapes everything, one base template, one stylesheet.

A document is one file: its sheet is inline, it has no script, and it loads nothing from anywhere. A package keeps its
templates in its folder ``templates``; in a template they are named ``package:file``, and each document extends
``exporter.documents:base.html.j2``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from importlib.resources import files

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from exporter.documents.tables import Cell, Kind, Table, shown
from exporter.documents.text import instant

LEVELS: Mapping[str, str] = {"good": "fine", "warn": "look", "bad": "wrong"}
"""A level as a word; the level itself is the class that gives it its colour."""
_STYLES = {Kind.DAY: "day", Kind.CODE: "code", Kind.LEVEL: ""}


def render(template: str, /, **values: object) -> str:
    """The document that a template makes of these values; ``template`` is ``package:file``.

    Raises:
        jinja2.TemplateError: there is no such template, or it names a value that is not given.
    """
    return _environment().get_template(template).render(values)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FunctionLoader(_source),
        autoescape=True,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        auto_reload=False,
    )
    environment.filters["instant"] = instant
    return environment


def _source(name: str) -> str | None:
    package, _, file = name.partition(":")
    path = files(package).joinpath("templates", file)
    return path.read_text("utf-8") if path.is_file() else None


@dataclass(frozen=True, slots=True)
class ColumnView:
    """The head of a column; ``right``: its cells stand to the right, as numbers do."""

    title: str
    right: bool = False


@dataclass(frozen=True, slots=True)
class CellView:
    """One cell: a text or a picture, or a pill of a tone, or a bar of so many percent of the widest."""

    text: str | Markup = ""
    style: str = ""
    tone: str = ""
    bar: float | None = None


@dataclass(frozen=True, slots=True)
class TableView:
    """A table laid out for the macro ``table`` of parts.html.j2."""

    columns: tuple[ColumnView, ...]
    rows: tuple[tuple[CellView, ...], ...]
    total: tuple[CellView, ...]
    note: str
    muted: int
    """The number of last rows that are drawn softer."""


def table_view(table: Table, *, bars: bool = False, trend: Mapping[str, Markup] | None = None) -> TableView:
    """Lay a table out: ``bars`` draws its column ``share``; ``trend`` adds a picture by the text of the first cell."""
    rounded = shown(table)
    share = table.at("share") if bars and any(column.key == "share" for column in table.columns) else None
    widest = max((_number(row[share]) for row in table.rows), default=Fraction()) if share is not None else Fraction()
    columns = [ColumnView(column.title, column.kind.numeric) for column in table.columns]
    columns += [ColumnView("")] if share is not None else []
    columns += [ColumnView("Trend")] if trend else []
    rows = []
    for row in rounded.rows:
        cells = [_cell(table, i, rounded.text(i, cell)) for i, cell in enumerate(row)]
        if share is not None:
            width = float(_number(row[share]) / widest * 100) if widest > 0 else 0.0
            cells.append(CellView(style="b", bar=max(0.0, width)))
        if trend:
            cells.append(CellView(trend.get(str(row[0]), "")))
        rows.append(tuple(cells))
    total = [_cell(table, i, rounded.text(i, cell)) for i, cell in enumerate(rounded.total or ())]
    total += [CellView()] * (len(columns) - len(table.columns)) if total else []
    return TableView(tuple(columns), tuple(rows), tuple(total), table.note, table.tail)


def _cell(table: Table, column: int, text: str) -> CellView:
    kind = table.columns[column].kind
    if kind is Kind.LEVEL:
        return CellView(LEVELS.get(text, ""), tone=text)
    return CellView(text, "r" if kind.numeric else _STYLES.get(kind, "text"))


def _number(cell: Cell) -> Fraction:
    return Fraction(cell) if isinstance(cell, (int, Fraction)) else Fraction()
