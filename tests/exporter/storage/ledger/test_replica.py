"""The copy of a store in PostgreSQL: whatever is written to any table, the successor's file equals the last push."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from exporter.app.features import SCHEMAS
from exporter.demo.postgres import Cluster
from exporter.storage.ledger.postgres_link import PostgresConnection
from exporter.storage.ledger.replica import REPLICA_POSTGRES, Replica, layouts
from exporter.storage.store import Schemas, Store, StoreError
from tests.exporter.storage.ledger.test_lease import conninfo_of

NAME = "test/0"
Rows = dict[str, list[tuple[object, ...]]]


@pytest.fixture
def link(postgres18: Cluster) -> Iterator[PostgresConnection]:
    """A database in which the token 1 is in force."""
    made = PostgresConnection(conninfo_of(postgres18), {"standby": REPLICA_POSTGRES}, lock=None)

    def empty(cursor: object) -> None:
        cursor.execute("TRUNCATE lease, replica, replica_head")  # type: ignore[attr-defined]
        cursor.execute(f"INSERT INTO lease VALUES ('{NAME}', 1, 'agent', 0, false, now())")  # type: ignore[attr-defined]

    made.write(empty)
    yield made
    made.close()


def take_over(link: PostgresConnection, token: int) -> None:
    link.write(lambda cursor: cursor.execute("UPDATE lease SET token = %s", (token,)))


def rows_of(store: Store) -> Rows:
    with store.snapshot() as cursor:
        return {
            name: sorted(cursor.execute(f"SELECT * FROM {name}").fetchall(), key=repr) for name in layouts(cursor)
        }  # fmt: skip


def value(random: Random, declared: str) -> object:
    texts = ["", "a", "Zürich", 'quote"d', "line\nend", "\x01\x7f", "emoji \N{GRINNING FACE}", "1"]
    kinds = {
        "INTEGER": [random.randrange(-5, 6), random.randrange(2**62), -(2**63)],
        "TEXT": texts,
        "REAL": [random.random(), 1e300, 0.1, -0.0],
        "BLOB": [random.randbytes(5), b"", b"\x00\xff"],
        "ANY": [random.randrange(9), *texts],
    }
    return random.choice(kinds[declared])


def scribble(random: Random, store: Store, count: int) -> None:
    """Writes of every kind to every table, also some that are rolled back."""
    for _ in range(count):
        try:
            with store.transaction() as cursor:
                name = random.choice(sorted(layouts(cursor)))
                columns = cursor.execute(f"PRAGMA table_info({name})").fetchall()
                row = [value(random, column[2]) for column in columns]
                marks = ", ".join("?" * len(row))
                act = random.randrange(6)
                if act < 2:
                    cursor.execute(f"INSERT OR REPLACE INTO {name} VALUES ({marks})", row)
                elif act == 2:
                    cursor.execute(f"INSERT INTO {name} VALUES ({marks}) ON CONFLICT DO NOTHING", row)
                elif act == 5:
                    keys = [column[1] for column in columns if column[5]]
                    last = columns[-1][1]
                    cursor.execute(f"INSERT INTO {name} VALUES ({marks}) ON CONFLICT ({', '.join(keys)}) DO UPDATE "
                                   f"SET {last} = excluded.{last}", row)  # fmt: skip
                elif act == 3:
                    cursor.execute(f"DELETE FROM {name} WHERE {columns[0][1]} IS ?", (row[0],))
                else:
                    column = random.randrange(len(columns))
                    cursor.execute(f"UPDATE OR REPLACE {name} SET {columns[column][1]} = ?", (row[column],))
                if random.random() < 0.1:
                    cursor.execute("SELECT json('rolled back')")
        except sqlite3.Error:
            continue


def test_the_successor_has_what_was_pushed_last(link: PostgresConnection, tmp_path: Path) -> None:
    """Five tenures: each holder works on, is lost between a write and its push, and the next one goes on."""
    random = Random(7)
    files = [tmp_path / "one.db", tmp_path / "two.db"]
    replicas = [Replica(link, NAME, SCHEMAS) for _ in files]
    pushed: Rows = {}
    for token in range(1, 6):
        take_over(link, token)
        here, there = token % 2, 1 - token % 2
        replicas[here].follow(files[here])
        replicas[here].let_go()
        with closing(Store.open(files[here], SCHEMAS)) as store:
            if pushed:
                assert rows_of(store) == pushed
            replicas[here].start(store, token)
            for turn in range(7):
                scribble(random, store, 15)
                replicas[here].push(token)
                pushed = rows_of(store)
                if turn % 3 == 0:  # The other one follows all the time, or catches up.
                    replicas[there].follow(files[there])
            scribble(random, store, 25)  # Lost: nobody has seen it.
            replicas[here].stop()
    assert sum(map(len, pushed.values())) > 20
    replicas[0].follow(files[0])
    replicas[0].let_go()
    with closing(Store.open(files[0], SCHEMAS)) as store:
        assert rows_of(store) == pushed


def test_a_late_push_is_refused_and_a_missed_one_comes_later(
    postgres18: Cluster, link: PostgresConnection, tmp_path: Path
) -> None:
    replica = Replica(link, NAME, SCHEMAS)
    with closing(Store.open(tmp_path / "one.db", SCHEMAS)) as store:
        replica.start(store, 1)
        write(store, "first")
        link._down_until, link._down = 2.0**40, "away"
        link.close()
        with pytest.raises(StoreError, match="away"):
            replica.push(1)
        link._down_until = 0.0
        write(store, "second")
        replica.push(1)
        take_over(link, 2)
        write(store, "third")
        with pytest.raises(StoreError, match="another agent has taken over"):
            replica.push(1)
        replica.stop()
    other = Replica(link, NAME, SCHEMAS)
    other.follow(tmp_path / "two.db")
    other.let_go()
    with closing(Store.open(tmp_path / "two.db", SCHEMAS)) as store:
        assert [row[1] for row in rows_of(store)["notebook"]] == ["first", "second"]


def write(store: Store, key: str) -> None:
    with store.transaction() as cursor:
        cursor.execute("INSERT INTO notebook VALUES ('kind', ?, '{}')", (key,))


def test_a_file_with_a_history_of_its_own_is_saved_before_it_becomes_a_copy(
    link: PostgresConnection, tmp_path: Path
) -> None:
    with closing(Store.open(tmp_path / "one.db", SCHEMAS)) as store:
        Replica(link, NAME, SCHEMAS).start(store, 1)
    with closing(Store.open(tmp_path / "two.db", SCHEMAS)) as store:
        write(store, "precious")
    replica = Replica(link, NAME, SCHEMAS)
    replica.follow(tmp_path / "two.db")
    replica.let_go()
    with closing(Store.open(tmp_path / "two.db", SCHEMAS)) as store:
        assert rows_of(store)["notebook"] == []
    with closing(Store.open(tmp_path / "two.db.before-standby", SCHEMAS)) as store:
        assert [row[1] for row in rows_of(store)["notebook"]] == ["precious"]


def test_an_update_takes_over_from_the_older_version_and_not_the_other_way(
    link: PostgresConnection, tmp_path: Path
) -> None:
    old: Schemas = {**SCHEMAS, "statements": SCHEMAS["statements"][:1]}
    with closing(Store.open(tmp_path / "one.db", old)) as store:
        replica = Replica(link, NAME, old)
        replica.start(store, 1)
        with store.transaction() as cursor:
            names = [row[1] for row in cursor.execute("PRAGMA table_info(tenant_hour)").fetchall()]
            cursor.execute(f"INSERT INTO tenant_hour VALUES ({', '.join('7' for _ in names)})")
        replica.push(1)
    new = Replica(link, NAME, SCHEMAS)
    new.follow(tmp_path / "two.db")
    new.let_go()
    take_over(link, 2)
    with closing(Store.open(tmp_path / "two.db", SCHEMAS)) as store:
        assert len(rows_of(store)["tenant_day"]) == 1, "the migration worked on the copied rows"
        new.start(store, 2)
        new.push(2)
    with pytest.raises(StoreError, match="a newer neonmeter"):
        Replica(link, NAME, old).follow(tmp_path / "one.db")


def test_whoever_missed_the_removal_of_deleted_rows_copies_all(
    link: PostgresConnection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exporter.storage.ledger.replica._PRUNE_EVERY", 3)
    late = Replica(link, NAME, SCHEMAS)
    with closing(Store.open(tmp_path / "one.db", SCHEMAS)) as store:
        replica = Replica(link, NAME, SCHEMAS)
        replica.start(store, 1)
        for number in range(3):
            write(store, f"row {number}")
            replica.push(1)
        late.follow(tmp_path / "two.db")
        for number in range(3):
            with store.transaction() as cursor:
                cursor.execute("DELETE FROM notebook WHERE key = ?", (f"row {number}",))
            replica.push(1)
        for number in range(9):
            write(store, f"later {number}")
            replica.push(1)
        left = link.read(lambda cursor: cursor.execute("SELECT count(*) FROM replica WHERE columns IS NULL").fetchone())
        assert left == (0,)
        late.follow(tmp_path / "two.db")
        late.let_go()
        with closing(Store.open(tmp_path / "two.db", SCHEMAS)) as other:
            assert rows_of(other) == rows_of(store)
