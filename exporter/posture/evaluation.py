"""One evaluation of everything: facts, policy and waivers in; findings, and who answers for which, out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, fields, replace
from functools import cached_property
from itertools import accumulate
from typing import Any

from collectors.neon.domain.security import ProjectFacts
from collectors.neon.inventory import Inventory
from exporter.posture.catalogue import Catalogue, load_catalogue
from exporter.posture.domain.evaluate import Score, evaluate, scores, worst
from exporter.posture.domain.facts import Facts
from exporter.posture.domain.finding import Finding, Outcome, object_id
from exporter.posture.domain.policy import Policy
from exporter.posture.fact_cache import CachedFacts
from exporter.posture.gather import Gathered, gather
from exporter.posture.outside import bucket_age
from exporter.posture.policy import expected_slots, policy_of, production_branches, recovery_targets
from exporter.posture.registry import ACCOUNT, Registry
from exporter.posture.settings import PostureTree
from exporter.posture.waivers import Evaluation, FindingState, WaiverUse, waivers_of
from exporter.tenancy.domain.rules import TenantRules

SLOTS, DRILLS, COPIES = "P70", "P66", "P64"
SEPARATOR = "\x1f"
SLICE = 50
"""Projects whose findings exist at the same time in a running agent."""
OF_NO_PROJECT = frozenset({"buckets"})
"""Facts that name a project, and of which nothing is said under its path."""


@dataclass(frozen=True)
class PostureEvaluation:
    """How everything stands at one moment. What is asked for each project is grouped once, for all of them."""

    at: float
    gathered: Gathered
    verdict: Evaluation
    by_project: Mapping[str, Score]
    by_tenant: Mapping[str, Mapping[str, Score]]
    """Scores by project id and tenant, in the order of the tenants."""

    def of(self, project: str) -> tuple[FindingState, ...]:
        """The findings of a project; of ``__account__`` those of no project."""
        return self._states.get(project, ())

    @cached_property
    def _states(self) -> Mapping[str, tuple[FindingState, ...]]:
        found: dict[str, list[FindingState]] = {}
        for state in self.verdict.states:
            found.setdefault(self.project_of(state.finding), []).append(state)
        return {project: tuple(states) for project, states in found.items()}

    def project_of(self, finding: Finding) -> str:
        """The project of a finding."""
        first = finding.object_id.split("/", 1)[0]
        return first if first in self.projects else ACCOUNT

    @cached_property
    def projects(self) -> frozenset[str]:
        """Ids of all projects."""
        return frozenset(project.id for project in self.gathered.facts.projects)

    def tenant_path(self, finding: Finding) -> str:
        """Project and tenant of a finding with SEPARATOR between them; empty where it is of no tenant."""
        return f"{self.project_of(finding)}{SEPARATOR}{finding.tenant}" if finding.tenant else ""

    def path(self, object_id: str) -> str:
        """An object's path with the names of its project and branch in place of their ids."""
        return named(object_id, self.gathered.names)


def named(object_id: str, names: Mapping[str, str]) -> str:
    """A path with the names of its project and branch in place of their ids."""
    parts = object_id.split("/")
    return "/".join([*(names.get(part, part) for part in parts[:2]), *parts[2:]])


class Evaluator:
    """Judges by the settings; may run in a thread."""

    def __init__(self, settings: PostureTree, rules: TenantRules) -> None:
        self._settings = settings
        self.registry = registry_of(settings, rules)
        self._waivers = waivers_of(settings.posture.waivers)

    @cached_property
    def catalogue(self) -> Catalogue:
        """What the controls are, read at the first use.

        Raises:
            CatalogueError: a file of one's own cannot be used.
        """
        return load_catalogue(self._settings.posture.catalogue)

    def evaluate(
        self, inventory: Inventory, cached_facts: CachedFacts, since: Mapping[str, float], now: float
    ) -> PostureEvaluation:
        """Everything; ``since`` is when each failure was first seen, by cache key."""
        slices = list(self.slices(inventory, cached_facts, since, now))
        account = slices[-1]
        states = sorted((state for part in slices for state in part.verdict.states), key=lambda state: state.order)
        return PostureEvaluation(
            now,
            account.gathered,
            Evaluation(tuple(states), account.verdict.waivers),
            {project: score for part in slices for project, score in part.by_project.items()},
            {project: tenants for part in slices for project, tenants in part.by_tenant.items()},
        )

    def slices(
        self, inventory: Inventory, cached_facts: CachedFacts, since: Mapping[str, float], now: float
    ) -> Iterator[PostureEvaluation]:
        """As `evaluate`, some projects at a time, so that the findings of a large fleet are never there all at once.

        Each part knows the facts and names of all, but only the findings, scores and tenants of its own projects. What
        is of no project comes last, and only that part has the waivers.
        """
        settings = self._settings
        production = production_branches(settings.posture, inventory.projects, inventory.branches)
        policy = policy_of(settings.posture, production=production, severities=self.catalogue.severities)
        gathered = gather(inventory, cached_facts, self.registry, policy)
        use = WaiverUse(self._waivers, now, since, name_of=lambda path: named(path, gathered.names))
        empty = PostureEvaluation(now, gathered, Evaluation((), ()), {}, {})
        account, *parts = facts_in_parts(gathered.facts, SLICE)

        def evaluated(facts: Facts) -> tuple[Finding, ...]:
            return self._evaluated(inventory, facts, gathered.facts, policy, now=now)

        left: dict[str, list[Finding]] = {}
        for finding in evaluated(account):
            left.setdefault(empty.project_of(finding), []).append(finding)
        said: set[str] = {finding.control for findings in left.values() for finding in findings}
        for part in parts:
            more = [finding for project in part.projects for finding in left.pop(project.id, ())]
            findings = (*evaluated(part), *more)
            said.update(finding.control for finding in findings)
            yield _scored(empty, use.states(findings))
        rest = [finding for findings in left.values() for finding in findings]
        whole = _scored(empty, use.states((*rest, *manual_findings(self.catalogue, said))))
        yield replace(whole, verdict=Evaluation(whole.verdict.states, use.waivers()))

    def _evaluated(
        self, inventory: Inventory, facts: Facts, all_facts: Facts, policy: Policy, *, now: float
    ) -> tuple[Finding, ...]:
        """Slots are expected of some branches, and recovery targets of some projects: those are evaluated apart."""
        again: list[Finding] = []
        places: dict[str, set[str]] = {}
        # From the last: where one place is inside another, what is said last of it holds.
        for control, where, part, own in reversed(list(self._apart(inventory, facts, policy))):
            own_findings = (finding for finding in evaluate(part, own, now) if finding.control == control)
            again += _outside(own_findings, places)
            places.setdefault(control, set()).add(where)
        found = (*_outside(evaluate(facts, policy, now, all_facts), places), *again)
        return tuple(sorted(found, key=lambda finding: (finding.control, finding.object_id, finding.outcome)))

    def _apart(self, inventory: Inventory, facts: Facts, policy: Policy) -> Iterator[tuple[str, str, Facts, Policy]]:
        slots, targets = self._settings.sampling.expected_slots, self._settings.recovery.targets
        for server in facts.servers:
            project, branch = inventory.projects.get(server.project_id), inventory.branches.get(server.branch_id)
            expected = expected_slots(slots, project, branch) if project is not None and branch is not None else ()
            if expected:
                where = f"{server.project_id}/{server.branch_id}"
                yield SLOTS, where, Facts(servers=(server,)), replace(policy, expected_slots=expected)
        for bucket in facts.buckets:
            hours = bucket_age(self._settings.posture.s3, bucket)
            if hours is not None:
                aged = replace(policy, offsite_age_seconds=round(hours * 3600))
                yield COPIES, object_id("s3", bucket.name, bucket.prefix.strip("/")), Facts(buckets=(bucket,)), aged
        for owner in sorted({drill.project_id for drill in facts.drills} & inventory.projects.keys()):
            promised = recovery_targets(targets, inventory.projects[owner])
            if promised is not None:
                part = Facts(drills=tuple(drill for drill in facts.drills if drill.project_id == owner))
                yield DRILLS, owner, part, replace(policy, rto_seconds=promised[0], rpo_seconds=promised[1])


def _scored(empty: PostureEvaluation, states: tuple[FindingState, ...]) -> PostureEvaluation:
    """An evaluation of these findings, with the scores of their projects and tenants."""
    verdict = Evaluation(states, ())
    findings, waived = [state.finding for state in states], verdict.waived_keys
    by_tenant: dict[str, dict[str, Score]] = {}
    for name, score in scores(findings, by=empty.tenant_path, waived=waived).items():
        project, _, tenant = name.partition(SEPARATOR)
        by_tenant.setdefault(project, {})[tenant] = score
    by_project = scores(findings, by=empty.project_of, waived=waived)
    return replace(empty, verdict=verdict, by_project=by_project, by_tenant=by_tenant)


def facts_in_parts(facts: Facts, size: int) -> Iterator[Facts]:
    """The facts of no project first, then those of ``size`` projects at a time."""
    numbers = {project.id: number // size + 1 for number, project in enumerate(facts.projects)}
    parts: list[dict[str, list[Any]]] = [{} for _ in range(max(numbers.values(), default=0) + 1)]
    for field in fields(facts):
        for fact in getattr(facts, field.name):
            project_id = fact.id if isinstance(fact, ProjectFacts) else getattr(fact, "project_id", "")
            number = 0 if field.name in OF_NO_PROJECT else numbers.get(project_id, 0)
            parts[number].setdefault(field.name, []).append(fact)
    for part in parts:
        yield Facts(**{name: tuple(found) for name, found in part.items()})


def _outside(findings: Iterable[Finding], places: Mapping[str, set[str]]) -> Iterator[Finding]:
    """Those that are not at, or below, one of the places of their control."""
    for finding in findings:
        wheres = places.get(finding.control)
        if wheres is None or wheres.isdisjoint(accumulate(finding.object_id.split("/"), "{}/{}".format)):
            yield finding


def registry_of(settings: PostureTree, rules: TenantRules) -> Registry:
    """The registry that the settings describe."""
    vaults = settings.posture.vaults
    key = vaults[0].key if vaults else "tenant-{tenant}"
    return Registry(rules, tenants=settings.posture.tenants, key=key)


def manual_findings(catalogue: Catalogue, said: Set[str]) -> tuple[Finding, ...]:
    """One for each control that nothing here speaks of: manual ones, and those whose source is not configured.

    ``said`` are the controls that something speaks of.
    """
    return tuple(
        Finding(
            control.id,
            ACCOUNT,
            Outcome.MANUAL if control.evaluated == "manual" else Outcome.NOT_APPLICABLE,
            control.severity,
            "",
            control.what if control.evaluated == "manual" else _no_source(control.profile),
        )
        for control in catalogue.controls.values()
        if control.id not in said
    )


def _no_source(profile: Sequence[str]) -> str:
    asked = {"vault": "posture.vaults", "s3": "posture.s3", "pgbouncer": "pgbouncer", "postgres": "postgres.dsn"}
    named = [asked[name] for name in profile if name in asked]
    return (
        f"nothing to evaluate it by: {' or '.join(named)} is not configured"
        if named
        else "nothing here that it speaks of"
    )


def worst_by_control(states: Sequence[FindingState]) -> dict[str, FindingState]:
    """The finding that decides each control."""
    waived = {state.finding.cache_key for state in states if state.waived}
    grouped: dict[str, list[FindingState]] = {}
    for state in states:
        grouped.setdefault(state.finding.control, []).append(state)
    found: dict[str, FindingState] = {}
    for control, group in sorted(grouped.items()):
        decides = worst((state.finding for state in group), waived)
        found[control] = next(state for state in group if state.finding is decides)
    return found
