"""What all controls share: how a rule is registered, what it is given, and how it says one of the six outcomes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from collectors.base import Known, Unread
from collectors.neon.domain.security import BranchFacts, OrganizationFacts, ProjectFacts
from collectors.platforms.domain.security import BucketFacts, HandshakeFacts, PoolerFacts, VaultFacts
from collectors.postgres.domain.security import DatabaseFacts, Group, ServerFacts
from exporter.posture.domain.facts import Facts, RegistryFacts
from exporter.posture.domain.finding import Outcome, Severity, object_id, outcome_of
from exporter.posture.domain.policy import DAY, Policy

Subject = TypeVar("Subject")
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Context:
    """Beside the one object that is evaluated: all other facts, what is wanted, and the time (unix seconds)."""

    facts: Facts
    policy: Policy
    now: float


@dataclass(frozen=True, slots=True)
class RuleResult:
    """What a rule says of one object; `evaluate` makes a `Finding` of it with the control's id and severity."""

    object_id: str
    outcome: Outcome
    evidence: str
    tenant: str = ""
    count: int = 1
    severity: Severity | None = None
    """Of a failure that is less than a whole one; None: the control's own."""


Check = Callable[[Subject, Context], Iterable[RuleResult]]
"""Evaluates one object; says at least one thing of it."""
CheckOfValue = Callable[[Subject, Value, Context], Iterable[RuleResult]]
"""As `Check`, given one value of the facts that was read."""


@dataclass(frozen=True, slots=True)
class Rule(Generic[Subject]):
    """One control over one kind of object."""

    control: str
    subject: type[Subject]
    check: Check[Subject]


RULES: list[Rule[Any]] = []
"""Every rule, in the order in which the modules of the rules are imported (`evaluate`)."""


def control(id_: str, subject: type[Subject]) -> Callable[[Check[Subject]], Check[Subject]]:
    """Register the function below as the rule of a control over one kind of facts.

    A control may have a rule for each of several kinds. What it is called, how severe a failure is and what ends it
    stands in ``controls.yaml`` under the same id.
    """

    def register(check: Check[Subject]) -> Check[Subject]:
        RULES.append(Rule(id_, subject, check))
        return check

    return register


def control_over(
    id_: str, subject: type[Subject], value_of: Callable[[Subject], Known[Value]]
) -> Callable[[CheckOfValue[Subject, Value]], CheckOfValue[Subject, Value]]:
    """As `control`, for a rule that evaluates one value of the facts: where that was not read, the outcome says why."""

    def register(check: CheckOfValue[Subject, Value]) -> CheckOfValue[Subject, Value]:
        def check_if_read(facts: Subject, context: Context) -> Iterable[RuleResult]:
            value = value_of(facts)
            return (unread(place(facts), value),) if isinstance(value, Unread) else check(facts, value, context)

        RULES.append(Rule(id_, subject, check_if_read))
        return check

    return register


def place(facts: object) -> str:
    """The path of the object that the facts are about."""
    match facts:
        case DatabaseFacts():
            return object_id(facts.project_id, facts.branch_id, facts.datname)
        case ServerFacts() | RegistryFacts():
            return object_id(facts.project_id, facts.branch_id)
        case BranchFacts():
            return object_id(facts.project_id, facts.id)
        case OrganizationFacts() | ProjectFacts():
            return facts.id
        case BucketFacts():
            return object_id("s3", facts.name)
        case VaultFacts() | PoolerFacts() | HandshakeFacts():
            return facts.name
    raise TypeError(f"facts without a path: {type(facts).__name__}")


def passed(where: str, evidence: str, tenant: str = "") -> RuleResult:
    """The control holds for the object at ``where``."""
    return RuleResult(where, Outcome.PASS, evidence, tenant)


def failed(
    where: str, evidence: str, *, tenant: str = "", count: int = 1, severity: Severity | None = None
) -> RuleResult:
    """The control fails for the object at ``where``, which stands for ``count`` objects."""
    return RuleResult(where, Outcome.FAIL, evidence, tenant, count, severity)


def absent(where: str, why: str) -> RuleResult:
    """Not applicable: there is nothing that the control speaks of."""
    return RuleResult(where, Outcome.NOT_APPLICABLE, why)


def unclear(where: str, why: str) -> RuleResult:
    """Unknown: the facts are there and do not decide it."""
    return RuleResult(where, Outcome.UNKNOWN, why)


def unread(where: str, value: Unread) -> RuleResult:
    """Unknown, not applicable or error, as the reading ended."""
    return RuleResult(where, outcome_of(value), f"not read ({value.status}): {value.why}")


def manual(where: str, what: str) -> RuleResult:
    """For a person to look at."""
    return RuleResult(where, Outcome.MANUAL, what)


def verdict(where: str, failures: Iterable[RuleResult], otherwise: str) -> Iterator[RuleResult]:
    """The failures; where there are none, that it holds."""
    none = True
    for failure in failures:
        none = False
        yield failure
    if none:
        yield passed(where, otherwise)


def of_groups(where: str, groups: Known[tuple[Group, ...]], says: str, otherwise: str) -> Iterator[RuleResult]:
    """One failure for each named object, and one for all that were only counted; ``says`` as of `Part`."""
    if isinstance(groups, Unread):
        yield unread(where, groups)
        return
    yield from verdict(where, (failure for group in groups for failure in _of_group(where, group, says)), otherwise)


def _of_group(where: str, group: Group, says: str, severity: Severity | None = None) -> Iterator[RuleResult]:
    evidence = says.format(tenant=group.tenant, other=group.other, detail=group.detail)
    for name in group.objects:
        which = object_id(where, name, group.other)
        yield failed(which, f"{name}: {evidence}", tenant=group.tenant, severity=severity)
    left = group.count - len(group.objects)
    if left > 0:
        rest = object_id(where, group.tenant, group.other, "more")
        more = f"{left} more objects: {evidence}" if group.objects else f"{left} objects: {evidence}"
        yield failed(rest, more, tenant=group.tenant, count=left, severity=severity)


def days(seconds: float) -> str:
    """An age for a person."""
    return f"{seconds / DAY:.0f} d" if seconds >= 2 * DAY else f"{seconds / 3600:.0f} h"


def names(found: Sequence[str], most: int = 5) -> str:
    """The first of several names."""
    more = f" and {len(found) - most} more" if len(found) > most else ""
    return ", ".join(found[:most]) + more


@dataclass(frozen=True, slots=True)
class Part:
    """One check of a control that has several: the name of the check and a sentence over ``{tenant} {other} {detail}``.

    ``apart`` is put into the paths of what it finds, so that they differ from those of the other parts.
    """

    check: str
    says: str
    severity: Severity | None = None
    apart: str = ""


def latent(check: str, says: str, severity: Severity = Severity.LOW) -> Part:
    """What is only half of a failure: something else has to be granted first."""
    return Part(check, says, severity, "latent")


@dataclass(frozen=True, slots=True)
class Needs:
    """What a database must have for a control to speak of it, and what is said where it does not."""

    there: Callable[[DatabaseFacts], object]
    otherwise: str


def database_control(id_: str, *parts: Part, otherwise: str, needs: Needs | None = None) -> None:
    """Register a control whose SQL checks name what fails: each part is one check of `DatabaseFacts.checks`.

    It holds where every part was read and none of them found anything; ``otherwise`` is its evidence then.
    """

    def check(facts: DatabaseFacts, _context: Context) -> Iterator[RuleResult]:
        where = place(facts)
        found = [(part, facts.check(part.check)) for part in parts]
        if needs is not None and not needs.there(facts) and not isinstance(found[0][1], Unread):
            yield absent(where, needs.otherwise)
            return
        missing = [groups for _, groups in found if isinstance(groups, Unread)]
        if missing:
            yield unread(where, missing[0])
        for part, groups in found:
            for group in () if isinstance(groups, Unread) else groups:
                yield from _of_group(object_id(where, part.apart), group, part.says, part.severity)
        if not any(groups for _, groups in found):
            yield passed(where, otherwise)

    RULES.append(Rule(id_, DatabaseFacts, check))
