"""Counters that survive: suspends, restarts of ours, reloads, a full disk; and they always sum to what was done."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.postgres.cluster.statements import (
    STATEMENT_CALLS,
    STATEMENT_SECONDS,
    TENANT_CALLS,
    TENANT_EXEC,
    StatementRow,
)
from exporter.sampling.counters.statements import SCHEMAS, UNCERTAIN, DurableCounters
from exporter.sampling.domain.topk import TopKPolicy
from exporter.storage.store import Store, StoreError
from exporter.tenancy.domain.rules import AGENT, UNATTRIBUTED, TenantRule, TenantRules
from tests.exporter.sampling.statement_world import (
    NAMES,
    PLACE,
    START,
    Statements,
    assert_consistent,
    assert_few,
    counters,
    exported,
    tenant_calls,
)

RULES = TenantRules([TenantRule(role="u_(?P<tenant>.+)")], own_roles=["monitor"])
HOUR = 3600
Reopen = Callable[[], DurableCounters]


@pytest.fixture
def reopen(tmp_path: Path) -> Iterator[Reopen]:
    """Opens the store anew each time, as a restart of ours does."""
    stores: list[Store] = []

    def open_again() -> DurableCounters:
        for store in stores:
            store.close()
        stores.append(Store.open(tmp_path / "neonmeter.db", SCHEMAS))
        return DurableCounters(stores[-1], RULES, TopKPolicy(k=2, min_stay=0))

    yield open_again
    for store in stores:
        store.close()


@pytest.mark.parametrize("exact", [False, True], ids=["before 17", "17 and later"])
def test_totals_go_on_across_suspends_and_our_restarts(reopen: Reopen, exact: bool) -> None:
    durable, server = reopen(), Statements(exact=exact)
    for life in range(4):
        for minute in range(3):
            server.run("u_acme", "1", calls=10 + life)
            server.run("u_globex", "2", calls=5)
            server.run("monitor", "3")
            server.run("stranger", str(minute))
            durable.absorb(PLACE, NAMES, server.look())
            if minute == life:
                durable = reopen()
        server.wake()
    families = durable.families(PLACE[2])
    done = server.done
    expected = {"acme": done["u_acme"], "globex": done["u_globex"], AGENT: done["monitor"]}
    assert tenant_calls(families) == {**expected, UNATTRIBUTED: done["stranger"]}
    assert_consistent(families, most=3)
    hours = list(durable.tenant_hours(0, 4e9))
    assert sum(hour.calls for hour in hours if hour.tenant == "acme") == done["u_acme"]
    assert {hour[:3] for hour in hours} == {PLACE}


def test_our_restart_changes_nothing_that_is_exported(reopen: Reopen) -> None:
    durable, server = reopen(), Statements()
    for step in range(30):
        for query in range(5):
            server.run("u_acme", str(query), calls=1 + (step * query) % 7)
        durable.absorb(PLACE, NAMES, server.look())
    before = exported(durable.families(PLACE[2]))
    durable = reopen()
    assert exported(durable.families(PLACE[2])) == before
    absorbed = durable.absorb(PLACE, NAMES, server.look())
    assert (absorbed.grown, absorbed.new_life) == (0, False)
    assert exported(durable.families(PLACE[2])) == before


def test_the_same_look_twice_adds_nothing(reopen: Reopen) -> None:
    durable, server = reopen(), Statements()
    server.run("u_acme", "1", calls=7)
    sample = server.look()
    durable.absorb(PLACE, NAMES, sample)
    before = exported(durable.families(PLACE[2]))
    durable.absorb(PLACE, NAMES, sample)
    assert exported(durable.families(PLACE[2])) == before
    assert sum(hour.calls for hour in durable.tenant_hours(0, 4e9)) == 7


def test_a_look_that_comes_late_changes_nothing(reopen: Reopen) -> None:
    durable, server = reopen(), Statements()
    server.run("u_acme", "1", calls=7)
    late = server.look()
    server.run("u_acme", "1", calls=7)
    durable.absorb(PLACE, NAMES, server.look())
    assert durable.absorb(PLACE, NAMES, late).stale
    assert tenant_calls(durable.families(PLACE[2])) == {"acme": 14}


def test_the_values_have_the_units_of_their_metrics(reopen: Reopen) -> None:
    durable, server = reopen(), Statements()
    server.run("u_acme", "9", calls=4)
    durable.absorb(PLACE, NAMES, server.look())
    server.run("u_acme", "9", calls=3)
    durable.absorb(PLACE, NAMES, server.look())
    families = durable.families(PLACE[2])
    assert families.get(STATEMENT_CALLS) == {("acme", "app", "u_acme", "9"): 3, ("acme", "", "", "other"): 4}
    assert families.get(STATEMENT_SECONDS)[("acme", "app", "u_acme", "9")] == counters(3, "9")[1] / 1e6
    assert families.get(TENANT_EXEC) == {("acme",): counters(7, "9")[1] / 1e6}
    assert len(durable.families("ep-unknown")) == 0


def test_a_rename_of_role_and_database_counts_nothing_twice(reopen: Reopen) -> None:
    durable, server = reopen(), Statements()
    server.run("u_acme", "1", calls=7)
    sample = server.look()
    durable.absorb(PLACE, NAMES, sample)
    server.run("u_acme", "1", calls=2)
    later = server.look()
    renamed = tuple(row._replace(user="u_globex", datname="app2") for row in later.rows)
    durable.absorb(PLACE, NAMES, type(later)(later.epoch, later.stats_reset, 0, renamed))
    assert tenant_calls(durable.families(PLACE[2])) == {"acme": 7, "globex": 2}


def test_rows_that_differ_in_their_oid_only_share_a_series(reopen: Reopen) -> None:
    """A database that was dropped and made again under its name."""
    durable, server = reopen(), Statements()
    server.run("u_acme", "1", calls=7)
    sample = server.look()
    again = StatementRow("u_acme", "app", "1", None, counters(5, "1"), sample.rows[0].userid, 99)
    durable.absorb(PLACE, NAMES, type(sample)(sample.epoch, sample.stats_reset, 0, (*sample.rows, again)))
    assert tenant_calls(durable.families(PLACE[2])) == {"acme": 12}


def test_growth_before_17_is_uncertain_when_rows_were_evicted(reopen: Reopen) -> None:
    durable, server = reopen(), Statements()
    server.run("u_acme", "1", calls=7)
    durable.absorb(PLACE, NAMES, server.look())
    server.run("u_acme", "1", calls=7)
    server.dealloc += 1
    durable.absorb(PLACE, NAMES, server.look())
    assert durable.families(PLACE[2]).get(UNCERTAIN) == {(): 1}
    durable = reopen()
    assert durable.families(PLACE[2]).get(UNCERTAIN) == {(): 1}


def test_growth_is_booked_in_the_hours_in_which_it_happened(reopen: Reopen) -> None:
    durable, server = reopen(), Statements(clock=START - START % HOUR)
    server.run("u_acme", "1", calls=100)
    durable.absorb(PLACE, NAMES, server.look(seconds=1799))
    server.run("u_acme", "1", calls=300)
    durable.absorb(PLACE, NAMES, server.look(seconds=3 * HOUR))
    hours = [(hour.hour - int(START - START % HOUR), hour.calls) for hour in durable.tenant_hours(0, 4e9)]
    assert hours == [(0, 150), (HOUR, 100), (2 * HOUR, 100), (3 * HOUR, 50)]
    first = next(durable.tenant_hours(0, 4e9))
    assert first.busy_us == counters(150, "1")[1] + counters(150, "1")[2]
    assert [hour.calls for hour in durable.tenant_hours(first.hour + HOUR, first.hour + 2 * HOUR)] == [100]
    assert durable.forget_hours(first.hour + HOUR) == 1
    assert sum(hour.calls for hour in durable.tenant_hours(0, 4e9)) == 250


def test_new_rules_apply_from_now_on(reopen: Reopen) -> None:
    durable, server = reopen(), Statements()
    server.run("u_acme", "1", calls=7)
    durable.absorb(PLACE, NAMES, server.look())
    durable.use(TenantRules([TenantRule(branch="main", tenant="everyone")]), 0)
    server.run("u_acme", "1", calls=2)
    durable.absorb(PLACE, NAMES, server.look())
    families = durable.families(PLACE[2])
    assert tenant_calls(families) == {"acme": 7, "everyone": 2}
    assert ("everyone", "", "", "other") in families.get(STATEMENT_CALLS)


def test_schema_rules_match_where_the_schema_of_a_role_is_known(reopen: Reopen) -> None:
    durable, server = reopen(), Statements()
    durable.use(TenantRules([TenantRule(schema="t_(?P<tenant>.+)")]), 2)
    server.run("app1", "1", calls=7)
    durable.absorb(PLACE, NAMES, server.look())
    durable.set_role_schemas(PLACE[2], {("app", "app1"): ("public", "t_acme")})
    server.run("app1", "1", calls=2)
    durable.absorb(PLACE, NAMES, server.look())
    assert tenant_calls(durable.families(PLACE[2])) == {UNATTRIBUTED: 7, "acme": 2}


def test_computes_do_not_mix(reopen: Reopen) -> None:
    durable = reopen()
    one, two = Statements(), Statements(endpoint_id="ep-2")
    one.run("u_acme", "1", calls=7)
    two.run("u_acme", "1", calls=5)
    durable.absorb(PLACE, NAMES, one.look())
    durable.absorb((PLACE[0], PLACE[1], "ep-2"), NAMES, two.look())
    assert tenant_calls(durable.families(PLACE[2])) == {"acme": 7}
    assert tenant_calls(durable.families("ep-2")) == {"acme": 5}
    assert len(durable.families("ep-3")) == 0
    assert sum(hour.calls for hour in reopen().tenant_hours(0, 4e9)) == 12


def test_a_full_disk_changes_nothing_and_the_next_look_makes_up_for_it(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "neonmeter.db", SCHEMAS)
    durable, server = DurableCounters(store, RULES, 2), Statements()
    server.run("u_acme", "1", calls=7)
    durable.absorb(PLACE, NAMES, server.look())
    before = exported(durable.families(PLACE[2]))
    with store.transaction() as cursor:
        cursor.execute(f"PRAGMA max_page_count = {cursor.execute('PRAGMA page_count').fetchone()[0]}")
    for query in range(2000):
        server.run("u_globex", str(query))
    for _ in range(2):
        with pytest.raises(StoreError, match="the disk is full"):
            durable.absorb(PLACE, NAMES, server.look())
        assert exported(durable.families(PLACE[2])) == before
    with store.transaction() as cursor:
        cursor.execute("PRAGMA max_page_count = 1000000")
    durable.absorb(PLACE, NAMES, server.look())
    assert tenant_calls(durable.families(PLACE[2])) == {"acme": 7, "globex": 2000}
    assert_consistent(durable.families(PLACE[2]), most=3)
    store.close()


def test_baselines_beyond_the_memory_limit_are_read_again(reopen: Reopen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exporter.sampling.counters.statements._ROWS_IN_MEMORY", 3)
    durable = reopen()
    servers = {f"ep-{number}": Statements(endpoint_id=f"ep-{number}") for number in range(4)}
    for step in range(4):
        for endpoint, server in servers.items():
            for query in range(2):
                server.run("u_acme", str(query), calls=step + 1)
            durable.absorb((PLACE[0], PLACE[1], endpoint), NAMES, server.look())
    assert sum(map(len, durable._baselines.values())) <= 3
    for endpoint, server in servers.items():
        assert tenant_calls(durable.families(endpoint)) == {"acme": server.done["u_acme"]}


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), exact=st.booleans())
def test_any_history_adds_up(seed: int, exact: bool) -> None:
    """Random work, suspends, evictions that were seen, restarts of ours: sums exact, series few, nothing goes down."""
    # In memory where there is such a folder: what a flush is worth is tested elsewhere, and here are hundreds.
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        _any_history_adds_up(Path(folder) / "neonmeter.db", random.Random(seed), exact)


def _any_history_adds_up(path: Path, rng: random.Random, exact: bool) -> None:
    store = Store.open(path, SCHEMAS)
    durable, server = DurableCounters(store, RULES, TopKPolicy(k=3, min_stay=100)), Statements(exact=exact)
    last: dict[tuple[str, ...], float] = {}
    for _ in range(25):
        for _ in range(rng.randrange(8)):
            server.run(f"u_{rng.choice('abc')}", str(rng.randrange(9)), rng.randrange(1, 9), rng.choice(["x", "y"]))
        durable.absorb(PLACE, NAMES, server.look(rng.choice([15, 60, 5000])))
        families = durable.families(PLACE[2])
        assert_few(families, most=4)
        now = exported(families)
        assert all(now[key] >= last.get(key, 0) for key in now)
        if last:
            shown = [key for key in now if key[0] == STATEMENT_CALLS.name]
            grown = sum(now[key] - last[key] for key in shown if key in last)
            fresh = sum(now[key] for key in shown if key not in last)
            assert grown + fresh == sum(now[key] - last.get(key, 0) for key in now if key[0] == TENANT_CALLS.name), (
                "an increment is in one series, and a scraper sees it"
            )
        last.update(now)
        event = rng.randrange(6)
        if event == 0:
            server.wake()
        elif event == 1 and server.calls:
            server.calls.pop(rng.choice(list(server.calls)))
            server.since = {key: since for key, since in server.since.items() if key in server.calls}
            durable.absorb(PLACE, NAMES, server.look())
        elif event == 2:
            store.close()
            store = Store.open(path, SCHEMAS)
            durable = DurableCounters(store, RULES, TopKPolicy(k=3, min_stay=100))
    families = durable.families(PLACE[2])
    assert tenant_calls(families) == {user.removeprefix("u_"): calls for user, calls in server.done.items()}
    assert sum(hour.calls for hour in durable.tenant_hours(0, 4e9)) == sum(server.done.values())
    store.close()
