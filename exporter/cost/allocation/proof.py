"""Proves a priced month: whatever level it is added up at, nothing is lost and nothing is counted twice.

Each check compares two figures that came about in different ways, as exact fractions; the difference must be 0. What
the usage itself says (raw whole numbers, counted when it was written) is compared with what the cost lines hold.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from exporter.cost.allocation.costs import MonthCosts
from exporter.cost.domain.close import Path, line_key, quantise, usage_lines
from exporter.pricing.domain.components import Component

CENT = Fraction(1, 100)
INVOICE = "invoice: "
"""How a problem of the rounded lines begins; all others are of exact amounts."""
_Sums = dict[tuple[Hashable, ...], Fraction]


@dataclass(slots=True)
class MonthProof:
    """What was checked of one month. ``worst`` is the largest difference found, in USD; 0 is the proof."""

    month: int
    lines: int
    rows: int
    """MeteredCosts: a tenant's part of one component of one branch."""
    total: Fraction
    cents: int = 0
    """The month as an invoice shows it: the sum of its rounded lines."""
    checks: int = 0
    worst: Fraction = Fraction()
    problems: list[str] = field(default_factory=list)

    def same(self, what: str, left: Fraction | int, right: Fraction | int) -> None:
        """One check."""
        self.checks += 1
        difference = abs(Fraction(left) - Fraction(right))
        if difference:
            self.worst = max(self.worst, difference)
            self.problems.append(f"{what}: {left} is not {right}")


def prove_month(costs: MonthCosts, usage: Mapping[Component, int]) -> MonthProof:
    """Check one month; ``usage`` is the raw usage of all projects by component, from another source than the ledger."""
    pricing = costs.pricing
    proof = MonthProof(costs.month, len(pricing.lines), len(costs.shares), pricing.total)
    proof.problems.extend(
        f"no price: {unknown.project_id} {unknown.component}: {unknown.why}" for unknown in pricing.unknown
    )
    _prove_usage(proof, costs, usage)
    _prove_lines(proof, costs)
    _prove_levels(proof, costs)
    try:
        _prove_invoice(proof, costs)
    except ValueError as problem:
        proof.problems.append(f"{INVOICE}it cannot be made: {problem}")
    return proof


def _prove_invoice(proof: MonthProof, costs: MonthCosts) -> None:
    invoice = usage_lines(costs.pricing.lines, costs.shares)
    proof.cents = sum(line.cents for line in invoice)
    exact: dict[tuple[Hashable, Path], Fraction] = {}
    for share in costs.shares:
        row = (line_key(share.line), Path(share.line.project_id, share.branch_id, share.tenant))
        exact[row] = exact.get(row, Fraction()) + share.cost
    for line in invoice:
        name = f"{INVOICE}{line.key.org_id} {line.key.component}"
        proof.same(f"{name}: its cents", line.cents, quantise(line.cost))
        proof.same(f"{name}: its rows to the cent", sum(part.cents for part in line.allocations), line.cents)
        for part in line.allocations:
            if abs(part.cents * CENT - exact[line.key, part.path]) >= CENT:
                proof.problems.append(f"{name}: the row of {part.path} is a cent or more from its exact share")


def _prove_usage(proof: MonthProof, costs: MonthCosts, usage: Mapping[Component, int]) -> None:
    held: dict[Component, int] = {}
    for line in costs.pricing.lines:
        held[line.component] = held.get(line.component, 0) + line.usage
    for component in sorted(held.keys() | usage.keys()):
        proof.same(f"usage of {component}", held.get(component, 0), usage.get(component, 0))


def _prove_lines(proof: MonthProof, costs: MonthCosts) -> None:
    split: dict[int, Fraction] = {}
    for share in costs.shares:
        split[id(share.line)] = split.get(id(share.line), Fraction()) + share.cost
    for line in costs.pricing.lines:
        name = f"{line.project_id} {line.branch_id} {line.component}"
        proof.same(f"{name}: quantity x rate", line.cost, line.quantity * line.rate.amount if line.rate else 0)
        proof.same(f"{name}: its tenants", split.get(id(line), Fraction()), line.cost)


def _prove_levels(proof: MonthProof, costs: MonthCosts) -> None:
    """From the lines down to the project, from the shares up to it."""
    orgs: _Sums = {}
    projects: _Sums = {}
    for line in costs.pricing.lines:
        _add(orgs, (line.org_id,), line.cost)
        _add(projects, (line.org_id, line.project_id), line.cost)
    branches: _Sums = {}
    tenants: _Sums = {}
    for share in costs.shares:
        place = (share.line.org_id, share.line.project_id, share.branch_id)
        _add(branches, place, share.cost)
        _add(tenants, (*place, share.tenant), share.cost)
    _compare(proof, "the organisations", {(): proof.total}, orgs)
    _compare(proof, "the projects", orgs, projects)
    _compare(proof, "the branches", projects, branches)
    _compare(proof, "the tenants", branches, tenants)


def _add(sums: _Sums, key: tuple[Hashable, ...], amount: Fraction) -> None:
    sums[key] = sums.get(key, Fraction()) + amount


def _compare(proof: MonthProof, what: str, parents: Mapping[tuple[Hashable, ...], Fraction], children: _Sums) -> None:
    below: _Sums = {}
    for key, amount in children.items():
        _add(below, key[:-1], amount)
    for key in sorted(parents.keys() | below.keys(), key=str):
        proof.same(f"{what} of {key}", below.get(key, Fraction()), parents.get(key, Fraction()))
