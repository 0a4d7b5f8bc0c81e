"""The inventory on the disk, so that a start shows at once what there is, while Neon is read again.

It is no evidence for a visit: every project in it is unread until Neon has shown it to this process. Holds what
`collectors.neon.models` reads, and so no secret. A row a project, compressed; only what changed is written.
"""

from __future__ import annotations

import json
import logging
import zlib
from collections.abc import Callable, Iterator
from hashlib import sha256
from typing import Final, NamedTuple

from pydantic import BaseModel, ValidationError

from collectors.metric import Families
from collectors.neon.account import Account
from collectors.neon.holdings import by_id
from collectors.neon.inventory import Holding, Inventory
from collectors.neon.models import STORED, Branch, Endpoint, Organization, Project, ProjectSettings
from collectors.neon.project_metrics import project_families
from exporter.storage.store import Store
from exporter.storage.tables import Table, packed, unpacked

INVENTORY_SCHEMA: Final[tuple[str, ...]] = (
    """
    CREATE TABLE inventory_account (
        id INTEGER PRIMARY KEY CHECK (id = 1), format TEXT NOT NULL, taken_at REAL NOT NULL, body BLOB NOT NULL
    ) STRICT;
    CREATE TABLE inventory_project (
        project_id TEXT PRIMARY KEY, read_at REAL NOT NULL, branches_at REAL NOT NULL, body BLOB NOT NULL
    ) STRICT;
    """,
)
"""The part ``inventory`` of the store. Each entry is one released migration."""
_log = logging.getLogger("neonmeter.neon")


class StoredProject(BaseModel):
    """One project as it is on the disk. ``stale``: something moved since its branches were read."""

    project: Project
    branches: tuple[Branch, ...]
    endpoints: tuple[Endpoint, ...]
    stale: bool = False


class StoredAccount(BaseModel):
    """The rest of an inventory. ``source`` is the API that it was read from."""

    source: str
    org_id: str = ""
    org_name: str = ""
    plan: str = ""
    excluded: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    organizations: tuple[Organization, ...] = ()


class _Row(NamedTuple):
    read_at: float
    branches_at: float
    body: bytes


class _AccountRow(NamedTuple):
    format: str
    taken_at: float
    body: bytes


_PROJECTS: Final[Table[str, _Row]] = Table(
    "inventory_project", ("project_id",), ("read_at", "branches_at", "body"), lambda row: row,
    lambda _, *columns: _Row(*columns), str,
)  # fmt: skip
_ACCOUNT: Final[Table[int, _AccountRow]] = Table(
    "inventory_account", ("id",), ("format", "taken_at", "body"), lambda row: row,
    lambda _, *columns: _AccountRow(*columns), int,
)  # fmt: skip


def _format() -> str:
    """Another one for other models: what an older or newer neonmeter wrote is not taken for what this one reads."""
    models = (Project, ProjectSettings, Branch, Endpoint, Organization, StoredProject, StoredAccount)
    fields = [(model.__name__, name, str(of.annotation)) for model in models for name, of in model.model_fields.items()]
    return "1." + sha256(json.dumps(fields).encode()).hexdigest()[:12]


FORMAT: Final = _format()


class InventoryStore:
    """What is on the disk of an inventory. Works on the disk: call it on the writer's thread."""

    def __init__(self, store: Store, source: str) -> None:
        """Use a store that was opened with ``INVENTORY_SCHEMA``; ``source`` is the address of the API."""
        self._store = store
        self._source = source
        self._written: dict[str, tuple[Families, bool]] = {}
        self._rows: set[str] | None = None
        """The projects that have a row."""
        store.mirrored(self._forget)

    def _forget(self) -> None:
        self._written.clear()
        self._rows = None

    def load(self, org_id: str | None, takes: Callable[[str, str], bool], now: float) -> Inventory | None:
        """What was known when it was last written; None without anything that can be used, which is logged in a line.

        ``takes`` says by id and name which projects the settings select now; ``org_id`` is the organisation that they
        name. Every project of the answer is unread, and ``now`` (our clock) stands for the API's.

        Raises:
            StoreError: the file is damaged.
        """
        with self._store.snapshot() as cursor:
            stored, rows = _ACCOUNT.get(cursor, 1), _PROJECTS.all(cursor)
        self._rows = set(rows)
        if stored is None:
            return None
        account = self._account(stored, org_id)
        if account is None:
            return None
        found = dict(self._holdings(rows, stored.taken_at, frozenset(account.unknown)))
        holdings = {key: holding for key, holding in found.items() if takes(key, holding.project.name)}
        projects, branches, endpoints = by_id(holdings)
        everything = frozenset(holdings)
        return Inventory(
            account.org_id, account.org_name, account.plan, projects, branches, endpoints,
            unknown_project_ids=everything, notes=(), server_now=now, skew=0.0, taken_at=stored.taken_at, requests=0,
            holdings=holdings, excluded_project_ids=frozenset(account.excluded) | (found.keys() - everything),
            unread_project_ids=everything, recalled=True, account=Account(organizations=account.organizations),
        )  # fmt: skip

    def _account(self, stored: _AccountRow, org_id: str | None) -> StoredAccount | None:
        if stored.format != FORMAT:
            _log.info("the stored inventory has another format (%s, here %s): Neon is read anew", stored.format, FORMAT)
            return None
        try:
            account = StoredAccount.model_validate_json(unpacked(stored.body))
        except (ValidationError, zlib.error, ValueError) as problem:
            _log.warning("the stored inventory is damaged (%s): Neon is read anew", type(problem).__name__)
            return None
        if account.source != self._source or (org_id and account.org_id != org_id):
            _log.info("the stored inventory is of another organisation or API: Neon is read anew")
            return None
        return account

    def _holdings(
        self, rows: dict[str, _Row], taken_at: float, unknown: frozenset[str]
    ) -> Iterator[tuple[str, Holding]]:
        damaged = []
        for key, row in rows.items():
            try:
                stored = StoredProject.model_validate_json(unpacked(row.body), context=STORED)
            except (ValidationError, zlib.error, ValueError):
                damaged.append(key)
                continue
            project, marks = stored.project, () if stored.stale else stored.project.marks
            families = project_families(project, stored.branches, stored.endpoints)
            read_at = row.read_at if key in unknown else max(row.read_at, taken_at)
            yield key, Holding(project, stored.branches, stored.endpoints, families, row.branches_at, marks, read_at)
        if damaged:
            _log.warning("%d of %d stored projects are damaged and are read anew", len(damaged), len(rows))

    def save(self, inventory: Inventory) -> None:
        """Write what changed; of a whole inventory also what is gone.

        Raises:
            StoreError: the disk is full; then nothing has changed.
        """
        if self._rows is None:
            with self._store.snapshot() as cursor:
                self._rows = set(_PROJECTS.all(cursor))
        marks = {
            key: (holding.families, holding.branches_marks != holding.project.marks)
            for key, holding in inventory.holdings.items()
            if key not in inventory.unread_project_ids
        }
        changed = [key for key, mark in marks.items() if not _same(self._written.get(key), mark)]
        gone = self._rows - inventory.holdings.keys() if inventory.complete else set()
        account = StoredAccount(
            source=self._source,
            org_id=inventory.org_id,
            org_name=inventory.org_name,
            plan=inventory.plan,
            organizations=inventory.account.organizations,
            excluded=tuple(sorted(inventory.excluded_project_ids)),
            unknown=tuple(sorted(inventory.unknown_project_ids)),
        )
        body = packed(account.model_dump_json())
        rows = [(key, _row(inventory.holdings[key])) for key in changed]
        with self._store.transaction() as cursor:
            _ACCOUNT.put(cursor, [(1, _AccountRow(FORMAT, inventory.taken_at, body))])
            _PROJECTS.delete(cursor, gone)
            _PROJECTS.put(cursor, rows)
        self._rows = (self._rows - gone) | set(changed)
        self._written.update((key, marks[key]) for key in changed)
        for key in gone:
            self._written.pop(key, None)


def _same(before: tuple[Families, bool] | None, now: tuple[Families, bool]) -> bool:
    return before is not None and before[0] is now[0] and before[1] == now[1]


def _row(holding: Holding) -> _Row:
    stored = StoredProject(
        project=holding.project,
        branches=holding.branches,
        endpoints=holding.endpoints,
        stale=holding.branches_marks != holding.project.marks,
    )
    return _Row(holding.read_at, holding.branches_at, packed(stored.model_dump_json(exclude_defaults=True)))
