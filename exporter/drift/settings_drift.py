"""Settings of a branch against its parent's and against the desired state; shared by the agent and the commands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from collectors.metric import Families
from collectors.neon.inventory import Inventory
from collectors.neon.models import Endpoint
from collectors.postgres.domain.settings import SettingsFacts
from exporter.drift import metrics
from exporter.drift.comparer import BranchContext, rules_of_settings
from exporter.drift.desired import Desired, DesiredError, platform_of
from exporter.drift.domain.desired import DesiredValue, SettingsDrift, against, between
from exporter.drift.names import BranchKey
from exporter.drift.settings import DriftSettings
from exporter.drift.store import ComputeIds, SettingsStore, StoredSettings
from exporter.sampling.computes import Compute, DatabaseRef
from exporter.sampling.domain.schema_comparison import IgnoreRule
from exporter.sampling.fingerprint_store import FingerprintSummary

Found = Mapping[str, SettingsDrift]
"""What was found, by ``desired`` and ``parent``."""


class SettingsCache:
    """What the computes told last, in memory and on the disk; called on the disk's thread."""

    def __init__(self, book: SettingsStore) -> None:
        self._book = book
        self._known: dict[ComputeIds, StoredSettings] | None = None

    def all(self) -> Mapping[ComputeIds, StoredSettings]:
        """Everything that is known."""
        if self._known is None:
            self._known = self._book.all()
        return self._known

    def keep(self, compute: Compute, facts: SettingsFacts, at: float) -> None:
        """Take one reading in; on the disk only when something is new."""
        ids = (compute.place.project_id, compute.place.branch_id, compute.endpoint.id)
        before = self.all().get(ids)
        if before is None or before.facts != facts:
            # A new mapping: whoever looks at the old one meanwhile sees a whole one.
            self._known = {**self.all(), ids: self._book.write(ids, facts, at)}


class SettingsEvaluator:
    """Compares by the settings of drift."""

    def __init__(self, settings: DriftSettings) -> None:
        self._path = settings.desired
        self._mark: tuple[int, int] | None = None
        self._rules: tuple[IgnoreRule, ...] = rules_of_settings(settings)
        self.desired: Desired | None = None
        self.problem = ""
        self.look()

    def look(self) -> None:
        """Read the file of the desired state again if it changed; one that is broken leaves the last good one."""
        if self._path is None:
            return
        try:
            stat = self._path.stat()
            mark = (stat.st_mtime_ns, stat.st_size)
            if mark != self._mark:
                self._mark = mark
                self.desired, self.problem = Desired.read(self._path), ""
        except OSError as problem:
            self.problem = f"drift.desired: {self._path}: {problem.strerror}"
        except DesiredError as problem:
            self.problem = str(problem)

    def judge(
        self,
        places: Mapping[BranchKey, BranchContext],
        inventory: Inventory,
        kept: Mapping[ComputeIds, StoredSettings],
        held: Mapping[DatabaseRef, FingerprintSummary],
        now: float,
    ) -> dict[BranchKey, Found]:
        """Every branch by what it is held against; one that there is nothing to hold against is absent."""
        servers: dict[BranchKey, StoredSettings] = {}
        for key, stored in kept.items():
            before = servers.get(key[:2])
            if before is None or stored.taken_at > before.taken_at:  # Of several computes, the one that was read last.
                servers[key[:2]] = stored
        endpoints = _endpoints(inventory)
        extensions: dict[BranchKey, dict[str, str]] = {}
        for database, print_ in held.items():
            extensions.setdefault(database[:2], {}).update(print_.extensions)
        found: dict[BranchKey, Found] = {}
        for ids, place in places.items():
            mine, sides = servers.get(ids), {}
            wanted = self._wanted(place, mine)
            if wanted is not None:
                platform = platform_of(place.project, endpoints.get(ids))
                sides["desired"] = self._kept(
                    against(wanted, mine.facts if mine else None, platform, extensions.get(ids)), now
                )
            parent = servers.get((ids[0], place.branch.parent_id)) if place.branch.parent_id else None
            if mine is not None and parent is not None:
                sides["parent"] = self._kept(between(parent.facts, mine.facts), now)
            if sides:
                found[ids] = sides
        return found

    def _wanted(self, place: BranchContext, mine: StoredSettings | None) -> DesiredValue | None:
        if self.desired is None:
            return None
        try:
            wanted = self.desired.of(place.project, place.branch, mine.facts.settings if mine else {})
        except DesiredError as problem:
            self.problem = str(problem)
            return None
        return wanted if wanted != DesiredValue() else None

    def _kept(self, drift: SettingsDrift, now: float) -> SettingsDrift:
        changes = tuple(change for change in drift.changes if not any(rule.covers(change, now) for rule in self._rules))
        return replace(drift, changes=changes)


def fill(families: Families, found: Found, seen: set[tuple[str, str, str]]) -> None:
    """The series of one branch; a kind that differed once (``seen``) goes on as 0."""
    counts: dict[tuple[str, str, str], int] = {}
    for what, drift in found.items():
        families.set(metrics.SETTINGS_DETECTED, (what,), 1 if drift.changes else 0)
        families.set(metrics.SETTINGS_UNVERIFIED, (what,), len(drift.unverified))
        for change in drift.changes:
            key = (what, change.kind, change.change)
            counts[key] = counts.get(key, 0) + 1
    seen.update(counts)
    for key in seen:
        families.set(metrics.SETTINGS_OBJECTS, key, counts.get(key, 0))


def _endpoints(inventory: Inventory) -> dict[BranchKey, Endpoint]:
    """The compute of each branch: the one that writes."""
    order = sorted(inventory.endpoints.values(), key=lambda entry: (entry.type != "read_write", entry.id), reverse=True)
    return {(endpoint.project_id, endpoint.branch_id): endpoint for endpoint in order}


def page(found: Found) -> Iterator[tuple[str, dict[str, object]]]:
    """For programs."""
    for what, drift in found.items():
        yield (
            what,
            {
                "drifted": bool(drift.changes),
                "unverified": list(drift.unverified),
                "changes": [
                    {name: value for name, value in change._asdict().items() if value} for change in drift.changes
                ],
            },
        )
