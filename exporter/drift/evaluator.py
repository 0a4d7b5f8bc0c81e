"""Every database that was read, judged once: for the commands, as the agent's service does it for its series."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from collectors.neon.inventory import Inventory
from exporter.drift.baselines import Baseline
from exporter.drift.comparer import Place, places
from exporter.drift.domain.compare import Drift, TenantDrift
from exporter.drift.fingerprint_store import Held, PrintKey
from exporter.drift.names import Ids
from exporter.drift.settings_drift import Found
from exporter.drift.workspace import Desk


@dataclass(frozen=True, slots=True)
class Judged:
    """One database: what it was measured by, and how it differs. Times in unix seconds."""

    key: PrintKey
    place: Place
    held: Held
    baseline: Baseline
    drift: Drift
    tenants: TenantDrift | None
    since: float | None
    """Since when the agent has seen it differ; None: it does not, or the agent has not looked yet."""


def judge(desk: Desk, inventory: Inventory, now: float, only: Ids | None = None) -> Iterator[Judged]:
    """All databases of branches that exist, by name; or those of one branch."""
    known = places(inventory)
    there = {key: each for key, each in desk.held.items() if key[:2] in known}
    for key in sorted(there, key=lambda each: (known[each[0], each[1]].name, each.datname)):
        if only is not None and key[:2] != only:
            continue
        place = known[key.project_id, key.branch_id]
        baseline = desk.comparer.baseline(key, place, there, desk.approved)
        drift, tenants = desk.comparer.compare(key, there[key], baseline, place, now)
        since = desk.since.get(key)
        began = since[1] if since is not None and since[0] == baseline.policy and drift.changes else None
        yield Judged(key, place, there[key], baseline, drift, tenants, began)


def judge_settings(desk: Desk, inventory: Inventory, now: float, only: Ids | None = None) -> dict[str, Found]:
    """Settings of every branch that is held against anything, by ``project/branch``."""
    known = places(inventory)
    found = desk.judge.judge(known, inventory, desk.settings, desk.held, now)
    return dict(sorted((known[ids].name, each) for ids, each in found.items() if only in (None, ids)))


def names_of_places(inventory: Inventory) -> dict[str, Ids]:
    """Every branch that exists, by ``project/branch``."""
    return {place.name: ids for ids, place in places(inventory).items()}
