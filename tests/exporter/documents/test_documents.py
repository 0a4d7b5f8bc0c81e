"""The toolkit's files: whatever stands in a cell is text, in HTML, SVG, CSV, Markdown and spreadsheets alike."""

from __future__ import annotations

import csv
from decimal import Decimal
from fractions import Fraction
from io import BytesIO, StringIO
from xml.etree import ElementTree
from zipfile import ZipFile

import pytest
from jinja2 import UndefinedError
from markupsafe import Markup

from exporter.documents.charts import Step, range_bar, sparkline, stacked_bars, waterfall
from exporter.documents.formats import csv_text, json_text, markdown_cell, markdown_document, markdown_text, records_csv
from exporter.documents.html import render, table_view
from exporter.documents.tables import Column, Kind, Table, total_row
from exporter.documents.xlsx import Summary, workbook

HOSTILE = "<script>alert(1)</script>\"' onload=x {{ 7 * 7 }}{% raw %} &amp;"
COLUMNS = (
    Column("name", "Name"),
    Column("usd", "Cost", Kind.USD),
    Column("share", "Share", Kind.SHARE),
    Column("level", "State", Kind.LEVEL),
    Column("command", "Command", Kind.CODE),
)


def table(*names: str, tail: int = 0) -> Table:
    rows = tuple((name, Fraction(10, i + 1), Fraction(1, i + 1), "warn", name) for i, name in enumerate(names))
    return Table("t", "T" + names[0][:8], COLUMNS, rows, total_row(COLUMNS, rows), tail=tail)


def test_a_table_in_html_has_bars_pills_and_pictures_and_every_text_is_escaped() -> None:
    view = table_view(table(HOSTILE, "b", "own", tail=1), bars=True, trend={"b": Markup("<svg/>")})
    text = render("tests.exporter.documents:parts.html.j2", view=view, name=HOSTILE)
    assert "<script" not in text
    assert "49" not in text, "a name is never a template"
    assert text.count("{{ 7 * 7 }}{% raw %}") == 5
    assert text.count('<tr class="own">') == 1
    assert text.count("<svg/>") == 1
    assert [f"width:{part}%" in text for part in ("100.0", "50.0", "33.3")] == [True] * 3
    assert text.count('<span class="pill warn">look</span>') == 3
    assert text.count('<td class="code">') == 4
    ElementTree.fromstring(f"<body>{text}</body>")


def test_a_document_is_one_file_with_its_sheet_and_loads_nothing() -> None:
    text = render("tests.exporter.documents:document.html.j2", name=HOSTILE)
    assert text.startswith("<!doctype html>")
    assert "prefers-color-scheme:dark" in text
    assert "<script" not in text
    assert not [word for word in ("url(", "@import", "src=", "href=", "http:", "https:") if word in text]


def test_a_value_that_is_missing_is_an_error_and_no_empty_place() -> None:
    with pytest.raises(UndefinedError):
        render("tests.exporter.documents:document.html.j2")


def test_charts_are_sound_and_escape_their_texts() -> None:
    one = Fraction(1)
    charts = [
        stacked_bars("a", HOSTILE, [(HOSTILE, {"x": one}), ("Jan 2027", {"x": one, "y": -one})], ["x", "y"], mark=one),
        waterfall("b", HOSTILE, [Step(HOSTILE, one, HOSTILE, whole=True), Step("less", -one / 9, HOSTILE)]),
        range_bar("c", HOSTILE, (one, one * 2, one * 3), (HOSTILE, HOSTILE, HOSTILE), (one, HOSTILE)),
        sparkline([one, one * 2, -one]),
    ]
    for chart in charts:
        assert isinstance(chart, Markup)
        assert {element.tag for element in ElementTree.fromstring(chart).iter()} <= {
            "svg", "title", "desc", "rect", "line", "text", "path", "circle", "polyline",
        }  # fmt: skip
    assert sparkline([one]) == ""


def test_a_cell_that_begins_as_a_formula_is_kept_a_text() -> None:
    rows = [["=1+1", "+x", "@a", "\tb", "-7", "-7.50", "-a", -7, HOSTILE]]
    assert next(csv.reader(StringIO(csv_text(["a"] * 9, rows).partition("\n")[2]))) == [
        "'=1+1", "'+x", "'@a", "'\tb", "-7", "-7.50", "'-a", "-7", HOSTILE,
    ]  # fmt: skip
    assert csv_text(["a"], [["b"]], line_end="\r\n") == "a\r\nb\r\n"
    with ZipFile(BytesIO(workbook(Summary("T", ("=1+1",), ()), [table("=1+1", "b")], created=0))) as book:
        assert b"<f>1+1" not in b"".join(book.read(name) for name in book.namelist())
        assert b"<f>SUM(B2:B3)</f><v>15" in book.read("xl/worksheets/sheet2.xml")


def test_sheets_whose_titles_a_spreadsheet_cannot_have_get_other_names() -> None:
    tables = [table("[a]:b"), table("[a]:B"), table("x" * 40)]
    with ZipFile(BytesIO(workbook(Summary("T", (), ()), tables, created=0))) as book:
        elements = ElementTree.fromstring(book.read("xl/workbook.xml")).iter()
    names = [element.get("name") for element in elements if element.tag.endswith("}sheet")]
    assert names == ["Summary", "Tab", "TaB 2", "Txxxxxxxx"]


def test_records_of_programs_stay_as_they_are() -> None:
    assert records_csv(["a", "b"], [{"a": "=x", "b": ""}]) == "a,b\n=x,\n"
    with pytest.raises(ValueError, match="c"):
        records_csv(["a"], [{"a": "1", "c": "2"}])
    assert json_text({"b": [Decimal("0.000010"), Decimal(7)], "a": "\u00e9"}) == '{"b":[0.00001,7],"a":"\u00e9"}'


def test_markdown_is_short_and_has_no_markup_of_others() -> None:
    assert markdown_text("a*b|<c>") == "a\\*b\\|\\<c\\>"
    assert markdown_cell("a|b\n`<c>`") == "a\\|b '&lt;c>'"
    assert markdown_document(["head", "x" * 50, "y" * 50, "end"], 70) == "head\n\n" + "x" * 50 + "\n\nend\n"
    assert len(markdown_document(["h" * 90, "end"], 70)) == 71
