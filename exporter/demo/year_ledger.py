"""Writes the synthetic year where an agent would have kept it: usage, tenant hours and names."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from collectors.postgres.cluster.statements import STATEMENT_FIELDS
from exporter.demo.year import Year, YearTenantHour
from exporter.pricing.domain.calendar import DAY, HOUR
from exporter.pricing.domain.components import METRIC_COMPONENTS, Component
from exporter.sampling.counters import tables
from exporter.sampling.counters.tables import StatementScope
from exporter.sampling.domain.accumulate import CounterEpoch
from exporter.storage.ledger.ledger import Ledger
from exporter.storage.store import Store
from exporter.storage.tables import KeyValueStore

if TYPE_CHECKING:
    from exporter.sampling.domain.accumulate import Counters

Progress = Callable[[int], None]
"""Called with the end of each day that is written, in unix seconds."""


def seed_ledger(
    ledger: Ledger,
    year: Year,
    progress: Progress | None = None,
    *,
    start: int | None = None,
    end: int | None = None,
    usage: dict[Component, int] | None = None,
) -> int:
    """Write the usage of a span (the whole year when not given), a day at a time; answers how many facts there were.

    To ``usage`` the raw usage of the projects is added by component, so that a reader of the ledger can be checked.

    Raises:
        StoreError: the ledger cannot be written.
    """
    count = 0
    begin, until = start or year.start, end or year.end
    for day in range(begin, until, DAY):
        last = min(day + DAY, until)
        facts = list(year.facts(day, last))
        ledger.put(facts, read_through={org.id: last for org in year.orgs})
        count += len(facts)
        if usage is not None:
            for fact in facts:
                if not fact.branch_id:
                    component = METRIC_COMPONENTS[fact.metric]
                    usage[component] = usage.get(component, 0) + fact.value
        if progress is not None:
            progress(last)
    return count


def seed_tenants(store: Store, year: Year, *, start: int | None = None, end: int | None = None) -> int:
    """Write who was busy, as the durable counters keep it; the store needs their room. Answers the number of rows.

    Raises:
        StoreError: the store cannot be written.
    """
    with store.snapshot() as cursor:
        places = {(place.project_id, place.branch_id): place.id for place in tables.scopes(cursor)}
    count = 0
    begin, until = start or year.start, end or year.end
    for day in range(begin, until, DAY):
        count += _write_day(store, places, year.tenant_hours(day, min(day + DAY, until)))
    return count


def _write_day(store: Store, places: dict[tuple[str, str], int], rows: Iterable[YearTenantHour]) -> int:
    by_place: dict[int, list[tuple[int, str, int, Counters]]] = {}
    new: list[StatementScope] = []
    for row in rows:
        branch_ref = (row.project_id, row.branch_id)
        number = places.get(branch_ref)
        if number is None:
            number = places[branch_ref] = max(places.values(), default=0) + 1
            # No life: an agent that goes on with this file begins to count anew.
            new.append(StatementScope(number, *branch_ref, row.endpoint_id, CounterEpoch(0, 0, 0, 0), 0))
        by_place.setdefault(number, []).append((row.hour, row.tenant, row.busy_us, _counters(row)))
    with store.transaction() as cursor:
        for place in new:
            tables.save_scope(cursor, place)
        for number, parts in by_place.items():
            tables.add_hours(cursor, number, parts)
    return sum(len(parts) for parts in by_place.values())


def _counters(row: YearTenantHour) -> Counters:
    known = {
        "calls": row.calls,
        "exec_us": row.busy_us,
        "rows": row.rows,
        "wal_bytes": row.wal_bytes,
        "shared_blks_read": row.shared_blks_read,
    }
    return tuple(known.get(name, 0) for name in STATEMENT_FIELDS)


def seed_world(store: Store, year: Year) -> None:
    """Write what an agent would know beside usage: names, when branches lived, and what tenants held month by month.

    The store needs the rooms ``notebook`` and ``tenancy``; a `Tenancy` must be opened after.

    Raises:
        StoreError: the store cannot be written.
    """
    KeyValueStore(store).write("names", "all", dict(year.names))
    lives, sizes = [], []
    for project in year.projects:
        for branch in project.branches:
            lives.append(
                (branch.id, project.id, branch.name, project.name, int(not branch.root), branch.created, branch.deleted)
            )
            weights = sum(weight for _, weight in branch.tenants)
            for month in year.months:
                if branch.created <= month < branch.deleted and branch.rhythm != "never":
                    held = branch.bytes + branch.growth * ((month - branch.created) // HOUR)
                    sizes += [
                        (month, project.id, branch.id, tenant, held * weight // weights, 0)
                        for tenant, weight in branch.tenants
                    ]
    with store.transaction() as cursor:
        cursor.executemany("INSERT OR REPLACE INTO branch_life VALUES (?, ?, ?, ?, ?, ?, ?)", lives)
        cursor.executemany("INSERT OR REPLACE INTO tenant_size VALUES (?, ?, ?, ?, ?, ?)", sizes)
