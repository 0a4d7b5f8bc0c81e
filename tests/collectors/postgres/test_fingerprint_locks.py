"""A look never stands in a migration's way, nor waits behind one: measured from pg_locks while others change tables."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import psycopg
import pytest

from collectors.base import NoDataError, Status
from collectors.postgres.database.fingerprint import FingerprintCollector
from collectors.postgres.database.migrations import MigrationsCollector
from collectors.postgres.domain.fingerprint import FingerprintDelta
from collectors.postgres.evidence import APPLICATION_NAME
from collectors.postgres.session import Deadlines, Visit, visit
from exporter.demo.postgres import Cluster
from tests.collectors.reading import admin, database

SECONDS = 3.0
DEADLINES = Deadlines(10, 20, 10, 0.3)
LONGEST_WAIT = 0.3
SLACK = 0.2
"""A busy machine wakes the server's timer late."""
_WAITS = """
SELECT extract(epoch FROM clock_timestamp() - l.waitstart)::float8,
       a.application_name = %(us)s,
       EXISTS (SELECT 1 FROM unnest(pg_blocking_pids(a.pid)) AS b JOIN pg_stat_activity AS o ON o.pid = b
                WHERE o.application_name = %(us)s)
  FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid)
 WHERE NOT l.granted AND l.waitstart IS NOT NULL
"""


@dataclass
class Waits:
    """What pg_locks showed, sampled all the time: seconds of our waits, and of others' waits behind us."""

    samples: int = 0
    ours: list[float] = field(default_factory=list)
    behind_us: list[float] = field(default_factory=list)


@contextlib.contextmanager
def watched(postgres: Cluster) -> Iterator[Waits]:
    waits, ended = Waits(), threading.Event()

    def watch() -> None:
        with admin(postgres) as connection:
            while not ended.is_set():
                for seconds, ours, behind in connection.execute(_WAITS, {"us": APPLICATION_NAME}).fetchall():
                    if ours:
                        waits.ours.append(seconds)
                    elif behind:
                        waits.behind_us.append(seconds)
                waits.samples += 1
                time.sleep(0.002)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield waits
    finally:
        ended.set()
        thread.join()


async def look(postgres: Cluster, name: str) -> tuple[Visit, FingerprintDelta | None]:
    """One visit as the agent rides it, with the fingerprint when it could be read."""
    collector = FingerprintCollector(name)
    conninfo = postgres.conninfo(name, "monitor")
    made = Visit(Status.ASLEEP, "", 0.0)
    while made.status is Status.ASLEEP:  # A server that came up this second looks as if we woke it.
        made = await visit(conninfo, [collector, MigrationsCollector(name)], endpoint_id="ep", deadlines=DEADLINES)
    if made.epoch is None:
        return made, None
    try:
        facts = collector.read(made.results[collector.name], made.epoch).facts
    except NoDataError:
        return made, None
    assert isinstance(facts, FingerprintDelta)
    return made, facts


@pytest.fixture
def shop(postgres: Cluster) -> Iterator[str]:
    with database(postgres, "shop") as name:
        with admin(postgres, name) as connection:
            connection.execute("CREATE TABLE orders (id bigint PRIMARY KEY, amount numeric, state text)")
            connection.execute("CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)")
            connection.execute("GRANT SELECT ON alembic_version TO monitor")
            for number in range(20):
                connection.execute(
                    f"CREATE VIEW v{number} AS SELECT id, amount FROM orders WHERE id > {number}".encode()
                )
        yield name


async def test_behind_a_lock_nothing_is_read_and_nobody_waits(postgres: Cluster, shop: str) -> None:
    with psycopg.connect(postgres.conninfo(shop)) as holder, watched(postgres) as waits:
        holder.execute("LOCK TABLE orders, alembic_version IN ACCESS EXCLUSIVE MODE")
        for _ in range(5):
            made, facts = await look(postgres, shop)
            assert made.status is Status.OK
            assert facts is None
    assert waits.samples > 10
    assert waits.behind_us == []
    # The history table is locked, too, and waiting for that one is what the limit is for.
    assert max(waits.ours, default=0.0) < LONGEST_WAIT + SLACK
    assert (await look(postgres, shop))[1] is not None


def changing(postgres: Cluster, name: str, ended: threading.Event) -> None:
    """A stream of DDL: what a deploy, a test suite or an ORM does all day."""
    with admin(postgres, name) as connection:
        for number in itertools.count():
            if ended.is_set():
                return
            with connection.transaction():
                connection.execute(
                    f"CREATE TABLE t{number} (id int PRIMARY KEY, x text DEFAULT 'a' CHECK (x <> ''));"
                    f"CREATE INDEX ON t{number} (x); CREATE VIEW w{number} AS SELECT * FROM t{number};"
                    f"CREATE FUNCTION f{number}(a t{number}) RETURNS int LANGUAGE sql AS 'SELECT 1'".encode()
                )
            with connection.transaction():
                connection.execute("ALTER TABLE orders ADD COLUMN extra int; ALTER TABLE orders DROP COLUMN extra")
                time.sleep(0.01)
            connection.execute(f"DROP TABLE t{number} CASCADE".encode())
            time.sleep(0.15 * (number % 3 == 0))


async def test_under_a_stream_of_ddl(postgres: Cluster, shop: str) -> None:
    ended = threading.Event()
    thread = threading.Thread(target=changing, args=(postgres, shop, ended))
    read = failed = visits = 0
    why: set[str] = set()
    with watched(postgres) as waits:
        thread.start()
        try:
            until = time.monotonic() + SECONDS
            while time.monotonic() < until or visits < 4:
                made, facts = await look(postgres, shop)
                visits += 1
                read += facts is not None
                failed += facts is None
                why |= {text for (name, _), (_, text) in made.failures.items() if name == "fingerprint"}
                assert made.status is Status.OK, made.error
        finally:
            ended.set()
            thread.join()
    ours, behind = max(waits.ours, default=0.0), max(waits.behind_us, default=0.0)
    print(f"{visits} visits, {read} read, {failed} stale {sorted(why)}; {waits.samples} samples of pg_locks")
    print(f"our longest wait {ours * 1000:.0f} ms, the longest behind us {behind * 1000:.0f} ms")
    assert visits > 3
    assert max(ours, behind) < LONGEST_WAIT + SLACK
    assert all("XX000" in text for text in why), "a table that vanished under the look, and nothing else"
    assert (await look(postgres, shop))[1] is not None
