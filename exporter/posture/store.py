"""What is kept of posture on the disk: facts by source, since when each failure is there, and the state of each day.

A branch that sleeps is judged by what was read when it was awake; the age of every fact is shown.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from exporter.posture.codec import CodecError, decode, encode
from exporter.storage.store import Store

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
"""The room ``posture`` of the store."""
DAY = 86400
KEEP_DAYS = 400
Fact = TypeVar("Fact")


class FactKey(NamedTuple):
    """One thing that was read: ``sql`` of ``project/branch/database``, ``api`` of a project, ``vault`` by its name."""

    source: str
    key: str


@dataclass(frozen=True, slots=True)
class StoredFact:
    """One fact as it was read."""

    taken_at: float
    plain: object
    """As JSON."""

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


class PostureStore:
    """The room. Every call works on the disk."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def facts(self) -> dict[FactKey, StoredFact]:
        """Everything."""
        with self._store.snapshot() as cursor:
            rows = cursor.execute("SELECT source, key, taken_at, body FROM posture_fact").fetchall()
        return {FactKey(row[0], row[1]): StoredFact(row[2], _unpacked(row[3])) for row in rows}

    def write(self, facts: Mapping[FactKey, tuple[float, object]]) -> dict[FactKey, StoredFact]:
        """Replace some facts, given with when they were read; answers them as they are kept."""
        made = {key: StoredFact(at, encode(fact)) for key, (at, fact) in facts.items()}
        with self._store.transaction() as cursor:
            cursor.executemany(
                "INSERT OR REPLACE INTO posture_fact VALUES (?, ?, ?, ?)",
                [(*key, kept.taken_at, _packed(kept.plain)) for key, kept in made.items()],
            )
        return made

    def forget(self, keys: Iterable[FactKey]) -> None:
        """Drop facts of what is no more."""
        with self._store.transaction() as cursor:
            cursor.executemany("DELETE FROM posture_fact WHERE (source, key) = (?, ?)", list(keys))

    def since(self) -> dict[str, float]:
        """When each open failure was first seen, by cache key."""
        with self._store.snapshot() as cursor:
            return dict(cursor.execute("SELECT cache_key, since FROM posture_since").fetchall())

    def mark(self, new: Mapping[str, float], gone: Iterable[str]) -> None:
        """Remember failures that began, forget those that ended."""
        with self._store.transaction() as cursor:
            cursor.executemany("DELETE FROM posture_since WHERE cache_key = ?", [(name,) for name in gone])
            cursor.executemany("INSERT OR REPLACE INTO posture_since VALUES (?, ?)", sorted(new.items()))

    def keep_day(self, now: float, failures: Mapping[str, tuple[str, str, str]]) -> None:
        """Write how it stands today: the last look of a day stays."""
        day = int(now) // DAY * DAY
        with self._store.transaction() as cursor:
            plain = {key: list(row) for key, row in sorted(failures.items())}
            cursor.execute("INSERT OR REPLACE INTO posture_day VALUES (?, ?, ?)", (day, now, _packed(plain)))
            cursor.execute("DELETE FROM posture_day WHERE day < ?", (day - KEEP_DAYS * DAY,))

    def day_before(self, at: float) -> DayState | None:
        """The last state of the days before the one of ``at``; None when there is none."""
        with self._store.snapshot() as cursor:
            row = cursor.execute(
                "SELECT taken_at, body FROM posture_day WHERE day < ? ORDER BY day DESC LIMIT 1",
                (int(at) // DAY * DAY,),
            ).fetchone()
        if row is None:
            return None
        plain = _unpacked(row[1])
        return DayState(row[0], {key: (rows[0], rows[1], rows[2]) for key, rows in dict(plain).items()})


def _packed(plain: object) -> bytes:
    return zlib.compress(json.dumps(plain, ensure_ascii=False, separators=(",", ":")).encode(), 6)


def _unpacked(body: bytes) -> dict[str, list[str]]:
    made: dict[str, list[str]] = json.loads(zlib.decompress(body))
    return made
