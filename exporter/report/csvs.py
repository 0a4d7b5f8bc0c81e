"""The tables of the review as CSV: exact decimals, one file a table, for programs and for who wants to add them up."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from io import StringIO

from exporter.documents.tables import Table, exact_rows
from exporter.pricing.domain.rates import decimal_text
from exporter.report.facts import ReviewFacts
from exporter.report.review import Review

LEAVES = ("org_id", "org", "project_id", "project", "branch_id", "branch", "tenant", "kind", "component", "cost_usd",
          "confidence")  # fmt: skip


def csv_files(review: Review) -> Iterator[tuple[str, str]]:
    """(name, text) of each table, and of the leaves that all of them are sums of."""
    for table in (*review.tables.values(), *review.pivots):
        yield f"{table.key}.csv", csv_text(table)
    yield "leaves.csv", leaves_text(review.facts)


def csv_text(table: Table) -> str:
    """One table with a head of keys; a row ``Total`` is left to the reader to sum."""
    rows = exact_rows(table)
    return written([column.key for column in table.columns], rows[: len(table.rows)])


def leaves_text(facts: ReviewFacts) -> str:
    """Every part of the month's cost with its tags, as small as it gets."""
    tags = facts.tagging.keys
    rows = []
    for leaf in sorted(facts.this.leaves, key=lambda leaf: (*leaf[:6], leaf.cost)):
        given = facts.tagging.of(leaf.project_id, leaf.branch_id)
        names = [(name, facts.names.get(name, "")) for name in leaf[:3]]
        ids = [text for pair in names for text in pair]
        rows.append(
            [*ids, leaf.tenant, leaf.kind, str(leaf.item), decimal_text(leaf.cost), leaf.confidence.value]
            + [given.get(tag, "") for tag in tags]
        )
    return written([*LEAVES, *(f"tag_{tag}" for tag in tags)], rows)


def written(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """CSV with Unix line ends, quoted only where it must be."""
    held = StringIO()
    writer = csv.writer(held, lineterminator="\n")
    writer.writerow(head)
    writer.writerows([[_harmless(cell) for cell in row] for row in rows])
    return held.getvalue()


_NUMBER = re.compile(r"-?\d+(\.\d+)?")


def _harmless(cell: str) -> str:
    """A name that begins as a formula does would be run by a spreadsheet that opens the file."""
    return f"'{cell}" if cell[:1] in ("=", "+", "-", "@", "\t", "\r") and not _NUMBER.fullmatch(cell) else cell
