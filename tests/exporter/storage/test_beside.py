"""Writing a few rows beside a running agent: allowed for whoever has tables of its own, and never a migration."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from exporter.storage.store import Store, StoreError, StoreLockedError

NOTES = {"notes": ["CREATE TABLE note (id INTEGER PRIMARY KEY, text TEXT NOT NULL) STRICT"]}
MORE = {**NOTES, "more": ["CREATE TABLE more (id INTEGER PRIMARY KEY) STRICT"]}


def write(store: Store, *texts: str) -> None:
    for text in texts:
        with store.transaction() as cursor:
            cursor.execute("INSERT INTO note (text) VALUES (?)", (text,))


def count(store: Store) -> int:
    with store.snapshot() as cursor:
        (row,) = cursor.execute("SELECT count(*) FROM note").fetchall()
        return int(row[0])


def test_two_write_beside_each_other_and_nothing_is_lost(tmp_path: Path) -> None:
    agent = Store.open(tmp_path / "n.db", NOTES)
    with pytest.raises(StoreLockedError, match="another neonmeter"):
        Store.open(tmp_path / "n.db", NOTES)
    beside = Store.open_beside(tmp_path / "n.db", NOTES)
    threads = [
        threading.Thread(target=write, args=(store, *(f"{number}" for number in range(40))))
        for store in (agent, beside)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert count(agent) == count(beside) == 80
    beside.close()
    write(agent, "the guard is still held")
    with pytest.raises(StoreLockedError):
        Store.open(tmp_path / "n.db", NOTES)
    agent.close()


def test_alone_it_is_an_ordinary_writer(tmp_path: Path) -> None:
    beside = Store.open_beside(tmp_path / "n.db", NOTES)
    write(beside, "x")
    with pytest.raises(StoreLockedError):
        Store.open(tmp_path / "n.db", NOTES)
    beside.close()


def test_it_never_changes_tables_under_an_agent(tmp_path: Path) -> None:
    agent = Store.open(tmp_path / "n.db", NOTES)
    with pytest.raises(StoreError, match="start `neonmeter run` once"):
        Store.open_beside(tmp_path / "n.db", MORE)
    agent.close()
    Store.open_beside(tmp_path / "n.db", MORE).close()
