"""What the commands of drift work with: kept fingerprints, rules, approvals; also beside a running agent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from collectors.postgres.domain.fingerprint import Fingerprint
from exporter.drift.approvals import Approval, Approvals, approvals_of
from exporter.drift.comparer import Comparer
from exporter.drift.names import BranchKey, of_store
from exporter.drift.settings_drift import SettingsEvaluator
from exporter.drift.store import ComputeIds, HistoryStore, SettingsStore, StoredHistories, StoredSettings
from exporter.feature.workspace import names_of
from exporter.sampling.computes import DatabaseRef
from exporter.sampling.fingerprint_store import FingerprintStore, FingerprintSummary
from exporter.storage.store import Schemas, Store

if TYPE_CHECKING:
    from exporter.drift.settings import DriftTree
    from exporter.tenancy.domain.rules import TenantRules


@dataclass(frozen=True, slots=True)
class DriftWorkspace:
    """Everything that is kept of drift, read once."""

    comparer: Comparer
    approvals: Approvals
    fingerprints: FingerprintStore
    histories: dict[DatabaseRef, StoredHistories]
    held: dict[DatabaseRef, FingerprintSummary]
    approved: dict[DatabaseRef, Approval]
    since: dict[DatabaseRef, tuple[str, float]]
    settings: Mapping[ComputeIds, StoredSettings]
    judge: SettingsEvaluator
    branches: dict[str, BranchKey]
    """Branches that were read, by ``project/branch``."""

    def databases(self, ids: BranchKey) -> list[DatabaseRef]:
        """What was read of a branch."""
        return sorted(key for key in self.held if key[:2] == ids)

    def fingerprint(self, key: DatabaseRef) -> Fingerprint | None:
        """The last one that was read."""
        return self.fingerprints.read(key)


@contextmanager
def open_workspace(settings: DriftTree, schemas: Schemas, rules: TenantRules) -> Iterator[DriftWorkspace]:
    """Open the store for reading.

    Raises:
        StoreError: it cannot be used.
    """
    store = Store.open(settings.storage.path, schemas, read_only=True)
    try:
        fingerprints, approvals = FingerprintStore(store), approvals_of(settings)
        held = fingerprints.summaries()
        yield DriftWorkspace(
            comparer=Comparer(settings.drift, fingerprints, approvals, rules),
            approvals=approvals,
            fingerprints=fingerprints,
            histories=HistoryStore(store).all(),
            held=held,
            approved=approvals.all(),
            since=fingerprints.since(),
            settings=SettingsStore(store).all(),
            judge=SettingsEvaluator(settings.drift),
            branches=of_store(names_of(store), held),
        )
    finally:
        store.close()
