"""A small account at a Neon as evidence has it, from the agent to the bill; the bill is worked out here on its own.

Nothing of the product's prices is used: compute is awake hours x CU x 0.106, storage is bytes x hours / 744 / 10^9 x
0.35, and hours are those of the account.
"""

from __future__ import annotations

import json
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import yaml

from collectors.errors import FINDINGS, OK
from collectors.neon.client import NeonClient
from collectors.neon.inventory import refresh
from exporter.commands.main import main
from exporter.cost.usage_import import HOURLY, Span, UsageImporter, hours_from
from exporter.storage.ledger.sqlite import SqliteLedger
from exporter.storage.ledger.sqlite_sql import LEDGER_SCHEMA
from exporter.storage.store import Store
from exporter.storage.writer import WriterThread
from tests.evidence.fake_neon import GB, HOUR, Account, serve
from tests.fix_agent import AgentMaker

COMPUTE_USD, STORAGE_USD = Fraction("0.106"), Fraction("0.35")
HOURS_BACK = 168
"""How far back Neon has figures by the hour."""


def month_of(at: float) -> int:
    moment = time.gmtime(at)
    return int(at) - ((moment.tm_mday - 1) * 24 + moment.tm_hour) * HOUR - moment.tm_min * 60 - moment.tm_sec


def bill(account: Account, start: int, end: int) -> Fraction:
    """Of a span, from bytes, seconds and dollars."""
    hours = Fraction(account.projects * account.awake_seconds(start, end), HOUR)
    held = account.projects * (account.size + account.children * account.child_size)
    months = Fraction(held * account.seconds(start, end), HOUR * 744 * GB)
    return hours * Fraction(account.cu) * COMPUTE_USD + months * STORAGE_USD


def settings_of(url: str, folder: Path, **cost: Any) -> dict[str, Any]:
    neon = {"api_url": url, "api_key": "napi_key", "consumption_per_minute": 6000}
    return {"neon": neon, "storage": {"path": str(folder / "neonmeter.db")}, "cost": cost}


def command(folder: Path, settings: dict[str, Any], capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    config = folder / "settings.yaml"
    config.write_text(yaml.safe_dump(settings))
    capsys.readouterr()
    code = main([*words, "--config", str(config)])
    return code, capsys.readouterr().out


@pytest.mark.parametrize(
    ("unit", "within", "hours"),
    [
        ("byte-month", Fraction(1, 10**9), 30),
        ("byte-month", Fraction(1, 10**9), 250),
        ("byte-hour", Fraction(1, 10**6), 250),
    ],
)
def test_the_bill_of_an_agent_is_the_bill(
    make_agent: AgentMaker, tmp_path: Path, capsys: pytest.CaptureFixture[str], unit: str, within: Fraction, hours: int
) -> None:
    """Of a young account all is still there by the hour; of one older than a week the days before are filled in."""
    now = int(time.time())
    until = (now - 60) // 4 * 4  # of a quarter of a CU whole seconds, which is what Neon counts
    account = Account(now // HOUR * HOUR - hours * HOUR, until, projects=2, unit=unit)
    with serve(account.answer) as server:
        settings = settings_of(server.url, tmp_path)
        agent = make_agent(settings)
        agent.start()
        if hours > HOURS_BACK:
            agent.until(lambda a: a.sum("neonmeter_collector_status", collector="backfill", status="ok") == 1)
        agent.until(lambda a: a.sum("neonmeter_rounds_total", job="consumption", status="ok") >= 3)
        through = agent.sum("neon_billing_data_through_timestamp_seconds")
        agent.stop()
        assert not [asked for asked in server.asked if asked[2] not in (200, 404)], "no question was refused"
        days = [params for _, params, _ in server.asked if params.get("granularity") == "daily"]
        assert bool(days) == (hours > HOURS_BACK), "days are asked for where the hours are gone, and nowhere else"
    month = month_of(now)
    total = Fraction()
    for begin in {month, month_of(month - 1)}:
        name = time.strftime("%Y-%m", time.gmtime(begin))
        code, out = command(tmp_path, settings, capsys, "cost", "--json", "--month", name)
        said = json.loads(out)
        assert code == OK and not said["pricing_unknown"]
        assert {span["unit"] for span in said["storage_units"]} <= {unit}
        total += Fraction(said["total"])
    assert abs(total - bill(account, account.began, now)) < within
    # The running hour came, as far as it was counted: the data goes up to a moment of reading, not beyond.
    assert now // HOUR * HOUR <= through <= time.time()
    _, text = command(tmp_path, settings, capsys, "cost", "--explain")
    assert f"counted in {unit}s by Neon" in text or month > account.until


async def test_ten_readings_of_260_branches_ask_once_a_list_and_are_never_refused(tmp_path: Path) -> None:
    moment = [1_795_900_000 // HOUR * HOUR + 20.0]
    began = int(moment[0]) // HOUR * HOUR - 400 * HOUR
    account = Account(began, 2**40, projects=26, children=9, child_size=744 * GB // 100, clock=lambda: moment[0])
    writer, store = WriterThread(), Store.open(tmp_path / "x.db", {"ledger": LEDGER_SCHEMA})
    try:
        with serve(account.answer, lambda: moment[0]) as server:
            async with NeonClient(
                server.url, lambda: "key", requests_per_minute=60_000, burst=1000, consumption_per_minute=60_000
            ) as client:
                importer = UsageImporter(client, SqliteLedger(store), writer)
                start = hours_from(moment[0])
                for reading in range(10):
                    found = await refresh(client, None, clock=lambda: moment[0])
                    assert len(found.branches) == 260
                    del server.asked[:]
                    outcome = await importer.read(
                        found, sorted(found.projects), Span(HOURLY, start, moment[0]), moment[0]
                    )
                    assert {status for _, _, status in server.asked} == {200}, reading
                    assert outcome.delivered <= moment[0]
                    if reading:  # The first goes back a week, in pieces.
                        assert [path.rpartition("/")[2] for path, _, _ in server.asked] == ["branches", "projects"]
                    start = (outcome.delivered // HOUR - 3) * HOUR
                    moment[0] += 907
        whole = {(fact.start, fact.project_id) for fact in SqliteLedger(store).stored() if not fact.branch_id}
        first, last = hours_from(1_795_900_000 // HOUR * HOUR + 20.0), int(moment[0] - 907) // HOUR * HOUR
        assert {start for start, _ in whole} == set(range(first, last + HOUR, HOUR))
    finally:
        store.close()
        writer.close()


async def test_an_hour_that_was_not_delivered_is_not_claimed(tmp_path: Path) -> None:
    """A Neon that cuts the end of the question to its last refresh, two hours ago, has nothing newer."""
    now = 1_795_900_000 // HOUR * HOUR + 1800.0
    account = Account(int(now) - 50 * HOUR, int(now) // HOUR * HOUR - HOUR, clock=lambda: now)
    writer, store = WriterThread(), Store.open(tmp_path / "x.db", {"ledger": LEDGER_SCHEMA})
    try:
        with serve(account.answer, lambda: now) as server:
            async with NeonClient(server.url, lambda: "key") as client:
                found = await refresh(client, None, clock=lambda: now)
                importer = UsageImporter(client, SqliteLedger(store), writer)
                outcome = await importer.read(
                    found, sorted(found.projects), Span(HOURLY, int(now) // HOUR * HOUR - 3 * HOUR, now), now
                )
        assert outcome.delivered == account.until
        assert SqliteLedger(store).through().orgs == {found.org_id: account.until}
    finally:
        store.close()
        writer.close()


@pytest.mark.parametrize(
    ("change", "code", "says"),
    [
        ({}, OK, ["all is priced", "launch_v3 (Launch), usage-based", "byte-months: an hour of root storage"]),
        ({"unit": "byte-hour", "plan": "scale"}, OK, ["scale_v3 (Scale)", "byte-hours: an hour of root storage"]),
        ({"plan": "launch_v3"}, OK, ["launch_v3 (Launch)"]),
        ({"plan": "business"}, FINDINGS, ["NOT PRICED", "business has no prices"]),
        ({"plan": "launch", "subscription_type": "vercel_pg_legacy"}, FINDINGS, ["NOT PRICED", "vercel_pg_legacy"]),
        ({"plan": ""}, OK, ["launch_v3 (Launch)"]),
        ({"awake": 0, "told": 744 * 8192 * 80}, FINDINGS, ["undecided", "cost.storage_unit"]),
    ],
)  # fmt: skip
def test_check_prices_what_it_reads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, Any], code: int, says: list[str]
) -> None:
    now = int(time.time())
    given = {name: value for name, value in change.items() if name != "told"}
    told = change.get("told")
    account = Account(now // HOUR * HOUR - 30 * HOUR, now - 60, **given)
    answer: Any = account.answer
    if told is not None:
        # The inventory has another size than the meter: neither unit fits.
        meter = Account(account.began, account.until, size=told, awake=0)

        def mixed(path: str, params: Any) -> Any:
            return (meter if path.startswith("/consumption") else account).answer(path, params)

        answer = mixed

    with serve(answer) as server:
        exit_code, out = command(tmp_path, settings_of(server.url, tmp_path), capsys, "check", "--no-sql")
    assert exit_code == code, out
    for words in says:
        assert words in out
