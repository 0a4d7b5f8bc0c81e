"""Every database that was read, judged once: for the commands, as the agent's service does it for its series."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from collectors.neon.inventory import Inventory
from exporter.drift.baselines import Baseline
from exporter.drift.comparer import BranchContext, places
from exporter.drift.names import BranchKey
from exporter.drift.settings_drift import Found
from exporter.drift.workspace import DriftWorkspace
from exporter.sampling.computes import DatabaseRef
from exporter.sampling.domain.schema_comparison import Drift, TenantDrift
from exporter.sampling.fingerprint_store import FingerprintSummary


@dataclass(frozen=True, slots=True)
class DatabaseDrift:
    """One database: what it was measured by, and how it differs. Times in unix seconds."""

    key: DatabaseRef
    place: BranchContext
    held: FingerprintSummary
    baseline: Baseline
    drift: Drift
    tenants: TenantDrift | None
    since: float | None
    """Since when the agent has seen it differ; None: it does not, or the agent has not looked yet."""


def judge(
    workspace: DriftWorkspace, inventory: Inventory, now: float, only: BranchKey | None = None
) -> Iterator[DatabaseDrift]:
    """All databases of branches that exist, by name; or those of one branch."""
    known = places(inventory)
    there = {key: summary for key, summary in workspace.held.items() if key[:2] in known}
    for key in sorted(there, key=lambda entry: (known[entry[0], entry[1]].name, entry.datname)):
        if only is not None and key[:2] != only:
            continue
        place = known[key.project_id, key.branch_id]
        baseline = workspace.comparer.baseline(key, place, there, workspace.approved)
        drift, tenants = workspace.comparer.compare(key, there[key], baseline, place, now)
        since = workspace.since.get(key)
        began = since[1] if since is not None and since[0] == baseline.policy and drift.changes else None
        yield DatabaseDrift(key, place, there[key], baseline, drift, tenants, began)


def judge_settings(
    workspace: DriftWorkspace, inventory: Inventory, now: float, only: BranchKey | None = None
) -> dict[str, Found]:
    """Settings of every branch that is held against anything, by ``project/branch``."""
    known = places(inventory)
    found = workspace.judge.judge(known, inventory, workspace.settings, workspace.held, now)
    return dict(sorted((known[ids].name, mapping) for ids, mapping in found.items() if only in (None, ids)))


def names_of_places(inventory: Inventory) -> dict[str, BranchKey]:
    """Every branch that exists, by ``project/branch``."""
    return {place.name: ids for ids, place in places(inventory).items()}
