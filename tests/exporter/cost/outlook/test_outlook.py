"""The outlook from a real ledger file: series, the first forecast kept, anomalies with who is behind; the commands."""

from __future__ import annotations

import json
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import pytest

from collectors.base import Observation, Status
from collectors.errors import FINDINGS, OK, USAGE
from exporter.app.features import SCHEMAS
from exporter.commands.main import main
from exporter.cost.domain.outlook.anomaly import Anomaly
from exporter.cost.outlook import outlook as metrics
from exporter.cost.outlook.outlook import Outlook, tenants_behind
from exporter.cost.outlook.store import ForecastStore
from exporter.pricing.domain.calendar import DAY, HOUR, day_seconds
from exporter.pricing.domain.usage import HOURLY, UsageFact
from exporter.pricing.ratecard import load
from exporter.storage.ledger.sqlite import SqliteLedger
from exporter.storage.store import Store
from exporter.storage.tables import KeyValueStore
from tests.byte_hours import byte_hours

CARD = load()
START = day_seconds("2026-08-03")
THROUGH = day_seconds("2026-10-11")
OCTOBER = day_seconds("2026-10-01")
NOW = THROUGH + 7 * HOUR
STUCK = day_seconds("2026-10-07")


def usage() -> Iterator[UsageFact]:
    """One compute that works six hours a day and is awake all day from some day on; a steady root; some egress."""
    for day in range(START, THROUGH, DAY):
        hours = range(24) if day >= STUCK else range(9, 15)
        for hour in range(24):
            at = day + hour * HOUR
            yield _fact("shop", "main", at, "root_branch_bytes_month", 100 * 10**9)
            if hour in hours:
                yield _fact("shop", "main", at, "compute_unit_seconds", 3600)
        yield _fact("shop", "main", day, "public_network_transfer_bytes", 10**9)
        yield _fact("blog", "main", day, "compute_unit_seconds", 7200, org="org-2")


def _fact(project: str, branch: str, at: int, metric: str, value: int, *, org: str = "org-1") -> UsageFact:
    return UsageFact(org, project, branch, at, HOURLY, "launch_v3", metric, value, at + HOUR, byte_hours(metric))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("outlook") / "neonmeter.db"
    store = Store.open(found, SCHEMAS)
    SqliteLedger(store).put(usage(), read_through=dict.fromkeys(("org-1", "org-2"), THROUGH + 5 * HOUR))
    KeyValueStore(store).write("names", "all", {"shop": "Shop", "main": "trunk"})
    store.close()
    return found


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    opened = Store.open(path, SCHEMAS)
    yield opened
    opened.close()


def values(observations: list[Observation], key: str) -> dict[str, dict[tuple[str, ...], float]]:
    (one,) = [observation for observation in observations if observation.target.key == key]
    return {
        metric.name: {labels: float(value) for labels, value in series.items()}
        for metric, series in one.families.items()
    }


def test_series_of_the_month_and_its_first_forecast(store: Store) -> None:
    book = ForecastStore(store)
    outlook = Outlook(SqliteLedger(store), CARD, forecasts=book)
    observations = outlook.observe(NOW)
    assert {observation.status for observation in observations} == {Status.OK}
    told = values(observations, "org:org-2")
    assert told["neon_cost_forecast_usd"] == dict.fromkeys([("10",), ("50",), ("90",)], pytest.approx(31 * 2 * 0.106))
    assert told["neon_cost_forecast_low_confidence"] == {(): 0}
    assert told["neon_cost_forecast_error_ratio"] == {(): 0}
    shop = values(observations, "project:shop")
    assert shop["neon_cost_anomaly_active"] == {("stuck_awake", "compute"): 1}
    assert shop["neon_cost_anomaly_impact_usd"] == {("stuck_awake", "compute"): pytest.approx(4 * 18 * 0.106)}
    assert outlook.observe(NOW + 60) is observations
    first = book.first(OCTOBER)
    assert set(first) == {"org-1", "org-2", "org-1/shop", "org-2/blog"}
    assert first["org-2"].p50 == 31 * 2 * Fraction("0.106")
    assert first["org-2"].made_at == NOW


def test_the_first_forecast_of_a_month_stays(store: Store) -> None:
    book = ForecastStore(store)
    month = Outlook(SqliteLedger(store), CARD).month(OCTOBER, THROUGH - 3 * DAY)
    book.add(1, month.orgs, made_at=5, through=4)
    book.add(1, month.orgs, made_at=9, through=8)
    assert {forecast.made_at for forecast in book.first(1).values()} == {5}
    assert book.first(2) == {}


def test_projects_sum_to_their_organisation(store: Store) -> None:
    month = Outlook(SqliteLedger(store), CARD).month(OCTOBER, THROUGH)
    for org, whole in month.orgs.items():
        parts = [forecast for (owner, _), forecast in month.projects.items() if owner == org]
        assert sum((part.p50 for part in parts), Fraction()) == whole.p50
        assert sum((part.spent for part in parts), Fraction()) == whole.spent


def test_a_correction_of_a_closed_day_is_seen_within_the_hour(store: Store) -> None:
    ledger = SqliteLedger(store)
    outlook = Outlook(ledger, CARD)
    before = values(outlook.observe(NOW), "org:org-2")["neon_cost_forecast_usd"]["50",]
    day = THROUGH - 5 * DAY
    ledger.put([_fact("blog", "main", day, "compute_unit_seconds", 9000, org="org-2")._replace(observed_at=NOW)])
    assert values(outlook.observe(NOW + 60), "org:org-2")["neon_cost_forecast_usd"]["50",] == before
    after = values(outlook.observe(NOW + HOUR), "org:org-2")["neon_cost_forecast_usd"]["50",]
    assert after == pytest.approx(before + 0.106 / 2)
    ledger.put([_fact("blog", "main", day, "compute_unit_seconds", 7200, org="org-2")._replace(observed_at=NOW + 1)])


def test_nothing_without_data(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "neonmeter.db", SCHEMAS)
    assert Outlook(SqliteLedger(store), CARD).observe(NOW) == []
    store.close()


@pytest.mark.parametrize(
    ("busy", "tenant", "kind"),
    [(36, "acme", "stuck_awake"), (3500, "acme", "step"), (3500, "__agent__", "stuck_awake")],
)
def test_a_compute_that_works_all_day_is_not_stuck(store: Store, busy: int, tenant: str, kind: str) -> None:
    def measured(start: int, end: int) -> list[_Hour]:
        return [_Hour("shop", "main", tenant, at, busy * 10**6) for at in range(start, end, HOUR)]

    (found,) = Outlook(SqliteLedger(store), CARD, measured=measured).anomalies(THROUGH)
    assert found.kind == kind
    if kind == "stuck_awake":
        assert f"busy {0 if tenant == '__agent__' else 1}% of it" in found.why


class _Hour(NamedTuple):
    project_id: str
    branch_id: str
    tenant: str
    hour: int
    busy_us: int


def test_the_tenants_behind_it() -> None:
    found = Anomaly(
        "step", "org", "p", "br", "compute", STUCK, None, STUCK + 2 * DAY, Fraction(2), Fraction(1), Fraction(1), "why"
    )

    def hours(start: int, end: int) -> list[_Hour]:
        assert end == start + DAY
        grown = 900 * 10**6 if start >= STUCK else 0
        quiet = [_Hour("p", "br", "calm", start, 10**6), _Hour("p", "other", "loud", start, grown)]
        return [*quiet, _Hour("p", "br", "loud", start, 10**6 + grown)]

    (cause,) = tenants_behind(found, hours)
    assert cause.tenant == "loud"
    assert cause.more_seconds == 900


@pytest.fixture
def config(path: Path, tmp_path: Path) -> str:
    file = tmp_path / "neonmeter.yaml"
    file.write_text(f"storage: {{path: {path}}}\n")
    return str(file)


def test_the_forecast_command(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["forecast", "--month", "2026-10", "--config", config]) == OK
    told = capsys.readouterr().out
    assert "October 2026" in told
    assert "from whole days through 2026-10-10" in told
    assert main(["forecast", "--month", "2026-10", "--by", "project", "--config", config]) == OK
    assert "Shop" in capsys.readouterr().out
    assert main(["forecast", "--month", "2026-10", "--json", "--config", config]) == OK
    plain = json.loads(capsys.readouterr().out)
    assert [entry["org_id"] for entry in plain["orgs"]] == ["org-1", "org-2"]
    assert plain["orgs"][1]["p50"] == "6.572"
    assert main(["forecast", "--month", "2020-01", "--config", config]) == OK
    assert "nothing in the ledger" in capsys.readouterr().out


def test_the_anomalies_command(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["anomalies", "--config", config]) == FINDINGS
    told = capsys.readouterr().out
    assert "stuck_awake" in told
    assert "Shop/trunk" in told
    assert "usually 6 of 24 hours" in told
    assert main(["anomalies", "--json", "--config", config]) == FINDINGS
    (one,) = json.loads(capsys.readouterr().out)["anomalies"]
    assert (one["kind"], one["start"], one["end"], one["usd"]) == ("stuck_awake", STUCK, None, "7.632")
    assert main(["anomalies", "--config", config, "--since", "2026-10-11"]) == FINDINGS


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [(["forecast", "--month", "october"], "write YYYY-MM"), (["anomalies", "--since", "monday"], "write YYYY-MM-DD")],
)
def test_what_cannot_be_read_is_told_once(
    config: str, capsys: pytest.CaptureFixture[str], arguments: list[str], hint: str
) -> None:
    assert main([*arguments, "--config", config]) == USAGE
    assert hint in capsys.readouterr().err


def test_all_metrics_are_declared() -> None:
    assert len(metrics.METRICS) == 7
