"""Waste as series: dollars a month by branch and rule, and how much is not known.

Every family is bounded: branches past the most per project are summed as one, so the sum over a project stays right.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction

from collectors.base import Observation, Status, Target
from collectors.metric import Families, Kind, Metric, Scope, Unit
from exporter.cost.domain.waste.rules import RULES, by_rule
from exporter.cost.domain.waste.waste import Findings
from exporter.pricing.domain.rates import to_decimal

COLLECTOR = "waste"
OTHER = "__other__"
BRANCHES_SHOWN = 20
"""Branches with series of their own in one project: those that waste most."""

WASTE = Metric(
    "neon_waste_usd", Kind.GAUGE, Unit.USD, Scope.PROJECT,
    "USD a month (744 h) that ending this waste saves at the present pace; no dollar is in two rules.",
    ("branch_id", "rule"), worse="up", max_series=len(RULES) * (BRANCHES_SHOWN + 2),
)  # fmt: skip
FINDINGS = Metric(
    "neon_waste_findings", Kind.GAUGE, Unit.NONE, Scope.AGENT,
    "Findings of the rule, also those that cost nothing yet.", ("rule",), worse="up", max_series=len(RULES),
)  # fmt: skip
UNKNOWN = Metric(
    "neon_waste_unknown", Kind.GAUGE, Unit.NONE, Scope.AGENT,
    "Judgements that the rule could not make, because something was not known.", ("rule",), worse="up",
    max_series=len(RULES),
)  # fmt: skip
METRICS: tuple[Metric, ...] = (WASTE, FINDINGS, UNKNOWN)


def observe(findings: Findings, now: float) -> list[Observation]:
    """One observation for each project with findings that cost something, one for the counts."""
    projects: dict[str, dict[tuple[str, str], Fraction]] = {}
    for waste in findings.found:
        if not waste.usd_per_month:
            continue  # The counts have it.
        sums = projects.setdefault(waste.project_id, {})
        key = (waste.branch_id, waste.rule)
        sums[key] = sums.get(key, Fraction()) + waste.usd_per_month
    observations = [_project(key, _bounded(sums), now) for key, sums in projects.items()]
    families = Families()
    for rule, (count, _) in by_rule(findings).items():
        families.set(FINDINGS, (rule,), count)
        families.set(UNKNOWN, (rule,), sum(unknown.rule == rule for unknown in findings.unknown))
    return [*observations, Observation(COLLECTOR, Target(Scope.AGENT, ()), Status.OK, now, families=families)]


def _project(project_id: str, sums: Mapping[tuple[str, str], Decimal], now: float) -> Observation:
    families = Families()
    for labels, usd in sums.items():
        families.set(WASTE, labels, usd)
    return Observation(COLLECTOR, Target(Scope.PROJECT, (project_id,)), Status.OK, now, families=families)


def _bounded(sums: Mapping[tuple[str, str], Fraction]) -> dict[tuple[str, str], Decimal]:
    """By branch and rule; what is past the most expensive branches is one branch."""
    totals: dict[str, Fraction] = {}
    for (branch, _), usd in sums.items():
        if branch:
            totals[branch] = totals.get(branch, Fraction()) + usd
    shown = {"", *sorted(totals, key=lambda branch: (-totals[branch], branch))[:BRANCHES_SHOWN]}
    folded: dict[tuple[str, str], Fraction] = {}
    for (branch, rule), usd in sums.items():
        key = (branch if branch in shown else OTHER, rule)
        folded[key] = folded.get(key, Fraction()) + usd
    return {key: to_decimal(usd) for key, usd in folded.items()}
