"""The FOCUS files of a month, as CSV and Parquet: Cost and Usage in 1.4 and 1.2, and the Billing Period of 1.4."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from exporter.documents.formats import records_csv, records_parquet
from exporter.documents.text import zulu
from exporter.pricing.domain.calendar import day_text
from exporter.pricing.domain.rates import RateCard
from exporter.report.facts import ReviewFacts
from exporter.report.focus.charges import Billed, charges
from exporter.report.focus.columns import (
    BILLING_PERIOD_14,
    COST_AND_USAGE_12,
    COST_AND_USAGE_14,
    DECIMALS,
    INSTANTS,
    as_12,
)
from exporter.report.focus.days import Weights, by_day
from exporter.report.focus.declared import correction_rows, declared_rows, missing_rows
from exporter.report.focus.rows import Party, Row, Rows

VERSIONS = ("1.4", "1.2")
SCALE = 27
"""Decimals of an amount in Parquet: 15 of a quantity and 12 of a price; eleven digits are left for whole dollars."""


@dataclass(frozen=True, slots=True)
class Focus:
    """The rows of a month in 1.4, complete in every column, and its billing period."""

    rows: tuple[Row, ...]
    period: Row


def focus_of(facts: ReviewFacts, card: RateCard, party: Party, daily: Weights | None = None) -> Focus:
    """Make the rows of the month of these facts; with its daily usage, one a day."""
    this = facts.this
    metered = list(charges(this.costs.pricing.lines, this.costs.shares, card, this.through))
    if daily is not None:
        metered = list(by_day(metered, daily))
    billed = Billed(this.booked.lines if this.booked else None, metered)
    rows = [
        *Rows(facts, card, party).usage(metered, billed),
        *missing_rows(facts, party, billed.missing),
        *declared_rows(facts, party),
        *correction_rows(facts, party),
    ]
    return Focus(
        tuple({column: row.get(column, "") for column in COST_AND_USAGE_14} for row in rows), period(facts, party)
    )


def period(facts: ReviewFacts, party: Party) -> Row:
    """The billing period of the month: open until it is closed."""
    this = facts.this
    updated = max(this.start, this.through, *([this.booked.booking.at] if this.booked else []))
    return {
        "BillingPeriodCreated": zulu(this.start),
        "BillingPeriodEnd": zulu(this.end),
        "BillingPeriodLastUpdated": zulu(updated),
        "BillingPeriodStart": zulu(this.start),
        "BillingPeriodStatus": "Closed" if this.closed else "Open",
        "InvoiceIssuerName": party.issuer,
    }


def focus_files(facts: ReviewFacts, focus: Focus, party: Party, versions: Sequence[str] = VERSIONS) -> dict[str, str]:
    """Name and text of each CSV file; a null is an empty cell."""
    return {
        f"{name}.csv": records_csv(columns, records)
        for name, columns, records in _data_sets(facts, focus, party, versions)
    }


def parquet_files(
    facts: ReviewFacts, focus: Focus, party: Party, versions: Sequence[str] = VERSIONS
) -> dict[str, bytes]:
    """Name and content of each Parquet file, for DuckDB, Trino, Spark or ClickHouse."""
    return {
        f"{name}.parquet": records_parquet(columns, records, decimals=DECIMALS, instants=INSTANTS, scale=SCALE)
        for name, columns, records in _data_sets(facts, focus, party, versions)
    }


def _data_sets(
    facts: ReviewFacts, focus: Focus, party: Party, versions: Sequence[str]
) -> Iterator[tuple[str, Sequence[str], Iterable[Row]]]:
    """Name, columns and records of each file."""
    month = day_text(facts.this.start)[:7]
    if "1.4" in versions:
        yield f"focus-1.4-cost-and-usage-{month}", COST_AND_USAGE_14, focus.rows
        yield f"focus-1.4-billing-period-{month}", BILLING_PERIOD_14, [focus.period]
    if "1.2" in versions:
        rows = (as_12(row, party.publisher) for row in focus.rows)
        yield f"focus-1.2-cost-and-usage-{month}", COST_AND_USAGE_12, rows
