"""What a person sees at a glance, laid out from the state: targets and why, money by tenant, what sleeps."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from collectors.base import Status
from collectors.metric import Families, Scope
from collectors.neon.inventory import Inventory
from collectors.pgbouncer import console as pgbouncer
from collectors.pgbouncer.shows import MAXWAIT, POOLS, VERSION_INFO
from collectors.wake.policy import WakeState
from exporter.core.parts import is_part
from exporter.core.state import Entry
from exporter.cost.allocation import costs
from exporter.cost.allocation import series as cost_series
from exporter.sampling.computes import Compute, computes
from exporter.sampling.readings import NAME as VISIT
from exporter.sampling.visits import Plan
from exporter.serving.page import Overview, PoolerRow, TargetRow, TenantCostRow
from exporter.serving.snapshot import Snapshot

Entries = Mapping[str, Mapping[str, Entry]]
"""Of the state, by collector and key of the target."""
_NOT_CONSIDERED = Plan("", "not considered yet")
_ACTIVE = next(pool.metric for pool in POOLS if "cl_active" in pool.names)
_WAITING = next(pool.metric for pool in POOLS if "cl_waiting" in pool.names)


@dataclass(frozen=True, slots=True)
class OverviewSources:
    """What the pages need beside the state, at one moment; nothing of it changes afterwards.

    ``next_round`` is when computes are next considered, unix seconds.
    """

    inventory: Inventory | None = None
    plans: Mapping[str, Plan] = field(default_factory=dict)
    wake_states: Sequence[WakeState] = ()
    notes: tuple[str, ...] = ()
    next_round: float | None = None
    refresh_seconds: int = 15


class Rows:
    """The rows of the targets. Those of computes are made again when something about them moved."""

    def __init__(self) -> None:
        self._inventory: Inventory | None = None
        self._next_round: float | None = None
        self._rows: dict[str, tuple[Plan, Entry | None, TargetRow]] = {}
        """By endpoint id, each with what it was made from."""

    def of(self, entries: Entries, sources: OverviewSources) -> tuple[TargetRow, ...]:
        """Every compute and pooler with its state, and each part of the agent itself that fails."""
        inventory, next_round = sources.inventory, sources.next_round
        before = self._rows
        if inventory is not self._inventory or next_round != self._next_round:
            self._inventory, self._next_round, before = inventory, next_round, {}
        visits, made = entries.get(VISIT, {}), {}
        for compute in () if inventory is None else computes(inventory):
            key = compute.endpoint.id
            plan, entry = sources.plans.get(key, _NOT_CONSIDERED), visits.get(compute.target.key)
            known = before.get(key)
            if known is None or known[0] is not plan or known[1] is not entry:
                known = (plan, entry, _compute_row(compute, plan, entry, next_round))
            made[key] = known
        self._rows = made
        poolers = (
            TargetRow(key, "pooler", entry.last.target.name or entry.last.target.labels[0], state="active",
                      status=entry.last.status.value, last_success=entry.good_at, why=entry.last.error)
            for key, entry in _of_poolers(entries)
        )  # fmt: skip
        return (*(row for _, _, row in made.values()), *poolers, *_failing_parts(entries))


def _failing_parts(entries: Entries) -> Iterator[TargetRow]:
    for collector in filter(is_part, entries):
        for entry in entries[collector].values():
            if entry.last.status is not Status.OK:
                yield TargetRow(collector, "agent", collector, state="active", status=entry.last.status.value,
                                last_success=entry.good_at, why=entry.last.error)  # fmt: skip


def _of_poolers(entries: Entries) -> Iterator[tuple[str, Entry]]:
    for key, entry in entries.get(pgbouncer.NAME, {}).items():
        if entry.last.target.scope is Scope.POOLER:
            yield key, entry


def _compute_row(compute: Compute, plan: Plan, entry: Entry | None, next_round: float | None) -> TargetRow:
    why = entry.last.error if entry is not None and entry.last.error else plan.why
    return TargetRow(
        key=compute.target.key,
        kind="endpoint",
        name=compute.place.branch_name,
        project=compute.place.project_name,
        state=_state_of(compute),
        status=entry.last.status.value if entry is not None else "no_data",
        last_success=entry.good_at if entry is not None else None,
        next_due=plan.due if plan.due is not None else next_round,
        breaker_until=plan.breaker_until,
        rule=plan.rule,
        why=why,
    )


def _state_of(compute: Compute) -> str:
    if compute.facts.disabled:
        return "disabled"
    if compute.asleep:
        return "asleep"
    return "active" if compute.facts.current_state == "active" else "unknown"


def overview(
    snapshot: Snapshot, rows: Sequence[TargetRow], entries: Entries, sources: OverviewSources, now: float
) -> Overview:  # fmt: skip
    """The index page's figures."""
    states = Counter(row.state for row in rows if row.kind == "endpoint")
    awake = (row for row in rows if row.kind == "endpoint" and row.state == "active" and row.last_success is not None)
    oldest = min(awake, key=lambda row: row.last_success or 0.0, default=None)
    tenants, through, unpriced = _money(entries)
    found = sources.inventory
    return Overview(
        generation=snapshot.generation,
        published_at=snapshot.published_at,
        series=snapshot.series,
        org=found.title if found else "",
        plan=found.plan if found else "",
        active=states["active"],
        asleep=states["asleep"],
        unknown=states["unknown"],
        month=time.strftime("%B %Y", time.gmtime(now)),
        month_usd=sum((row.usd for row in tenants), Decimal(0)) if tenants else None,
        cost_as_of=through,
        oldest_success=oldest.last_success if oldest else None,
        oldest_name=f"{oldest.project}/{oldest.name}" if oldest else "",
        added_awake_seconds=sum(wake.added_seconds for wake in sources.wake_states),
        targets=tuple(rows),
        tenants=tenants,
        poolers=tuple(_poolers(entries)),
        unpriced=unpriced,
        notes=sources.notes,
        refresh_seconds=sources.refresh_seconds,
    )


def _money(entries: Entries) -> tuple[tuple[TenantCostRow, ...], float | None, tuple[str, ...]]:
    """This month's cost by tenant over all branches, up to when it is known, and what has no price."""
    by_tenant: dict[str, Decimal] = {}
    through: float | None = None
    unpriced: set[str] = set()
    for entry in entries.get(costs.COLLECTOR, {}).values():
        if entry.good is None:
            continue
        for (tenant, _), value in entry.good.families.get(cost_series.TENANT_MONTH).items():
            by_tenant[tenant] = by_tenant.get(tenant, Decimal(0)) + Decimal(value)
        unpriced |= {f"{component} on plan {plan}" for plan, component in entry.good.families.get(cost_series.UNKNOWN)}
        for value in entry.good.families.get(cost_series.THROUGH).values():
            through = float(value) if through is None else min(through, float(value))
    return (
        tuple(TenantCostRow(tenant, usd) for tenant, usd in sorted(by_tenant.items())),
        through,
        tuple(sorted(unpriced)),
    )


def _poolers(entries: Entries) -> Iterable[PoolerRow]:
    for _, entry in _of_poolers(entries):
        target = entry.last.target
        families = entry.good.families if entry.good else Families()
        yield PoolerRow(
            name=target.name or target.labels[0],
            status=entry.last.status.value,
            version=next((version for (version,) in families.get(VERSION_INFO)), ""),
            clients_active=int(sum(families.get(_ACTIVE).values())),
            clients_waiting=int(sum(families.get(_WAITING).values())),
            max_wait_seconds=float(max(families.get(MAXWAIT).values(), default=0.0)),
            last_success=entry.good_at,
        )
