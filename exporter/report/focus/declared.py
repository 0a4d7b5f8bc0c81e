"""Rows of FOCUS for what no meter shows: declared lines, corrections of closed months, and cents without a charge."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import Decimal
from fractions import Fraction

from exporter.cost.domain.close import USAGE, Booking, InvoiceLine, LineKey, Path
from exporter.cost.domain.extra import Category
from exporter.documents.formats import json_text
from exporter.documents.text import zulu
from exporter.pricing.domain.calendar import day_text, next_month
from exporter.pricing.domain.rates import decimal_text
from exporter.report.facts import CORRECTION, WORDS, ReviewFacts
from exporter.report.focus import columns
from exporter.report.focus.charges import PLACES
from exporter.report.focus.rows import Party, Row, common

_FREQUENCIES = {Category.PURCHASE: "Recurring", Category.TAX: "Recurring"}


def declared_rows(facts: ReviewFacts, party: Party) -> Iterator[Row]:
    """A row for each declared line and organisation. Nothing is split here: who bears it is in the review."""
    sums: dict[tuple[str, str, str], Fraction] = {}
    projects: dict[tuple[str, str, str], set[str]] = {}
    for part in facts.this.rows:
        if part.kind not in (USAGE, CORRECTION):
            key = (part.org_id, part.kind, part.item)
            sums[key] = sums.get(key, Fraction()) + part.cost
            projects.setdefault(key, set()).add(part.project_id)
    for (org, kind, name), cost in sorted(sums.items()):
        where = projects[org, kind, name]
        amount = decimal_text(Fraction(round(cost * 10**PLACES), 10**PLACES))
        row = common(facts, party, org, next(iter(where)) if len(where) == 1 else "")
        row |= {
            **_period(facts.this.start, facts.this.end),
            **_costs(amount),
            "ChargeCategory": kind,
            "ChargeDescription": name,
            "ChargeFrequency": _FREQUENCIES.get(Category(kind), "One-Time"),
        }
        if kind == Category.PURCHASE:
            row |= _purchase(name, amount)
        yield row


def _purchase(name: str, amount: str) -> Row:
    slug = "-".join(part for part in "".join(c if c.isalnum() else " " for c in name.lower()).split())
    return {
        "ContractedUnitPrice": amount,
        "ListUnitPrice": amount,
        "PricingCategory": "Standard",
        "PricingCurrencyContractedUnitPrice": amount,
        "PricingCurrencyListUnitPrice": amount,
        "PricingQuantity": "1",
        "PricingUnit": "Months",
        "SkuId": f"declared-{slug}",
        "SkuMeter": "declared",
        "SkuPriceId": f"declared-{slug}-{amount}",
    }


def correction_rows(facts: ReviewFacts, party: Party) -> Iterator[Row]:
    """What this month's statement corrects of closed months: by line and branch, of the period that was wrong."""
    for booking in facts.this.carried:
        for line in booking.lines:
            for (project, branch), cents in sorted(_by_branch(line).items()):
                if cents:
                    yield _correction(facts, party, booking, (line.key, project, branch, cents))


def _correction(facts: ReviewFacts, party: Party, booking: Booking, what: tuple[LineKey, str, str, int]) -> Row:
    key, project, branch, cents = what
    month = day_text(booking.month)[:7]
    row = common(facts, party, key.org_id, project)
    row |= {
        **_period(booking.month, next_month(booking.month)),
        **_costs(decimal_text(Decimal(cents).scaleb(-2))),
        "ChargeCategory": key.kind,
        "ChargeClass": "Correction",
        "ChargeDescription": f"Correction of {month}: {WORDS.get(key.component, key.component).partition(' (')[0]}",
        "ChargeFrequency": "Usage-Based" if key.kind == USAGE else "One-Time",
        columns.X_CORRECTS: month,
        columns.X_PLAN: key.plan,
    }
    if key.kind == USAGE:
        row[columns.X_COMPONENT] = key.component
        row |= _resource(facts, project, branch)
    return row


def missing_rows(facts: ReviewFacts, party: Party, missing: Iterable[tuple[InvoiceLine, Path, int]]) -> Iterator[Row]:
    """Cents of a closed month whose usage a later reading took away: they stay billed until the correction."""
    for line, path, cents in missing:
        if cents:
            row = common(facts, party, line.key.org_id, path.project_id)
            row |= {
                **_period(facts.this.start, facts.this.end),
                **_costs(decimal_text(Decimal(cents).scaleb(-2))),
                **_resource(facts, path.project_id, path.branch_id),
                "ChargeCategory": "Adjustment",
                "ChargeDescription": f"{line.key.component}: closed, and corrected later",
                "ChargeFrequency": "One-Time",
                columns.X_COMPONENT: line.key.component,
                columns.X_PLAN: line.key.plan,
            }
            yield row


def _by_branch(line: InvoiceLine) -> dict[tuple[str, str], int]:
    sums: dict[tuple[str, str], int] = {}
    for part in line.allocations:
        place = (part.path.project_id, part.path.branch_id)
        sums[place] = sums.get(place, 0) + part.cents
    return sums


def _resource(facts: ReviewFacts, project: str, branch: str) -> Row:
    is_branch = bool(branch) and not branch.startswith("__")
    resource = branch if is_branch else project
    tags = facts.tagging.of(project, branch)
    return {
        "ResourceId": resource,
        "ResourceName": facts.names.get(resource, resource),
        "ResourceType": "Branch" if is_branch else "Project",
        "Tags": json_text(tags) if tags else "",
    }


def _period(start: int, end: int) -> Row:
    return {"ChargePeriodStart": zulu(start), "ChargePeriodEnd": zulu(end)}


def _costs(amount: str) -> Row:
    names = ("BilledCost", "EffectiveCost", "ListCost", "ContractedCost", "PricingCurrencyEffectiveCost")
    return dict.fromkeys(names, amount)
