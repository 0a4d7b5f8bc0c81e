"""A table of a store as a mapping: how keys and values become rows, and every usual statement on them.

A method that takes a `Store` works in a transaction of its own; one that is given a cursor works in the caller's, so
that several tables change together. Cursors of PostgreSQL will do as well, where the same table exists there.
"""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Generic, Protocol, TypeVar

from exporter.storage.store import Store

Key = TypeVar("Key", bound="tuple[object, ...] | str | int")
Value = TypeVar("Value")


class Cursor(Protocol):
    """A cursor of sqlite3 or of psycopg, in an open transaction."""

    def execute(self, statement: str, parameters: Sequence[Any] = ..., /) -> Any:
        """Run one statement."""

    def executemany(self, statement: str, parameters: Iterable[Sequence[Any]], /) -> Any:
        """Run one statement for each row of parameters."""

    def fetchall(self) -> list[Any]:
        """The rows of the last statement."""

    @property
    def rowcount(self) -> int:
        """How many rows the last statement changed."""


@dataclass(frozen=True, slots=True)
class Table(Generic[Key, Value]):
    """One table. Its ``CREATE TABLE`` stands in the migrations of its part of the store.

    Every method raises `StoreError` when the file cannot be read or written; then nothing has changed.
    """

    name: str
    keys: tuple[str, ...]
    """Columns of the primary key, in its order."""
    columns: tuple[str, ...]
    """The others."""
    encode: Callable[[Value], Sequence[object]]
    """A value as its columns."""
    decode: Callable[..., Value]
    """The inverse: called with the key, then the columns."""
    key: Callable[..., Key]
    """Makes a key of its columns."""

    def all(self, where: Store | Cursor, *prefix: object) -> dict[Key, Value]:
        """All values by key, or those whose first key columns are ``prefix``."""
        return dict(self.items(where, *prefix))

    def items(self, where: Store | Cursor, *prefix: object) -> Iterator[tuple[Key, Value]]:
        """The same one by one: a large value is decoded only when it is its turn."""
        names = ", ".join((*self.keys, *self.columns))
        condition = f" WHERE {_equal(self.keys[: len(prefix)])}" if prefix else ""
        with _reading(where) as cursor:
            cursor.execute(_marked(cursor, f"SELECT {names} FROM {self.name}{condition}"), prefix)
            rows = cursor.fetchall()
        width = len(self.keys)
        for row in rows:
            key = self.key(*row[:width])
            yield key, self.decode(key, *row[width:])

    def get(self, where: Store | Cursor, key: Key) -> Value | None:
        """The value of one key; None without one."""
        return next(iter(self.all(where, *_row(key)).values()), None)

    def put(self, where: Store | Cursor, items: Iterable[tuple[Key, Value]]) -> None:
        """Write values; each replaces what its key had."""
        self._insert(where, items, "UPDATE SET " + ", ".join(f"{name} = excluded.{name}" for name in self.columns))

    def add(self, where: Store | Cursor, items: Iterable[tuple[Key, Value]]) -> int:
        """Write values of keys that have none; those that are there stay. Answers how many were new."""
        return self._insert(where, items, "NOTHING")

    def increase(self, where: Store | Cursor, items: Iterable[tuple[Key, Value]]) -> None:
        """Add numbers to those that the keys have; a key may be named more than once."""
        sums = (f"{name} = {self.name}.{name} + excluded.{name}" for name in self.columns)
        self._insert(where, items, "UPDATE SET " + ", ".join(sums))

    def delete(self, where: Store | Cursor, keys: Iterable[Key | tuple[object, ...]]) -> None:
        """Drop the rows of keys, or of as many first columns of keys as all of these have."""
        rows = [_row(key) for key in keys]
        if rows:
            with _writing(where) as cursor:
                condition = _equal(self.keys[: len(rows[0])])
                cursor.executemany(_marked(cursor, f"DELETE FROM {self.name} WHERE {condition}"), rows)

    def prune(self, where: Store | Cursor, column: str, before: float) -> None:
        """Drop the rows whose column is below a number."""
        with _writing(where) as cursor:
            cursor.execute(_marked(cursor, f"DELETE FROM {self.name} WHERE {column} < ?"), (before,))

    def _insert(self, where: Store | Cursor, items: Iterable[tuple[Key, Value]], otherwise: str) -> int:
        rows = [(*_row(key), *self.encode(value)) for key, value in items]
        if not rows:
            return 0
        names = (*self.keys, *self.columns)
        marks = ", ".join("?" * len(names))
        statement = f"INSERT INTO {self.name} ({', '.join(names)}) VALUES ({marks}) "
        statement += f"ON CONFLICT ({', '.join(self.keys)}) DO {otherwise}"
        with _writing(where) as cursor:
            cursor.executemany(_marked(cursor, statement), rows)
            return cursor.rowcount


def _row(key: object) -> tuple[object, ...]:
    # A part of a key may be a tuple itself.
    return tuple(column for part in key for column in _row(part)) if isinstance(key, tuple) else (key,)


def _equal(names: Sequence[str]) -> str:
    return " AND ".join(f"{name} = ?" for name in names)


def _marked(cursor: Cursor, statement: str) -> str:
    return statement if isinstance(cursor, sqlite3.Cursor) else statement.replace("?", "%s")


@contextmanager
def _reading(where: Store | Cursor) -> Iterator[Cursor]:
    if isinstance(where, Store):
        with where.snapshot() as cursor:
            yield cursor
    else:
        yield where


@contextmanager
def _writing(where: Store | Cursor) -> Iterator[Cursor]:
    if isinstance(where, Store):
        with where.transaction() as cursor:
            yield cursor
    else:
        yield where


def packed(text: str) -> bytes:
    """A long text as a compressed column."""
    return zlib.compress(text.encode(), 6)


def unpacked(body: bytes) -> str:
    """The inverse of `packed`."""
    return zlib.decompress(body).decode()


KEY_VALUE_SCHEMA: Final[tuple[str, ...]] = (
    "CREATE TABLE notebook (kind TEXT NOT NULL, key TEXT NOT NULL, page TEXT NOT NULL, PRIMARY KEY (kind, key)) "
    "STRICT, WITHOUT ROWID",
)
"""The part ``notebook`` of the store."""
_VALUES: Final[Table[tuple[str, str], Mapping[str, object]]] = Table(
    "notebook", ("kind", "key"), ("page",), lambda value: (json.dumps(dict(value)),), lambda _, page: json.loads(page),
    lambda kind, key: (kind, key),
)  # fmt: skip


class KeyValueStore:
    """Small things to remember across restarts, as JSON by (kind, key): what is not worth a table of its own."""

    def __init__(self, store: Store) -> None:
        """Use a store that was opened with the part ``notebook``."""
        self._store = store

    def read(self, kind: str, key: str) -> dict[str, object] | None:
        """One value, or None.

        Raises:
            StoreError: the file is damaged.
        """
        value = _VALUES.get(self._store, (kind, key))
        return None if value is None else dict(value)

    def read_all(self, kind: str) -> dict[str, dict[str, object]]:
        """All values of a kind, by key.

        Raises:
            StoreError: the file is damaged.
        """
        return {key: dict(value) for (_, key), value in _VALUES.items(self._store, kind)}

    def texts(self, kind: str) -> dict[str, str]:
        """The entries of all values of a kind together, as texts.

        Raises:
            StoreError: the file is damaged.
        """
        values = self.read_all(kind).values()
        return {key: str(text) for value in values for key, text in value.items()}

    def write(self, kind: str, key: str, value: Mapping[str, object]) -> None:
        """Replace one value; it is on the disk when this returns.

        Raises:
            StoreError: the disk is full or the file damaged.
        """
        self.write_all(kind, {key: value})

    def write_all(self, kind: str, values: Mapping[str, Mapping[str, object]], *, gone: Iterable[str] = ()) -> None:
        """Replace values by key and drop those of the keys that are ``gone``, in one transaction.

        Raises:
            StoreError: the disk is full or the file damaged.
        """
        with self._store.transaction() as cursor:
            _VALUES.delete(cursor, [(kind, key) for key in gone])
            _VALUES.put(cursor, [((kind, key), value) for key, value in values.items()])
