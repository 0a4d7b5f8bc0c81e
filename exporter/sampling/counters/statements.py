"""Counters that survive what Neon forgets: statements and others, accumulated on disk before anyone sees them.

A suspend loses pg_stat_statements, a restart of ours loses memory, an eviction loses rows; the exported totals go on.
Each look is one transaction: the new baseline, the totals it led to and the hourly facts for the cost of a tenant are
on the disk together or not at all, and only then published. So after a kill -9 no counter goes back and no call counts
twice. Memory only mirrors the disk: baselines that are not needed now are dropped and read again.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from operator import add
from typing import Final

from collectors.base import Epoch
from collectors.metric import Families, Kind, Metric, Scope, Unit
from collectors.postgres.cluster.statements import STATEMENT_FIELDS, StatementRow, StatementSample
from exporter.sampling.counters import series as durable_series
from exporter.sampling.counters import tables
from exporter.sampling.counters.counters import DurableCounters
from exporter.sampling.counters.series import Tenant
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
from exporter.sampling.domain.topk import Change, TopK, TopKPolicy
from exporter.storage.store import Store
from exporter.tenancy.domain.rules import TenantRules

SCHEMAS: Final = tables.SCHEMAS

UNCERTAIN: Final = Metric(
    "pg_stat_statements_uncertain_total", Kind.COUNTER, Unit.NONE, Scope.ENDPOINT,
    "Statements whose growth between two looks may miss something: before PostgreSQL 17 one that was evicted and came "
    "back looks like one that stayed. Raise pg_stat_statements.max.", worse="up", max_series=1,
)  # fmt: skip

METRICS: Final = (UNCERTAIN,)

_ROWS_IN_MEMORY: Final = 100_000
_ZERO: Final[Counters] = (0,) * len(STATEMENT_FIELDS)
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


@dataclass(slots=True)
class _Step:
    """What one look will change for one tenant, before it is on the disk."""

    change: Change[SeriesKey]
    series: dict[SeriesKey, Counters]
    left: list[StoredTotal]
    delta: Counters


@dataclass(slots=True)
class _StatementBranch:
    """A place in memory."""

    place: StatementScope
    tenants: dict[str, Tenant]
    names: dict[tuple[str, str], str] = field(default_factory=dict)
    """(database, role) -> tenant, as the rules in force say."""
    named_as: tuple[str, str] = ("", "")


class Durable:
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
        self._spots: dict[str, _StatementBranch] = {}
        self._baselines: OrderedDict[int, dict[RowKey, Counted]] = OrderedDict()
        self._schemas: dict[str, Mapping[tuple[str, str], tuple[str, ...]]] = {}
        self._counters = DurableCounters(store)
        with store.snapshot() as cursor:
            found = tables.places(cursor)
            self._next_place = max((place.id for place in found), default=0) + 1
            self._known = {(place.project_id, place.branch_id, place.endpoint_id): place for place in found}
            for place in found:
                if place.life.postmaster_us:
                    self._spots[place.endpoint_id] = _StatementBranch(place, self._load_tenants(place))

    def use(self, rules: TenantRules, top: int | TopKPolicy) -> None:
        """Take new rules and a new K (a reload). What was counted stays with the tenant it was counted for."""
        with self._lock:
            self._rules = rules
            self._policy = top if isinstance(top, TopKPolicy) else TopKPolicy(top)
            for branch_ref in self._spots.values():
                branch_ref.names.clear()
                for tenant in branch_ref.tenants.values():
                    tenant.top.policy = self._policy

    def set_role_schemas(self, endpoint_id: str, schemas: Mapping[tuple[str, str], tuple[str, ...]]) -> None:
        """Tell which schemas a (database, role) works in, so that rules over ``schema`` can match its statements."""
        with self._lock:
            if self._schemas.get(endpoint_id) != schemas:
                self._schemas[endpoint_id] = dict(schemas)
                if endpoint_id in self._spots:
                    self._spots[endpoint_id].names.clear()

    def absorb(self, scope_labels: tuple[str, str, str], names: tuple[str, str], sample: StatementSample) -> Absorbed:
        """Add one look at pg_stat_statements; what it led to is on the disk when this returns.

        ``scope_labels`` are project, branch and endpoint id, ``names`` those of the project and the branch, for the
        rules. The same look twice adds nothing.

        Raises:
            StoreError: the disk is full or the file damaged; then nothing has changed, here or there.
        """
        with self._lock:
            branch_ref = self._spot(scope_labels, names)
            life = CounterEpoch(
                microseconds(sample.epoch.postmaster_start),
                microseconds(sample.stats_reset),
                microseconds(sample.epoch.server_clock),
                sample.dealloc,
            )
            before = self._baseline(branch_ref.place)
            # Unpacked, not by name: this is done for every statement of every compute at every look.
            rows: dict[RowKey, StatementRow] = {
                (row[5] or row[0], row[6] or row[1], row[2]): row for row in sample.rows
            }
            growth = advance(before, life, rows)
            if growth.stale:
                return Absorbed(len(rows), 0, new_life=False, stale=True, uncertain=0)
            place = branch_ref.place._replace(life=life, uncertain=branch_ref.place.uncertain + growth.uncertain)
            steps = self._steps(branch_ref, scope_labels, rows, growth, sample.epoch.server_clock)
            if not growth.is_nothing or life.dealloc != branch_ref.place.life.dealloc:
                self._commit(branch_ref, place, before, growth, steps)
            self._publish(branch_ref, place, before, growth, steps)
            return Absorbed(len(rows), len(growth.deltas), growth.new_life, stale=False, uncertain=growth.uncertain)

    def families(self, endpoint_id: str) -> Families:
        """The statement and tenant series of one compute: K and ``other`` per tenant. Empty before the first look."""
        with self._lock:
            branch_ref = self._spots.get(endpoint_id)
            if branch_ref is None:
                return Families()
            families = durable_series.tell(branch_ref.tenants)
            families.set(UNCERTAIN, (), branch_ref.place.uncertain)
        return families

    def absorb_counters(
        self, target_key: str, epoch: Epoch, families: Families, *, statistics_since: float | None = None
    ) -> Families:
        """The same families, with every ``Metric.durable`` counter replaced by our own monotone total.

        ``statistics_since`` is when the server's cumulative statistics began (pg_stat_bgwriter.stats_reset), in unix
        seconds: with it a restart that kept them is told from one that lost them. Without, a new postmaster counts as
        lost, as on Neon.

        Raises:
            StoreError: the disk is full or the file damaged; then nothing has changed.
        """
        with self._lock:
            return self._counters.absorb(target_key, epoch, families, statistics_since)

    def stored_counters(self, target_key: str, metrics: Iterable[Metric]) -> Families:
        """The totals that `absorb_counters` has kept of these metrics, without a new reading: for after a restart.

        Raises:
            StoreError: the file is damaged.
        """
        with self._lock:
            return self._counters.stored(target_key, metrics)

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

    def forget(self, endpoint_id: str, *target_keys: str) -> None:
        """Drop the counters of a compute that exists no more, also those of ``target_keys``; its hourly facts stay.

        Raises:
            StoreError: the disk is full or the file damaged.
        """
        with self._lock:
            known = [place for place in self._known.values() if place.endpoint_id == endpoint_id]
            with self._store.transaction() as cursor:
                for place in known:
                    tables.forget_place(cursor, place.id)
            for place in known:
                self._baselines.pop(place.id, None)
                self._known[place[1:4]] = place._replace(life=CounterEpoch(0, 0, place.life.clock_us), uncertain=0)
            for target_key in target_keys:
                self._counters.forget(target_key)
            self._spots.pop(endpoint_id, None)
            self._schemas.pop(endpoint_id, None)

    def _spot(self, labels: tuple[str, str, str], names: tuple[str, str]) -> _StatementBranch:
        branch_ref = self._spots.get(labels[2])
        if branch_ref is None or branch_ref.place[1:4] != labels:
            # Found here only: a place is written with its first look.
            place = self._known.get(labels) or StatementScope(self._next_place, *labels, CounterEpoch(0, 0, 0), 0)
            branch_ref = self._spots[labels[2]] = _StatementBranch(place, self._load_tenants(place))
            if place.id == self._next_place:
                self._known[labels] = place
                self._next_place += 1
        if branch_ref.named_as != names:
            branch_ref.named_as = names
            branch_ref.names.clear()
        return branch_ref

    def _load_tenants(self, place: StatementScope) -> dict[str, Tenant]:
        with self._store.snapshot() as cursor:
            found = {
                name: Tenant(TopK(self._policy), {OTHER: _ZERO}, total)
                for name, total in tables.load_tenants(cursor, place.id).items()
            }
            for load_total in tables.load_totals(cursor, place.id):
                tenant = found[load_total.tenant]
                tenant.series[load_total.key] = load_total.counters
                if load_total.member:
                    # It entered before we began: it stays until the newcomers have been compared for a while.
                    tenant.top.members[load_total.key] = place.life.clock_us / 1_000_000
        return found

    def _baseline(self, place: StatementScope) -> Baseline[RowKey] | None:
        if not place.life.postmaster_us:
            return None
        rows = self._baselines.get(place.id)
        if rows is None:
            with self._store.snapshot() as cursor:
                rows = self._baselines[place.id] = tables.load_baseline(cursor, place.id)
        self._baselines.move_to_end(place.id)
        return Baseline(place.life, rows)

    def _tenant_of(self, branch_ref: _StatementBranch, labels: tuple[str, str, str], row: StatementRow) -> str:
        key = (row.datname, row.user)
        tenant = branch_ref.names.get(key)
        if tenant is None:
            tenant = branch_ref.names[key] = self._rules.resolve(
                project=(labels[0], branch_ref.named_as[0]),
                branch=(labels[1], branch_ref.named_as[1]),
                database=row.datname,
                schema=self._schemas.get(labels[2], {}).get(key, ()),
                role=row.user,
            )
        return tenant

    def _steps(
        self,
        branch_ref: _StatementBranch,
        labels: tuple[str, str, str],
        rows: Mapping[RowKey, StatementRow],
        growth: Growth[RowKey],
        now: float,
    ) -> dict[str, _Step]:
        deltas: dict[str, dict[SeriesKey, Counters]] = {}
        for key, delta in growth.deltas.items():
            row = rows[key]
            mine = deltas.setdefault(self._tenant_of(branch_ref, labels, row), {})
            series = (row.datname, row.user, row.queryid)
            mine[series] = _sum(mine[series], delta) if series in mine else delta
        return {name: self._step(branch_ref, name, mine, now) for name, mine in sorted(deltas.items())}

    def _step(self, branch_ref: _StatementBranch, name: str, deltas: Mapping[SeriesKey, Counters], now: float) -> _Step:
        tenant = branch_ref.tenants.get(name)
        if tenant is None:
            # In memory only, and without effect there, should the transaction fail.
            tenant = Tenant(TopK(self._policy), {OTHER: _ZERO}, _ZERO)
        change = tenant.top.plan({key: delta[_EXEC] + delta[_PLAN] for key, delta in deltas.items()}, now)
        other, whole, series = tenant.series[OTHER], _ZERO, {}
        for key, delta in deltas.items():
            whole = _sum(whole, delta)
            if tenant.top.owns(change, key):
                series[key] = _sum(tenant.series[key], delta)
            else:
                other = _sum(other, delta)
        series[OTHER] = other
        if change.entered:
            with self._store.snapshot() as cursor:
                for key in change.entered:
                    series[key] = tables.load_total(cursor, branch_ref.place.id, name, key) or _ZERO
        left = [StoredTotal(name, key, member=False, counters=tenant.series[key]) for key in change.left]
        return _Step(change, series, left, whole)

    def _commit(
        self,
        branch_ref: _StatementBranch,
        place: StatementScope,
        before: Baseline[RowKey] | None,
        growth: Growth[RowKey],
        steps: Mapping[str, _Step],
    ) -> None:
        life = place.life
        start = life.began_us(before.life if before else None)
        parts = [
            (hour, name, part[_EXEC] + part[_PLAN], part)
            for name, step in steps.items()
            for hour, part in spread(step.delta, start, life.clock_us)
        ]
        totals = [
            StoredTotal(name, key, key != OTHER, counters)
            for name, step in steps.items()
            for key, counters in step.series.items()
        ]
        with self._store.transaction() as cursor:
            tables.save_place(cursor, place)
            tables.save_baseline(cursor, place.id, growth)
            tables.save_totals(cursor, place.id, life.clock_us, totals)
            tables.save_totals(cursor, place.id, life.clock_us, [row for step in steps.values() for row in step.left])
            tables.save_tenants(
                cursor,
                place.id,
                [(name, _sum(_total_of(branch_ref, name), step.delta)) for name, step in steps.items()],
            )
            tables.add_hours(cursor, place.id, parts)
            if before is not None and life.clock_us // _DAY_US != before.life.clock_us // _DAY_US:
                tables.forget_old_totals(cursor, place.id, life.clock_us)

    def _publish(
        self,
        branch_ref: _StatementBranch,
        place: StatementScope,
        before: Baseline[RowKey] | None,
        growth: Growth[RowKey],
        steps: Mapping[str, _Step],
    ) -> None:
        branch_ref.place = self._known[place[1:4]] = place
        rows = before.rows if before is not None else {}
        growth.apply(rows)
        self._baselines[place.id] = rows
        for name, step in steps.items():
            tenant = branch_ref.tenants.setdefault(name, Tenant(TopK(self._policy), {OTHER: _ZERO}, _ZERO))
            tenant.top.apply(step.change)
            tenant.series.update(step.series)
            for key in step.change.left:
                del tenant.series[key]
            tenant.total = _sum(tenant.total, step.delta)
        while len(self._baselines) > 1 and sum(map(len, self._baselines.values())) > _ROWS_IN_MEMORY:
            self._baselines.popitem(last=False)


_DAY_US: Final = 86_400_000_000


def _sum(one: Counters, two: Counters) -> Counters:
    return tuple(map(add, one, two))


def _total_of(branch_ref: _StatementBranch, name: str) -> Counters:
    return branch_ref.tenants[name].total if name in branch_ref.tenants else _ZERO
