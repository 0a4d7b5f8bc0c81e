"""One evaluation of everything: facts, policy and waivers in; findings, and who answers for which, out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate

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
from exporter.posture.waivers import Evaluation, FindingState, waivers_of, with_waivers
from exporter.tenancy.domain.rules import TenantRules

SLOTS, DRILLS, COPIES = "P70", "P66", "P64"
SEPARATOR = "\x1f"


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
        settings = self._settings
        production = production_branches(settings.posture, inventory.projects, inventory.branches)
        policy = policy_of(settings.posture, production=production, severities=self.catalogue.severities)
        gathered = gather(inventory, cached_facts, self.registry, policy)
        findings = self._evaluated(inventory, gathered.facts, policy, now)
        findings = (*findings, *manual_findings(self.catalogue, findings))
        verdict = with_waivers(findings, self._waivers, now, since, name_of=lambda path: named(path, gathered.names))
        waived = verdict.waived_keys
        made = PostureEvaluation(now, gathered, verdict, {}, {})
        by_project = scores(findings, by=made.project_of, waived=waived)
        by_tenant: dict[str, dict[str, Score]] = {}
        for name, score in scores(findings, by=made.tenant_path, waived=waived).items():
            project, _, tenant = name.partition(SEPARATOR)
            by_tenant.setdefault(project, {})[tenant] = score
        return replace(made, by_project=by_project, by_tenant=by_tenant)

    def _evaluated(self, inventory: Inventory, facts: Facts, policy: Policy, now: float) -> tuple[Finding, ...]:
        """Slots are expected of some branches, and recovery targets of some projects: those are evaluated apart."""
        again: list[Finding] = []
        places: dict[str, set[str]] = {}
        # From the last: where one place is inside another, what is said last of it holds.
        for control, where, part, own in reversed(list(self._apart(inventory, facts, policy))):
            own_findings = (finding for finding in evaluate(part, own, now) if finding.control == control)
            again += _outside(own_findings, places)
            places.setdefault(control, set()).add(where)
        found = (*_outside(evaluate(facts, policy, now), places), *again)
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


def manual_findings(catalogue: Catalogue, findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """One for each control that nothing here speaks of: manual ones, and those whose source is not configured."""
    said = {finding.control for finding in findings}
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
