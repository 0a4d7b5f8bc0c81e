"""What all controls share: what they are given, and how they say one of the six outcomes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from exporter.posture.domain.facts import DatabaseFacts, Facts, Group, ServerFacts
from exporter.posture.domain.finding import SEVERITIES, Finding, Known, Outcome, Severity, Unread, object_id
from exporter.posture.domain.policy import DAY, Policy

Subject = TypeVar("Subject")


@dataclass(frozen=True, slots=True)
class Context:
    """Beside the one object that is judged: all other facts, what is wanted, and the time (unix seconds)."""

    facts: Facts
    policy: Policy
    now: float


Judge = Callable[[Subject, Context], Iterable[Finding]]
"""One control, over one object. It says at least one thing of it."""
Judges = Mapping[str, Judge[Subject]]
"""By control."""


def place(facts: DatabaseFacts | ServerFacts) -> str:
    """The path of a database or of a server."""
    return object_id(facts.project_id, facts.branch_id, getattr(facts, "datname", ""))


def passed(control: str, where: str, evidence: str, tenant: str = "") -> Finding:
    """It holds."""
    return Finding(control, where, Outcome.PASS, SEVERITIES[control], tenant, evidence)


def failed(
    control: str, where: str, evidence: str, *, tenant: str = "", count: int = 1, severity: Severity | None = None
) -> Finding:
    """It does not hold."""
    return Finding(control, where, Outcome.FAIL, severity or SEVERITIES[control], tenant, evidence, count)


def absent(control: str, where: str, why: str) -> Finding:
    """Not applicable: there is nothing that the control speaks of."""
    return Finding(control, where, Outcome.NOT_APPLICABLE, SEVERITIES[control], "", why)


def unclear(control: str, where: str, why: str) -> Finding:
    """Unknown: the facts are there and do not decide it."""
    return Finding(control, where, Outcome.UNKNOWN, SEVERITIES[control], "", why)


def unread(control: str, where: str, value: Unread) -> Finding:
    """Unknown, not applicable or error, as the reading ended."""
    return Finding(control, where, value.outcome, SEVERITIES[control], "", f"not read ({value.status}): {value.why}")


def manual(control: str, where: str, what: str) -> Finding:
    """For a person to look at."""
    return Finding(control, where, Outcome.MANUAL, SEVERITIES[control], "", what)


def verdict(control: str, where: str, findings: Iterable[Finding], otherwise: str) -> Iterator[Finding]:
    """The findings; where there are none, that it holds."""
    none = True
    for finding in findings:
        none = False
        yield finding
    if none:
        yield passed(control, where, otherwise)


def of_groups(
    control: str,
    where: str,
    groups: Known[tuple[Group, ...]],
    *,
    says: Callable[[Group], str],
    otherwise: str,
    severity: Severity | None = None,
) -> Iterator[Finding]:
    """One finding for each named object, and one for all that were only counted."""
    if isinstance(groups, Unread):
        yield unread(control, where, groups)
        return
    yield from verdict(
        control,
        where,
        (finding for group in groups for finding in of_group(control, where, group, says=says, severity=severity)),
        otherwise,
    )


def of_group(
    control: str, where: str, group: Group, *, says: Callable[[Group], str], severity: Severity | None = None
) -> Iterator[Finding]:
    """The failures of one group."""
    evidence = says(group)
    for name in group.objects:
        which = object_id(where, name, group.other)
        yield failed(control, which, f"{name}: {evidence}", tenant=group.tenant, severity=severity)
    left = group.count - len(group.objects)
    if left > 0:
        rest = object_id(where, group.tenant, group.other, "more")
        more = f"{left} more objects: {evidence}" if group.objects else f"{left} objects: {evidence}"
        yield failed(control, rest, more, tenant=group.tenant, count=left, severity=severity)


def days(seconds: float) -> str:
    """An age for a person."""
    return f"{seconds / DAY:.0f} d" if seconds >= 2 * DAY else f"{seconds / 3600:.0f} h"


def names(found: Sequence[str], most: int = 5) -> str:
    """The first of several names."""
    more = f" and {len(found) - most} more" if len(found) > most else ""
    return ", ".join(found[:most]) + more


@dataclass(frozen=True, slots=True)
class Part:
    """One of a control's checks: a sentence over ``{tenant} {other} {detail}``; ``apart`` sets its paths off."""

    check: str
    says: str
    severity: Severity | None = None
    apart: str = ""


def graded(control: str, facts: DatabaseFacts, parts: Sequence[Part], otherwise: str) -> Iterator[Finding]:
    """What a login can do now, and apart, with a lower severity, what is only half of it.

    It holds where every part was read and none of them found anything.
    """
    where = place(facts)
    found = [(part, facts.check(part.check)) for part in parts]
    missing = [groups for _, groups in found if isinstance(groups, Unread)]
    if missing:
        yield unread(control, where, missing[0])
    for part, groups in found:
        for group in () if isinstance(groups, Unread) else groups:
            path = object_id(where, part.apart)
            yield from of_group(control, path, group, says=told(part.says), severity=part.severity)
    if not any(groups for _, groups in found):
        yield passed(control, where, otherwise)


def told(sentence: str) -> Callable[[Group], str]:
    """Fills the group's words into a sentence."""

    def say(group: Group) -> str:
        return sentence.format(tenant=group.tenant, other=group.other, detail=group.detail)

    return say
