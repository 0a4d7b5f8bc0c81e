"""The files of a review beside its page: Markdown for a chat, CSV for programs, a spreadsheet.

The CSVs carry exact decimals, one file a table, for whoever wants to add them up.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from exporter.documents.formats import csv_text, markdown_document, markdown_text
from exporter.documents.tables import Table, exact_rows, shown
from exporter.documents.text import cents, money, month_name
from exporter.documents.xlsx import Summary
from exporter.documents.xlsx import workbook as workbook_of
from exporter.pricing.domain.rates import decimal_text
from exporter.report.facts import ReviewFacts
from exporter.report.review import Review, Todo

MOST_CHARACTERS = 3900
"""Of the Markdown text; chats cut at 4,000."""
_LISTS = (("components", "What it was for"), ("tag-team", "By team"), ("tenants", "By tenant"))
_ROW_COLUMNS = ("org_id", "org", "project_id", "project", "branch_id", "branch", "tenant", "kind", "component",
                "cost_usd", "confidence")  # fmt: skip


def csv_files(review: Review) -> Iterator[tuple[str, str]]:
    """Name and text of each table, and of the rows that all of them are sums of."""
    for table in (*review.tables.values(), *review.pivots):
        yield f"{table.key}.csv", _table_csv(table)
    yield "leaves.csv", _rows_csv(review.facts)


def _table_csv(table: Table) -> str:
    """A table under the keys of its columns, without its total, which is left to the reader to sum."""
    rows = exact_rows(table)
    return csv_text([column.key for column in table.columns], rows[: len(table.rows)])


def _rows_csv(facts: ReviewFacts) -> str:
    """Every part of the month's cost with its tags, as small as it gets."""
    tags = facts.tagging.keys
    rows = []
    for row in sorted(facts.this.rows, key=lambda row: (*row[:6], row.cost)):
        given = facts.tagging.of(row.project_id, row.branch_id)
        ids = [text for name in row[:3] for text in (name, facts.names.get(name, ""))]
        rows.append(
            [*ids, row.tenant, row.kind, str(row.item), decimal_text(row.cost), row.confidence.value]
            + [given.get(tag, "") for tag in tags]
        )
    return csv_text([*_ROW_COLUMNS, *(f"tag_{tag}" for tag in tags)], rows)


def workbook(review: Review) -> bytes:
    """The spreadsheet: what page one says, then a sheet a table."""
    summary = Summary(
        f"Database costs, {month_name(review.facts.this.start)}",
        (review.headline, review.why, review.as_of),
        tuple((tile.title, tile.figure, tile.sub) for tile in review.tiles),
        review.facts.company,
    )
    return workbook_of(summary, (*review.tables.values(), *review.pivots), created=review.facts.this.end)


def markdown(review: Review) -> str:
    """A short text, in parts from the most to the least important; what would be too long is left out from the end."""
    facts = review.facts
    who = f"{facts.company}: " if facts.company else ""
    parts = [f"# {markdown_text(who)}database costs, {month_name(facts.this.start)}"]
    parts.append(f"**{markdown_text(review.headline)}** {markdown_text(review.why)}")
    parts.append(
        "\n".join(
            f"- {markdown_text(tile.title)}: **{tile.figure}** ({markdown_text(tile.sub)})" for tile in review.tiles
        )
    )
    if review.movers:
        lines = [
            f"- {markdown_text(mover.name)}: {money(mover.cents, sign=True)} ({markdown_text(mover.why)})"
            for mover in review.movers
        ]
        parts.append("**What moved most**\n" + "\n".join(lines))
    todo = [_todo_line(item) for item in review.todo if item.level != "good"]
    if todo:
        parts.append("**What to do**\n" + "\n".join(todo[:6]))
    parts += [_table_lines(review, key, title) for key, title in _LISTS if key in review.tables]
    if facts.anomalies:
        usd = money(cents(sum((row.usd for row in facts.anomalies), Fraction())))
        parts.append(f"Unusual cost: {usd} in {len(facts.anomalies)} places.")
    parts.append(f"_{markdown_text(review.as_of)}_")
    return markdown_document(parts, MOST_CHARACTERS)


def _todo_line(todo: Todo) -> str:
    usd = f"{todo.usd} a month: " if todo.usd else ""
    return f"- {usd}{markdown_text(todo.what)}{f' ({markdown_text(todo.sub)})' if todo.sub else ''}"


def _table_lines(review: Review, key: str, title: str) -> str:
    rounded = shown(review.tables[key].limited(7))
    usd, share = rounded.table.at("usd"), rounded.table.at("share")
    lines = [
        f"- {markdown_text(str(row[0]))}: {rounded.text(usd, row[usd])} ({rounded.text(share, row[share])})"
        for row in rounded.rows
    ]
    return f"**{title}**\n" + "\n".join(lines)
