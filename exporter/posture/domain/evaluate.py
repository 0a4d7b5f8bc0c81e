"""All controls over all facts, and the score: how much of what could be evaluated holds, weighted by severity."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, fields
from fractions import Fraction
from typing import Final

from exporter.posture.domain import access, cdc, isolation, keys, logging, masking, network, recovery, rls, roles
from exporter.posture.domain.facts import Facts
from exporter.posture.domain.finding import Finding, Outcome, Severity
from exporter.posture.domain.policy import Policy
from exporter.posture.domain.rule import RULES, Context, RuleResult

THEMES = (isolation, rls, roles, network, access, logging, keys, masking, recovery, cdc)
"""The modules whose rules are registered by importing them."""


def evaluate(facts: Facts, policy: Policy, now: float, all_facts: Facts | None = None) -> tuple[Finding, ...]:
    """Every control over every object that it speaks of; ``now`` in unix seconds. Sorted by control and object.

    An object of which nothing was read has its findings too, as unknown or error: what is not evaluated is never
    silent. ``all_facts`` is what a rule may look at beside its object, where ``facts`` are a part of all.

    Raises:
        KeyError: ``policy.severities`` lacks a control that has a rule.
    """
    context = Context(facts if all_facts is None else all_facts, policy, now)
    found = [
        _finding(rule.control, result, policy.severities[rule.control])
        for field in fields(facts)
        for subject in getattr(facts, field.name)
        for rule in RULES
        if isinstance(subject, rule.subject)
        for result in rule.check(subject, context)
    ]
    return tuple(sorted(found, key=lambda finding: (finding.control, finding.object_id, finding.outcome)))


def _finding(control: str, result: RuleResult, own: Severity) -> Finding:
    """The severity of the control, unless its rule said a lower one."""
    lower = result.severity
    severity = own if lower is None or lower.rank < own.rank else lower
    return Finding(control, result.object_id, result.outcome, severity, result.tenant, result.evidence, result.count)


def automatic_controls() -> frozenset[str]:
    """Ids of the controls that have a rule; the others are for a person."""
    return frozenset(rule.control for rule in RULES)


WEIGHTS: Final[Mapping[Severity, int]] = {
    Severity.CRITICAL: 10, Severity.HIGH: 5, Severity.MEDIUM: 2, Severity.LOW: 1, Severity.INFO: 0,
}  # fmt: skip
"""What one control weighs at one place: one leak weighs as much as ten small things."""


@dataclass(frozen=True, slots=True)
class Score:
    """Of one project, branch or tenant. Controls are counted once each, by their worst outcome there."""

    passed: int = 0
    failed: int = 0
    waived: int = 0
    """Failed, and somebody answers for it until a day: in no other count."""
    unknown: int = 0
    """Unknown or error: neither for nor against."""
    not_applicable: int = 0
    manual: int = 0
    passed_weight: int = 0
    failed_weight: int = 0
    unknown_weight: int = 0

    @property
    def ratio(self) -> Fraction | None:
        """0 to 1; None when nothing could be evaluated."""
        whole = self.passed_weight + self.failed_weight
        return Fraction(self.passed_weight, whole) if whole else None

    @property
    def known(self) -> Fraction | None:
        """The part of the weight that could be evaluated, 0 to 1."""
        decided = self.passed_weight + self.failed_weight
        whole = decided + self.unknown_weight
        return Fraction(decided, whole) if whole else None


_WORST: Final = (Outcome.FAIL, Outcome.ERROR, Outcome.UNKNOWN, Outcome.MANUAL, Outcome.PASS, Outcome.NOT_APPLICABLE)


def scores(
    findings: Iterable[Finding],
    *,
    by: Callable[[Finding], str],
    waived: Collection[str] = (),
) -> dict[str, Score]:
    """A score for each text that ``by`` answers ("" is left out); ``waived`` are cache keys of waived failures.

    A control that fails anywhere fails; it is waived only where all its failures are.
    """
    grouped: dict[str, dict[str, list[Finding]]] = {}
    for finding in findings:
        name = by(finding)
        if name:
            grouped.setdefault(name, {}).setdefault(finding.control, []).append(finding)
    return {name: _score(controls.values(), waived) for name, controls in sorted(grouped.items())}


def by_project(finding: Finding) -> str:
    """The first part of the path."""
    return finding.object_id.split("/", 1)[0]


def by_tenant(finding: Finding) -> str:
    """Whose data is at risk."""
    return finding.tenant


def worst(findings: Iterable[Finding], waived: Collection[str] = ()) -> Finding | None:
    """The finding that decides a control: failures before what could not be read, that before what holds."""

    def rank(finding: Finding) -> tuple[bool, int, int]:
        is_waived = finding.outcome is Outcome.FAIL and bool(waived) and finding.cache_key in waived
        return (finding.outcome is not Outcome.FAIL, is_waived + _WORST.index(finding.outcome), finding.severity.rank)

    return min(findings, key=rank, default=None)


def _score(controls: Iterable[list[Finding]], waived: Collection[str]) -> Score:
    counts = {
        "passed": 0, "failed": 0, "waived": 0, "unknown": 0, "not_applicable": 0, "manual": 0,
        "passed_weight": 0, "failed_weight": 0, "unknown_weight": 0,
    }  # fmt: skip
    for findings in controls:
        decides = worst(findings, waived)
        if decides is None:
            continue
        name = _NAMES[decides.outcome]
        if decides.outcome is Outcome.FAIL and waived and decides.cache_key in waived:
            name = "waived"
        counts[name] += 1
        if f"{name}_weight" in counts:
            counts[f"{name}_weight"] += WEIGHTS[decides.severity]
    return Score(**counts)


_NAMES: Final = {
    Outcome.PASS: "passed", Outcome.FAIL: "failed", Outcome.ERROR: "unknown", Outcome.UNKNOWN: "unknown",
    Outcome.NOT_APPLICABLE: "not_applicable", Outcome.MANUAL: "manual",
}  # fmt: skip
