"""Settings of every branch, compared with its parent's and with the desired state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from collectors.neon.inventory import Inventory
from collectors.neon.models import Endpoint
from exporter.drift.baselines import BranchContext, BranchKey, FileCache
from exporter.drift.desired import Desired, DesiredError, platform_of
from exporter.drift.domain.desired import DesiredValue, SettingsDrift, against, between
from exporter.drift.settings import DriftSettings
from exporter.drift.store import ComputeIds, StoredSettings
from exporter.sampling.computes import DatabaseRef
from exporter.sampling.domain.schema_comparison import IgnoreRule, without_ignored
from exporter.sampling.fingerprint_store import FingerprintSummary

DESIRED, PARENT = "desired", "parent"
"""What settings are compared with: the values of the label ``baseline``."""


def ignore_rules(settings: DriftSettings) -> tuple[IgnoreRule, ...]:
    """The rules of ``drift.ignore``."""
    return tuple(
        IgnoreRule(ignore.reason, ignore.kind, ignore.schema_, ignore.identity, ignore.expires_at)
        for ignore in settings.ignore
    )


class SettingsEvaluator:
    """Compares by the settings of drift. The file of the desired state is read again when it changes."""

    def __init__(self, settings: DriftSettings) -> None:
        self._path = settings.desired
        self._files = FileCache(lambda path, _: Desired.read(path))
        self._ignore = ignore_rules(settings)
        self.desired: Desired | None = None
        """The desired state as last understood; None without one."""
        self.problem = ""
        """Why the file cannot be used now; empty: it can."""
        self._read()

    def _read(self) -> None:
        """Read the file again if it changed; one that is broken leaves the last good one."""
        if self._path is None:
            return
        self.problem = ""
        try:
            self.desired = self._files.read(self._path)
        except OSError as problem:
            self.problem = f"drift.desired: {self._path}: {problem.strerror}"
        except DesiredError as problem:
            self.problem = str(problem)

    def evaluate(
        self,
        branches: Mapping[BranchKey, BranchContext],
        inventory: Inventory,
        stored: Mapping[ComputeIds, StoredSettings],
        fingerprints: Mapping[DatabaseRef, FingerprintSummary],
        now: float,
    ) -> dict[BranchKey, dict[str, SettingsDrift]]:
        """The differences of every branch, by what it is compared with; a branch without anything is absent.

        ``now`` (unix seconds) says which rules of ``drift.ignore`` have expired.
        """
        self._read()
        servers: dict[BranchKey, StoredSettings] = {}
        for key, settings in stored.items():
            before = servers.get(key[:2])
            if before is None or settings.taken_at > before.taken_at:  # Of several computes, the one read last.
                servers[key[:2]] = settings
        endpoints = _endpoints(inventory)
        extensions: dict[BranchKey, dict[str, str]] = {}
        for database, summary in fingerprints.items():
            extensions.setdefault(database.branch, {}).update(summary.extensions)
        found: dict[BranchKey, dict[str, SettingsDrift]] = {}
        for ids, context in branches.items():
            mine = servers[ids].facts if ids in servers else None
            drifts: dict[str, SettingsDrift] = {}
            wanted = self._wanted(context, servers.get(ids))
            if wanted is not None:
                platform = platform_of(context.project, endpoints.get(ids))
                drifts[DESIRED] = self._counted(against(wanted, mine, platform, extensions.get(ids)), now)
            parent = servers.get((ids[0], context.branch.parent_id)) if context.branch.parent_id else None
            if mine is not None and parent is not None:
                drifts[PARENT] = self._counted(between(parent.facts, mine), now)
            if drifts:
                found[ids] = drifts
        return found

    def _wanted(self, context: BranchContext, server: StoredSettings | None) -> DesiredValue | None:
        if self.desired is None:
            return None
        try:
            wanted = self.desired.of(context.project, context.branch, server.facts.settings if server else {})
        except DesiredError as problem:
            self.problem = str(problem)
            return None
        return wanted if wanted != DesiredValue() else None

    def _counted(self, drift: SettingsDrift, now: float) -> SettingsDrift:
        return replace(drift, changes=without_ignored(drift.changes, self._ignore, now))


def _endpoints(inventory: Inventory) -> dict[BranchKey, Endpoint]:
    """The compute of each branch: the one that writes."""
    computes = inventory.endpoints.values()
    order = sorted(computes, key=lambda endpoint: (endpoint.type != "read_write", endpoint.id), reverse=True)
    return {(endpoint.project_id, endpoint.branch_id): endpoint for endpoint in order}
