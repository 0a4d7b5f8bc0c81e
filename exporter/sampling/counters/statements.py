"""Durable counters: statements and others, added up on disk before they are shown, so they survive what Neon forgets.

A suspend loses pg_stat_statements, a restart of ours loses memory, an eviction loses rows; the exported totals go on.
Each look is one transaction: the new baseline, the totals it led to and the hourly facts for the cost of a tenant are
on the disk together or not at all, and only then published. So after a kill -9 no counter goes back and no call counts
twice. Memory only mirrors the disk: baselines that are not needed now are dropped and read again.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from collectors.base import Epoch
from collectors.metric import Families, Kind, Metric, Scope, Unit
from collectors.postgres.cluster.statements import STATEMENT_FIELDS, StatementRow, StatementSample
from exporter.sampling.counters import tables
from exporter.sampling.counters.counters import SingleCounters
from exporter.sampling.counters.series import (
    ZERO,
    ComputeStatements,
    Tenant,
    TenantGrowth,
    add_counters,
    families_of,
)
from exporter.sampling.counters.tables import OTHER, RowKey, SeriesKey, StatementScope, StoredTotal, TenantHour
from exporter.sampling.domain.accumulate import (
    Baseline,
    Counted,
    CounterEpoch,
    Counters,
    Growth,
    advance,
    microseconds,
    spread,
)
from exporter.sampling.domain.topk import TopK, TopKPolicy
from exporter.storage.store import Store
from exporter.tenancy.domain.rules import TenantRules

SCHEMAS: Final = tables.SCHEMAS

UNCERTAIN: Final = Metric(
    "pg_stat_statements_uncertain_total", Kind.COUNTER, Unit.NONE, Scope.ENDPOINT,
    "Statements whose growth between two visits may be incomplete: before PostgreSQL 17 one that was evicted and came "
    "back looks like one that stayed. Raise pg_stat_statements.max.", worse="up", max_series=1,
)  # fmt: skip

METRICS: Final = (UNCERTAIN,)

_ROWS_IN_MEMORY: Final = 100_000
_DAY_US: Final = 86_400_000_000
_EXEC: Final = STATEMENT_FIELDS.index("exec_us")
_PLAN: Final = STATEMENT_FIELDS.index("plan_us")


@dataclass(frozen=True, slots=True)
class Absorbed:
    """What one look led to, for the log: rows read, rows that grew, whether the statistics had begun anew."""

    rows: int
    grown: int
    new_life: bool
    stale: bool
    uncertain: int


class DurableCounters:
    """The accumulating counters of all computes. Safe to share between threads; every call may touch the disk."""

    def __init__(self, store: Store, rules: TenantRules, top: int | TopKPolicy = 20) -> None:
        """``store`` must have been opened with (at least) ``SCHEMAS``.

        Raises:
            StoreError: the file cannot be read.
        """
        self._store = store
        self._rules = rules
        self._policy = top if isinstance(top, TopKPolicy) else TopKPolicy(top)
        self._lock = threading.RLock()
        self._computes: dict[str, ComputeStatements] = {}
        self._baselines: OrderedDict[int, dict[RowKey, Counted]] = OrderedDict()
        self._schemas: dict[str, Mapping[tuple[str, str], tuple[str, ...]]] = {}
        self._counters = SingleCounters(store)
        self._load()
        store.mirrored(self._load)

    def _load(self) -> None:
        """Take everything from the disk."""
        with self._lock:
            self._baselines.clear()
            self._computes.clear()
            self._counters.clear()
            with self._store.snapshot() as cursor:
                found = tables.scopes(cursor)
                self._next_scope_id = max((scope.id for scope in found), default=0) + 1
                self._known = {(scope.project_id, scope.branch_id, scope.endpoint_id): scope for scope in found}
                for scope in found:
                    if scope.life.postmaster_us:
                        self._computes[scope.endpoint_id] = ComputeStatements(scope, self._load_tenants(scope))

    def use(self, rules: TenantRules, top: int | TopKPolicy) -> None:
        """Take new rules and a new K (a reload). What was counted stays with the tenant it was counted for."""
        with self._lock:
            self._rules = rules
            self._policy = top if isinstance(top, TopKPolicy) else TopKPolicy(top)
            for compute in self._computes.values():
                compute.tenant_names.clear()
                for tenant in compute.tenants.values():
                    tenant.top.policy = self._policy

    def set_role_schemas(self, endpoint_id: str, schemas: Mapping[tuple[str, str], tuple[str, ...]]) -> None:
        """Tell which schemas a (database, role) works in, so that rules over ``schema`` can match its statements."""
        with self._lock:
            if self._schemas.get(endpoint_id) != schemas:
                self._schemas[endpoint_id] = dict(schemas)
                if endpoint_id in self._computes:
                    self._computes[endpoint_id].tenant_names.clear()

    def absorb(self, scope_labels: tuple[str, str, str], names: tuple[str, str], sample: StatementSample) -> Absorbed:
        """Add one look at pg_stat_statements; what it led to is on the disk when this returns.

        ``scope_labels`` are project, branch and endpoint id, ``names`` those of the project and the branch, for the
        rules. The same look twice adds nothing.

        Raises:
            StoreError: the disk is full or the file damaged; then nothing has changed, here or there.
        """
        with self._lock:
            compute = self._compute(scope_labels, names)
            life = CounterEpoch(
                microseconds(sample.epoch.postmaster_start),
                microseconds(sample.stats_reset),
                microseconds(sample.epoch.server_clock),
                sample.dealloc,
            )
            before = self._baseline(compute.scope)
            # Unpacked, not by name: this is done for every statement of every compute at every look.
            rows: dict[RowKey, StatementRow] = {
                (row[5] or row[0], row[6] or row[1], row[2]): row for row in sample.rows
            }
            growth = advance(before, life, rows)
            if growth.stale:
                return Absorbed(len(rows), 0, new_life=False, stale=True, uncertain=0)
            scope = compute.scope._replace(life=life, uncertain=compute.scope.uncertain + growth.uncertain)
            by_tenant = self._growths(compute, scope_labels, rows, growth, sample.epoch.server_clock)
            if not growth.is_nothing or life.dealloc != compute.scope.life.dealloc:
                self._commit(compute, scope, before, growth, by_tenant)
            self._publish(compute, scope, before, growth, by_tenant)
            return Absorbed(len(rows), len(growth.deltas), growth.new_life, stale=False, uncertain=growth.uncertain)

    def families(self, endpoint_id: str) -> Families:
        """The statement and tenant series of one compute: K and ``other`` per tenant. Empty before the first look."""
        with self._lock:
            compute = self._computes.get(endpoint_id)
            if compute is None:
                return Families()
            families = families_of(compute.tenants)
            families.set(UNCERTAIN, (), compute.scope.uncertain)
        return families

    def absorb_counters(
        self, target_key: str, epoch: Epoch, families: Families, *, statistics_since: float | None = None
    ) -> Families:
        """The same families, with every ``Metric.durable`` counter replaced by our own monotone total.

        ``statistics_since`` is when the server's cumulative statistics began (pg_stat_bgwriter.stats_reset), in unix
        seconds: with it a restart that preserved them is distinguished from one that lost them. Without it a new
        postmaster counts as lost, as on Neon.

        Raises:
            StoreError: the disk is full or the file damaged; then nothing has changed.
        """
        with self._lock:
            return self._counters.absorb(target_key, epoch, families, statistics_since)

    def stored_counters(self, target_key: str, metrics: Iterable[Metric]) -> Families:
        """The stored totals of these metrics, without a new reading: for after a restart.

        Raises:
            StoreError: the file is damaged.
        """
        with self._lock:
            return self._counters.stored(target_key, metrics)

    def load_counters(self) -> None:
        """Read the stored totals of all targets at once, where many are asked for next.

        Raises:
            StoreError: the file is damaged.
        """
        with self._lock:
            self._counters.load()

    def tenant_hours(self, start: float, end: float) -> Iterator[TenantHour]:
        """What tenants did in the hours that begin in [start, end), in unix seconds; ordered, read at once.

        Raises:
            StoreError: the file is damaged.
        """
        with self._store.snapshot() as cursor:
            return iter(tables.tenant_hours(cursor, int(start), int(end)))

    def wal_bytes(self, start: float, end: float) -> list[tuple[str, str, str, int]]:
        """WAL that statements wrote, by (project, branch, tenant), over the UTC days in [start, end).

        Raises:
            StoreError: the file is damaged.
        """
        with self._store.snapshot() as cursor:
            return tables.wal_bytes(cursor, int(start), int(end))

    def forget_hours(self, before: float) -> int:
        """Drop hourly facts older than ``before`` (unix seconds), once they are priced; returns how many.

        Raises:
            StoreError: the disk is full or the file damaged.
        """
        with self._store.transaction() as cursor:
            return tables.forget_hours(cursor, int(before))

    def _compute(self, labels: tuple[str, str, str], names: tuple[str, str]) -> ComputeStatements:
        compute = self._computes.get(labels[2])
        if compute is None or compute.scope[1:4] != labels:
            # Found here only: a scope is written with its first look.
            scope = self._known.get(labels) or StatementScope(self._next_scope_id, *labels, CounterEpoch(0, 0, 0), 0)
            compute = self._computes[labels[2]] = ComputeStatements(scope, self._load_tenants(scope))
            if scope.id == self._next_scope_id:
                self._known[labels] = scope
                self._next_scope_id += 1
        if compute.names != names:
            compute.names = names
            compute.tenant_names.clear()
        return compute

    def _load_tenants(self, scope: StatementScope) -> dict[str, Tenant]:
        with self._store.snapshot() as cursor:
            found = {
                name: Tenant(TopK(self._policy), {OTHER: ZERO}, total)
                for name, total in tables.load_tenants(cursor, scope.id).items()
            }
            for load_total in tables.load_totals(cursor, scope.id):
                tenant = found[load_total.tenant]
                tenant.series[load_total.key] = load_total.counters
                if load_total.member:
                    # It entered before we began: it stays until the newcomers have been compared for a while.
                    tenant.top.members[load_total.key] = scope.life.clock_us / 1_000_000
        return found

    def _baseline(self, scope: StatementScope) -> Baseline[RowKey] | None:
        if not scope.life.postmaster_us:
            return None
        rows = self._baselines.get(scope.id)
        if rows is None:
            with self._store.snapshot() as cursor:
                rows = self._baselines[scope.id] = tables.load_baseline(cursor, scope.id)
        self._baselines.move_to_end(scope.id)
        return Baseline(scope.life, rows)

    def _tenant_of(self, compute: ComputeStatements, labels: tuple[str, str, str], row: StatementRow) -> str:
        key = (row.datname, row.user)
        tenant = compute.tenant_names.get(key)
        if tenant is None:
            tenant = compute.tenant_names[key] = self._rules.resolve(
                project=(labels[0], compute.names[0]),
                branch=(labels[1], compute.names[1]),
                database=row.datname,
                schema=self._schemas.get(labels[2], {}).get(key, ()),
                role=row.user,
            )
        return tenant

    def _growths(
        self,
        compute: ComputeStatements,
        labels: tuple[str, str, str],
        rows: Mapping[RowKey, StatementRow],
        growth: Growth[RowKey],
        now: float,
    ) -> dict[str, TenantGrowth]:
        deltas: dict[str, dict[SeriesKey, Counters]] = {}
        for key, delta in growth.deltas.items():
            row = rows[key]
            series_deltas = deltas.setdefault(self._tenant_of(compute, labels, row), {})
            series = (row.datname, row.user, row.queryid)
            known = series_deltas.get(series)
            series_deltas[series] = delta if known is None else add_counters(known, delta)
        return {
            name: self._growth_of(compute, name, series_deltas, now) for name, series_deltas in sorted(deltas.items())
        }

    def _growth_of(
        self, compute: ComputeStatements, name: str, deltas: Mapping[SeriesKey, Counters], now: float
    ) -> TenantGrowth:
        tenant = compute.tenants.get(name)
        if tenant is None:
            # In memory only, and without effect there, should the transaction fail.
            tenant = Tenant(TopK(self._policy), {OTHER: ZERO}, ZERO)
        change = tenant.top.plan({key: delta[_EXEC] + delta[_PLAN] for key, delta in deltas.items()}, now)
        other, whole, series = tenant.series[OTHER], ZERO, {}
        for key, delta in deltas.items():
            whole = add_counters(whole, delta)
            if tenant.top.owns(change, key):
                series[key] = add_counters(tenant.series[key], delta)
            else:
                other = add_counters(other, delta)
        series[OTHER] = other
        if change.entered:
            with self._store.snapshot() as cursor:
                for key in change.entered:
                    series[key] = tables.load_total(cursor, compute.scope.id, name, key) or ZERO
        left = [StoredTotal(name, key, member=False, counters=tenant.series[key]) for key in change.left]
        return TenantGrowth(change, series, left, whole)

    def _commit(
        self,
        compute: ComputeStatements,
        scope: StatementScope,
        before: Baseline[RowKey] | None,
        growth: Growth[RowKey],
        by_tenant: Mapping[str, TenantGrowth],
    ) -> None:
        life = scope.life
        start = life.began_us(before.life if before else None)
        parts = [
            (hour, name, part[_EXEC] + part[_PLAN], part)
            for name, grown in by_tenant.items()
            for hour, part in spread(grown.delta, start, life.clock_us)
        ]
        totals = [
            StoredTotal(name, key, key != OTHER, counters)
            for name, grown in by_tenant.items()
            for key, counters in grown.series.items()
        ]
        with self._store.transaction() as cursor:
            tables.save_scope(cursor, scope)
            tables.save_baseline(cursor, scope.id, growth)
            tables.save_totals(cursor, scope.id, life.clock_us, totals)
            tables.save_totals(
                cursor, scope.id, life.clock_us, [row for grown in by_tenant.values() for row in grown.left]
            )
            tables.save_tenants(
                cursor,
                scope.id,
                [(name, add_counters(compute.total(name), grown.delta)) for name, grown in by_tenant.items()],
            )
            tables.add_hours(cursor, scope.id, parts)
            if before is not None and life.clock_us // _DAY_US != before.life.clock_us // _DAY_US:
                tables.forget_old_totals(cursor, scope.id, life.clock_us)

    def _publish(
        self,
        compute: ComputeStatements,
        scope: StatementScope,
        before: Baseline[RowKey] | None,
        growth: Growth[RowKey],
        by_tenant: Mapping[str, TenantGrowth],
    ) -> None:
        compute.scope = self._known[scope[1:4]] = scope
        rows = before.rows if before is not None else {}
        growth.apply(rows)
        self._baselines[scope.id] = rows
        for name, grown in by_tenant.items():
            tenant = compute.tenants.setdefault(name, Tenant(TopK(self._policy), {OTHER: ZERO}, ZERO))
            tenant.top.apply(grown.change)
            tenant.series.update(grown.series)
            for key in grown.change.left:
                del tenant.series[key]
            tenant.total = add_counters(tenant.total, grown.delta)
        while len(self._baselines) > 1 and sum(map(len, self._baselines.values())) > _ROWS_IN_MEMORY:
            self._baselines.popitem(last=False)
