"""The reconciliation of a closed month as it is stored, and series: how far months are closed, and the variance."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal

from collectors.base import Observation, Status, Target
from collectors.metric import Families, Kind, Metric, Scope, Unit
from exporter.cost.closing.store import CloseStore
from exporter.cost.domain.reconcile import Cause, Variance, cents_text
from exporter.pricing.domain.calendar import next_month

COLLECTOR = "close"
CLOSED = Metric(
    "neon_cost_closed_month_timestamp_seconds",
    Kind.GAUGE,
    Unit.TIMESTAMP,
    Scope.AGENT,
    "End of the newest month that was closed; its costs change by corrections only.",
    worse="down",
    max_series=1,
)
VARIANCE = Metric(
    "neon_cost_reconciliation_variance_usd",
    Kind.GAUGE,
    Unit.USD,
    Scope.ORG,
    "Invoice minus our cost by component, in the newest closed month that was checked with its invoice.",
    ("component",),
    worse="up",
    max_series=32,
)
METRICS: tuple[Metric, ...] = (CLOSED, VARIANCE)
_MOST = 31


def compared(variances: Iterable[Variance]) -> bool:
    """Whether every line agrees, but for a cent of rounding."""
    return all(variance.cause in (Cause.NONE, Cause.ROUNDING) for variance in variances)


def variance_dict(variances: Sequence[Variance], notes: Sequence[str], *, origin: str, at: int) -> dict[str, object]:
    """A reconciliation as it is stored with the month: amounts are decimal strings."""
    ours, invoice = sum(variance.ours for variance in variances), sum(variance.invoice for variance in variances)
    return {
        "invoice_file": origin,
        "reconciled_at": at,
        "ours": cents_text(ours),
        "invoice": cents_text(invoice),
        "variance": cents_text(invoice - ours),
        "lines": [variance.as_dict() for variance in variances],
        "notes": list(notes),
    }


def observe(store: CloseStore, now: float) -> list[Observation]:
    """How far months are closed, and the variance of the newest reconciliation.

    Raises:
        StoreError: the closed months cannot be read.
    """
    months = store.months()
    if not months:
        return []
    agent = Families()
    agent.set(CLOSED, (), next_month(months[-1]))
    by_target = {Target(Scope.AGENT, ()): agent}
    for month in reversed(months):
        statement = store.statement(month)
        if statement is not None:
            for (org, component), variance in _sums(statement["lines"]).items():
                families = by_target.setdefault(Target(Scope.ORG, (org,)), Families())
                families.add(VARIANCE, (component if len(families) < _MOST else "other",), variance)
            break
    return [
        Observation(COLLECTOR, target, Status.OK, now, families=families, rows=len(families))
        for target, families in by_target.items()
    ]


def _sums(lines: Iterable[dict[str, str]]) -> dict[tuple[str, str], Decimal]:
    sums: dict[tuple[str, str], Decimal] = {}
    for line in lines:
        key = (line["org_id"], line["component"])
        sums[key] = sums.get(key, Decimal()) + Decimal(line["variance"])
    return sums
