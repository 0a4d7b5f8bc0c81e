"""Posture of a whole account over the twin's API: what fails, what cannot be known, and who answers for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from collectors.postgres.domain.security import AgentRole, DatabaseFacts, Group, ServerFacts
from exporter.demo.faults import Fault
from exporter.posture.store import DAY, PostureStore
from tests.exporter.posture.platform_world import NOW, Platform, platform

WAIVERS = [
    {"control": "P35", "object": "london", "reason": "moves in spring", "approver": "the DPO", "expires": "2027-05-01"},
    {"control": "P36", "object": "london/*", "reason": "tests only", "approver": "the CTO", "expires": "2026-01-01"},
    {"control": "P44", "object": "nowhere/*", "reason": "it was there", "approver": "the CTO", "expires": "2027-01-01"},
]


async def test_each_thing_that_is_wrong_in_the_account_fails_and_what_is_right_holds(tmp_path: Path) -> None:
    allow = {
        "email_domains": ["posture.invalid"],
        "key_addresses": ["192.0.2.0/24"],
        "jwks_urls": ["https://login.posture.invalid/*"],
    }
    async with platform(tmp_path, allow=allow) as here:
        await here.look()
        found = here.found()
        assert found["P35", "london"] == {"fail"}, "London is not in the European Union"
        assert found["P35", "vault"] == found["P35", "open"] == {"pass"}
        assert found["P36", "london/main"] == {"fail"}
        assert found["P36", "vault/main"] == {"pass"}
        assert found["P61", "london"] == {"fail"}
        assert found["P61", "vault"] == {"pass"}
        assert {status for (control, name), entry in found.items() if control == "P34" and name.startswith("open")
                for status in entry} == {"fail"}  # fmt: skip
        assert found["P34", "vault"] == {"pass"}
        for control, branch in (("P62", "london/main"), ("P63", "london/main"), ("P62", "open/main"),
                                ("P58", "london/copy"), ("P58", "london/half-masked")):  # fmt: skip
            assert "fail" in found[control, branch], (control, branch)
        for control in ("P62", "P63"):
            assert found[control, "vault/main"] == {"pass"}
        for branch in ("vault/staging", "vault/schema"):
            assert not found["P58", branch] & {"fail", "error", "unknown"}, branch
        fails = {control for (control, _), entry in found.items() if "fail" in entry}
        assert {"P29", "P38", "P39", "P40", "P41", "P42", "P43", "P44"} <= fails
        vaults = {control for (control, name), entry in found.items() if "fail" in entry and name.startswith("vault")}
        assert vaults == {"P67"}, "vault has nothing wrong, but no read replica"


async def test_what_was_never_read_is_unknown_and_no_pass(tmp_path: Path) -> None:
    async with platform(tmp_path) as here:
        here.inventory = None
        evaluation = await here.look()
        assert {
            state.status for state in evaluation.verdict.states if state.finding.control in ("P01", "P11", "P50")
        } == {"unknown"}
        score = evaluation.by_project[here.id_of("vault")]
        assert score.known is not None
        assert score.known < 1
        said = {state.finding.control for state in evaluation.verdict.states}
        assert said == set(here.evaluator.catalogue.controls), "no control is silent"


@pytest.mark.parametrize(
    ("route", "control"),
    [("*/roles", "P29"), ("*/permissions", "P42"), ("*/jwks", "P44"), ("*/api_keys", "P38"), ("*/members", "P41")],
)  # fmt: skip
async def test_a_refusal_is_an_error_never_a_pass(tmp_path: Path, route: str, control: str) -> None:
    async with platform(tmp_path) as here:
        here.api.faults.put(Fault("status", route=route, status=403))
        await here.look()
        statuses = {status for (name, _), told in here.found().items() if name == control for status in told}
        assert "error" in statuses
        assert "pass" not in statuses
        assert here.series("neon_posture_source_up") == {("api",): 1}, "it answered; it refused a part"


async def test_a_mask_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    async with platform(tmp_path) as here:
        here.api.faults.put(Fault("status", route="*/anonymized_status", status=403))
        await here.look()
        for branch in ("vault/staging", "london/copy"):
            assert here.found()["P58", branch] == {"error"}


async def test_a_region_that_nobody_knows_is_unknown(tmp_path: Path) -> None:
    async with platform(tmp_path) as here:
        here.world.projects[here.id_of("open")].region_id = "aws-eu-atlantis-1"
        await here.look()
        assert here.found()["P35", "open"] == {"unknown"}
        residency = here.series("neon_project_residency_ok")
        assert residency == {(here.id_of("london"), "aws-eu-west-2"): 0, (here.id_of("vault"), "aws-eu-central-1"): 1}


async def test_waivers_are_counted_apart_and_an_expired_one_waives_nothing(tmp_path: Path) -> None:
    async with platform(tmp_path, waivers=WAIVERS) as here:
        evaluation = await here.look()
        assert here.found()["P35", "london"] == {"waived"}
        assert here.found()["P36", "london/main"] == {"fail"}
        states = here.series("neon_posture_waivers")
        assert states == {("active",): 1, ("expired",): 1, ("expiring",): 0, ("unused",): 1}
        findings = here.series("neon_posture_findings")
        london = here.id_of("london")
        assert findings[london, "critical", "waived"] == 1
        assert findings[london, "high", "expired"] == 1
        assert evaluation.by_project[london].waived == 1
        assert here.series("neon_posture_control_status")[london, "P35", "critical", "waived"] == 1
        told = {entry["control"]: entry for entry in here.page(f"/{london}")["findings"] if "waiver" in entry}
        assert told["P36"]["waiver"]["expired"] is True
        assert told["P35"]["waiver"]["approver"] == "the DPO"
        without = evaluation.by_project[london].ratio
    (tmp_path / "other").mkdir()
    async with platform(tmp_path / "other") as bare:
        await bare.look()
        ratio = bare.evaluation.by_project[bare.id_of("london")].ratio
        assert without is not None
        assert ratio is not None
        assert without > ratio, "what somebody answers for is in no score"


async def test_since_when_it_fails_outlives_a_restart_and_ends_with_the_failure(tmp_path: Path) -> None:
    async with platform(tmp_path) as here:
        await here.look()
        assert {state.since for state in here.evaluation.verdict.states if state.open} == {NOW}
    async with platform(tmp_path, now=NOW + DAY) as again:
        branch = next(
            twin_branch
            for twin_branch in again.world.branches.values()
            if twin_branch.name == "main" and not twin_branch.protected
        )
        branch.protected = True
        evaluation = await again.look()
        since = {state.finding.control: state.since for state in evaluation.verdict.states if state.open}
        assert since["P35"] == NOW
        assert again.found()["P36", "london/main"] == {"pass"}
        branch.protected = False
        again.clock.forward(700)
        evaluation = await again.look()
        since = {state.finding.control: state.since for state in evaluation.verdict.states if state.open}
        assert since["P36"] == NOW + DAY + 700
        before = PostureStore(again.store).day_before(again.clock())
        assert before is not None
        assert before.taken_at == NOW


async def test_nothing_is_judged_again_while_nothing_moves(tmp_path: Path) -> None:
    async with platform(tmp_path) as here:
        await here.look()
        first = here.details.get("/api/v1/posture")
        await here.look()
        assert here.details.get("/api/v1/posture") is first
        here.clock.forward(601)
        await here.look()
        assert here.details.get("/api/v1/posture") is not first


async def test_an_api_that_is_down_leaves_what_was_known_and_says_so(tmp_path: Path) -> None:
    async with platform(tmp_path) as here:
        await here.look()
        before = here.found()
        here.clock.forward(5 * 3600)
        here.api.faults.put(Fault("status", route="*/roles", status=503))
        await here.look()
        assert here.series("neon_posture_source_up") == {("api",): 0}
        assert here.found().keys() == before.keys()
        assert any(note.startswith("posture, api:") for note in here.service.notes())
        assert here.series("neon_posture_facts_age_seconds")["branch",] >= 5 * 3600


async def excess(here: Platform, *attributes: str, memberships: tuple[str, ...] = ()) -> None:
    """The scan of one database by a role of ours that has too much."""
    project = here.id_of("vault")
    branch = next(twin_branch.id for twin_branch in here.world.branches.values() if twin_branch.project_id == project)
    agent = AgentRole("monitor", attributes, memberships)
    await here.fact_cache.put("server", {f"{project}/{branch}": ServerFacts(project, branch, agent=agent)}, NOW)
    reads = {"agent_reads": (Group("acme", "", 3, ("t_acme.orders",)),)}
    facts = DatabaseFacts(project, branch, "app", checks=reads)
    await here.fact_cache.put("database", {f"{project}/{branch}/app": facts}, NOW)


async def test_an_agent_with_too_much_privilege_says_so_everywhere(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with platform(tmp_path) as here:
        await excess(here, "bypassrls", memberships=("neon_superuser",))
        await here.look()
        series = here.series("neonmeter_excess_privilege")
        assert list(series.values()) == [1]
        assert "P50" in {entry["control"] for entry in here.page(f"/{here.id_of('vault')}")["findings"]}
        (note,) = (name for name in here.service.notes() if "privilege" in name)
        assert "docs/permissions.sql" in note
        assert [record for record in caplog.records if record.levelname == "WARNING" and "privilege" in record.message]
        caplog.clear()
        here.clock.forward(601)
        await here.look()
        assert not caplog.records, "once, not every ten minutes"


async def test_counts_by_tenant_go_on_as_zero(tmp_path: Path) -> None:
    async with platform(tmp_path) as here:
        project = here.id_of("vault")
        branch = next(
            twin_branch.id for twin_branch in here.world.branches.values() if twin_branch.project_id == project
        )
        key = f"{project}/{branch}/app"
        leak = DatabaseFacts(project, branch, "app", {"rls_off": (Group("acme", "", 25, ("t.a", "t.b")),)},
                             tables=30, tenant_tables=30)  # fmt: skip
        await here.fact_cache.put("database", {key: leak}, NOW)
        await here.look()
        assert here.series("neon_tenant_posture_findings") == {(project, "acme", "critical"): 25}
        assert here.page("/tenants") == {"tenants": {"acme": {"critical": 25}}}
        mended = DatabaseFacts(project, branch, "app", {"rls_off": ()}, tables=30, tenant_tables=30)
        await here.fact_cache.put("database", {key: mended}, NOW)
        await here.look()
        assert here.series("neon_tenant_posture_findings") == {(project, "acme", "critical"): 0}


async def test_facts_of_a_branch_that_is_gone_are_forgotten(tmp_path: Path) -> None:
    async with platform(tmp_path) as here:
        await excess(here)
        await here.look()
        project = here.id_of("vault")
        branch = next(
            twin_branch.id for twin_branch in here.world.branches.values() if twin_branch.project_id == project
        )
        for gone in [
            twin_branch.id for twin_branch in here.world.branches.values() if twin_branch.project_id == project
        ]:
            here.world.branches.pop(gone)
        here.world.projects.pop(project)
        await here.look()
        assert not [key for key in await here.fact_cache.load() if branch in key.key or key.key == project]
        assert here.series("neonmeter_excess_privilege") == {}
