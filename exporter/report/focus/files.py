"""The FOCUS files of a month: Cost and Usage in 1.4 and 1.2, and the Billing Period of 1.4."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from io import StringIO

from exporter.documents.when import zulu
from exporter.pricing.domain.calendar import day_text
from exporter.pricing.domain.rates import RateCard
from exporter.report.facts import ReviewFacts
from exporter.report.focus.billed import Billed
from exporter.report.focus.charges import charges
from exporter.report.focus.columns import BILLING_PERIOD_14, COST_AND_USAGE_12, COST_AND_USAGE_14, as_12
from exporter.report.focus.days import Weights, by_day
from exporter.report.focus.declared import correction_rows, declared_rows, missing_rows
from exporter.report.focus.rows import Party, Row, Rows

VERSIONS = ("1.4", "1.2")


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
    """Name and text of each file."""
    month = day_text(facts.this.start)[:7]
    made = {}
    if "1.4" in versions:
        made[f"focus-1.4-cost-and-usage-{month}.csv"] = csv_text(COST_AND_USAGE_14, focus.rows)
        made[f"focus-1.4-billing-period-{month}.csv"] = csv_text(BILLING_PERIOD_14, [focus.period])
    if "1.2" in versions:
        rows = (as_12(row, party.publisher) for row in focus.rows)
        made[f"focus-1.2-cost-and-usage-{month}.csv"] = csv_text(COST_AND_USAGE_12, rows)
    return made


def csv_text(columns: Sequence[str], rows: Iterable[Row]) -> str:
    """CSV with Unix line ends; a null is an empty cell."""
    held = StringIO()
    writer = csv.DictWriter(held, columns, lineterminator="\n", extrasaction="raise")
    writer.writeheader()
    writer.writerows(rows)
    return held.getvalue()
