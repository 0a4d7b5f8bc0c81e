"""One visit as the agent makes it, with every collector in one session, on each PostgreSQL: all must read all.

The collectors' own tests look at each of them; this holds them together: one pipeline, one transaction, one store.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from collectors.base import Status, Target
from collectors.metric import Scope
from collectors.neon.models import Endpoint
from collectors.registry import ALL
from collectors.wake.policy import EndpointFacts
from exporter.core.state import State
from exporter.demo.postgres import Cluster
from exporter.sampling.computes import Compute
from exporter.sampling.counters.statements import SCHEMAS, DurableCounters
from exporter.sampling.readings import Readings
from exporter.settings import SamplingSettings
from exporter.settings.dsn import EndpointRef
from exporter.storage.store import Store
from exporter.storage.writer import WriterThread
from exporter.tenancy.domain.rules import TenantRule, TenantRules
from tests.collectors.reading import visited
from tests.fix_postgres import PASSWORD

LEAST = {"statements": 24, "replication": 19, "databases": 28, "sizes": 1, "activity": 6, "settings": 5}
"""Families that a server with one slot and one busy user has at the least, by collector."""
FACTS = EndpointFacts("ep-test", "active", "", False, None, 1000.0, 300, 2.0)
COMPUTE = Compute(
    endpoint=Endpoint(id="ep-test", project_id="project", branch_id="br-test", host="ep-test.example"),
    place=EndpointRef("ep-test", "ep-test.example", "project", "project", "br-test", "main"),
    target=Target(Scope.ENDPOINT, ("project", "br-test", "ep-test"), "project/main"),
    facts=FACTS,
)


@pytest.fixture
def state() -> State:
    return State()


@pytest.fixture
def readings(tmp_path: Path, state: State) -> Iterator[Readings]:
    store, disk = Store.open(tmp_path / "neonmeter.db", SCHEMAS), WriterThread()
    rules = TenantRules((TenantRule(tenant="everyone", role="."),))
    yield Readings(SamplingSettings(), DurableCounters(store, rules), state, disk)
    disk.close()
    store.close()


@pytest.fixture
def life(postgres: Cluster) -> Iterator[None]:
    """A slot that nobody reads, and a user in the middle of a transaction: every collector has something to say."""
    with psycopg.connect(postgres.conninfo(), autocommit=True) as connection:
        connection.execute("SELECT pg_create_logical_replication_slot('everything', 'pgoutput')")
        connection.execute(f"CREATE ROLE worker LOGIN PASSWORD '{PASSWORD}'")
        with psycopg.connect(postgres.conninfo(user="worker"), application_name="everything") as session:
            session.execute("SELECT sum(number) FROM generate_series(1, 1000) AS number")
            yield
        connection.execute("DROP ROLE worker")
        connection.execute("SELECT pg_drop_replication_slot('everything')")


async def test_one_session_reads_everything(postgres: Cluster, life: None, readings: Readings, state: State) -> None:
    collectors = readings.due(COMPUTE, 0.0)
    assert [collector.name for collector in collectors] == list(ALL), "nothing was read yet"
    made = await visited(postgres, *collectors)
    assert not made.failures
    assert made.round_trips <= 2, "one to know the server, one for everything"
    await readings.take(COMPUTE, collectors, made)
    for name in ALL:
        entry = state.get(name, COMPUTE.target)
        assert entry is not None
        assert entry.last.status is Status.OK, f"{name}: {entry.last.error}"
        assert entry.last.rows > 0
        assert len(list(entry.last.families.items())) >= LEAST[name], name


async def test_a_new_life_is_read_whole(postgres18: Cluster, readings: Readings, state: State) -> None:
    collectors = readings.due(COMPUTE, 0.0)
    made = await visited(postgres18, *collectors)
    await readings.take(COMPUTE, collectors, made)
    soon = made.opened_at + 20
    assert [collector.name for collector in readings.due(COMPUTE, soon)] == ["statements"], (
        "it may be the last before a suspend"
    )
    pinned = replace(COMPUTE, facts=replace(FACTS, suspend_timeout_seconds=-1))
    assert readings.due(pinned, soon) == [], "all of it is younger than half of its interval"
    assert [collector.name for collector in readings.due(COMPUTE, made.opened_at + 40)] == [
        "statements",
        "replication",
        "databases",
        "activity",
    ], "the sizes are dear, the settings slow"
    started_again = replace(COMPUTE, facts=replace(FACTS, started_at=soon - 5))
    assert len(readings.due(started_again, soon)) == len(ALL), "it forgot its statistics: all that it has is new"
