"""Posture on the disk: facts by source, since when each failure is there, and the state of each day.

A branch that sleeps is evaluated by what was read when it was awake; the age of every fact is shown.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeVar

from exporter.posture.codec import CodecError, decode, encode
from exporter.storage.store import Store
from exporter.storage.tables import Table, packed, unpacked

POSTURE_SCHEMA: tuple[str, ...] = (
    """
    CREATE TABLE posture_fact (
        source TEXT NOT NULL, key TEXT NOT NULL, taken_at REAL NOT NULL, body BLOB NOT NULL,
        PRIMARY KEY (source, key)
    ) STRICT;
    CREATE TABLE posture_since (cache_key TEXT PRIMARY KEY, since REAL NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE posture_day (day INTEGER PRIMARY KEY, taken_at REAL NOT NULL, body BLOB NOT NULL) STRICT;
    """,
)
"""The part ``posture`` of the store."""
DAY = 86400
KEEP_DAYS = 400
Fact = TypeVar("Fact")


class FactKey(NamedTuple):
    """One thing that was read: ``sql`` of ``project/branch/database``, ``api`` of a project, ``vault`` by its name."""

    source: str
    key: str


@dataclass(frozen=True, slots=True)
class StoredFact:
    """One fact as it is stored."""

    taken_at: float
    plain: object
    """The fact as JSON, before it is decoded."""

    def as_(self, kind: type[Fact]) -> Fact | None:
        """The fact; None when it was written by another version and does not fit."""
        try:
            return decode(kind, self.plain)
        except CodecError:
            return None


@dataclass(frozen=True, slots=True)
class DayState:
    """How it stood when a day began to be known: open failures by cache key, each with control, object and evidence."""

    taken_at: float
    failures: Mapping[str, tuple[str, str, str]]


_FACTS: Final[Table[FactKey, StoredFact]] = Table(
    "posture_fact", ("source", "key"), ("taken_at", "body"), lambda fact: (fact.taken_at, _packed(fact.plain)),
    lambda _, taken_at, body: StoredFact(taken_at, json.loads(unpacked(body))), FactKey,
)  # fmt: skip
_SINCE: Final[Table[str, float]] = Table(
    "posture_since", ("cache_key",), ("since",), lambda since: (since,), lambda _, since: since, str
)
_DAYS: Final[Table[int, DayState]] = Table(
    "posture_day", ("day",), ("taken_at", "body"), lambda state: (state.taken_at, _packed(state.failures)),
    lambda _, taken_at, body: DayState(taken_at, _failures(json.loads(unpacked(body)))), int,
)  # fmt: skip


class PostureStore:
    """The part ``posture`` of the store. Every call works on the disk, and raises `StoreError` when that cannot be."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def facts(self) -> dict[FactKey, StoredFact]:
        """Every stored fact."""
        return _FACTS.all(self._store)

    def write(self, facts: Mapping[FactKey, tuple[float, object]]) -> dict[FactKey, StoredFact]:
        """Replace some facts, given with when they were read; answers them as they are stored."""
        stored = {key: StoredFact(at, encode(fact)) for key, (at, fact) in facts.items()}
        _FACTS.put(self._store, stored.items())
        return stored

    def forget(self, keys: Iterable[FactKey]) -> None:
        """Drop facts of what is no more."""
        _FACTS.delete(self._store, keys)

    def since(self) -> dict[str, float]:
        """When each open failure was first seen, by cache key."""
        return _SINCE.all(self._store)

    def mark(self, new: Mapping[str, float], gone: Iterable[str]) -> None:
        """Remember failures that began, forget those that ended."""
        with self._store.transaction() as cursor:
            _SINCE.delete(cursor, gone)
            _SINCE.put(cursor, sorted(new.items()))

    def save_day(self, now: float, failures: Mapping[str, tuple[str, str, str]]) -> None:
        """Write the state of today: the last evaluation of a day stays."""
        day = int(now) // DAY * DAY
        with self._store.transaction() as cursor:
            _DAYS.put(cursor, [(day, DayState(now, dict(sorted(failures.items()))))])
            _DAYS.prune(cursor, "day", day - KEEP_DAYS * DAY)

    def day_before(self, at: float) -> DayState | None:
        """The last state of the days before the one of ``at``; None when there is none."""
        with self._store.snapshot() as cursor:
            query = "SELECT max(day) FROM posture_day WHERE day < ?"
            (day,) = cursor.execute(query, (int(at) // DAY * DAY,)).fetchone()
            return None if day is None else _DAYS.get(cursor, day)


def _packed(plain: object) -> bytes:
    return packed(json.dumps(plain, ensure_ascii=False, separators=(",", ":")))


def _failures(plain: Mapping[str, list[str]]) -> dict[str, tuple[str, str, str]]:
    return {key: (row[0], row[1], row[2]) for key, row in plain.items()}
