"""The score: how much of what could be judged holds, weighted by severity. What is not known is shown apart."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from exporter.posture.domain.finding import Finding, Outcome, Severity

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
        """0 to 1; None when nothing could be judged."""
        whole = self.passed_weight + self.failed_weight
        return Fraction(self.passed_weight, whole) if whole else None

    @property
    def known(self) -> Fraction | None:
        """The part of the weight that could be judged, 0 to 1."""
        judged = self.passed_weight + self.failed_weight
        whole = judged + self.unknown_weight
        return Fraction(judged, whole) if whole else None


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
        kept = finding.outcome is Outcome.FAIL and finding.cache_key in waived
        return (finding.outcome is not Outcome.FAIL, kept + _WORST.index(finding.outcome), finding.severity.rank)

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
        if decides.outcome is Outcome.FAIL and decides.cache_key in waived:
            name = "waived"
        counts[name] += 1
        if f"{name}_weight" in counts:
            counts[f"{name}_weight"] += WEIGHTS[decides.severity]
    return Score(**counts)


_NAMES: Final = {
    Outcome.PASS: "passed", Outcome.FAIL: "failed", Outcome.ERROR: "unknown", Outcome.UNKNOWN: "unknown",
    Outcome.NOT_APPLICABLE: "not_applicable", Outcome.MANUAL: "manual",
}  # fmt: skip
