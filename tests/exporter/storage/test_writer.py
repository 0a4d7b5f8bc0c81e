"""The writer's thread: few flushes for many pieces, and none of them answered before its flush."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from collectors.base import Epoch
from collectors.metric import Families
from collectors.postgres.cluster.replication import SPILL_TXNS
from exporter.app.features import SCHEMAS
from exporter.sampling.counters.statements import DurableCounters
from exporter.storage.store import Store
from exporter.storage.tables import KeyValueStore
from exporter.storage.writer import WriterThread
from exporter.tenancy.domain.rules import TenantRules

DEFERRED = {
    "trap": (
        "CREATE TABLE trap_door (id INTEGER PRIMARY KEY) STRICT; CREATE TABLE trap "
        "(id INTEGER PRIMARY KEY, door INTEGER REFERENCES trap_door (id) DEFERRABLE INITIALLY DEFERRED) STRICT",
    )
}
"""A row that is refused by the flush, and not by the statement that writes it."""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store.open(tmp_path / "neonmeter.db", {**SCHEMAS, **DEFERRED})
    yield store
    store.close()


@pytest.fixture
def disk(store: Store) -> Iterator[WriterThread]:
    disk = WriterThread(store)
    yield disk
    disk.close()


def spring(store: Store) -> None:
    with store.transaction() as cursor:
        cursor.execute("INSERT INTO trap VALUES (1, 1)")


def on_disk(store: Store, kind: str) -> dict[str, dict[str, object]]:
    """What another process would find."""
    other = sqlite3.connect(f"{store.path.absolute().as_uri()}?mode=ro", uri=True)
    try:
        rows = other.execute("SELECT key, page FROM notebook WHERE kind = ?", (kind,)).fetchall()
    finally:
        other.close()
    return {key: {"page": page} for key, page in rows}


async def test_many_pieces_share_few_flushes_and_are_on_the_disk_when_answered(
    store: Store, disk: WriterThread
) -> None:
    values = KeyValueStore(store)
    flushes: list[str] = []
    assert store._writer is not None
    store._writer.set_trace_callback(lambda statement: flushes.append(statement) if statement == "COMMIT" else None)

    async def write(number: int) -> None:
        await disk.run(lambda: values.write("many", str(number), {"is": number}), patient=number % 2 == 0)
        assert str(number) in on_disk(store, "many") if number % 1000 == 0 else True

    await asyncio.gather(*(write(number) for number in range(10_000)))
    assert len(on_disk(store, "many")) == 10_000
    assert 1 <= len(flushes) <= 50


async def test_a_piece_that_fails_loses_only_its_own_and_the_next_reads_what_the_last_wrote(
    store: Store, disk: WriterThread
) -> None:
    values = KeyValueStore(store)

    def fails() -> None:
        with store.transaction() as cursor:
            cursor.execute("INSERT INTO notebook VALUES ('few', 'bad', '{}')")
            raise ValueError("a mistake")

    first = disk.run(lambda: values.write("few", "a", {"is": 1}))
    second = disk.run(fails)
    third = disk.run(lambda: values.read("few", "a"))
    nested = disk.run(lambda: _nested(store))
    outcomes = await asyncio.gather(first, second, third, nested, return_exceptions=True)
    assert outcomes[0] is None and isinstance(outcomes[1], ValueError) and outcomes[2] == {"is": 1}
    assert isinstance(outcomes[3], RuntimeError)
    assert on_disk(store, "few").keys() == {"a"}


def _nested(store: Store) -> None:
    with store.transaction(), store.transaction():
        pass


async def test_a_flush_that_fails_is_told_to_all_and_nothing_of_it_is_there(store: Store, disk: WriterThread) -> None:
    values = KeyValueStore(store)
    writes: list[Callable[[], None]] = [
        lambda: values.write("lost", "a", {}),
        lambda: spring(store),
        lambda: values.write("lost", "b", {}),
    ]
    outcomes = await asyncio.gather(*map(disk.run, writes), return_exceptions=True)
    failed = [isinstance(outcome, sqlite3.IntegrityError) for outcome in outcomes]
    assert failed[1]
    assert on_disk(store, "lost").keys() == {key for key, bad in zip("a-b", failed, strict=True) if not bad}
    await disk.run(lambda: values.write("lost", "c", {}))
    assert "c" in on_disk(store, "lost")


async def test_counters_neither_go_back_nor_count_twice_whatever_flush_fails(store: Store, disk: WriterThread) -> None:
    """Only what was answered is shown: after any mixture of lost flushes, the shown totals are those on the disk."""
    dice = random.Random(7)
    counters = DurableCounters(store, TenantRules(()))
    raw = dict.fromkeys(range(5), 0)
    shown = dict.fromkeys(range(5), 0.0)

    def absorb(compute: int, clock: float) -> float:
        families = Families()
        families.set(SPILL_TXNS, ("slot",), raw[compute])
        epoch = Epoch(f"ep{compute}", 1000.0, clock)
        return float(counters.absorb_counters(f"endpoint:{compute}", epoch, families).get(SPILL_TXNS)["slot",])

    lost = 0
    for turn in range(60):
        for compute in raw:
            raw[compute] += dice.choice((0, 0, 1, 5))
        pieces = {compute: asyncio.ensure_future(disk.run(partial(absorb, compute, 2000.0 + turn))) for compute in raw}
        trap = asyncio.ensure_future(disk.run(lambda: spring(store))) if dice.random() < 0.4 else None
        await asyncio.wait([*pieces.values(), *([trap] if trap else ())])
        for compute, piece in pieces.items():
            if isinstance(piece.exception(), sqlite3.IntegrityError):
                lost += 1
            else:
                assert piece.result() >= shown[compute]
                shown[compute] = piece.result()
        if trap is not None:
            assert isinstance(trap.exception(), sqlite3.IntegrityError)
        another = DurableCounters(store, TenantRules(()))
        for compute in raw:
            stored = another.stored_counters(f"endpoint:{compute}", [SPILL_TXNS]).get(SPILL_TXNS)
            assert shown[compute] == stored.get(("slot",), 0.0)
    assert lost
    final = await asyncio.gather(*(disk.run(partial(absorb, compute, 9000.0)) for compute in raw))
    assert final == [float(value) for value in raw.values()]
