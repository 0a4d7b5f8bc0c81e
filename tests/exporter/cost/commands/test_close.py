"""`neonmeter close` and `neonmeter budget`, as a person runs them, over a small ledger."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest

from collectors.errors import FINDINGS, OK, USAGE
from exporter.app.features import SCHEMAS
from exporter.commands.main import main
from exporter.cost.closing.store import CLOSE_POSTGRES
from exporter.demo.postgres import Cluster
from exporter.pricing.domain.calendar import DAY, HOUR, day_seconds, month_start
from exporter.pricing.domain.usage import UsageFact
from exporter.storage.ledger.postgres import PostgresLedger
from exporter.storage.ledger.sqlite import SqliteLedger
from exporter.storage.store import Store
from exporter.storage.tables import KeyValueStore
from tests.byte_hours import byte_hours
from tests.fix_postgres import PASSWORD

SEPTEMBER, OCTOBER = day_seconds("2025-09-01"), day_seconds("2025-10-01")
SETTINGS = """
storage: {path: LEDGER}
cost:
  extra_lines:
    - {name: Support, category: Purchase, amount: 49.99, from: 2025-09-01, split: pro_rata}
    - {name: VAT, category: Tax, percent: 19, of: all, from: 2025-09-01}
budgets:
  - {name: all, amount: 0.50}
  - {name: shop, scope: project, match: shop, amount: 1000}
"""


def usage() -> list[UsageFact]:
    """Two months of one organisation with three branches: an hour of each day."""
    return [
        UsageFact(
            "org-1", "p1", branch, day, "hourly", "launch_v3", metric, value * number, day + HOUR, byte_hours(metric)
        )
        for day in range(SEPTEMBER, OCTOBER + 31 * DAY, DAY)
        for number, branch in enumerate(("b1", "b2", "b3"), 1)
        for metric, value in (("compute_unit_seconds", 1234), ("root_branch_bytes_month", 7 * 10**12))
    ]


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """A file with that usage."""
    store = Store.open(tmp_path / "neonmeter.db", SCHEMAS)
    SqliteLedger(store).put(usage(), read_through={"org-1": OCTOBER + 31 * DAY})
    KeyValueStore(store).write("names", "all", {"p1": "shop", "b1": "main"})
    store.close()
    return tmp_path / "neonmeter.db"


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    (tmp_path / "n.yaml").write_text(SETTINGS.replace("LEDGER", str(tmp_path / "neonmeter.db")))

    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([*arguments, "--config", str(tmp_path / "n.yaml")])
        told = capsys.readouterr()
        return code, told.out, told.err

    return run


def late(path: Path, value: int) -> None:
    """One bucket of September is read anew, with another value."""
    store = Store.open(path, SCHEMAS)
    ledger = SqliteLedger(store)
    fact = next(f for f in ledger.usage(SEPTEMBER, OCTOBER) if f.metric == "compute_unit_seconds" and f.branch_id)
    ledger.put([fact._replace(value=value, observed_at=fact.observed_at + DAY)])
    store.close()


def total(told: dict[str, Any]) -> int:
    return sum(round(float(line["amount"]) * 100) for line in told["lines"])


def test_a_month_from_draft_to_correction(ledger: Path, run: Run) -> None:
    code, out, _ = run("close", "2025-09", "--dry-run")
    assert (code, "would be closed so" in out, "Support (Purchase)" in out) == (OK, True, True)
    assert run("close", "--list")[1] == "No month is closed yet.\n"
    code, out, _ = run("close", "2025-09", "--by", "ana")
    assert (code, "2025-09, closed " in out, "UTC by ana;" in out) == (OK, True, True)
    code, out, _ = run("close", "2025-09", "--json")
    told = json.loads(out)
    assert (code, told["closed"], told["booked_by"], told["pending"]) == (OK, True, "ana", [])
    for line in told["lines"]:
        cents = [round(float(part["amount"]) * 100) for part in line["leaves"]]
        assert sum(cents) == round(float(line["amount"]) * 100)
    assert total(told) == round(float(told["total"]) * 100)
    late(ledger, 400_000)
    code, out, _ = run("close", "2025-09")
    assert (code, "2025-09 has changed since it was closed, by $" in out) == (FINDINGS, True)
    code, out, _ = run("close", "2025-09", "--corrections", "--dry-run")
    assert (code, "not recorded yet" in out) == (OK, True)
    code, out, _ = run("close", "2025-09", "--corrections")
    assert (code, "Recorded correction 1 of 2025-09: $" in out, "statement of 2025-10" in out) == (OK, True, True)
    assert run("close", "2025-09", "--corrections")[1] == (
        "2025-09: nothing has changed since it was closed; nothing was recorded.\n"
    )
    late(ledger, 0)
    code, out, _ = run("close", "2025-10")
    assert (code, out.count("2025-09  VAT (Tax)"), "statement total: $" in out) == (OK, 2, True)
    code, out, _ = run("close", "--list", "--json")
    september, october = json.loads(out)
    assert (september["month"], september["amount"], september["forced"]) == ("2025-09", told["total"], None)
    assert (october["carried"], september["corrections"]) == (september["corrections"], october["carried"])
    code, out, _ = run("budget", "--months", "--json")
    months = json.loads(out)
    assert [(month["month"], month["budget"]) for month in months[:2]] == [("2025-09", "all"), ("2025-09", "shop")]
    assert months[0]["verdict"] == "over"


def test_an_invoice_that_agrees_and_one_that_does_not(ledger: Path, run: Run, tmp_path: Path) -> None:
    run("close", "2025-09")
    told = json.loads(run("close", "2025-09", "--json")[1])
    rows = ["Description,Quantity,Unit,Amount"]
    rows += [
        f"{entry['component']},{entry['quantity'][:12]},{entry['unit'] or ''},{entry['amount']}"
        for entry in told["lines"]
    ]
    invoice = tmp_path / "invoice.csv"
    invoice.write_text("\n".join(rows) + "\n")
    code, out, _ = run("close", "2025-09", "--invoice", str(invoice))
    assert (code, "Every line agrees to the cent of rounding." in out) == (OK, True)
    invoice.write_text("\n".join([*rows, "HIPAA,,,20.00"]) + "\n")
    code, out, _ = run("close", "2025-09", "--invoice", str(invoice))
    assert (code, "declare it as {name: HIPAA, category: Purchase, amount: 20}" in out) == (FINDINGS, True)
    (row,) = json.loads(run("close", "--list", "--json")[1])
    assert (row["reconciled"], row["variance"]) == (True, "20.00")
    invoice.write_text("nonsense\n")
    code, _, err = run("close", "2025-09", "--invoice", str(invoice))
    assert (code, "the first line must name the columns" in err) == (USAGE, True)


@pytest.mark.parametrize(
    ("arguments", "code", "why"),
    [
        (("close",), USAGE, "no month is named; write `neonmeter close YYYY-MM`"),
        (("close", "2025-13"), USAGE, "'2025-13' is not a month"),
        (("close", "2024-01"), FINDINGS, "no usage of 2024-01"),
        (("close", "2999-01"), FINDINGS, "2999-01 is not over; close it on 2999-02-01"),
        (("close", "2025-09", "--corrections"), FINDINGS, "2025-09 is not closed"),
    ],
)
def test_what_cannot_be_is_told_in_a_line(
    ledger: Path, run: Run, arguments: tuple[str, ...], code: int, why: str
) -> None:
    told = run(*arguments)
    assert (told[0], told[2].count("\n"), why in told[2]) == (code, 1, True), told[2]


def test_missing_data_needs_force_and_leaves_a_mark(ledger: Path, run: Run) -> None:
    store = Store.open(ledger, SCHEMAS)
    with store.transaction() as cursor:
        cursor.execute("UPDATE ledger_through SET through = ?", (OCTOBER - DAY,))
    store.close()
    code, _, err = run("close", "2025-09")
    assert (code, "read through 2025-09-30 00:00 UTC only" in err, "--force" in err) == (FINDINGS, True, True)
    code, out, err = run("close", "2025-09", "--dry-run")
    assert (code, "Closing it needs --force" in err) == (FINDINGS, True)
    code, out, _ = run("close", "2025-09", "--force")
    assert (code, "FORCED: " in out) == (OK, True)
    assert "forced" in run("close", "--list")[1]


def test_it_closes_beside_a_running_agent(ledger: Path, run: Run) -> None:
    agent = Store.open(ledger, SCHEMAS)
    try:
        assert run("close", "2025-09")[0] == OK
        assert "2025-09" in run("close", "--list")[1]
        SqliteLedger(agent).put(
            [UsageFact("o", "p", "b", OCTOBER, "hourly", "launch_v3", "compute_unit_seconds", 1, 1)]
        )
    finally:
        agent.close()


def test_the_books_are_where_the_ledger_is(ledger: Path, run: Run, postgres18: Cluster, tmp_path: Path) -> None:
    with psycopg.connect(postgres18.conninfo(), autocommit=True) as connection:
        connection.execute("DROP SCHEMA IF EXISTS neonmeter CASCADE")
    run("close", "2025-09")
    here = json.loads(run("close", "2025-09", "--json")[1])
    url = f"postgresql://cloud_admin@127.0.0.1:{postgres18.port}/postgres"
    text = SETTINGS.replace("LEDGER", f"{tmp_path / 'neonmeter.db'}}}\nledger: {{url: '{url}', password: {PASSWORD}")
    (tmp_path / "n.yaml").write_text(text)
    shared = PostgresLedger.of(url, lambda: PASSWORD, {"close": CLOSE_POSTGRES})
    shared.put(usage(), read_through={"org-1": OCTOBER + 31 * DAY})
    shared.close()
    assert run("close", "--list")[1] == "No month is closed yet.\n"
    assert run("close", "2025-09", "--by", "ana")[0] == OK
    code, out, _ = run("close", "2025-09", "--json")
    there = json.loads(out)
    assert code == OK
    assert (there["lines"], there["facts_sha256"]) == (here["lines"], here["facts_sha256"])
    assert "ana" in run("close", "--list")[1]
    assert run("budget", "--months")[0] == OK


def test_budgets_of_this_month(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    now = OCTOBER + 9 * DAY
    monkeypatch.setattr("exporter.cost.closing.budget_report.time", SimpleNamespace(time=lambda: now + 60.0))
    store = Store.open(tmp_path / "neonmeter.db", SCHEMAS)
    hours = range(month_start(now) - 20 * DAY, now, HOUR)
    SqliteLedger(store).put(
        [UsageFact("o", "p1", "b", hour, "hourly", "launch_v3", "compute_unit_seconds", 9000, hour) for hour in hours],
        read_through={"o": now},
    )
    store.close()
    code, out, _ = run("budget", "--json")
    everything, shop = json.loads(out)
    assert code == FINDINGS
    assert (everything["budget"], everything["amount"]) == ("all", "0.5")
    assert (everything["verdict"], everything["spent"]) == ("over", "75.6")
    assert everything["forecast_method"] == "forecast (weekday)"
    assert (shop["verdict"], shop["spent"], shop["burn_rate"]) == ("within", "0", {"6h": "0", "24h": "0", "3d": "0"})
    code, out, _ = run("budget")
    assert (code, "data through" in out) == (FINDINGS, True)
    assert run("budget", "--months")[1].startswith("No month is closed yet")


def test_no_budget_is_no_failure(ledger: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bare.yaml").write_text(f"storage: {{path: {ledger}}}\n")
    assert main(["budget", "--config", str(tmp_path / "bare.yaml")]) == OK
    assert "No budget is set" in capsys.readouterr().out
