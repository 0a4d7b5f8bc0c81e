"""A ledger taken elsewhere: every fact comes through, twice is once, and a bad line is told and costs no other."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

import pytest
from hypothesis import HealthCheck, given, settings

from exporter.demo.postgres import Cluster
from exporter.storage.ledger.file import Imported, LineError, lines, load, read_line
from exporter.storage.ledger.finest import Gap, gaps
from exporter.storage.ledger.ledger import Ledger
from exporter.storage.ledger.sqlite import SqliteLedger
from exporter.storage.ledger.sqlite_sql import LEDGER_SCHEMA
from exporter.storage.store import Store
from tests.exporter.storage.ledger.ledger_contract import DAY, HOUR, T0, Batches, fact, facts_of, readings
from tests.exporter.storage.ledger.test_ledger_postgres import maker

GOOD = json.dumps(fact(7, T0 + 60)._asdict())
Fresh = Callable[[], AbstractContextManager[Ledger]]


@pytest.fixture
def file(tmp_path_factory: pytest.TempPathFactory) -> Fresh:
    @contextmanager
    def make() -> Iterator[Ledger]:
        store = Store.open(tmp_path_factory.mktemp("ledger") / "neonmeter.db", {"ledger": LEDGER_SCHEMA})
        try:
            yield SqliteLedger(store)
        finally:
            store.close()

    return make


def imported(ledger: Ledger, texts: list[str]) -> tuple[Imported, list[str]]:
    *told, done = load(ledger, texts)
    assert isinstance(done, Imported)
    return done, [str(name) for name in told]


@given(readings)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_out_and_in_again_is_the_same(file: Fresh, batches: Batches) -> None:
    with ExitStack() as stack:
        one, other = stack.enter_context(file()), stack.enter_context(file())
        for batch in batches:
            one.put(facts_of(batch), read_through={"org": T0})
        told = list(lines(one))
        done, bad = imported(other, told)
        assert (done.bad, bad, done.facts) == (0, [], len(list(one.stored())))
        assert list(lines(other)) == told
        revisions = other.revisions(0, 2**40)
        again, _ = imported(other, told)
        assert again.changes.new == again.changes.grown == again.changes.shrunk == again.changes.moved == 0
        assert other.revisions(0, 2**40) == revisions
        assert other.holdings() == one.holdings()


def test_from_file_to_postgres_and_back(file: Fresh, postgres18: Cluster) -> None:
    with ExitStack() as stack:
        one, back, shared = (stack.enter_context(entry()) for entry in (file, file, maker(postgres18)))
        one.put([fact(n, T0 + DAY, start=T0 + n * HOUR, branch=f"b{n % 3}") for n in range(100)])
        one.put([fact(9, T0, granularity=g, metric="m") for g in ("hourly", "daily", "monthly")])
        one.put([fact(1, T0, branch="ü\t'\"{},NULL\\N")], read_through={"org": T0 + 100 * HOUR})
        told = list(lines(one))
        imported(shared, told)
        imported(back, list(lines(shared)))
        assert list(lines(shared)) == list(lines(back)) == told
        assert shared.holdings().mismatches == 0
        assert shared.through() == back.through() == one.through()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("nonsense", "not JSON"),
        ("[1]", "a list instead of an object"),
        ("{}", "org_id is missing"),
        (GOOD.replace('"value": 7', '"value": -7'), "value must be a whole number of at least 0, not -7"),
        (GOOD.replace('"value": 7', '"value": 7.0'), "value must be a whole number of at least 0, not 7.0"),
        (GOOD.replace('"value": 7', '"value": "7"'), "value must be a whole number"),
        (GOOD.replace('"value": 7', '"value": true'), "value must be a whole number"),
        (GOOD.replace('"value": 7', f'"value": {2**63}'), "more than 64 bits"),
        (GOOD.replace("hourly", "weekly"), "granularity 'weekly'"),
        (GOOD.replace('"p1"', "null"), "project_id must be a text, not None"),
        (GOOD.replace('"p1"', '""'), "must not be empty"),
        (GOOD.replace('"p1"', r'"p\u0000"'), "cannot be stored as text"),
        (GOOD.replace('"p1"', r'"p\ud800"'), "cannot be stored as text"),
        (GOOD.replace(f'"start": {T0}', f'"start": {T0}000'), "must be in unix seconds"),
        (GOOD[:-1] + ', "cost": 3}', "unknown field 'cost'"),
        ('{"org_id": "o", "through": "now"}', "an organisation's line has"),
    ],
)
def test_a_bad_line_says_what_is_wrong(text: str, problem: str) -> None:
    with pytest.raises(LineError, match=problem):
        read_line(text)


def test_bad_lines_cost_no_other(file: Fresh) -> None:
    with file() as ledger:
        done, bad = imported(ledger, [GOOD, "nonsense", "", GOOD.replace("b1", "b2"), "{}"])
        assert [name.split(":")[0] for name in bad] == ["2", "5"]
        assert (done.lines, done.facts, done.bad, done.changes.new) == (4, 2, 2, 2)
        assert len(list(ledger.stored())) == 2


def test_what_was_read_later_stays(file: Fresh) -> None:
    with file() as ledger:
        ledger.put([fact(9, T0 + 999)])
        assert imported(ledger, [GOOD])[0].changes.new == 0
        assert [f.value for f in ledger.stored()] == [9]


def test_gaps_are_hours_that_no_bucket_covers() -> None:
    hours = [("p", "hourly", T0 + n * DAY, 24) for n in range(10) if n not in (3, 4, 6)]
    hours[1] = ("p", "hourly", T0 + DAY, 20)
    assert gaps(hours) == [
        Gap("p", T0 + DAY, T0 + 2 * DAY, 4), Gap("p", T0 + 3 * DAY, T0 + 5 * DAY, 48),
        Gap("p", T0 + 6 * DAY, T0 + 7 * DAY, 24),
    ]  # fmt: skip
    assert gaps([*hours, ("p", "daily", T0 + 3 * DAY, 1), ("q", "daily", T0 + DAY, 1)])[1].hours == 24
    assert gaps([*hours, ("p", "monthly", T0, 1)]) == []
    # The first and the last day of a project are never whole.
    assert gaps([("p", "hourly", T0, 3), ("p", "hourly", T0 + DAY, 5)]) == []


def test_gaps_of_a_ledger(file: Fresh) -> None:
    with file() as ledger:
        ledger.put([fact(1, T0, start=T0 + n * HOUR) for n in range(100) if n not in (30, 31)])
        assert [gap.hours for gap in gaps(ledger.project_days())] == [2]
