"""What the commands of drift work with: what the agent has read, also beside a running one, and what can be compared.

A source of a comparison is a fingerprint file, a branch as last read, or a database by its DSN.
"""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from collectors.errors import NeonmeterError, UsageError
from collectors.postgres.domain.fingerprint import Fingerprint
from exporter.drift.baselines import Approvals, BranchKey, approvals_of, branches_of, fingerprint_file
from exporter.drift.evaluation import BranchDrift, Evaluator, Known
from exporter.drift.store import HistoryStore, SettingsStore
from exporter.feature.workspace import names_of, open_store
from exporter.sampling.computes import DatabaseRef
from exporter.sampling.fingerprint_scan import ScanError, scan
from exporter.sampling.fingerprint_store import DRIFT_SCHEMA, FingerprintStore
from exporter.tenancy.rules import rules_of

if TYPE_CHECKING:
    from collectors.neon.inventory import Inventory
    from exporter.drift.settings import DriftTree

Fingerprints = Mapping[str, Fingerprint]
"""Fingerprints by database name."""


class NoSuchSourceError(UsageError):
    """There is no such branch, database or file: one line that says what there is instead."""


class UnreadableDatabaseError(NeonmeterError):
    """A database cannot be read by its DSN."""


@dataclass(frozen=True, slots=True)
class DriftWorkspace:
    """Everything that was read, from the store."""

    evaluator: Evaluator
    approvals: Approvals
    fingerprints: FingerprintStore
    known: Known
    branches: dict[str, BranchKey]
    """Branches that were read, by ``project/branch``."""

    def databases(self, ids: BranchKey) -> list[DatabaseRef]:
        """The databases of a branch that were read."""
        return sorted(key for key in self.known.fingerprints if key.branch == ids)

    def stored(self, branch: str) -> Fingerprints:
        """The last fingerprints of a branch.

        Raises:
            NoSuchSourceError: there is no such branch, or it was never read.
        """
        try:
            ids = find_branch(branch, self.branches)
        except NoSuchSourceError as problem:
            raise NoSuchSourceError(f"{problem}; only branches whose databases were read are known here") from None
        return self.fingerprints.of_branch(*ids)

    def stored_one(self, branch: str, database: str | None) -> Fingerprint:
        """The last fingerprint of one database of a branch, or of the only one.

        Raises:
            NoSuchSourceError: there is none, or several and none was named.
        """
        found = self.stored(branch)
        names = ", ".join(sorted(found))
        if database is None and len(found) == 1:
            return next(iter(found.values()))
        if database is None:
            raise NoSuchSourceError(f"{branch} has several databases ({names}): choose one with --database")
        if database not in found:
            raise NoSuchSourceError(f"{branch} has no database {database!r} that was read; there are {names}")
        return found[database]

    def evaluate(self, inventory: Inventory, branch: str | None, now: float) -> list[BranchDrift]:
        """Every branch, or the one that was named, by name; ``now`` in unix seconds.

        Raises:
            NoSuchSourceError: there is no such branch, or it was never read.
        """
        only = None
        if branch is not None:
            only = find_branch(branch, {context.name: ids for ids, context in branches_of(inventory).items()})
            if not self.databases(only):
                raise NoSuchSourceError(
                    f"{branch} has not been read yet: the agent enters the databases of a branch while somebody else "
                    "works there (rules R5 and R9), and needs postgres.dsn for it"
                )
        found = self.evaluator.evaluate(inventory, self.known, now, only)
        return sorted(found.values(), key=lambda branch: branch.name)


@contextmanager
def open_workspace(settings: DriftTree) -> Iterator[DriftWorkspace]:
    """Open the store for reading.

    Raises:
        StoreError: it cannot be used, or no agent has made it yet.
    """
    with open_store(settings, {"drift": DRIFT_SCHEMA}) as store:
        fingerprints, approvals = FingerprintStore(store), approvals_of(settings)
        summaries, names = fingerprints.summaries(), names_of(store)
        yield DriftWorkspace(
            Evaluator(settings.drift, fingerprints, approvals, rules_of(settings)),
            approvals,
            fingerprints,
            Known(summaries, HistoryStore(store).all(), SettingsStore(store).all(), fingerprints.since()),
            {f"{names.get(key[0], key[0])}/{names.get(key[1], key[1])}": key.branch for key in summaries},
        )


def find_branch(text: str, known: Mapping[str, BranchKey]) -> BranchKey:
    """The ids of a branch; ``known`` is by ``project/branch``. A branch's own name or id will do while it is unique.

    Raises:
        NoSuchSourceError: there is none, or several.
    """
    if text in known:
        return known[text]
    found = {ids for name, ids in known.items() if text in (ids[1], f"{ids[0]}/{ids[1]}", name.rpartition("/")[2])}
    if len(found) == 1:
        return next(iter(found))
    if found:
        names = sorted(name for name, ids in known.items() if ids in found)
        raise NoSuchSourceError(f"{text} is a branch of several projects: use {' or '.join(names)}")
    near = difflib.get_close_matches(text, known, n=1, cutoff=0.5)
    if not near and known:
        near = difflib.get_close_matches(text, [name.rpartition("/")[2] for name in known], n=1, cutoff=0.6)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(known)[:12])}" if known else ""
    raise NoSuchSourceError(f"no such branch: {text!r}; {hint or 'nothing has been read yet: `neonmeter run`'}")


def is_dsn(text: str) -> bool:
    """Whether it is a connection string: a URL, or parameters."""
    return text.startswith(("postgres://", "postgresql://")) or ("=" in text and not Path(text).exists())


def is_file(text: str) -> bool:
    """Whether it names a fingerprint file."""
    return text.endswith(".json") or Path(text).is_file()


def from_file(path: Path) -> Fingerprint:
    """The fingerprint in a file.

    Raises:
        NoSuchSourceError: it cannot be read, or holds none.
    """
    try:
        return fingerprint_file(path, path.stat().st_mtime)
    except OSError as problem:
        raise NoSuchSourceError(f"{path}: {problem.strerror}") from None
    except ValueError as problem:
        raise NoSuchSourceError(f"{path}: {problem}") from None


def from_dsn(dsn: str, database: str | None, *, column_order: bool = False) -> Fingerprint:
    """The fingerprint of a database as it is now, read in one short session.

    Raises:
        UnreadableDatabaseError: it cannot be read.
    """
    try:
        return asyncio.run(scan(dsn, database, column_order=column_order))
    except ScanError as problem:
        raise UnreadableDatabaseError(f"The database cannot be read: {problem}") from None
