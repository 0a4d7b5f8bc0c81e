"""Facts that split a cost beside statements: sizes by tenant and day, sessions by tenant, and which branches existed.

All of them come from readings that are made anyway, and are resolved to tenants when they are read: a later change of
the rules counts from then on. Neon forgets which branches existed; the cost of last month needs their names and dates.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from exporter.pricing.domain.calendar import DAY, HOUR
from exporter.storage.store import Schemas, Store
from exporter.tenancy.domain.rules import AGENT, SHARED, UNATTRIBUTED, TenantRules

SCHEMAS: Final[Schemas] = {
    "tenancy": [
        """
        CREATE TABLE branch_life (
            branch_id TEXT PRIMARY KEY, project_id TEXT NOT NULL, branch TEXT NOT NULL, project TEXT NOT NULL,
            child INTEGER NOT NULL, born INTEGER NOT NULL, seen INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE size_known (
            project_id TEXT NOT NULL, branch_id TEXT NOT NULL, datname TEXT NOT NULL, schema TEXT NOT NULL,
            bytes INTEGER NOT NULL, rough INTEGER NOT NULL, roles TEXT NOT NULL,
            PRIMARY KEY (project_id, branch_id, datname, schema)
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE tenant_size (
            day INTEGER NOT NULL, project_id TEXT NOT NULL, branch_id TEXT NOT NULL, tenant TEXT NOT NULL,
            bytes INTEGER NOT NULL, rough INTEGER NOT NULL, PRIMARY KEY (project_id, branch_id, day, tenant)
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE tenant_sample (
            hour INTEGER NOT NULL, project_id TEXT NOT NULL, branch_id TEXT NOT NULL, tenant TEXT NOT NULL,
            sessions INTEGER NOT NULL, kept_us INTEGER NOT NULL, PRIMARY KEY (hour, project_id, branch_id, tenant)
        ) STRICT, WITHOUT ROWID;
        """,
        """
        CREATE TABLE snapshot_life (
            snapshot_id TEXT PRIMARY KEY, project_id TEXT NOT NULL, branch_id TEXT NOT NULL, charged INTEGER NOT NULL,
            born INTEGER NOT NULL, seen INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID;
        """,
    ]
}
REFRESH: Final = HOUR
"""A branch that still exists is written this often, in seconds, and at once when it is new, renamed or gone."""
KEPT: Final = 100 * DAY
"""Sizes and samples are needed for as long as a month may still be computed: this one and the last."""
_SAMPLE: Final = """INSERT INTO tenant_sample VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
    sessions = sessions + excluded.sessions, kept_us = kept_us + excluded.kept_us"""


class BranchRef(NamedTuple):
    """A branch with the names by which rules may match it."""

    project_id: str
    branch_id: str
    project: str
    branch: str


class BranchLife(NamedTuple):
    """One branch as the control plane showed it. Unix seconds; ``seen`` is when it was last there."""

    branch_id: str
    project_id: str
    branch: str
    project: str
    child: bool
    born: int
    seen: int


class SnapshotLife(NamedTuple):
    """One snapshot as the control plane showed it: of which branch, and the bytes that it is charged for."""

    snapshot_id: str
    project_id: str
    branch_id: str
    charged: int
    born: int
    seen: int


@dataclass(frozen=True, slots=True)
class SchemaSize:
    """One schema of a database: bytes, the roles that work in it, and whether some of its tables have no size yet."""

    bytes: int
    roles: tuple[str, ...] = ()
    rough: bool = False


class TenantSize(NamedTuple):
    """Bytes of one tenant in one branch on one day; ``rough`` when some of them are not measured."""

    day: int
    project_id: str
    branch_id: str
    tenant: str
    bytes: int
    rough: bool


class TenantSample(NamedTuple):
    """One tenant in one hour: its active sessions at visits, and the awake time for which it was the holder."""

    hour: int
    project_id: str
    branch_id: str
    tenant: str
    sessions: int
    kept_us: int


@dataclass(slots=True)
class _Known:
    databases: dict[str, int] = field(default_factory=dict)
    schemas: dict[str, dict[str, SchemaSize]] = field(default_factory=dict)


class Tenancy:
    """What is stored about tenants. Lives on the writer thread; reads are safe from others.

    Raises:
        StoreError: from every method: the disk is full or the file damaged; then nothing has changed.
    """

    def __init__(self, store: Store, rules: TenantRules) -> None:
        """``store`` must have been opened with ``SCHEMAS``."""
        self._store = store
        self._rules = rules
        self._known: dict[tuple[str, str], _Known] = {}
        self._written: dict[tuple[str, str], tuple[int, dict[str, tuple[int, bool]]]] = {}
        self._load()
        store.mirrored(self._load)
        self._present: set[str] = set()
        self._forgot = 0
        self._settled = 0

    def _load(self) -> None:
        """Take everything from the disk."""
        self._known.clear()
        self._written.clear()
        with self._store.snapshot() as cursor:
            rows = cursor.execute("SELECT * FROM branch_life").fetchall()
        self._lives = {row[0]: BranchLife._make((*row[:4], bool(row[4]), *row[5:])) for row in rows}
        self._projects = {life.project_id: life.project for life in self._lives.values()}

    def use(self, rules: TenantRules) -> None:
        """Take new rules (a reload): they count from today on."""
        self._rules = rules
        self._written.clear()

    def look(self, branches: Collection[BranchLife], at: float, unknown: Collection[str] = ()) -> None:
        """Take in which branches exist at ``at``; one that existed at the last call and is not named is gone.

        Of the ``unknown`` projects (ids) nothing is said: their branches stay as they were.
        """
        changed = []
        for life in branches:
            before = self._lives.get(life.branch_id)
            if before is None or before[:5] != life[:5] or life.seen - before.seen >= REFRESH:
                # The first known creation time counts; a restore gives a branch a new id.
                changed.append(life if before is None else life._replace(born=min(before.born, life.born)))
        present = {life.branch_id for life in branches}
        if unknown:
            present |= {name for name in self._present if self._lives[name].project_id in unknown}
        changed += [self._lives[name]._replace(seen=int(at)) for name in self._present - present]
        self._present = present
        if changed:
            with self._store.transaction() as cursor:
                cursor.executemany("INSERT OR REPLACE INTO branch_life VALUES (?, ?, ?, ?, ?, ?, ?)", changed)
            self._lives.update((life.branch_id, life) for life in changed)
            self._projects.update((life.project_id, life.project) for life in changed)
        if not unknown and self._forgot < int(at) // DAY:
            self._forgot = int(at) // DAY
            self.forget(int(at) - KEPT)
            self._forget_lives()

    def absorb_snapshots(self, snapshots: Collection[SnapshotLife]) -> None:
        """Take in which snapshots exist; one that is no longer named existed until it was last named."""
        with self._store.transaction() as cursor:
            cursor.executemany("INSERT OR REPLACE INTO snapshot_life VALUES (?, ?, ?, ?, ?, ?)", snapshots)

    def absorb_databases(self, branch_ref: BranchRef, sizes: Mapping[str, int], at: float) -> None:
        """Take in the sizes of all databases of a branch, in bytes, read at ``at`` (unix seconds)."""
        known = self._of(branch_ref)
        databases = dict(sizes)
        schemas = {name: of for name, of in known.schemas.items() if name in databases}
        self._write(branch_ref, _Known(databases, schemas), at)

    def absorb_schemas(self, branch_ref: BranchRef, datname: str, schemas: Mapping[str, SchemaSize], at: float) -> None:
        """Take in the sizes of all schemas of one database."""
        known = self._of(branch_ref)
        self._write(branch_ref, _Known(known.databases, {**known.schemas, datname: dict(schemas)}), at)

    def absorb_samples(self, branch_ref: BranchRef, at: float, sessions: Mapping[str, int]) -> None:
        """Take in how many sessions of each tenant a visit found at work."""
        hour = int(at) // HOUR * HOUR
        rows = [(hour, *branch_ref[:2], tenant, count, 0) for tenant, count in sessions.items() if count]
        if rows:
            with self._store.transaction() as cursor:
                cursor.executemany(_SAMPLE, rows)

    def add_kept(self, cursor: sqlite3.Cursor, branch: tuple[str, str], parts: Iterable[tuple[int, str, int]]) -> None:
        """Add awake time (hour, tenant, microseconds) in a transaction of the caller's."""
        cursor.executemany(_SAMPLE, [(hour, *branch, tenant, 0, amount) for hour, tenant, amount in parts])

    def tenant_of_session(self, branch_ref: BranchRef, user: str, application: str, database: str = "") -> str:
        """The tenant of a session, by its user, its application name and its database."""
        return self._rules.resolve(
            project=(branch_ref.project_id, branch_ref.project),
            branch=(branch_ref.branch_id, branch_ref.branch),
            database=database,
            role=user,
            application_name=application,
        )

    def branch_ref(self, project_id: str, branch_id: str) -> BranchRef:
        """A branch with the names that it has, or last had; its ids where it is unknown."""
        life = self._lives.get(branch_id)
        project = life.project if life else self._projects.get(project_id, project_id)
        return BranchRef(project_id, branch_id, project, life.branch if life else branch_id)

    def lives(self) -> list[BranchLife]:
        """Every branch that ever existed, as far as it is known."""
        return list(self._lives.values())

    def snapshots(self, start: int, end: int) -> list[SnapshotLife]:
        """The snapshots that existed at some time in [start, end), unix seconds."""
        with self._store.snapshot() as cursor:
            query = "SELECT * FROM snapshot_life WHERE born < ? AND seen >= ?"
            return [SnapshotLife._make(row) for row in cursor.execute(query, (end, start))]

    def sizes(self, day: int) -> list[TenantSize]:
        """The bytes of each tenant on a day (00:00 UTC), or on the last known day before it."""
        with self._store.snapshot() as cursor:
            rows = cursor.execute(
                """SELECT s.day, s.project_id, s.branch_id, s.tenant, s.bytes, s.rough FROM
                (SELECT project_id, branch_id, max(day) AS day FROM tenant_size WHERE day <= ? GROUP BY 1, 2) AS last
                JOIN tenant_size AS s USING (project_id, branch_id, day)""",
                (day,),
            ).fetchall()
        return [TenantSize._make((*row[:5], bool(row[5]))) for row in rows]

    def samples(self, start: int, end: int) -> list[TenantSample]:
        """What visits found in the hours that begin in [start, end), unix seconds."""
        with self._store.snapshot() as cursor:
            query = "SELECT * FROM tenant_sample WHERE hour >= ? AND hour < ?"
            return [TenantSample(*row) for row in cursor.execute(query, (start, end))]

    def forget(self, before: int) -> int:
        """Drop samples of hours, and sizes of days, before an instant (the last size of a branch stays); how many."""
        with self._store.transaction() as cursor:
            cursor.execute("DELETE FROM snapshot_life WHERE seen < ?", (before,))
            found = cursor.execute("DELETE FROM tenant_sample WHERE hour < ?", (before,)).rowcount
            return (
                found
                + cursor.execute(
                    """DELETE FROM tenant_size AS s WHERE day < ? AND day < (SELECT max(day) FROM tenant_size AS t
                WHERE t.project_id = s.project_id AND t.branch_id = s.branch_id)""",
                    (before,),
                ).rowcount
            )

    def forget_lives(self, before: int) -> None:
        """Let the next `look` drop the branches that are gone and last existed before an instant (unix seconds)."""
        self._settled = before

    def _forget_lives(self) -> None:
        gone = [key for key, life in self._lives.items() if life.seen < self._settled and key not in self._present]
        if gone:
            with self._store.transaction() as cursor:
                cursor.executemany("DELETE FROM branch_life WHERE branch_id = ?", [(key,) for key in gone])
            self._lives = {key: life for key, life in self._lives.items() if key not in set(gone)}

    def _of(self, branch_ref: BranchRef) -> _Known:
        found = self._known.get(branch_ref[:2])
        if found is None:
            found = self._known[branch_ref[:2]] = _Known()
            with self._store.snapshot() as cursor:
                query = (
                    "SELECT datname, schema, bytes, rough, roles FROM size_known WHERE project_id = ? AND branch_id = ?"
                )
                for datname, schema, size, rough, roles in cursor.execute(query, branch_ref[:2]):
                    if schema:
                        of = found.schemas.setdefault(datname, {})
                        of[schema] = SchemaSize(size, tuple(roles.split("\n")) if roles else (), bool(rough))
                    else:
                        found.databases[datname] = size
        return found

    def _write(self, branch_ref: BranchRef, known: _Known, at: float) -> None:
        day, tenants = int(at) // DAY * DAY, self._by_tenant(branch_ref, known)
        changed, moved = known != self._of(branch_ref), self._written.get(branch_ref[:2]) != (day, tenants)
        if not changed and not moved:
            return
        with self._store.transaction() as cursor:
            if changed:
                cursor.execute("DELETE FROM size_known WHERE project_id = ? AND branch_id = ?", branch_ref[:2])
                rows = [(*branch_ref[:2], name, "", size, 0, "") for name, size in known.databases.items()]
                rows += [
                    (
                        *branch_ref[:2],
                        datname,
                        schema,
                        schema_size.bytes,
                        int(schema_size.rough),
                        "\n".join(schema_size.roles),
                    )
                    for datname, schemas in known.schemas.items()
                    for schema, schema_size in schemas.items()
                ]
                cursor.executemany("INSERT INTO size_known VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
            if moved and known.databases:
                cursor.execute(
                    "DELETE FROM tenant_size WHERE project_id = ? AND branch_id = ? AND day = ?", (*branch_ref[:2], day)
                )
                cursor.executemany(
                    "INSERT INTO tenant_size VALUES (?, ?, ?, ?, ?, ?)",
                    [(day, *branch_ref[:2], tenant, size, int(rough)) for tenant, (size, rough) in tenants.items()],
                )
        self._known[branch_ref[:2]] = known
        self._written[branch_ref[:2]] = (day, tenants)

    def _by_tenant(self, branch_ref: BranchRef, known: _Known) -> dict[str, tuple[int, bool]]:
        """Bytes by tenant, and whether they are rough."""
        tenants: dict[str, tuple[int, bool]] = {}

        def give(tenant: str, size: int, rough: bool) -> None:
            bytes_, is_rough = tenants.get(tenant, (0, False))
            tenants[tenant] = (bytes_ + size, is_rough or rough)

        for datname, size in known.databases.items():
            tenant = self._rules.resolve(
                project=(branch_ref.project_id, branch_ref.project),
                branch=(branch_ref.branch_id, branch_ref.branch),
                database=datname,
            )
            schemas = known.schemas.get(datname, {})
            if tenant != UNATTRIBUTED or not schemas:
                give(SHARED if tenant == UNATTRIBUTED and datname == "postgres" else tenant, size, False)
                continue
            for schema, schema_size in schemas.items():
                give(
                    self._tenant_of_schema(branch_ref, datname, schema, schema_size.roles),
                    schema_size.bytes,
                    schema_size.rough,
                )
            # The rest is the catalogue's, and what no vacuum has counted yet.
            rough = any(schema_size.rough for schema_size in schemas.values())
            give(SHARED, max(0, size - sum(schema_size.bytes for schema_size in schemas.values())), rough)
        return tenants

    def _tenant_of_schema(self, branch_ref: BranchRef, datname: str, schema: str, roles: tuple[str, ...]) -> str:
        """The tenant by the schema's name; else by the roles that work in it, when they are all one tenant's."""
        found = {
            self._rules.resolve(
                project=(branch_ref.project_id, branch_ref.project),
                branch=(branch_ref.branch_id, branch_ref.branch),
                database=datname,
                schema=schema,
                role=role,
            )
            for role in ("", *roles)
        } - {UNATTRIBUTED, AGENT}
        return found.pop() if len(found) == 1 else SHARED if found else UNATTRIBUTED
