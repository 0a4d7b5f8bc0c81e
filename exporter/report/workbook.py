"""The review as a spreadsheet: a sheet per table, dollars as numbers, totals as formulas that already have their value.

Nothing in the file depends on when it was made: the created date is the month's end, and the zip has no times.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from io import BytesIO
from typing import TYPE_CHECKING, Any

from exporter.documents.tables import Kind, Table, cell_value, shown
from exporter.documents.when import month_name
from exporter.report.review import Review

if TYPE_CHECKING:
    from xlsxwriter.worksheet import Worksheet  # type: ignore[import-untyped]

_FORMATS = {
    Kind.USD: "#,##0.00;[Red]-#,##0.00",
    Kind.CHANGE: "+#,##0.00;[Red]-#,##0.00;0.00",
    Kind.PRICE: "#,##0.00##",
    Kind.SHARE: "0.0%",
    Kind.NUMBER: "#,##0.##",
    Kind.COUNT: "#,##0",
    Kind.TEXT: "@",
}
_SHEET = str.maketrans("", "", "[]:*?/\\'")


def workbook(review: Review) -> bytes:
    """The whole file."""
    import xlsxwriter  # type: ignore[import-untyped]  # noqa: PLC0415 - of the extra neonmeter[report]

    held = BytesIO()
    book = xlsxwriter.Workbook(held, {"in_memory": True, "strings_to_formulas": False, "strings_to_urls": False})
    title = f"Database costs, {month_name(review.facts.this.start)}"
    created = datetime.fromtimestamp(review.facts.this.end, UTC).replace(tzinfo=None)
    book.set_properties({"title": title, "company": review.facts.company, "created": created})
    styles = {kind: book.add_format({"num_format": text, "valign": "top"}) for kind, text in _FORMATS.items()}
    bold = {kind: book.add_format({"num_format": text, "bold": True, "top": 1}) for kind, text in _FORMATS.items()}
    head = book.add_format({"bold": True, "bottom": 1, "text_wrap": True, "valign": "bottom"})
    big = book.add_format({"bold": True, "font_size": 14})
    wrap = book.add_format({"text_wrap": True, "valign": "top"})
    summary = book.add_worksheet("Summary")
    _summary(summary, review, title, (big, head, wrap))
    taken = {"summary"}
    for table in (*review.tables.values(), *review.pivots):
        _sheet(book.add_worksheet(_sheet_name(table.title, taken)), table, (head, styles, bold))
    book.close()
    return held.getvalue()


def _sheet_name(title: str, taken: set[str]) -> str:
    """At most 31 characters, without those that a sheet may not have, and each once whatever its case."""
    plain = title.translate(_SHEET).strip() or "Table"
    name, number = plain[:31], 2
    while name.lower() in taken:
        name, number = f"{plain[:27]} {number}", number + 1
    taken.add(name.lower())
    return name


def _summary(sheet: Worksheet, review: Review, title: str, formats: tuple[Any, Any, Any]) -> None:
    big, head, wrap = formats
    sheet.set_column(0, 0, 34)
    sheet.set_column(1, 1, 22)
    sheet.set_column(2, 2, 70)
    sheet.write_string(0, 0, title, big)
    for row, line in enumerate((review.headline, review.why, review.as_of), 1):
        sheet.write_string(row, 0, line)
    for column, text in enumerate(("Figure", "Value", "")):
        sheet.write_string(5, column, text, head)
    for row, tile in enumerate(review.tiles, 6):
        sheet.write_string(row, 0, tile.title)
        sheet.write_string(row, 1, tile.figure)
        sheet.write_string(row, 2, tile.sub, wrap)
    _paper(sheet)


def _sheet(sheet: Worksheet, table: Table, formats: tuple[Any, dict[Kind, Any], dict[Kind, Any]]) -> None:
    head, styles, bold = formats
    seen = shown(table)
    for i, column in enumerate(table.columns):
        sheet.write_string(0, i, column.title, head)
        texts = [seen.text(i, row[i]) for row in (*seen.rows, *([seen.total] if seen.total else []))]
        sheet.set_column(i, i, min(60, max([len(column.title) + 1, *(len(text) + 2 for text in texts)])))
    for number, row in enumerate(seen.rows, 1):
        for i, cell in enumerate(row):
            _write(sheet, (number, i), cell_value(table.columns[i].kind, cell), styles[table.columns[i].kind])
    if seen.total:
        last = len(seen.rows) + 1
        for i, cell in enumerate(seen.total):
            kind = table.columns[i].kind
            value = cell_value(kind, cell)
            if kind in (Kind.USD, Kind.CHANGE, Kind.COUNT) and isinstance(value, (int, Decimal)):
                letter = _letters(i)
                formula = f"=SUM({letter}2:{letter}{last})"
                sheet.write_formula(last, i, formula, bold[kind], float(value))
            else:
                _write(sheet, (last, i), value, bold[kind])
    if table.note:
        sheet.write_string(len(seen.rows) + (3 if seen.total else 2), 0, table.note)
    sheet.freeze_panes(1, 0)
    if seen.rows:
        sheet.autofilter(0, 0, len(seen.rows), len(table.columns) - 1)
    _paper(sheet)


def _write(sheet: Worksheet, at: tuple[int, int], value: object, style: object) -> None:
    if value is None:
        sheet.write_blank(*at, None, style)
    elif isinstance(value, str):
        sheet.write_string(*at, value, style)
    else:
        # A spreadsheet has only binary numbers; cents are exact to 15 digits in them, and shown as they are.
        sheet.write_number(*at, float(value), style)  # type: ignore[arg-type]


def _paper(sheet: Worksheet) -> None:
    sheet.set_landscape()
    sheet.set_paper(9)
    sheet.fit_to_pages(1, 0)
    sheet.repeat_rows(0)


def _letters(column: int) -> str:
    letters = ""
    while column >= 0:
        letters = chr(ord("A") + column % 26) + letters
        column = column // 26 - 1
    return letters
