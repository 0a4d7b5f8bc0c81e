"""The file on disk: real SQLite files, a second agent, damage, a full disk, an upgrade and a downgrade."""

from __future__ import annotations

import os
import resource
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from exporter.sampling.wake_states import WAKE_SCHEMA, WAKE_STATES
from exporter.storage.store import Store, StoreError
from exporter.storage.tables import KEY_VALUE_SCHEMA, KeyValueStore

ONE = {"notes": ["CREATE TABLE note (id INTEGER PRIMARY KEY, text TEXT NOT NULL) STRICT, WITHOUT ROWID"]}
TWO = {"notes": [*ONE["notes"], "ALTER TABLE note ADD COLUMN kind TEXT; CREATE TABLE kind (name TEXT) STRICT"]}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "neonmeter.db"


def write(store: Store, number: int, text: str = "x") -> None:
    with store.transaction() as cursor:
        cursor.execute("INSERT INTO note (id, text) VALUES (?, ?)", (number, text))


def count(store: Store) -> int:
    with store.snapshot() as cursor:
        (found,) = cursor.execute("SELECT count(*) FROM note").fetchone()
    return int(found)


def test_what_is_committed_is_there_again_and_only_its_owner_can_read_it(path: Path) -> None:
    store = Store.open(path, ONE)
    write(store, 1)
    assert {file.stat().st_mode & 0o777 for file in path.parent.iterdir()} == {0o600}
    store.close()
    again = Store.open(path, ONE)
    assert count(again) == 1
    again.close()
    again.close()
    assert sorted(file.name for file in path.parent.iterdir()) == ["neonmeter.db", "neonmeter.db.lock"]


def test_every_commit_is_flushed(path: Path) -> None:
    store = Store.open(path, ONE)
    with store.transaction() as cursor:
        assert cursor.execute("PRAGMA synchronous").fetchone() == (2,)
        assert cursor.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    store.close()


def test_a_failed_transaction_leaves_nothing(path: Path) -> None:
    store = Store.open(path, ONE)
    with pytest.raises(ZeroDivisionError), store.transaction() as cursor:
        cursor.execute("INSERT INTO note (id, text) VALUES (1, 'x')")
        raise ZeroDivisionError
    with pytest.raises(sqlite3.IntegrityError), store.transaction() as cursor:
        cursor.execute("INSERT INTO note (id, text) VALUES (1, 'x')")
        cursor.execute("INSERT INTO note (id, text) VALUES (1, 'y')")
    assert count(store) == 0
    write(store, 1)
    assert count(store) == 1
    store.close()


def test_a_transaction_inside_a_transaction_is_a_mistake(path: Path) -> None:
    store = Store.open(path, ONE)
    with pytest.raises(RuntimeError, match="already open"), store.transaction(), store.transaction():
        pass
    write(store, 1)
    store.close()


def test_a_snapshot_does_not_move_and_holds_nobody_up(path: Path) -> None:
    store = Store.open(path, ONE)
    with store.snapshot() as cursor:
        write(store, 1)
        assert cursor.execute("SELECT count(*) FROM note").fetchone() == (0,)
        with store.snapshot() as inner:
            assert inner.execute("SELECT count(*) FROM note").fetchone() == (0,)
        assert cursor.execute("SELECT count(*) FROM note").fetchone() == (0,)
    with pytest.raises(StoreError, match="readonly"), store.snapshot() as cursor:
        cursor.execute("DELETE FROM note")
    assert count(store) == 1
    store.close()


def test_threads_take_turns(path: Path) -> None:
    store = Store.open(path, ONE)
    problems: list[BaseException] = []

    def work(start: int) -> None:
        try:
            for number in range(start, start + 25):
                write(store, number)
                count(store)
        except BaseException as problem:
            problems.append(problem)

    threads = [threading.Thread(target=work, args=(start,)) for start in range(0, 200, 25)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems
    assert count(store) == 200
    store.close()


def test_a_second_agent_is_refused_and_a_reader_is_not(path: Path) -> None:
    store = Store.open(path, ONE)
    write(store, 1)
    with pytest.raises(StoreError, match=rf"another neonmeter \(process {os.getpid()}\) writes to it"):
        Store.open(path, ONE)
    script = (
        "import sys; from pathlib import Path; from exporter.storage.store import Store, StoreError\n"
        "path = Path(sys.argv[1])\n"
        "try: Store.open(path, {})\n"
        "except StoreError as problem: print('another neonmeter' in str(problem))\n"
        "reader = Store.open(path, {'notes': ['']}, read_only=True)\n"
        "with reader.snapshot() as cursor: print(cursor.execute('SELECT count(*) FROM note').fetchone()[0])\n"
        "reader.close()\n"
    )
    seen = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True)
    assert seen.stdout.split() == ["True", "1"]
    reader = Store.open(path, ONE, read_only=True)
    write(store, 2)
    assert count(reader) == 2
    with pytest.raises(StoreError, match="reading only"):
        write(reader, 3)
    reader.close()
    store.close()
    Store.open(path, ONE).close()


def test_a_killed_agent_leaves_no_lock_behind(path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from exporter.storage.store import Store\n"
        "from exporter.storage.tables import KEY_VALUE_SCHEMA, KeyValueStore\n"
        "store = Store.open(Path(sys.argv[1]), {'notebook': KEY_VALUE_SCHEMA})\n"
        "KeyValueStore(store).write('wake', 'ep', {'own_end': 1.5})\n"
        "print('ready', flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE) as agent:
        assert agent.stdout is not None
        assert agent.stdout.readline() == b"ready\n"
        with pytest.raises(StoreError, match=f"process {agent.pid}"):
            Store.open(path, {})
        agent.send_signal(signal.SIGKILL)
    store = Store.open(path, {"notebook": KEY_VALUE_SCHEMA})
    assert KeyValueStore(store).read("wake", "ep") == {"own_end": 1.5}
    store.close()


def test_wake_states_are_kept_by_endpoint(path: Path) -> None:
    store = Store.open(path, {"wake": WAKE_SCHEMA})
    assert WAKE_STATES.all(store) == {}
    WAKE_STATES.put(store, [("ep-a", {"own_end": 1795410590.619285, "pinned_by": None})])
    WAKE_STATES.put(store, [("ep-b", {"own_end": 2.0})])
    WAKE_STATES.put(store, [("ep-a", {"own_end": 1795410591.25, "pinned_by": "walsender"})])
    expected = {"ep-a": {"own_end": 1795410591.25, "pinned_by": "walsender"}, "ep-b": {"own_end": 2.0}}
    assert WAKE_STATES.all(store) == expected
    store.close()


def test_a_newer_program_brings_the_tables_up_to_date(path: Path) -> None:
    store = Store.open(path, ONE)
    write(store, 1)
    store.close()
    store = Store.open(path, TWO)
    with store.transaction() as cursor:
        cursor.execute("INSERT INTO note VALUES (2, 'y', 'z')")
    assert count(store) == 2
    store.close()


def test_a_reader_brings_them_up_to_date_unless_an_older_agent_runs(path: Path) -> None:
    old = Store.open(path, ONE)
    write(old, 1)
    with pytest.raises(StoreError, match=rf"written by an older neonmeter .* stop .* \(process {os.getpid()}\)"):
        Store.open(path, TWO, read_only=True)
    old.close()
    reader = Store.open(path, TWO, read_only=True)
    assert count(reader) == 1
    with pytest.raises(StoreError, match="reading only"):
        write(reader, 2)
    reader.close()
    Store.open(path, TWO, read_only=True).close()


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.fault("disk: written by a newer neonmeter")
def test_an_older_program_refuses_and_changes_nothing(path: Path, read_only: bool) -> None:
    Store.open(path, TWO).close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match=r"written by a newer neonmeter \(its part 'notes' has version 2"):
        Store.open(path, {**ONE, "more": ["CREATE TABLE more (a INTEGER) STRICT"]}, read_only=read_only)
    assert path.read_bytes() == before
    Store.open(path, TWO).close()


def test_a_migration_that_fails_leaves_the_old_tables(path: Path) -> None:
    Store.open(path, ONE).close()
    with pytest.raises(sqlite3.OperationalError, match="no such table: nowhere"):
        Store.open(path, {"notes": [*ONE["notes"], "CREATE TABLE half (a INTEGER) STRICT; DELETE FROM nowhere"]})
    store = Store.open(path, TWO)
    with store.snapshot() as cursor:
        names = {row[0] for row in cursor.execute("SELECT name FROM sqlite_schema")}
    assert "kind" in names
    assert "half" not in names
    store.close()


def test_semicolons_in_texts_and_triggers_do_not_end_a_statement(path: Path) -> None:
    script = """
        CREATE TABLE a (b TEXT DEFAULT 'x;y') STRICT;
        -- a remark; with a semicolon
        CREATE TRIGGER t AFTER INSERT ON a BEGIN DELETE FROM a WHERE b = 'old'; DELETE FROM a WHERE b = 'older'; END;
    """
    store = Store.open(path, {"a": [script]})
    with store.transaction() as cursor:
        cursor.execute("INSERT INTO a DEFAULT VALUES")
        cursor.execute("INSERT INTO a VALUES ('older')")
        assert cursor.execute("SELECT b FROM a").fetchall() == [("x;y",)]
    store.close()


def test_a_file_that_is_no_database(path: Path) -> None:
    path.write_bytes(b"not a database, and long enough to be read as one\n" * 100)
    with pytest.raises(StoreError, match=r"neonmeter\.db: .*not a database.*point storage\.path at another file"):
        Store.open(path, ONE)
    path.unlink()
    Store.open(path, ONE).close()


def test_the_database_of_another_program(path: Path) -> None:
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE theirs (a INTEGER)")
    other.close()
    with pytest.raises(StoreError, match="a database of another program"):
        Store.open(path, ONE)


@pytest.mark.fault("disk: the file is damaged")
def test_a_damaged_file_says_what_to_do(path: Path) -> None:
    store = Store.open(path, ONE)
    with store.transaction() as cursor:
        cursor.executemany("INSERT INTO note VALUES (?, ?)", [(number, "x" * 500) for number in range(500)])
    store.close()
    with path.open("r+b") as file:
        for page in range(3, path.stat().st_size // 4096):
            file.seek(page * 4096)
            file.write(b"\xff" * 4096)
    store = Store.open(path, ONE)
    advice = "malformed; the file is damaged: stop neonmeter, keep a copy"
    with pytest.raises(StoreError, match=advice), store.snapshot() as cursor:
        cursor.execute("SELECT sum(length(text)) FROM note").fetchone()
    store.close()


@pytest.mark.parametrize(("read_only", "name"), [(False, "no/such/folder.db"), (True, "nothing.db")])
@pytest.mark.fault("disk: the folder does not exist")
def test_a_file_that_cannot_be_opened(tmp_path: Path, read_only: bool, name: str) -> None:
    with pytest.raises(StoreError, match="the folder must exist"):
        Store.open(tmp_path / name, ONE, read_only=read_only)
    assert not (tmp_path / name).exists()


def test_a_full_disk_loses_nothing_that_was_committed(path: Path) -> None:
    store = Store.open(path, ONE)
    write(store, 1)
    with store.transaction() as cursor:
        pages = cursor.execute("PRAGMA page_count").fetchone()[0]
        cursor.execute(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(StoreError, match="full; the disk is full: free space"):
        write(store, 2, "x" * 100_000)
    assert count(store) == 1
    with store.transaction() as cursor:
        cursor.execute("PRAGMA max_page_count = 1000000")
    write(store, 2, "x" * 100_000)
    assert count(store) == 2
    store.close()


def test_a_disk_that_refuses_a_write(path: Path) -> None:
    """A file size limit is as close to a full disk as an unprivileged test gets: write() fails in the middle."""
    script = (
        "import sys, resource, signal; from pathlib import Path; from exporter.storage.store import Store, StoreError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "from exporter.storage.tables import KEY_VALUE_SCHEMA, KeyValueStore\n"
        "store = Store.open(Path(sys.argv[1]), {'notebook': KEY_VALUE_SCHEMA}); values = KeyValueStore(store)\n"
        "values.write('wake', 'a', {})\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))\n"
        "try: values.write('wake', 'b', {'x': 'y' * 1_000_000})\n"
        "except StoreError as problem: print(problem)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))\n"
        "values.write('wake', 'c', {}); print([key for key in 'abc' if values.read('wake', key) is not None])\n"
        "store.close()\n"
    )
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    seen = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True)
    problem, kept = seen.stdout.splitlines()
    assert "the disk refused a read or a write" in problem
    assert kept == "['a', 'c']"


def test_a_closed_store_says_so(path: Path) -> None:
    store = Store.open(path, ONE)
    store.close()
    with pytest.raises(StoreError, match="closed"):
        write(store, 1)
    with pytest.raises(StoreError, match="closed"):
        count(store)
