"""Awake time on a real file: nothing goes back after a restart, names are bounded, money follows the ledger."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest

from collectors.base import Observation, Target
from collectors.metric import Metric, Scope
from collectors.neon.models import Endpoint
from collectors.wake.policy import EndpointFacts
from exporter.app.features import SCHEMAS
from exporter.awake import series
from exporter.awake.accounts import Awake
from exporter.awake.series import AUTOSCALING_MIN, LEDGER
from exporter.commands.main import main
from exporter.pricing.domain.usage import UsageFact
from exporter.pricing.ratecard import load
from exporter.sampling.computes import Compute
from exporter.sampling.domain.awake_shares import AwakeHolder, Sighting
from exporter.settings.dsn import EndpointRef
from exporter.storage.ledger.sqlite import SqliteLedger
from exporter.storage.store import Store, StoreError

HOUR = 3600
T0 = 1_795_400_000 // HOUR * HOUR
APP, SHELL = AwakeHolder("client_active", "acme", "web"), AwakeHolder("idle_in_transaction", "acme", "psql")
RATE = Decimal("0.106")
LEGACY = "business"
"""A plan of before usage-based prices: none of its names means one that has them."""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(tmp_path / "neonmeter.db", SCHEMAS)
    yield opened
    opened.close()


def compute(now: float, started: float | None = T0, *, active: bool = True, suspended: float | None = None,
            name: str = "ep-1") -> Compute:  # fmt: skip
    """A compute of 0.25 to 2 CU as the inventory of `now` has it."""
    state = "active" if active else "idle"
    endpoint = Endpoint.model_construct(
        id=name, project_id="p", branch_id="br", host="h", current_state=state, suspended_at=suspended,
        autoscaling_limit_min_cu=0.25, autoscaling_limit_max_cu=2.0,
    )  # fmt: skip
    facts = EndpointFacts(name, state, "", False, now, started, 300, 2.0, now)
    place = EndpointRef(name, "h", "p", "shop", "br", "main")
    return Compute(endpoint, place, Target(Scope.ENDPOINT, ("p", "br", name), "shop/main"), facts)


def opened(store: Store, *, plan: str | None = "launch_v3", top: int = 40) -> Awake:
    awake = Awake(store, top)
    awake.use(load(), SqliteLedger(store), plan)
    return awake


def look(awake: Awake, *computes: Compute, added: float = 0.0, plan: str = "launch") -> list[Observation]:
    """``plan`` is what the organisation calls its plan."""
    now = max(entry.facts.read_at or 0.0 for entry in computes)
    return awake.look(computes, plan, lambda key: added if key == "ep-1" else 0.0, now)


def visit(awake: Awake, at: float, *holders: AwakeHolder) -> Observation | None:
    return awake.sample(compute(at), [Sighting(holder) for holder in holders], at, at)


def value(awake: Awake, metric: Metric, *labels: str, now: float = T0) -> float:
    return float(awake.families("ep-1", now).get(metric).get(labels, 0))


def test_a_life_is_shared_out_and_kept(store: Store) -> None:
    awake = opened(store)
    look(awake, compute(T0 - 60, None, active=False))
    look(awake, compute(T0 + 10))
    visit(awake, T0 + 20, APP)
    visit(awake, T0 + 80, APP, SHELL)
    look(awake, compute(T0 + 100))
    for entry in (awake, Awake(store)):
        assert value(entry, series.AWAKE) == 100
        assert value(entry, series.UNCOVERED) == 20
        assert value(entry, series.KEPT, *APP[:3]) == 30
        assert value(entry, series.KEPT, *SHELL[:3]) == 30


def test_only_what_changed_is_told_again(store: Store) -> None:
    awake = opened(store)
    asleep = compute(T0, None, active=False, name="ep-2")
    assert len(look(awake, compute(T0), asleep)) == 2
    later = compute(T0 + 60, None, active=False, name="ep-2")
    assert [observation.target.labels[-1] for observation in look(awake, compute(T0 + 60), later)] == ["ep-1"]
    much_later = compute(T0 + 600, None, active=False, name="ep-2")
    assert len(look(awake, compute(T0 + 600), much_later)) == 2


def test_dollars_a_day_sum_to_the_awake_share_of_the_day(store: Store) -> None:
    awake = opened(store)
    look(awake, compute(T0 - HOUR, None, active=False))
    look(awake, compute(T0))
    visit(awake, T0 + 600, APP)
    visit(awake, T0 + 1200, APP)
    look(awake, compute(T0 + HOUR, suspended=T0 + 1200, active=False))
    per_day = awake.families("ep-1", T0).get(series.KEPT_USD)
    whole = float(RATE) * 24 / 4
    # 20 minutes awake in two hours, half of them covered.
    assert {key[0]: float(cost) for key, cost in per_day.items()} == pytest.approx(
        {"client_active": whole / 12, "uncovered": whole / 12}
    )
    assert value(awake, series.CU, AUTOSCALING_MIN) == 0.25


def test_the_window_is_a_day(store: Store) -> None:
    awake = opened(store)
    look(awake, compute(T0))
    for hour in range(40):
        look(awake, compute(T0 + hour * HOUR + 60))
        visit(awake, T0 + hour * HOUR + 60, APP)
        visit(awake, T0 + hour * HOUR + 360, APP)
    window = awake.window("ep-1")
    assert window.length == window.awake == (23 * HOUR + 360) * 10**6
    assert window.by_holder[APP] == sum(
        amount for hour, parts in awake._hours["ep-1"].items() for holder, amount in parts.items()
        if holder == APP and hour >= T0 + 16 * HOUR
    )  # fmt: skip
    with store.snapshot() as cursor:
        ((kept,),) = cursor.execute("SELECT count(DISTINCT hour) FROM awake_hour").fetchall()
    assert kept <= 27


def test_names_are_bounded_and_never_go_back(store: Store) -> None:
    awake = opened(store, top=5)
    look(awake, compute(T0))
    before: dict[tuple[str, ...], float] = {}
    for turn in range(30):
        visit(awake, T0 + 10 + turn * 10, AwakeHolder("client_active", "acme", f"psql-{turn}"))
        now = {key: float(number) for key, number in awake.families("ep-1", T0).get(series.KEPT).items()}
        assert all(now[key] >= number for key, number in before.items())
        before = now
    assert len(before) == 5
    assert before["client_active", "other", "other"] == 250
    assert sum(before.values()) == 290


def test_a_compute_that_is_gone_is_closed(store: Store) -> None:
    awake = opened(store)
    look(awake, compute(T0), compute(T0, name="ep-2"))
    visit(awake, T0 + 10, APP)
    look(awake, compute(T0 + 60), compute(T0 + 60, name="ep-2"))
    look(awake, compute(T0 + 120, name="ep-2"))
    look(awake, compute(T0 + 180, name="ep-2"))
    assert value(awake, series.AWAKE) == 60
    assert value(awake, series.UNCOVERED) == 60


def test_a_visit_of_another_life_says_nothing(store: Store) -> None:
    awake = opened(store)
    look(awake, compute(T0))
    assert awake.sample(compute(T0 + 10, T0 + 5), [Sighting(APP)], T0 + 10, T0 + 10) is None
    assert awake.sample(compute(T0 + 10, name="ep-9"), [Sighting(APP)], T0 + 10, T0 + 10) is None


def test_a_project_that_neon_could_not_tell_says_nothing(store: Store) -> None:
    awake = opened(store)
    look(awake, compute(T0))
    unknown = compute(T0 + 60)
    awake.look([Compute(unknown.endpoint, unknown.place, unknown.target,
                        EndpointFacts("ep-1", "unknown", "", False, None, T0, 300, 2.0, T0 + 60))],
               "launch", lambda _: 0.0, T0 + 60)  # fmt: skip
    assert value(awake, series.AWAKE) == 0


def metered(store: Store, hours: int, cu_seconds: int, plan: str = "launch_v3") -> None:
    facts = [
        UsageFact("org", "p", "br", T0 + hour * HOUR, "hourly", plan, "compute_unit_seconds", cu_seconds)
        for hour in range(hours)
    ]
    SqliteLedger(store).put(facts, read_through={"org": T0 + hours * HOUR})


def test_the_ledger_says_how_large_it_was(store: Store) -> None:
    awake = opened(store, plan=None)
    for minute in range(0, 241, 5):
        look(awake, compute(T0 + minute * 60), plan=LEGACY)
        visit(awake, T0 + minute * 60, APP)
    assert not awake.families("ep-1", T0).get(series.KEPT_USD), "before anything was metered the plan is not known"
    metered(store, 3, 1800)
    look(awake, compute(T0 + 4 * HOUR + 300), plan=LEGACY)
    assert value(awake, series.CU, LEDGER) == 0.5
    daily = value(awake, series.KEPT_USD, *APP[:3], now=T0)
    assert daily == pytest.approx(float(RATE) * 24 / 2 * (4 - 1 / 12) / (4 + 1 / 12))


def test_what_we_added_is_priced_once_at_the_rate_in_force(store: Store) -> None:
    awake = opened(store)
    look(awake, compute(T0), added=0.0)
    look(awake, compute(T0 + 60), added=36.0)
    wanted = Fraction(36, 3600) * Fraction(1, 4) * Fraction(106, 1000)
    assert awake.added_usd() == wanted
    awake = opened(store, plan="scale_v3")
    look(awake, compute(T0 + 120), added=36.0)
    assert awake.added_usd() == wanted
    look(awake, compute(T0 + 180), added=72.0)
    assert awake.added_usd() == wanted + Fraction(36, 3600) * Fraction(1, 4) * Fraction(222, 1000)
    assert value(awake, series.ADDED_USD) == float(awake.added_usd())


def test_without_a_price_there_are_no_dollars(store: Store) -> None:
    awake = opened(store, plan="launch")
    look(awake, compute(T0), added=36.0)
    visit(awake, T0 + 10, APP)
    found = awake.families("ep-1", T0)
    assert not found.get(series.KEPT_USD)
    assert not found.get(series.ADDED_USD)
    assert awake.added_usd() == 0


def test_where_the_plan_has_no_prices_the_plan_history_says_which(store: Store, tmp_path: Path) -> None:
    span = {"project": "p*", "plan": "scale", "valid_from": "2026-01-01", "source": "x", "source_date": "2026-01-01"}
    path = tmp_path / "rates.json"
    path.write_text(json.dumps({"format": 1, "currency": "USD", "plans": {}, "plan_history": [span]}))
    awake = Awake(store)
    awake.use(load(path), SqliteLedger(store), None)
    look(awake, compute(T0), added=36.0, plan=LEGACY)
    assert awake.added_usd() == Fraction(36, 3600) * Fraction(1, 4) * Fraction(222, 1000)


@pytest.mark.parametrize(("plan", "rate"), [("launch", "0.106"), ("scale", "0.222"), ("scale_v3", "0.222")])
def test_a_plan_has_the_price_of_its_name_before_anything_is_metered(store: Store, plan: str, rate: str) -> None:
    awake = opened(store, plan=None)
    look(awake, compute(T0), added=36.0, plan=plan)
    assert awake.added_usd() == Fraction(36, 3600) * Fraction(1, 4) * Fraction(rate)


def test_what_is_not_on_the_disk_is_not_shown(store: Store) -> None:
    awake = opened(store)
    look(awake, compute(T0))
    before = awake.families("ep-1", T0)
    store.close()
    with pytest.raises((StoreError, sqlite3.Error)):
        look(awake, compute(T0 + 60))
    with pytest.raises((StoreError, sqlite3.Error)):
        visit(awake, T0 + 60, APP)
    assert dict(awake.families("ep-1", T0).items()) == dict(before.items())


def command(store: Store, tmp_path: Path, *arguments: str) -> int:
    config = tmp_path / "neonmeter.yaml"
    config.write_text(json.dumps({"storage": {"path": str(store.path)}, "cost": {"plan": "launch_v3"}}))
    return main(["awake", "--config", str(config), *arguments])


def test_the_table(store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    awake = opened(store)
    look(awake, compute(T0), compute(T0, None, active=False, name="ep-2"))
    visit(awake, T0 + 10, APP)
    visit(awake, T0 + 110, SHELL)
    look(awake, compute(T0 + 120), compute(T0 + 120, None, active=False, name="ep-2"), added=2.0)
    assert command(store, tmp_path) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [line[0] for line in lines if "ep-2" in line] == []
    shell = next(line for line in lines if "idle_in_transaction" in line)
    assert shell[:9] == ["p/br", "100%", "of", "2m", "00s", "idle_in_transaction", "acme", "(psql)", "83%"]
    assert shell[9] == "$0.5300"
    own = next(line for line in lines if line[:2] == ["neonmeter", "itself"])
    assert "1.7%" in own
    assert command(store, tmp_path, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert [entry["endpoint_id"] for entry in told["computes"]] == ["ep-1"]
    assert told["neonmeter"]["added_awake_seconds"] == 2


def test_an_empty_file_says_what_fills_it(store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(store, tmp_path) == 0
    assert "neonmeter run" in capsys.readouterr().out
