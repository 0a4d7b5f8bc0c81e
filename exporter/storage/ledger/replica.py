"""A copy of an agent's store in PostgreSQL, row by row, for the agent that takes over.

While an agent works, triggers of its own connection note the keys of all rows that change; `push` writes those rows to
PostgreSQL in one transaction, before anything that derives from them is shown or done. The agent that stands by pulls
what is new into a file of its own, and after a takeover works on it as after a restart. So what was shown is never
ahead of what a successor knows.

The ledger's own tables are no part of it: where there is a copy, usage is in PostgreSQL anyway.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from exporter.storage.ledger.lease import LEASE_TABLE, check_token
from exporter.storage.ledger.postgres_link import Cursor, PostgresConnection
from exporter.storage.ledger.sqlite_sql import LEDGER_SCHEMA
from exporter.storage.store import Schemas, Store, StoreError

REPLICA_SCHEMA: Final[tuple[str, ...]] = (
    "CREATE TABLE replica_state (one INTEGER PRIMARY KEY CHECK (one = 1), name TEXT NOT NULL, "
    "revision INTEGER NOT NULL, own INTEGER NOT NULL) STRICT",
)
"""The part ``replica`` of the store: which revision of the copy the file equals; ``own``: it has gone on by itself."""
REPLICA_POSTGRES: Final[tuple[str, ...]] = (
    LEASE_TABLE
    + """
CREATE TABLE replica_head (
    name text PRIMARY KEY, revision bigint NOT NULL, pruned bigint NOT NULL, layout text NOT NULL
);
-- A row is its columns as a JSON array; NULL says that it was deleted.
CREATE TABLE replica (
    name text NOT NULL, part text NOT NULL, key text NOT NULL, columns text, revision bigint NOT NULL,
    PRIMARY KEY (name, part, key)
);
CREATE INDEX replica_revision ON replica (name, revision);
""",
)
"""The part ``standby`` of the ledger's database, with the lease. Each entry is one released migration."""

_OWN: Final = frozenset({"room", "replica_state", *re.findall(r"CREATE TABLE (\w+)", " ".join(LEDGER_SCHEMA))})
_BATCH: Final = 5_000
_PRUNE_EVERY: Final = 256
"""Pushes between two removals of the marks of deleted rows; whoever is behind by more copies everything anew."""
_UPSERT: Final = """INSERT INTO replica (name, part, key, columns, revision)
    SELECT %s, t.part, t.key, t.columns, %s FROM unnest(%s::text[], %s::text[], %s::text[]) AS t (part, key, columns)
    ON CONFLICT (name, part, key) DO UPDATE SET columns = excluded.columns, revision = excluded.revision"""
_NEXT: Final = "UPDATE replica_head SET revision = revision + 1 WHERE name = %s RETURNING revision"
_NEW_HEAD: Final = """INSERT INTO replica_head AS h (name, revision, pruned, layout) VALUES (%s, 1, 1, %s)
    ON CONFLICT (name) DO UPDATE SET revision = h.revision + 1, pruned = h.revision + 1, layout = excluded.layout
    RETURNING revision"""
_COPY: Final = "COPY replica (name, part, key, columns, revision) FROM STDIN"
_HEAD: Final = "SELECT revision, pruned, layout FROM replica_head WHERE name = %s"
_Change = tuple[str, str]
"""Table and key."""


@dataclass(frozen=True, slots=True)
class _Layout:
    """A table: its columns, and the positions of its key among them."""

    name: str
    columns: tuple[str, ...]
    key: tuple[int, ...]

    @property
    def keys(self) -> tuple[str, ...]:
        return tuple(self.columns[at] for at in self.key)


def layouts(cursor: sqlite3.Cursor) -> dict[str, _Layout]:
    """The tables that are copied."""
    cursor.execute("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name")
    found = {}
    for (name,) in cursor.fetchall():
        if name in _OWN:
            continue
        rows = cursor.execute(f"PRAGMA table_info({name})").fetchall()
        ordered = sorted((row[5], at) for at, row in enumerate(rows) if row[5])
        found[name] = _Layout(name, tuple(row[1] for row in rows), tuple(at for _, at in ordered))
    return found


class Replica:
    """The copy of one agent's store. Every method blocks; one caller at a time."""

    def __init__(self, link: PostgresConnection, name: str, schemas: Schemas) -> None:
        """``schemas`` are the store's: a copy of another version is not taken."""
        self._link = link
        self._name = name
        self._schemas = schemas
        self._version = json.dumps({part: len(migrations) for part, migrations in sorted(schemas.items())})
        self._store: Store | None = None
        self._followed: tuple[str, Store] | None = None
        self._layouts: dict[str, _Layout] = {}
        self._waiting: dict[_Change, str | None] = {}
        self._pushes = 0

    def follow(self, path: Path) -> int:
        """Bring a file that no agent works on up to the copy; how many rows changed. `let_go` closes it again.

        A copy that an older version made is kept in that version's tables, which are brought up to date at the start of
        the work, as after any update.

        Raises:
            StoreError: the database or the file cannot be used, or the copy is of a newer version.
        """
        head = self._link.read(self._head)
        if head is None:
            return 0
        store = self._open(path, head[2])
        state = _state(store)
        clean = state is not None and state[0] == self._name and not state[2] and state[1] >= head[1]
        if clean and state is not None and state[1] == head[0]:
            return 0
        if state is None:
            _set_aside(store)
        return self._pull(store, state[1] if clean and state is not None else -1)

    def let_go(self) -> None:
        """Close the file that was brought up to the copy."""
        if self._followed is not None:
            self._followed[1].close()
            self._followed = None

    def _open(self, path: Path, layout: str) -> Store:
        if self._followed is not None and self._followed[0] == layout:
            return self._followed[1]
        self.let_go()
        versions: dict[str, int] = json.loads(layout)
        newer = [part for part, version in versions.items() if version > len(self._schemas.get(part, ()))]
        if newer:
            raise StoreError(
                "ledger.standby: the working agent is a newer neonmeter than this one, which cannot take over from it; "
                "install the same version here"
            )
        schemas = {part: self._schemas[part][:version] for part, version in versions.items()}
        self._followed = (layout, Store.open(path, schemas))
        return self._followed[1]

    def start(self, store: Store, token: int) -> None:
        """Begin to note changes of the store that this agent works on from now on; it equals the copy, or makes it.

        Raises:
            StoreError: the database or the file cannot be used, or another agent has taken over.
        """
        self._store, self._waiting = store, {}
        with store.transaction() as cursor:
            cursor.execute("PRAGMA recursive_triggers = ON")  # so that what REPLACE deletes is noted, too
            self._layouts = layouts(cursor)
            _note_changes(cursor, self._layouts.values())
            state = (1, self._name, 0, 1)
            cursor.execute("INSERT OR REPLACE INTO replica_state VALUES (?, ?, ?, ?)", state)
        head = self._link.read(self._head)
        if head is None or head[2] != self._version:
            self._copy_all(store, token)

    def push(self, token: int) -> None:
        """Write what has changed since the last push; all of it is in PostgreSQL when this returns.

        Raises:
            StoreError: the database or the file cannot be used, or another agent has taken over; what was to be written
                waits for the next push.
        """
        if self._store is None:
            raise StoreError("ledger.standby: nothing is copied yet")
        with self._store.transaction() as cursor:
            self._waiting.update(self._changes(cursor))
        if self._waiting:
            batch = dict(self._waiting)
            self._link.write(lambda cursor: self._write(cursor, token, batch))
            self._waiting.clear()

    def stop(self) -> None:
        """Note no changes any more."""
        self._store, self._waiting = None, {}

    def _head(self, cursor: Cursor) -> tuple[int, int, str] | None:
        cursor.execute(_HEAD, (self._name,))
        row = cursor.fetchone()
        return None if row is None else (int(row[0]), int(row[1]), str(row[2]))

    def _changes(self, cursor: sqlite3.Cursor) -> Iterator[tuple[_Change, str | None]]:
        cursor.execute("SELECT part, key FROM replica_changed")
        changed = cursor.fetchall()
        for part, key in changed:
            layout = self._layouts[part]
            where = " AND ".join(f"{name} IS ?" for name in layout.keys)
            row = cursor.execute(f"SELECT * FROM {part} WHERE {where}", json.loads(key)).fetchone()
            yield (part, key), None if row is None else _dump(row)
        if changed:
            cursor.execute("DELETE FROM replica_changed")

    def _write(self, cursor: Cursor, token: int, batch: Mapping[_Change, str | None]) -> None:
        check_token(cursor, self._name, token)
        cursor.execute(_NEXT, (self._name,))
        row = cursor.fetchone()
        if row is None:
            raise StoreError("ledger.standby: the copy in ledger.url is gone; restart neonmeter to make it again")
        rows = [(part, key, columns) for (part, key), columns in batch.items()]
        for at in range(0, len(rows), _BATCH):
            cursor.execute(_UPSERT, (self._name, row[0], *map(list, zip(*rows[at : at + _BATCH], strict=True))))
        self._pushes += 1
        if self._pushes % _PRUNE_EVERY == 0:
            old = int(row[0]) - _PRUNE_EVERY
            cursor.execute(
                "DELETE FROM replica WHERE name = %s AND columns IS NULL AND revision <= %s", (self._name, old)
            )
            cursor.execute("UPDATE replica_head SET pruned = %s WHERE name = %s", (old, self._name))

    def _copy_all(self, store: Store, token: int) -> None:
        def act(cursor: Cursor) -> None:
            check_token(cursor, self._name, token)
            cursor.execute("DELETE FROM replica WHERE name = %s", (self._name,))
            cursor.execute(_NEW_HEAD, (self._name, self._version))
            row = cursor.fetchone()
            revision = row[0] if row is not None else 1
            with store.snapshot() as rows, cursor.copy(_COPY) as out:
                for layout in self._layouts.values():
                    keys = ", ".join(layout.keys)
                    for key, *columns in rows.execute(f"SELECT json_array({keys}), * FROM {layout.name}"):
                        out.write_row((self._name, layout.name, key, _dump(columns), revision))

        self._link.write(act)

    def _pull(self, store: Store, since: int) -> int:
        """Apply everything after a revision in one transaction; -1: everything there is, to an empty store."""

        def act(cursor: Cursor) -> int:
            head = self._head(cursor)
            if head is None:
                return 0
            cursor.execute(
                "SELECT part, key, columns FROM replica WHERE name = %s AND revision > %s ORDER BY revision",
                (self._name, since),
            )
            count = 0
            with store.transaction() as own:
                own.execute("PRAGMA defer_foreign_keys = ON")
                tables = layouts(own)
                if since < 0:
                    for name in tables:
                        own.execute(f"DELETE FROM {name}")
                while rows := cursor.fetchmany(_BATCH):
                    count += len(rows)
                    _apply(own, tables, rows)
                own.execute("INSERT OR REPLACE INTO replica_state VALUES (1, ?, ?, 0)", (self._name, head[0]))
            return count

        return self._link.read(act)


def _apply(cursor: sqlite3.Cursor, tables: Mapping[str, _Layout], rows: Sequence[tuple[Any, ...]]) -> None:
    for part, key, columns in rows:
        layout = tables[part]
        if columns is None:
            where = " AND ".join(f"{name} IS ?" for name in layout.keys)
            cursor.execute(f"DELETE FROM {part} WHERE {where}", json.loads(key))
        else:
            marks = ", ".join("?" * len(layout.columns))
            cursor.execute(f"INSERT OR REPLACE INTO {part} VALUES ({marks})", _load(columns))


def _note_changes(cursor: sqlite3.Cursor, tables: Iterable[_Layout]) -> None:
    """Triggers of this connection alone, in memory: they and what they note are gone with it."""
    cursor.execute("CREATE TEMP TABLE IF NOT EXISTS replica_changed (part TEXT, key TEXT, PRIMARY KEY (part, key)) "
                   "WITHOUT ROWID")  # fmt: skip
    for layout in tables:
        for event, row in (("INSERT", "NEW"), ("DELETE", "OLD"), ("UPDATE", "OLD"), ("UPDATE", "NEW")):
            key = ", ".join(f"{row}.{name}" for name in layout.keys)
            trigger = f"replica_{layout.name}_{event}_{row}"
            cursor.execute(
                f"CREATE TEMP TRIGGER IF NOT EXISTS {trigger} AFTER {event} ON main.{layout.name} "
                # No conflict clause: within a trigger, that of the statement that fired it would hold.
                f"BEGIN INSERT INTO replica_changed SELECT '{layout.name}', json_array({key}) WHERE NOT EXISTS "
                f"(SELECT 1 FROM replica_changed WHERE part = '{layout.name}' AND key = json_array({key})); END"
            )


def _state(store: Store) -> tuple[str, int, bool] | None:
    with store.snapshot() as cursor:
        row = cursor.execute("SELECT name, revision, own FROM replica_state").fetchone()
    return None if row is None else (row[0], row[1], bool(row[2]))


def _set_aside(store: Store) -> None:
    """A file that was never a copy may hold what nobody else has: it is saved beside itself before it becomes one."""
    aside = store.path.with_name(store.path.name + ".before-standby")
    with store.snapshot() as cursor:
        used = any(cursor.execute(f"SELECT 1 FROM {name} LIMIT 1").fetchone() for name in layouts(cursor))
    if used and not aside.exists():
        with store.snapshot() as cursor, closing(sqlite3.connect(aside)) as copy:
            cursor.connection.backup(copy)


def _dump(row: Sequence[object]) -> str:
    values = [{"hex": value.hex()} if isinstance(value, bytes) else value for value in row]
    return json.dumps(values, ensure_ascii=True, separators=(",", ":"))


def _load(columns: str) -> list[object]:
    return [bytes.fromhex(value["hex"]) if isinstance(value, dict) else value for value in json.loads(columns)]
