"""A table as a mapping, in a transaction of its own and in the caller's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest

from exporter.storage.store import Store, StoreError
from exporter.storage.tables import Table, packed, unpacked


class Place(NamedTuple):
    project: str
    branch: str


SCHEMA = (
    "CREATE TABLE size (project TEXT NOT NULL, branch TEXT NOT NULL, bytes INTEGER NOT NULL, rows INTEGER NOT NULL, "
    "PRIMARY KEY (project, branch)) STRICT, WITHOUT ROWID",
)
SIZES: Table[Place, tuple[int, int]] = Table(
    "size", ("project", "branch"), ("bytes", "rows"), tuple, lambda _, *columns: columns, Place
)
A, B, C = Place("p", "a"), Place("p", "b"), Place("q", "c")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(Store.open(tmp_path / "neonmeter.db", {"sizes": SCHEMA})) as opened:
        yield opened


def test_values_are_read_by_key_and_by_its_first_columns(store: Store) -> None:
    SIZES.put(store, [(A, (1, 2)), (B, (3, 4)), (C, (5, 6))])
    SIZES.put(store, [(B, (7, 8))])
    assert SIZES.all(store) == {A: (1, 2), B: (7, 8), C: (5, 6)}
    assert SIZES.all(store, "p") == {A: (1, 2), B: (7, 8)}
    assert SIZES.get(store, B) == (7, 8)
    assert SIZES.get(store, Place("p", "c")) is None
    assert [type(key) for key in SIZES.all(store)] == [Place] * 3


def test_what_is_there_stays_or_grows(store: Store) -> None:
    assert SIZES.add(store, [(A, (1, 2))]) == 1
    assert SIZES.add(store, [(A, (9, 9)), (B, (3, 4))]) == 1
    SIZES.increase(store, [(A, (1, 0)), (C, (5, 6)), (C, (1, 1))])
    assert SIZES.all(store) == {A: (2, 2), B: (3, 4), C: (6, 7)}


def test_rows_are_dropped_by_key_by_its_first_columns_and_by_age(store: Store) -> None:
    SIZES.put(store, [(A, (1, 2)), (B, (3, 4)), (C, (5, 6))])
    SIZES.prune(store, "bytes", 3)
    SIZES.delete(store, [B])
    SIZES.delete(store, [])
    assert SIZES.all(store) == {C: (5, 6)}
    SIZES.delete(store, [("q",)])
    assert SIZES.all(store) == {}


def test_changes_with_a_cursor_are_the_callers(store: Store) -> None:
    with pytest.raises(ZeroDivisionError), store.transaction() as cursor:
        SIZES.put(cursor, [(A, (1, 2))])
        assert SIZES.get(cursor, A) == (1, 2)
        raise ZeroDivisionError
    assert SIZES.all(store) == {}


def test_a_reader_cannot_write(store: Store) -> None:
    with closing(Store.open(store.path, {"sizes": SCHEMA}, read_only=True)) as reader:
        assert SIZES.all(reader) == {}
        with pytest.raises(StoreError, match="reading only"):
            SIZES.put(reader, [(A, (1, 2))])


def test_a_long_text_comes_back() -> None:
    assert unpacked(packed("ä" * 10_000)) == "ä" * 10_000
    assert len(packed("ä" * 10_000)) < 200
