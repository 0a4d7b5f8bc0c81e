"""From ledger, inventory and wake history to what a replay needs of one month.

Neon keeps the operations of a project for months, so when computes woke and slept is asked when a setting needs it,
and exact. Nothing here is written anywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby

from collectors.neon.inventory import Inventory
from collectors.neon.models import Branch, Endpoint
from collectors.neon.operations import WakeEvent
from exporter.cost.domain.allocate import AGENT
from exporter.cost.domain.whatif.scenario import AwakeSpan, BranchLife, Computes, StoredMonth
from exporter.cost.domain.whatif.whatif import Knobs
from exporter.cost.savings.waste_facts import MeasuredHours
from exporter.pricing.domain.calendar import DAY, HOUR, next_month
from exporter.pricing.domain.components import Component
from exporter.pricing.domain.rates import RateCard
from exporter.pricing.domain.usage import UsageFact
from exporter.storage.ledger.ledger import Ledger

_CHILD = Component.CHILD_STORAGE.spec.metric
_LONGEST_LOOK = 92 * DAY
Wakes = Mapping[str, Iterable[WakeEvent]]
"""By project id: wakes and suspends since before the month."""


@dataclass(frozen=True, slots=True)
class WhatifSources:
    """Where the month is stored, and what Neon tells of its branches; ``inventory`` None: Neon was not asked."""

    ledger: Ledger
    card: RateCard
    tenant_hours: MeasuredHours
    inventory: Inventory | None = None
    wakes: Wakes | None = None


def gather(sources: WhatifSources, month: int, knobs: Knobs, projects: frozenset[str] | None, now: int) -> StoredMonth:
    """What is stored of the calendar month that begins at ``month``, as far as the settings need it.

    Raises:
        StoreError: the ledger's file cannot be read.
    """
    ledger, end = sources.ledger, next_month(month)
    through = min(end, now, max(ledger.through().orgs.values(), default=now))
    facts = ledger.priceable(month, end, sources.card.boundaries)
    compute: list[UsageFact] = []
    busy: dict[tuple[str, int], int] = {}
    if knobs.suspend_after is not None or knobs.min_cu is not None:
        compute = [fact for fact in ledger.hours(Component.COMPUTE.spec.metric, month, end) if fact.branch_id]
        for row in sources.tenant_hours(month, end):
            if row.tenant != AGENT:
                key = (row.branch_id, row.hour)
                busy[key] = busy.get(key, 0) + row.busy_us
    ephemeral: tuple[BranchLife, ...] = ()
    usage: list[UsageFact] = []
    if knobs.branch_ttl is not None:
        first = month - min(knobs.branch_ttl, _LONGEST_LOOK)
        ephemeral = tuple(_lives(sources, first, through))
        owners = sorted({life.project_id for life in ephemeral})
        chosen = {life.id for life in ephemeral}
        usage = [f for owner in owners for f in ledger.usage(month, end, owner) if f.branch_id in chosen]
        if not compute:
            compute = [fact for fact in usage if fact.metric == Component.COMPUTE.spec.metric]
    inventory = sources.inventory
    return StoredMonth(
        month,
        through,
        facts,
        compute,
        busy,
        {} if inventory is None else _computes(sources, inventory, month, through),
        ephemeral,
        usage,
        {} if inventory is None else _history(inventory),
        projects,
    )


def _history(inventory: Inventory) -> dict[str, int]:
    return {
        key: project.history_retention_seconds
        for key, project in inventory.projects.items()
        if project.history_retention_seconds is not None
    }


def _lives(sources: WhatifSources, first: int, through: int) -> Iterable[BranchLife]:
    """Child branches: those that exist as Neon tells, those that are gone as their usage tells."""
    branches: Mapping[str, Branch] = sources.inventory.branches if sources.inventory else {}
    for branch in branches.values():
        if branch.parent_id and not branch.default and not branch.protected and branch.created_at is not None:
            yield BranchLife(branch.id, branch.project_id, int(branch.created_at))
    spans: dict[tuple[str, str], list[int]] = {}
    for fact in sources.ledger.hours(_CHILD, first, through):
        if fact.branch_id and fact.branch_id not in branches:
            span = spans.setdefault((fact.project_id, fact.branch_id), [fact.start, fact.start])
            span[1] = max(span[1], fact.start)
    for (project, branch_id), (begin, last) in spans.items():
        ended = None if last + 2 * HOUR > through else last + HOUR
        yield BranchLife(branch_id, project, begin, ended, known=False)


def _computes(sources: WhatifSources, inventory: Inventory, month: int, through: int) -> dict[str, Computes]:
    ordered = sorted(inventory.endpoints.values(), key=lambda endpoint: (endpoint.branch_id, endpoint.id))
    found: dict[str, Computes] = {}
    for branch_id, group in groupby(ordered, key=lambda endpoint: endpoint.branch_id):
        endpoints = list(group)
        timeouts = {endpoint.effective_suspend_seconds for endpoint in endpoints}
        sizes = {endpoint.autoscaling_limit_min_cu for endpoint in endpoints}
        events = None if sources.wakes is None else sources.wakes.get(endpoints[0].project_id)
        lives = None
        if events is not None and len(timeouts) == 1:
            history = list(events)
            lives = tuple(
                lives_of([e for e in history if e.endpoint_id == endpoint.id], endpoint, month, through)
                for endpoint in endpoints
            )
        timeout = min(timeouts)
        found[branch_id] = Computes(
            None if timeout == float("inf") else int(timeout),
            Fraction(str(next(iter(sizes)))) if len(sizes) == 1 else None,
            lives,
        )
    return found


def lives_of(events: Iterable[WakeEvent], endpoint: Endpoint, month: int, through: int) -> tuple[AwakeSpan, ...]:
    """Times awake within a month from wakes and suspends, oldest first; what was awake before it began with it."""
    lives: list[AwakeSpan] = []
    since: int | None = None
    first = True
    for event in sorted(events, key=lambda operation: operation.at):
        at = int(event.at + event.seconds) if event.kind == "wake" else int(event.at)
        if event.kind == "wake":
            since = at if since is None else since
        elif since is not None or first:
            begin = max(month, int(endpoint.created_at or 0)) if since is None else since
            lives.append(AwakeSpan(begin, at))
            since = None
        first = False
    if since is None and first and endpoint.current_state == "active" and endpoint.started_at is not None:
        since = int(endpoint.started_at)
    if since is not None:
        lives.append(AwakeSpan(since, None))
    cut = [AwakeSpan(max(month, live.start), live.end) for live in lives if live.end is None or live.end > month]
    return tuple(row for row in cut if row.start < through and (row.end is None or row.start < row.end))
