"""Tables as a spreadsheet: a sheet each, dollars as numbers, totals as formulas that already have their value.

Nothing in the file depends on when it was made: the created date is given, and the zip has no times. xlsxwriter comes
with the extra ``neonmeter[report]``, and is imported only here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from io import BytesIO
from typing import TYPE_CHECKING

from exporter.documents.tables import Kind, Shown, Table, cell_value, shown

if TYPE_CHECKING:
    from xlsxwriter import Workbook  # type: ignore[import-untyped]
    from xlsxwriter.format import Format  # type: ignore[import-untyped]
    from xlsxwriter.worksheet import Worksheet  # type: ignore[import-untyped]

_FORMATS = {
    Kind.USD: "#,##0.00;[Red]-#,##0.00",
    Kind.CHANGE: "+#,##0.00;[Red]-#,##0.00;0.00",
    Kind.PRICE: "#,##0.00##",
    Kind.SHARE: "0.0%",
    Kind.NUMBER: "#,##0.##",
    Kind.COUNT: "#,##0",
}
"""Number formats; every other column is text."""
_NOT_IN_NAMES = str.maketrans("", "", "[]:*?/\\'")


@dataclass(frozen=True, slots=True)
class Summary:
    """The first sheet: a title, lines of text, and figures with their value and what they are."""

    title: str
    lines: tuple[str, ...]
    figures: tuple[tuple[str, str, str], ...]
    company: str = ""


def workbook(summary: Summary, tables: Iterable[Table], *, created: int) -> bytes:
    """The file of a summary and tables; ``created`` in unix seconds."""
    import xlsxwriter  # noqa: PLC0415

    written = BytesIO()
    book = xlsxwriter.Workbook(written, {"in_memory": True, "strings_to_formulas": False, "strings_to_urls": False})
    made = datetime.fromtimestamp(created, UTC).replace(tzinfo=None)
    book.set_properties({"title": summary.title, "company": summary.company, "created": made})
    styles = _Styles(book)
    _write_summary(book.add_worksheet("Summary"), summary, styles)
    taken = {"summary"}
    for table in tables:
        _write_table(book.add_worksheet(_sheet_name(table.title, taken)), table, styles)
    book.close()
    return written.getvalue()


class _Styles:
    """The formats of a workbook, by the kind of a column."""

    def __init__(self, book: Workbook) -> None:
        texts = {kind: _FORMATS.get(kind, "@") for kind in Kind}
        self.cell = {kind: book.add_format({"num_format": text, "valign": "top"}) for kind, text in texts.items()}
        self.total = {
            kind: book.add_format({"num_format": text, "bold": True, "top": 1}) for kind, text in texts.items()
        }
        self.head = book.add_format({"bold": True, "bottom": 1, "text_wrap": True, "valign": "bottom"})
        self.title = book.add_format({"bold": True, "font_size": 14})
        self.wrapped = book.add_format({"text_wrap": True, "valign": "top"})


def _sheet_name(title: str, taken: set[str]) -> str:
    """At most 31 characters, without those that a sheet may not have, and each once whatever its case."""
    plain = title.translate(_NOT_IN_NAMES).strip() or "Table"
    name, number = plain[:31], 2
    while name.lower() in taken:
        name, number = f"{plain[:27]} {number}", number + 1
    taken.add(name.lower())
    return name


def _write_summary(sheet: Worksheet, summary: Summary, styles: _Styles) -> None:
    for column, width in enumerate((34, 22, 70)):
        sheet.set_column(column, column, width)
    sheet.write_string(0, 0, summary.title, styles.title)
    for row, line in enumerate(summary.lines, 1):
        sheet.write_string(row, 0, line)
    head = len(summary.lines) + 2
    for column, text in enumerate(("Figure", "Value", "")):
        sheet.write_string(head, column, text, styles.head)
    for row, (title, figure, meaning) in enumerate(summary.figures, head + 1):
        sheet.write_string(row, 0, title)
        sheet.write_string(row, 1, figure)
        sheet.write_string(row, 2, meaning, styles.wrapped)
    _set_paper(sheet)


def _write_table(sheet: Worksheet, table: Table, styles: _Styles) -> None:
    rounded = shown(table)
    for i, column in enumerate(table.columns):
        sheet.write_string(0, i, column.title, styles.head)
        texts = [rounded.text(i, row[i]) for row in (*rounded.rows, *([rounded.total] if rounded.total else []))]
        sheet.set_column(i, i, min(60, max([len(column.title) + 1, *(len(text) + 2 for text in texts)])))
    for number, row in enumerate(rounded.rows, 1):
        for i, cell in enumerate(row):
            kind = table.columns[i].kind
            _write(sheet, (number, i), cell_value(kind, cell), styles.cell[kind])
    _write_total(sheet, rounded, styles)
    if table.note:
        sheet.write_string(len(rounded.rows) + (3 if rounded.total else 2), 0, table.note)
    sheet.freeze_panes(1, 0)
    if rounded.rows:
        sheet.autofilter(0, 0, len(rounded.rows), len(table.columns) - 1)
    _set_paper(sheet)


def _write_total(sheet: Worksheet, rounded: Shown, styles: _Styles) -> None:
    from xlsxwriter.utility import xl_col_to_name  # type: ignore[import-untyped]  # noqa: PLC0415

    last = len(rounded.rows) + 1
    for i, cell in enumerate(rounded.total or ()):
        kind = rounded.table.columns[i].kind
        value = cell_value(kind, cell)
        if kind in (Kind.USD, Kind.CHANGE, Kind.COUNT) and isinstance(value, (int, Decimal)):
            letters = xl_col_to_name(i)
            sheet.write_formula(last, i, f"=SUM({letters}2:{letters}{last})", styles.total[kind], float(value))
        else:
            _write(sheet, (last, i), value, styles.total[kind])


def _write(sheet: Worksheet, at: tuple[int, int], value: str | float | Decimal | None, style: Format) -> None:
    if value is None:
        sheet.write_blank(*at, None, style)
    elif isinstance(value, str):
        sheet.write_string(*at, value, style)
    else:
        # A spreadsheet has only binary numbers; cents are exact to 15 digits in them, and shown as they are.
        sheet.write_number(*at, float(value), style)


def _set_paper(sheet: Worksheet) -> None:
    """A4 across, one page wide, the head on every page."""
    sheet.set_landscape()
    sheet.set_paper(9)
    sheet.fit_to_pages(1, 0)
    sheet.repeat_rows(0)
