"""Waste on a real control plane and ledger: found by name, with the dollars that the twin's own meter comes to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import yaml

from collectors.metric import Scope, catalogue
from collectors.neon.client import NeonClient
from collectors.neon.consumption import read_consumption
from collectors.neon.inventory import Inventory, refresh
from collectors.neon.models import Endpoint
from collectors.neon.operations import WakeEvent
from collectors.neon.snapshots import snapshots_of
from exporter.app.features import SCHEMAS
from exporter.commands.main import main
from exporter.cost.domain.allocate import AGENT
from exporter.cost.domain.waste.rules import find
from exporter.cost.domain.waste.waste import Account, Findings, Policy, Waste
from exporter.cost.domain.whatif.scenario import AwakeSpan
from exporter.cost.savings import kpis, waste
from exporter.cost.savings.waste import OTHER, WASTE
from exporter.cost.savings.waste_facts import WasteSources, gather
from exporter.cost.savings.whatif_facts import lives_of
from exporter.demo.world import TwinSnapshot
from exporter.pricing.domain.calendar import DAY, HOUR, day_seconds
from exporter.pricing.domain.components import MONTH_HOURS, USAGE_METRICS
from exporter.pricing.domain.price import price
from exporter.pricing.ratecard import load
from exporter.sampling.awake_store import read_windows
from exporter.sampling.counters.tables import TenantHour
from exporter.storage.ledger.ledger import from_rows
from exporter.storage.ledger.sqlite import SqliteLedger
from exporter.storage.store import Store
from tests.fix_twin import Twin, TwinMaker

CARD = load()
BORN = day_seconds("2026-10-01")
NOW = BORN + 12 * DAY
GB = 10**9


@dataclass(frozen=True)
class Scene:
    """A world of twelve days with its ledger on disk."""

    twin: Twin
    store: Store
    config: Path
    inventory: Inventory
    measured: list[TenantHour]

    def judge(self, now: int = NOW) -> tuple[Account, Findings]:
        async def look() -> Any:
            async with NeonClient(self.twin.url, lambda: self.twin.key) as client:
                return await snapshots_of(client, self.inventory.projects)

        sources = WasteSources(
            SqliteLedger(self.store),
            CARD,
            lambda start, end: [row for row in self.measured if start <= row.hour < end],
            read_windows(self.store),
        )
        account = gather(sources, self.inventory, asyncio.run(look()), now)
        return account, find(account, Policy())


def id_of(twin: Twin, project: str, branch: str = "") -> str:
    key = next(twin_project.id for twin_project in twin.world.projects.values() if twin_project.name == project)
    if not branch:
        return key
    return next(e.id for e in twin.world.branches.values() if e.project_id == key and e.name == branch)


def live(twin: Twin) -> None:
    """What happened in the twelve days."""
    world, meter = twin.world, twin.meter
    shop, preview = id_of(twin, "bookshop"), id_of(twin, "bookshop", "preview")
    staging, root = id_of(twin, "bookshop", "staging"), id_of(twin, "analytics", "main")
    meter.size(preview, BORN, 50 * GB)
    meter.wal(preview, BORN, 5 * GB)  # A child is billed for what it changed.
    meter.size(staging, BORN, 9 * GB)
    meter.wal(staging, BORN, 8 * GB)
    world.snapshots["snap-old"] = TwinSnapshot("snap-old", shop, preview, "weekly", BORN - 40 * DAY, 100 * GB)
    meter.snapshot(shop, "snap-old", BORN, 100 * GB)
    for endpoint in world.endpoints.values():
        if endpoint.branch_id == root:
            endpoint.suspend_timeout_seconds, endpoint.current_state = -1, "active"
            endpoint.started_at, endpoint.last_active = BORN, NOW
        if endpoint.branch_id == staging:
            endpoint.last_active = NOW - DAY
            for day in range(12):  # Ten minutes a day, its timeout of 60 s included.
                start = BORN + day * DAY
                world.record(endpoint, "start_compute", start, 0)
                world.record(endpoint, "suspend_compute", start + 600, 0)
                meter.awake(staging, start, start + 600, 0.25)
    meter.awake(root, BORN, NOW, 0.5)
    meter.egress(root, NOW - DAY, 600 * GB)


@pytest.fixture
def scene(make_twin: TwinMaker, tmp_path: Path) -> Iterator[Scene]:
    twin = make_twin(now=BORN)
    twin.clock.forward(NOW - BORN)
    live(twin)
    path = tmp_path / "neonmeter.db"
    config = tmp_path / "neonmeter.yaml"
    neon = {"api_url": twin.url, "api_key": twin.key}
    config.write_text(yaml.safe_dump({"neon": neon, "storage": {"path": str(path)}}))

    async def read() -> tuple[Inventory, Any]:
        async with NeonClient(neon["api_url"], lambda: twin.key) as client:
            found = await refresh(client, None)
            ids = sorted(found.projects)
            return found, await read_consumption(
                client, found.org_id, ids, NOW - 167 * HOUR, NOW, metrics=USAGE_METRICS
            )

    inventory, usage = asyncio.run(read())
    store = Store.open(path, SCHEMAS)
    SqliteLedger(store).put(from_rows(inventory.org_id, usage.rows, NOW), read_through={inventory.org_id: NOW})
    main_endpoint = next(e for e in twin.world.endpoints.values() if e.branch_id == id_of(twin, "analytics", "main"))
    measured = [
        TenantHour(
            main_endpoint.project_id, main_endpoint.branch_id, main_endpoint.id, hour, tenant, busy, 10, 10, 0, 0
        )
        for hour in range(NOW - 160 * HOUR, NOW, HOUR)
        for tenant, busy in (("dune", 36 * 10**6), (AGENT, 10**6))
    ]
    yield Scene(twin, store, config, inventory, measured)
    store.close()


def of(findings: Findings, rule: str) -> Waste:
    (one,) = [entry for entry in findings.found if entry.rule == rule and entry.usd_per_month]
    return one


def rounded(usd: Fraction | float) -> Any:
    """As Neon's figures tell it: each hour's byte-months are rounded to a whole one."""
    return pytest.approx(float(usd), abs=0.35 * 744 * 0.5e-9)


def test_what_the_twin_wastes_is_found_with_its_dollars(scene: Scene) -> None:
    account, found = scene.judge()
    idle = of(found, "idle_branch")
    assert idle.branch_id == id_of(scene.twin, "bookshop", "preview")
    assert idle.usd_per_month == rounded(5 * Fraction("0.35"))
    assert of(found, "no_expiry").usd_per_month == rounded(8 * Fraction("0.35"))
    assert of(found, "no_expiry").branch_id == id_of(scene.twin, "bookshop", "staging")
    assert of(found, "old_snapshot").usd_per_month == rounded(100 * Fraction("0.09"))
    # Awake at 0.5 CU for ever, busy 36 of 1800 CU-seconds an hour: 98 % of its 744 hours are idle.
    awake = of(found, "never_suspended")
    assert awake.usd_per_month == Fraction("0.5") * MONTH_HOURS * Fraction("0.106") * Fraction(98, 100)
    assert awake.branch_id == id_of(scene.twin, "analytics", "main")
    # 600 GB in the week, 19 days to go at that pace, 500 GB free.
    spent = Fraction(600) + Fraction(600, 167) * 24 * 19
    assert of(found, "egress_cliff").usd_per_month == (spent - 500) * Fraction("0.10")
    assert found.total <= found.cost == account.cost


def test_the_costs_are_the_usage_of_the_window_a_month(scene: Scene) -> None:
    account, _ = scene.judge()
    facts = SqliteLedger(scene.store).window(NOW - 167 * HOUR, NOW)
    metered = [fact for fact in facts if fact.metric != "public_network_transfer_bytes"]
    week = price(metered, CARD).total * MONTH_HOURS / 167
    egress = [cost for pool, cost in account.costs.items() if pool.component == "public_transfer"]
    assert account.cost == week + sum(egress)


def test_without_visits_it_is_unknown_how_busy_a_compute_is(scene: Scene) -> None:
    scene.measured.clear()
    _, found = scene.judge()
    assert {"never_suspended", "kept_awake", "slot_keeps_awake"} <= {unknown.rule for unknown in found.unknown}
    assert not [entry for entry in found.found if entry.rule == "never_suspended"]


def test_the_series_are_the_findings_and_go_when_they_are_gone(scene: Scene) -> None:
    _, found = scene.judge()
    shown = {
        (*observation.target.labels, *labels): value
        for observation in waste.observe(found, NOW)
        for labels, value in observation.families.get(WASTE).items()
    }
    assert sum(map(Fraction, shown.values())) == pytest.approx(float(found.total), rel=1e-9)
    preview = (id_of(scene.twin, "bookshop"), id_of(scene.twin, "bookshop", "preview"), "idle_branch")
    assert float(shown[preview]) == rounded(1.75)
    counts = {
        labels: value
        for observation in waste.observe(found, NOW)
        for labels, value in observation.families.get(waste.FINDINGS).items()
    }
    assert counts["idle_branch",] == 1
    nothing = Findings((), (), Fraction())
    (counted,) = waste.observe(nothing, NOW)
    assert counted.target.scope is Scope.AGENT


def test_many_branches_are_summed_as_one_and_nothing_is_lost(scene: Scene) -> None:
    _, found = scene.judge()
    one = of(found, "idle_branch")
    many = [Waste(one.rule, "p", f"b{n}", Fraction(n), "", "", "", one.confidence) for n in range(300)]
    (project, _) = waste.observe(Findings(tuple(many), (), Fraction(10**6)), NOW)
    shown = project.families.get(WASTE)
    assert len(shown) == waste.BRANCHES_SHOWN + 1
    assert sum(shown.values()) == sum(range(300))
    assert shown[OTHER, "idle_branch"] == sum(range(300 - waste.BRANCHES_SHOWN))


def test_key_figures_and_head_room(scene: Scene) -> None:
    account, found = scene.judge()
    judged = kpis.WasteAssessment(scene.inventory.org_id, account, found)
    shown = {
        (metric.name, *observation.target.labels, *labels): value
        for observation in kpis.observe((), judged, NOW)
        for metric, series in observation.families.items()
        for labels, value in series.items()
    }
    shop, analytics = id_of(scene.twin, "bookshop"), id_of(scene.twin, "analytics")
    assert shown["neon_branch_allowance_left", shop] == 9 - 2
    assert shown["neon_transfer_allowance_left_bytes", analytics] == 0
    assert float(shown["neon_transfer_next_gigabyte_usd", analytics]) == 0.1
    assert len(catalogue(kpis.METRICS, waste.METRICS)) == len(kpis.METRICS) + len(waste.METRICS)


def test_the_command_tells_it_to_people_and_programs(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["waste", "--config", str(scene.config), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    names = {(entry["rule"], entry["name"]) for entry in told["findings"]}
    assert {("idle_branch", "bookshop/preview"), ("old_snapshot", "bookshop/preview")} <= names
    assert Fraction(told["waste_per_month"]) <= Fraction(told["cost_per_month"])
    assert main(["waste", "--config", str(scene.config)]) == 0
    text = capsys.readouterr().out
    preview = id_of(scene.twin, "bookshop", "preview")
    assert f"neonctl branches delete {preview} --project-id {id_of(scene.twin, 'bookshop')}" in text
    assert "Unknown, not 0:" in text


def test_what_if_replays_the_month_of_the_ledger(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    def ask(*options: str) -> Any:
        assert main(["whatif", "--config", str(scene.config), "--month", "2026-10", "--json", *options]) == 0
        return json.loads(capsys.readouterr().out)

    ledger = SqliteLedger(scene.store)
    facts = ledger.priceable(BORN, BORN + 31 * DAY, CARD.boundaries)
    before = price(facts, CARD).total
    told = ask("--plan", "scale")
    assert told["before"] == str(price_text(before))
    assert told["together"]["low"] == str(price_text(price(facts, CARD, plan="scale_v3").total))
    assert told["effects"]["plan"]["exactness"] == "exact"
    same = ask("--plan", "launch", "--branch-ttl", "400d")
    assert same["together"]["saves_at_most"] == same["together"]["saves_at_least"] == "0"
    # Both children that changed something are twelve days old: all that they cost in the stored week goes,
    # with the ten minutes of 0.25 CU of its six stored days.
    ttl = ask("--branch-ttl", "1d", "--project", "bookshop")["effects"]["branch-ttl"]
    children = sum(f.value for f in facts if f.branch_id and f.metric == "child_branch_bytes_month")
    assert Fraction(ttl["saves_at_least"]) == pytest.approx(
        float(Fraction(children, MONTH_HOURS * GB) * Fraction("0.35") + Fraction(900, 3600) * Fraction("0.106")),
        rel=1e-12,
    )
    # Four minutes more each of the six days that are stored, of twelve that Neon tells of.
    longer = ask("--suspend-timeout", "300", "--project", "bookshop")["together"]
    added = Fraction("0.25") * 240 / 3600 * Fraction("0.106")
    assert Fraction(longer["low"]) == pytest.approx(float(before + 6 * added), rel=1e-12)
    # It never suspends, and no operation tells otherwise: between nothing and all of its idle time.
    bounds = ask("--suspend-timeout", "300", "--project", "analytics")["together"]
    assert bounds["exactness"] == "bounds"
    assert Fraction(bounds["saves_at_least"]) == 0


def price_text(usd: Fraction) -> str:
    from exporter.pricing.domain.rates import decimal_text

    return decimal_text(usd)


def test_what_cannot_be_tried_is_said_in_one_line(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    for options, says in (
        ([], "nothing to try"),
        (["--min-cu", "0.3"], "--min-cu: 0.3"),
        (["--suspend-timeout", "5"], "--suspend-timeout: 5"),
        (["--history", "90d"], "--history: 90d"),
        (["--branch-ttl", "soon"], "--branch-ttl: soon"),
        (["--plan", "gold"], "with prices it has agent, "),
        (["--plan", "scale", "--month", "2026-13"], "--month: 2026-13"),
        (["--plan", "scale", "--project", "nope"], "there are analytics, bookshop"),
    ):
        assert main(["whatif", "--config", str(scene.config), *options]) == 2
        out, err = capsys.readouterr()
        assert says in err
        assert (out, err.count("\n")) == ("", 1)


def test_times_awake_follow_from_wakes_and_suspends() -> None:
    endpoint = Endpoint(id="ep", project_id="p", branch_id="b", host="h", created_at=None)

    def lives(*events: tuple[str, int], **state: object) -> tuple[AwakeSpan, ...]:
        told = [WakeEvent("ep", "b", kind, BORN + at, 1.0) for kind, at in events]
        return lives_of(told, endpoint.model_copy(update=state), BORN, NOW)

    day = DAY
    assert lives(("wake", 0), ("suspend", 100), ("wake", day)) == (
        AwakeSpan(BORN + 1, BORN + 100),
        AwakeSpan(BORN + day + 1, None),
    )
    # It was awake when the month began, or woke before it.
    assert lives(("suspend", 50)) == (AwakeSpan(BORN, BORN + 50),)
    assert lives(("wake", -500), ("suspend", 50)) == (AwakeSpan(BORN, BORN + 50),)
    # Nothing happened: it slept, or was awake all the time.
    assert lives() == ()
    assert lives(current_state="active", started_at=float(BORN - 9 * day)) == (AwakeSpan(BORN, None),)
    assert lives(("wake", -500), ("suspend", -50)) == ()
