"""All controls over all facts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from exporter.posture.domain import access, agent, cdc, isolation, keys, logging, masking, network, recovery, rls, roles
from exporter.posture.domain.facts import Facts
from exporter.posture.domain.finding import SEVERITIES, Finding
from exporter.posture.domain.judging import Context, Judges, Subject
from exporter.posture.domain.policy import Policy

THEMES = (isolation, rls, roles, network, access, logging, agent, keys, masking, recovery, cdc)


def evaluate(facts: Facts, policy: Policy, now: float) -> tuple[Finding, ...]:
    """Every control over every object that it speaks of; ``now`` in unix seconds. Sorted by control and object.

    An object of which nothing was read has its findings too, as unknown or error: what is not judged is never silent.
    """
    context = Context(facts, policy, now)
    found = [_weighed(finding, policy) for part in _parts(facts, context) for finding in part]
    return tuple(sorted(found, key=lambda entry: (entry.control, entry.object_id, entry.outcome)))


def _weighed(finding: Finding, policy: Policy) -> Finding:
    """The severity of the policy, unless the control itself said a lower one than its own."""
    wanted = policy.severities.get(finding.control)
    if wanted is None or (finding.severity is not SEVERITIES[finding.control] and wanted.rank <= finding.severity.rank):
        return finding
    return replace(finding, severity=wanted)


def _parts(facts: Facts, context: Context) -> Iterator[Iterator[Finding]]:
    for theme in THEMES:
        yield _judged(facts.databases, getattr(theme, "DATABASE", {}), context)
        yield _judged(facts.servers, getattr(theme, "SERVER", {}), context)
        yield _judged(facts.registries, getattr(theme, "REGISTRY", {}), context)
        yield _judged(facts.organizations, getattr(theme, "ORGANIZATION", {}), context)
        yield _judged(facts.projects, getattr(theme, "PROJECT", {}), context)
        yield _judged(facts.branches, getattr(theme, "BRANCH", {}), context)
        yield _judged(facts.poolers, getattr(theme, "POOLER", {}), context)
        yield _judged(facts.vaults, getattr(theme, "VAULT", {}), context)
        yield _judged(facts.buckets, getattr(theme, "BUCKET", {}), context)
        yield _judged(facts.handshakes, getattr(theme, "HANDSHAKE", {}), context)
        yield _judged(facts.drills, getattr(theme, "DRILL", {}), context)


def _judged(subjects: Iterable[Subject], judges: Judges[Subject], context: Context) -> Iterator[Finding]:
    for subject in subjects:
        for judge in judges.values():
            yield from judge(subject, context)


def judged_controls() -> frozenset[str]:
    """The controls that have code; the others are for a person."""
    kinds = ("DATABASE", "SERVER", "REGISTRY", "ORGANIZATION", "PROJECT", "BRANCH", "POOLER", "VAULT", "BUCKET",
             "HANDSHAKE", "DRILL")  # fmt: skip
    return frozenset(control for theme in THEMES for kind in kinds for control in getattr(theme, kind, {}))
