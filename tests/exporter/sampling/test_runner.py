"""One runner of collectors: the same status and the same traceback for a bug in a visit and in a user database."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from collectors.base import (
    Epoch,
    NoDataError,
    Observation,
    Options,
    Query,
    Reading,
    Result,
    Server,
    SqlCollector,
    Status,
    Target,
)
from collectors.metric import Families, Scope
from collectors.neon.models import Endpoint
from collectors.postgres.cluster.replication import SPILL_TXNS
from collectors.postgres.cluster.sizes import DatabaseSizes
from collectors.postgres.database.fingerprint import FingerprintCollector
from collectors.postgres.database.migrations import MigrationsCollector
from collectors.postgres.database.schemas import SchemasCollector, UserDatabaseNames
from collectors.postgres.database.security import SecurityCollector, TenantNamesCollector
from collectors.postgres.session import Deadlines, Visit
from collectors.registry import COLLECTORS
from collectors.wake.policy import EndpointFacts, WakePolicy, WakeState
from exporter.core.parts import Parts, Turns
from exporter.core.selfmetrics import ROUNDS, SelfMetrics
from exporter.core.state import State
from exporter.demo.postgres import Cluster
from exporter.sampling.computes import Compute
from exporter.sampling.counters.statements import SCHEMAS, DurableCounters
from exporter.sampling.readings import Readings
from exporter.sampling.runner import NOTHING_TO_READ, Outcome, run
from exporter.sampling.user_databases import UserDatabases
from exporter.settings import SamplingSettings
from exporter.settings.dsn import EndpointRef
from exporter.storage.store import Store
from exporter.storage.writer import WriterThread
from exporter.tenancy.domain.rules import TenantRules
from tests.collectors.reading import EPOCH, visited

DATABASE_COLLECTORS: tuple[type[SqlCollector], ...] = (
    SchemasCollector,
    FingerprintCollector,
    MigrationsCollector,
    SecurityCollector,
    TenantNamesCollector,
)
COMPUTE = Compute(
    Endpoint.model_validate({"id": "ep1", "project_id": "p1", "branch_id": "b1", "host": "h"}),
    EndpointRef("ep1", "h", "p1", "shop", "b1", "main"),
    Target(Scope.ENDPOINT, ("p1", "b1", "ep1"), "shop/main"),
    EndpointFacts("ep1", "active", "", False, None, 1.0, -1, 2.0),
)
ROWS = {"all": Result(("a",), [(1,)])}
LOCKED = (Status.TIMEOUT, "a lock was held")
CUT = (Status.UNREACHABLE, "the connection was lost")


class One(SqlCollector):
    """Does what a test says."""

    name = "one"

    def __init__(self, problem: Exception | None = None) -> None:
        self._problem = problem

    def queries(self, server: Server) -> tuple[Query, ...]:
        return ()

    def read(self, results: Mapping[str, Result], epoch: Epoch) -> Reading:
        if self._problem is not None:
            raise self._problem
        return READING


READING = Reading(Families(), 1)
NOTHING_MIGRATED = {
    MigrationsCollector: {"migrations": (Status.NO_DATA, "no migration tool's history table is in this database")}
}
NOTHING = NoDataError("nothing here")


def session(
    *,
    results: Mapping[str, Result] = ROWS,
    failure: tuple[Status, str] | None = None,
    status: tuple[Status, str] = (Status.OK, ""),
    epoch: Epoch | None = EPOCH,
) -> Visit:
    failures = {("other", "all"): (Status.BUG, "of another"), **({("one", "part"): failure} if failure else {})}
    return Visit(*status, opened_at=0.0, results={"one": dict(results)}, failures=failures, epoch=epoch)


OUTCOMES: Sequence[tuple[str, Visit, Exception | None, Outcome]] = (
    ("read", session(), None, Outcome(Status.OK, "", READING)),
    ("read in part", session(failure=LOCKED), None, Outcome(*LOCKED, READING)),
    ("read before the session was cut", session(status=CUT), None, Outcome(Status.OK, "", READING)),
    ("no data", session(), NOTHING, Outcome(Status.NO_DATA, "nothing here", no_data=NOTHING)),
    ("no data because a query failed", session(failure=LOCKED), NOTHING, Outcome(*LOCKED, no_data=NOTHING)),
    ("all queries failed", session(results={}, failure=LOCKED), None, Outcome(*LOCKED)),
    ("the session was cut", session(results={}, status=CUT), None, Outcome(*CUT)),
    ("no session at all", session(status=CUT, epoch=None), None, Outcome(*CUT)),
    ("not on this server", session(results={}), None, Outcome(Status.UNSUPPORTED, NOTHING_TO_READ)),
    ("a bug", session(failure=LOCKED), ValueError("x"), Outcome(Status.BUG, "ValueError: see the log")),
)


@pytest.mark.parametrize(("made", "problem", "outcome"), [case[1:] for case in OUTCOMES], ids=[c[0] for c in OUTCOMES])
def test_what_a_collector_fared(made: Visit, problem: Exception | None, outcome: Outcome) -> None:
    assert run(One(problem), made, "endpoint:ep1") == outcome


def tracebacks(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [f"{record.getMessage()}: {record.exc_info[1]!r}" for record in caplog.records if record.exc_info]


class Taker:
    """A scanner with one collector, that remembers what it was given."""

    def __init__(self, collector: type[SqlCollector]) -> None:
        self.collector = collector
        self.readings: dict[str, Reading] = {}
        self.failures: dict[str, tuple[Status, str]] = {}
        self.finished = False

    async def recall(self, compute: Compute) -> None:
        pass

    def wants(self, compute: Compute, datname: str, now: float) -> Sequence[SqlCollector]:
        return (self.collector() if self.collector is TenantNamesCollector else self.collector(datname),)

    async def take(
        self, compute: Compute, datname: str, readings: dict[str, Reading], failures: dict[str, tuple[Status, str]]
    ) -> None:
        self.readings, self.failures = readings, failures

    async def finish(self, *_: object) -> None:
        self.finished = True


def break_it(monkeypatch: pytest.MonkeyPatch, collector: type[SqlCollector]) -> None:
    def read(*_: object) -> Reading:
        raise ValueError(f"a mistake in {collector.name}")

    monkeypatch.setattr(collector, "read", read)


@pytest.mark.parametrize("broken", DATABASE_COLLECTORS, ids=lambda collector: collector.name)
async def test_a_bug_in_a_user_database_is_logged_once_and_costs_the_others_nothing(
    postgres18: Cluster,
    broken: type[SqlCollector],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    made = await visited(postgres18, UserDatabaseNames())
    takers = [Taker(collector) for collector in DATABASE_COLLECTORS]
    monkeypatch.setattr(UserDatabaseNames, "read", lambda *_: Reading(Families(), 1, ("postgres",)))
    break_it(monkeypatch, broken)
    with caplog.at_level(logging.INFO):
        await UserDatabases(WakePolicy(), takers).scan(
            COMPUTE,
            postgres18.conninfo("postgres", "monitor"),
            made,
            WakeState("ep1", time.time(), None),
            Deadlines(10, 20, 10, 1),
            offset=0,
        )
    assert tracebacks(caplog) == [
        f"collector {broken.name} failed at endpoint:ep1, database postgres; this is a bug in neonmeter: "
        f"ValueError('a mistake in {broken.name}')"
    ]
    for taker in takers:
        assert taker.finished
        if taker.collector is broken:
            assert (taker.readings, taker.failures) == ({}, {broken.name: (Status.BUG, "ValueError: see the log")})
        else:
            assert taker.readings.keys() | taker.failures.keys() == {taker.collector.name}
            assert taker.failures == NOTHING_MIGRATED.get(taker.collector, {})


class BrokenTaker(Taker):
    """A scanner with a mistake in one of its methods."""

    def __init__(self, collector: type[SqlCollector], broken: str) -> None:
        super().__init__(collector)

        def boom(*_: object) -> None:
            raise ValueError(f"a mistake in {broken}")

        setattr(self, broken, boom)


@pytest.mark.parametrize("broken", ["recall", "wants", "take", "finish"])
async def test_our_sessions_are_accounted_for_whatever_a_scanner_raises(
    postgres18: Cluster, broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await visited(postgres18, UserDatabaseNames())
    monkeypatch.setattr(UserDatabaseNames, "read", lambda *_: Reading(Families(), 1, ("postgres",)))
    state, metrics = State(), SelfMetrics()
    turns = Turns(Parts(state, metrics))
    well, ill = Taker(DATABASE_COLLECTORS[0]), BrokenTaker(DATABASE_COLLECTORS[1], broken)
    users = UserDatabases(WakePolicy(), [ill, well], turns=turns)
    await users.prepare(COMPUTE)
    after = await users.scan(
        COMPUTE,
        postgres18.conninfo("postgres", "monitor"),
        made,
        WakeState("ep1", time.time(), None),
        Deadlines(10, 20, 10, 1),
        offset=0,
    )
    assert (after.own_sessions, well.finished) == (1, True), "else the next visit takes our session for a user's"
    turns.report()
    assert {labels: value for labels, value in metrics.families().get(ROUNDS).items() if labels[1] != "ok"} == {
        ("step/scan/BrokenTaker", "bug"): 1
    }


@pytest.fixture
def disk() -> Iterator[WriterThread]:
    writer = WriterThread()
    yield writer
    writer.close()


@pytest.mark.parametrize("broken", COLLECTORS, ids=lambda collector: collector.name)
@pytest.mark.fault("ourselves: a collector raises an error")
async def test_a_bug_in_a_visit_is_logged_once_and_costs_the_others_nothing(
    postgres18: Cluster,
    broken: type[SqlCollector],
    disk: WriterThread,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    state, store = State(), Store.open(tmp_path / "neonmeter.db", SCHEMAS)
    readings = Readings(SamplingSettings(), DurableCounters(store, TenantRules(())), state, disk)
    collectors = readings.due(COMPUTE, 0.0)
    made = await visited(postgres18, *collectors)
    break_it(monkeypatch, broken)
    with caplog.at_level(logging.INFO):
        await readings.take(COMPUTE, collectors, made)
    assert tracebacks(caplog) == [
        f"collector {broken.name} failed at endpoint:ep1; this is a bug in neonmeter: "
        f"ValueError('a mistake in {broken.name}')"
    ]
    statuses = {name: entry.last.status for name, _, entry in state.entries() if name != "visit"}
    assert statuses == {collector.name: Status.BUG if collector is broken else Status.OK for collector in COLLECTORS}
    store.close()


async def test_what_is_gone_or_switched_off_leaves_and_is_not_recalled(disk: WriterThread, tmp_path: Path) -> None:
    state, store = State(), Store.open(tmp_path / "neonmeter.db", SCHEMAS)
    counters = DurableCounters(store, TenantRules(()))
    families = Families()
    families.set(SPILL_TXNS, ("cdc",), 7)
    counters.absorb_counters(COMPUTE.target.key, EPOCH, families)
    before = Readings(SamplingSettings(), counters, state, disk)
    await before.recall([COMPUTE], 0.0)
    before.note(COMPUTE.target, Status.ASLEEP, "", 0.0)
    other = replace(COMPUTE.target, labels=("p1", "b1", "ep2"))
    before.note(other, Status.ASLEEP, "", 0.0)
    state.put(Observation("cost", Target(Scope.PROJECT, ("p1",)), Status.OK, 0.0), interval=60)
    assert {(name, target.key) for name, target, _ in state.entries()} == {
        ("replication", "endpoint:ep1"),
        ("visit", "endpoint:ep1"),
        ("visit", "endpoint:ep2"),
        ("cost", "project:p1"),
    }
    off = SamplingSettings.model_validate({"collectors": {"replication": {"enabled": False}}})
    after = Readings(off, counters, state, disk)
    await after.forget_all_but({COMPUTE.endpoint.id})
    await after.recall([COMPUTE], 0.0)
    assert {(name, target.key) for name, target, _ in state.entries()} == {
        ("visit", "endpoint:ep1"),
        ("cost", "project:p1"),
    }
    assert "replication" not in {collector.name for collector in after.due(COMPUTE, 0.0)}
    store.close()


async def test_facts_reach_who_subscribed_to_their_type(
    postgres18: Cluster, disk: WriterThread, tmp_path: Path
) -> None:
    state, store = State(), Store.open(tmp_path / "neonmeter.db", SCHEMAS)
    taken: list[tuple[str, object, float]] = []
    readings = Readings(
        SamplingSettings(),
        DurableCounters(store, TenantRules(())),
        state,
        disk,
        subscriptions={DatabaseSizes: [lambda compute, facts, at: taken.append((compute.endpoint.id, facts, at))]},
        wanted_settings=("bgwriter_delay",),
    )
    collectors = readings.due(COMPUTE, 0.0)
    assert [collector.build(Options()).name for collector in collectors] == [collector.name for collector in COLLECTORS]
    made = await visited(postgres18, *collectors)
    await readings.take(COMPUTE, collectors, made)
    ((endpoint_id, sizes, at),) = taken
    assert (endpoint_id, at) == ("ep1", made.opened_at)
    assert isinstance(sizes, DatabaseSizes)
    assert sizes.sizes["postgres"] > 1_000_000
    store.close()
