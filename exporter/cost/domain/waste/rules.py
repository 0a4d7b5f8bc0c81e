"""The rules of waste in their order, and the pass over an account.

Order decides who owns a dollar: what would be deleted comes first, then who keeps computes awake, then sizes, then
windows and allowances, and the plan at last, on what is left. docs/waste.md tells each for people.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction

from exporter.cost.domain.waste.branches import (
    diverged_child,
    extra_branches,
    history_window,
    idle_branch,
    no_expiry,
    old_snapshot,
)
from exporter.cost.domain.waste.computes import (
    autoscale_minimum,
    idle_replica,
    kept_awake,
    never_suspended,
    slot_keeps_awake,
)
from exporter.cost.domain.waste.plan import egress_cliff, plan_features
from exporter.cost.domain.waste.waste import Account, Findings, Policy, ProjectFacts, Purse, Unknown, Waste

Rule = Callable[[ProjectFacts, Policy, Purse, int], Iterator[Waste | Unknown]]

RULES: Mapping[str, Rule] = {
    "idle_branch": idle_branch,
    "old_snapshot": old_snapshot,
    "no_expiry": no_expiry,
    "diverged_child": diverged_child,
    "extra_branches": extra_branches,
    "idle_replica": idle_replica,
    "slot_keeps_awake": slot_keeps_awake,
    "kept_awake": kept_awake,
    "never_suspended": never_suspended,
    "autoscale_minimum": autoscale_minimum,
    "history_window": history_window,
    "egress_cliff": egress_cliff,
    "plan_features": plan_features,
}
"""By name, in the order in which they take."""
UNREADABLE = "Neon could not tell the project's state in the last look"


def find(account: Account, policy: Policy) -> Findings:
    """Apply every rule. Each goes over all projects before the next one begins."""
    purse = Purse(account.costs)
    found: list[Waste] = []
    unknown: list[Unknown] = []
    for name, rule in RULES.items():
        for project in account.projects:
            if not project.readable:
                unknown.append(Unknown(name, project.id, UNREADABLE))
                continue
            for waste in rule(project, policy, purse, account.now):
                (found if isinstance(waste, Waste) else unknown).append(waste)  # type: ignore[arg-type]
    found.sort(key=lambda waste: (-waste.usd_per_month, waste.rule, waste.project_id, waste.branch_id, waste.subject))
    return Findings(tuple(found), tuple(unknown), account.cost)


def by_rule(findings: Findings) -> dict[str, tuple[int, Fraction]]:
    """Findings and dollars of every rule, also of those that found nothing."""
    sums = {name: (0, Fraction()) for name in RULES}
    for waste in findings.found:
        count, usd = sums[waste.rule]
        sums[waste.rule] = (count + 1, usd + waste.usd_per_month)
    return sums
