"""What the data of a review is worth: how far it goes, what is missing, and whether everything adds up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction

from exporter.cost.allocation.rows import CostReport
from exporter.cost.tags import Tagging
from exporter.documents.terminal import counted
from exporter.documents.text import instant, percent
from exporter.pricing.domain.calendar import DAY, day_text
from exporter.pricing.domain.components import Component
from exporter.pricing.domain.usage import UNATTRIBUTED
from exporter.report.facts import DataFinding, Month
from exporter.storage.ledger.ledger import Ledger


def findings(
    month: Month, ledger: Ledger, tagging: Tagging, required: tuple[str, ...], unmetered: Mapping[str, int]
) -> tuple[DataFinding, ...]:
    """What a reader should know, worst first; ``unmetered`` are services in use without a metric."""
    found = [
        *_reach(month),
        *_gaps(month, ledger),
        *_sums(month),
        *_prices(month),
        *_services(unmetered),
        *_coverage(month),
        *_tags(month, tagging, required),
    ]
    return tuple(sorted(found, key=lambda finding: ("bad", "warn", "good").index(finding.level)))


def _reach(month: Month) -> Iterator[DataFinding]:
    if month.complete:
        yield DataFinding("good", f"The usage is complete up to {instant(month.end)}.")
    elif month.through > month.start:
        yield DataFinding(
            "warn",
            f"The month is not complete: the usage goes to {instant(month.through)}.",
            "Make the review again when the month is over and its last hours have been read.",
        )
    else:
        yield DataFinding(
            "bad", "There is no usage of this month.", "Run neonmeter with a Neon API key: it fills the ledger."
        )


def _gaps(month: Month, ledger: Ledger) -> Iterator[DataFinding]:
    days = range(month.start, min(month.end, month.through), DAY)
    known = ledger.revisions(month.start, month.end)
    missing = [day for day in days if day not in known]
    if missing and len(missing) < len(days):
        named = ", ".join(day_text(day) for day in missing[:5])
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        yield DataFinding(
            "bad",
            f"{len(missing)} of {len(days)} days have no usage at all: {named}{more}.",
            "Let neonmeter run without long breaks, or fill the ledger while Neon still has the days.",
        )


def _sums(month: Month) -> Iterator[DataFinding]:
    problems = CostReport(month.costs).problems()
    if problems:
        yield DataFinding(
            "bad", f"Something does not add up: {problems[0]}.", "Please report this: it should never be."
        )
    else:
        yield DataFinding("good", "Tenants, branches, projects and organisations add up exactly to the total.")


def _services(unmetered: Mapping[str, int]) -> Iterator[DataFinding]:
    for service, branches in unmetered.items():
        yield DataFinding(
            "warn",
            f"Not metered by the API: {service}, used on {counted(branches, 'branch')}; its cost is not in the total.",
            "Take it from the invoice, and declare it under cost.extra_lines.",
        )


def _prices(month: Month) -> Iterator[DataFinding]:
    unknown = sorted({f"{line.component} on plan {line.plan}" for line in month.costs.pricing.unknown})
    if unknown:
        yield DataFinding(
            "bad",
            f"Usage without a price is not in the total: {', '.join(unknown[:4])}.",
            "Set cost.plan, or give the price in the file that cost.rate_card names.",
        )
    for problem in month.problems:
        yield DataFinding("bad", f"A declared line is missing: {problem}.", "Correct it under cost.extra_lines.")
    if any(line.lower_bound for line in month.costs.pricing.lines):
        yield DataFinding(
            "warn",
            "Branches past the allowance are a lower bound: for a part of the month only daily figures are left.",
            "Keep neonmeter running: hourly figures are gone from Neon after a week.",
        )


def _coverage(month: Month) -> Iterator[DataFinding]:
    compute = [row for row in month.rows if row.item == Component.COMPUTE]
    total = sum((row.cost for row in compute), Fraction())
    if not total:
        return
    nobody = sum((row.cost for row in compute if row.tenant == UNATTRIBUTED), Fraction())
    part = 1 - nobody / total
    level = "good" if part >= Fraction(9, 10) else "warn"
    yield DataFinding(
        level,
        f"{percent(part)} of the compute cost was observed while it was spent.",
        "" if level == "good" else "Give neonmeter a database login, so that it can see who works (postgres.dsn).",
    )


def _tags(month: Month, tagging: Tagging, required: tuple[str, ...]) -> Iterator[DataFinding]:
    total = month.total
    if not tagging.keys or not required or total <= 0:
        return
    tagged = sum(
        (row.cost for row in month.rows if set(required) <= tagging.of(row.project_id, row.branch_id).keys()),
        Fraction(),
    )
    level = "good" if tagged / total >= Fraction(9, 10) else "warn"
    yield DataFinding(
        level,
        f"{percent(tagged / total)} of the cost carries the tags {', '.join(required)}.",
        "" if level == "good" else "Add rules for the rest under report.tags in the settings.",
    )
