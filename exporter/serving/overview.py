"""What a person sees at a glance, laid out from the state: targets and why, money by tenant, what sleeps."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from collectors.metric import Families, Scope
from collectors.neon.inventory import Inventory
from collectors.pgbouncer import console as pgbouncer
from collectors.pgbouncer.shows import MAXWAIT, POOLS, VERSION_INFO
from collectors.wake.policy import WakeState
from exporter.core.state import Entry, State
from exporter.cost.allocation import costs
from exporter.cost.allocation import series as cost_series
from exporter.sampling.computes import Compute, computes
from exporter.sampling.readings import NAME as VISIT
from exporter.sampling.visits import Plan
from exporter.serving.page import Overview, PoolerRow, TargetRow, TenantCostRow
from exporter.serving.snapshot import Snapshot

_ACTIVE = next(pool.metric for pool in POOLS if "cl_active" in pool.names)
_WAITING = next(pool.metric for pool in POOLS if "cl_waiting" in pool.names)


@dataclass(frozen=True, slots=True)
class OverviewSources:
    """What the pages need beside the state. ``next_round`` is when computes are next considered, unix seconds."""

    inventory: Inventory | None = None
    plans: Mapping[str, Plan] = field(default_factory=dict)
    wake_states: Sequence[WakeState] = ()
    notes: tuple[str, ...] = ()
    next_round: float | None = None
    refresh_seconds: int = 15


def target_rows(state: State, sources: OverviewSources) -> tuple[TargetRow, ...]:
    """Every compute and pooler with its state."""
    rows = []
    if sources.inventory is not None:
        for compute in computes(sources.inventory):
            plan = sources.plans.get(compute.endpoint.id, Plan("", "not considered yet"))
            rows.append(_compute_row(compute, plan, state.get(VISIT, compute.target), sources.next_round))
    for collector, target, entry in state.entries():
        if target.scope is Scope.POOLER and collector == pgbouncer.NAME:
            rows.append(
                TargetRow(target.key, "pooler", target.name or target.labels[0], state="active",
                          status=entry.last.status.value, last_success=entry.good_at, why=entry.last.error)
            )  # fmt: skip
    return tuple(rows)


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
    snapshot: Snapshot, rows: Sequence[TargetRow], state: State, sources: OverviewSources, now: float
) -> Overview:  # fmt: skip
    """The index page's figures."""
    endpoints = [row for row in rows if row.kind == "endpoint"]
    awake = [row for row in endpoints if row.state == "active" and row.last_success is not None]
    oldest = min(awake, key=lambda row: row.last_success or 0.0, default=None)
    tenants, through = _money(state)
    found = sources.inventory
    return Overview(
        generation=snapshot.generation,
        published_at=snapshot.published_at,
        series=snapshot.series,
        org=(found.org_name or found.org_id) if found else "",
        plan=found.plan if found else "",
        active=sum(row.state == "active" for row in endpoints),
        asleep=sum(row.state == "asleep" for row in endpoints),
        unknown=sum(row.state == "unknown" for row in endpoints),
        month=time.strftime("%B %Y", time.gmtime(now)),
        month_usd=sum((row.usd for row in tenants), Decimal(0)) if tenants else None,
        cost_as_of=through,
        oldest_success=oldest.last_success if oldest else None,
        oldest_name=f"{oldest.project}/{oldest.name}" if oldest else "",
        added_awake_seconds=sum(wake.added_seconds for wake in sources.wake_states),
        targets=tuple(rows),
        tenants=tenants,
        poolers=tuple(_poolers(state)),
        notes=sources.notes,
        refresh_seconds=sources.refresh_seconds,
    )


def _money(state: State) -> tuple[tuple[TenantCostRow, ...], float | None]:
    """This month's cost by tenant over all branches, and up to when it is known."""
    by_tenant: dict[str, Decimal] = {}
    through: float | None = None
    for collector, _, entry in state.entries():
        if collector != costs.COLLECTOR or entry.good is None:
            continue
        for (tenant, _), value in entry.good.families.get(cost_series.TENANT_MONTH).items():
            by_tenant[tenant] = by_tenant.get(tenant, Decimal(0)) + Decimal(value)
        for value in entry.good.families.get(cost_series.THROUGH).values():
            through = float(value) if through is None else min(through, float(value))
    return tuple(TenantCostRow(tenant, usd) for tenant, usd in sorted(by_tenant.items())), through


def _poolers(state: State) -> Iterable[PoolerRow]:
    for collector, target, entry in state.entries():
        if target.scope is not Scope.POOLER or collector != pgbouncer.NAME:
            continue
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
