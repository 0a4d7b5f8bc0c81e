"""What the commands of drift work with: kept fingerprints, rules, approvals; also beside a running agent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from collectors.postgres.database.fingerprint import Fingerprint
from exporter.cost.workspace import names_of
from exporter.drift.approvals import Approval, Approvals, approvals_of
from exporter.drift.comparer import Comparer
from exporter.drift.fingerprint_store import Held, PrintKey, Prints
from exporter.drift.history_store import HistoryBook, KeptHistories
from exporter.drift.names import Ids, of_store
from exporter.drift.settings_drift import SettingsJudge
from exporter.drift.settings_store import ComputeIds, KeptSettings, SettingsBook
from exporter.storage.store import Rooms, Store

if TYPE_CHECKING:
    from exporter.settings import Settings
    from exporter.tenancy.domain.rules import TenantRules


@dataclass(frozen=True, slots=True)
class Desk:
    """Everything that is kept of drift, read once."""

    comparer: Comparer
    approvals: Approvals
    prints: Prints
    histories: dict[PrintKey, KeptHistories]
    held: dict[PrintKey, Held]
    approved: dict[PrintKey, Approval]
    since: dict[PrintKey, tuple[str, float]]
    settings: Mapping[ComputeIds, KeptSettings]
    judge: SettingsJudge
    branches: dict[str, Ids]
    """Branches that were read, by ``project/branch``."""

    def databases(self, ids: Ids) -> list[PrintKey]:
        """What was read of a branch."""
        return sorted(key for key in self.held if key[:2] == ids)

    def fingerprint(self, key: PrintKey) -> Fingerprint | None:
        """The last one that was read."""
        return self.prints.read(key)


@contextmanager
def open_desk(settings: Settings, rooms: Rooms, rules: TenantRules) -> Iterator[Desk]:
    """Open the store for reading.

    Raises:
        StoreError: it cannot be used.
    """
    store = Store.open(settings.ledger.path, rooms, read_only=True)
    try:
        prints, approvals = Prints(store), approvals_of(settings)
        held = prints.held()
        yield Desk(
            comparer=Comparer(settings.drift, prints, approvals, rules),
            approvals=approvals,
            prints=prints,
            histories=HistoryBook(store).all(),
            held=held,
            approved=approvals.all(),
            since=prints.since(),
            settings=SettingsBook(store).all(),
            judge=SettingsJudge(settings.drift),
            branches=of_store(names_of(store), held),
        )
    finally:
        store.close()
