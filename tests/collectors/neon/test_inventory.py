"""The inventory: what it reads again and what it does not, what it keeps, and what each kind of key gives."""

from __future__ import annotations

import httpx
import pytest

from collectors.base import Status
from collectors.neon import inventory
from collectors.neon.domain.pace import MAX_AGE_SECONDS, REQUESTS_PER_PROJECT, REREAD_SHARE, reread_seconds
from collectors.neon.errors import NeonError
from collectors.neon.inventory import METRICS, Inventory, observe, refresh
from collectors.neon.organizations import by_organization
from tests.collectors.neon.control_plane import NOW, ControlPlane, refuse, stamp


@pytest.fixture(autouse=True)
def a_large_organisation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two projects stand for many here."""
    monkeypatch.setattr(inventory, "READ_AT_EVERY_LOOK", 0)


@pytest.fixture
def plane() -> ControlPlane:
    plane = ControlPlane()
    for name in ("alpha", "beta", "gamma"):
        plane.add(name)
    return plane


async def look(plane: ControlPlane, previous: Inventory | None = None, **options: object) -> Inventory:
    async with plane.client() as client:
        return await refresh(client, previous, clock=lambda: plane.now, **options)  # type: ignore[arg-type]


async def test_first_look_reads_everything_once(plane: ControlPlane) -> None:
    inventory = await look(plane)
    assert (inventory.org_id, inventory.org_name, inventory.plan) == ("org-one", "One", "scale_v3")
    assert sorted(inventory.projects) == ["alpha", "beta", "gamma"]
    assert len(inventory.branches) == 6
    assert inventory.branches["br-beta-1"].parent_id == "br-beta-0"
    assert inventory.endpoints["ep-alpha"].effective_suspend_seconds == 300
    assert inventory.server_now == NOW and inventory.skew == 0
    assert not inventory.notes and not inventory.unknown_project_ids
    assert inventory.requests == sum(plane.count().values()) == 1 + 1 + 3 * 2


async def test_a_small_organisation_has_its_computes_read_at_every_look(
    plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inventory, "READ_AT_EVERY_LOOK", 3)
    first = await look(plane)
    plane.count()
    second = await look(plane, first)
    assert plane.count() == {"/projects": 1, **{f"/projects/{name}/endpoints": 1 for name in first.projects}}
    assert second.endpoints == first.endpoints


async def test_a_quiet_round_costs_only_the_list(plane: ControlPlane) -> None:
    first = await look(plane)
    plane.count()
    second = await look(plane, first)
    assert plane.count() == {"/projects": 1}
    assert second.branches == first.branches and second.endpoints == first.endpoints
    assert all(second.holdings[key].families is first.holdings[key].families for key in first.holdings)


async def test_only_a_project_that_moved_is_read_again(plane: ControlPlane) -> None:
    first = await look(plane)
    plane.count()
    plane.projects["beta"]["updated_at"] = stamp(NOW + 1)
    plane.branches["beta"].append({**plane.branches["beta"][1], "id": "br-new", "name": "new"})
    second = await look(plane, first)
    assert plane.count() == {"/projects": 1, "/projects/beta/endpoints": 1, "/projects/beta/branches": 1}
    assert "br-new" in second.branches
    plane.count()
    await look(plane, second)
    assert plane.count() == {"/projects": 1}


async def test_activity_reads_the_computes_at_once_and_the_branches_now_and_then(plane: ControlPlane) -> None:
    inventory = await look(plane)
    plane.count()
    for _ in range(10):
        plane.now += 60
        plane.projects["beta"]["compute_last_active_at"] = stamp(plane.now)
        inventory = await look(plane, inventory)
    assert plane.count() == {"/projects": 10, "/projects/beta/endpoints": 10, "/projects/beta/branches": 2}


async def test_an_awake_compute_is_looked_at_every_round_even_when_the_row_stands_still(plane: ControlPlane) -> None:
    plane.add("awake", active=True)
    first = await look(plane)
    plane.count()
    plane.endpoints["awake"][0]["last_active"] = stamp(NOW + 55)
    second = await look(plane, first)
    assert plane.count() == {"/projects": 1, "/projects/awake/endpoints": 1}
    assert second.endpoints["ep-awake"].last_active == NOW + 55
    plane.endpoints["awake"][0]["current_state"] = "idle"
    third = await look(plane, second)
    plane.count()
    await look(plane, third)
    assert plane.count() == {"/projects": 1}


async def test_a_compute_on_an_unknown_branch_makes_the_branches_read(plane: ControlPlane) -> None:
    plane.add("awake", active=True)
    first = await look(plane)
    plane.branches["awake"].append({**plane.branches["awake"][0], "id": "br-fresh", "default": False})
    plane.endpoints["awake"].append({**plane.endpoints["awake"][0], "id": "ep-fresh", "branch_id": "br-fresh"})
    second = await look(plane, first)
    assert "br-fresh" in second.branches and "ep-fresh" in second.endpoints


async def test_nothing_is_trusted_for_ever_and_full_reads_all(plane: ControlPlane) -> None:
    first = await look(plane)
    plane.count()
    await look(plane, first, full=True)
    assert sum(plane.count().values()) == 1 + 1 + 6
    plane.now += 1800 * 1.3
    await look(plane, first)
    assert plane.count()["/projects/alpha/branches"] == 1


async def test_unavailable_is_unknown_and_absent_is_deleted(plane: ControlPlane) -> None:
    first = await look(plane)
    plane.unavailable = ["alpha", "never-seen"]
    del plane.projects["beta"]
    second = await look(plane, first)
    assert sorted(second.projects) == ["alpha", "gamma"]
    assert second.unknown_project_ids == {"alpha", "never-seen"}
    assert second.branches["br-alpha-0"] is first.branches["br-alpha-0"]
    assert any("could not fetch 2 projects" in note for note in second.notes)
    status = {observation.target.labels: observation.status for observation in observe(second)}
    assert status["alpha",] is Status.UNREACHABLE and status["gamma",] is Status.OK
    plane.unavailable = []
    third = await look(plane, second)
    assert not third.unknown_project_ids and sorted(third.projects) == ["alpha", "gamma"]


async def test_a_list_that_repeats_itself_deletes_nothing(plane: ControlPlane) -> None:
    first = await look(plane)

    def stuck(request: httpx.Request) -> httpx.Response | None:
        if request.url.path != "/api/v2/projects":
            return None
        return plane.reply(200, {"projects": [plane.projects["alpha"]] * 400, "pagination": {"cursor": "same"}})

    plane.faults = [stuck]
    second = await look(plane, first)
    assert sorted(second.projects) == ["alpha", "beta", "gamma"]
    assert second.unknown_project_ids == {"beta", "gamma"}
    assert any("repeats itself" in note for note in second.notes)


async def test_a_bad_item_deletes_nothing_and_loses_no_page(plane: ControlPlane) -> None:
    first = await look(plane)
    good = dict(plane.projects["beta"])
    plane.projects["beta"]["id"] = {"surprise": True}
    second = await look(plane, first)
    assert sorted(second.projects) == ["alpha", "beta", "gamma"] and second.unknown_project_ids == {"beta"}
    plane.projects["beta"] = {**good, "updated_at": stamp(NOW + 9)}
    plane.branches["beta"][1]["logical_size"] = "huge"
    third = await look(plane, second)
    assert third.branches["br-beta-1"].logical_size == 101, "the last known state stays"
    assert any("1 branches or computes" in note for note in third.notes)


async def test_one_failing_project_costs_only_itself(plane: ControlPlane) -> None:
    first = await look(plane)
    for name in plane.projects:
        plane.projects[name]["updated_at"] = stamp(NOW + 1)
    plane.branches["gamma"][0]["logical_size"] = 777
    plane.faults = [refuse("/projects/beta/", 503)]
    second = await look(plane, first)
    assert second.unknown_project_ids == {"beta"}
    assert second.branches["br-beta-0"] is first.branches["br-beta-0"]
    assert second.branches["br-gamma-0"].logical_size == 777
    assert any("beta" in note and "503" in note for note in second.notes)
    plane.faults = []
    assert not (await look(plane, second)).unknown_project_ids


async def test_a_failing_api_is_not_hammered(plane: ControlPlane) -> None:
    for number in range(60):
        plane.add(f"p{number}")
    first = await look(plane)
    plane.count()
    plane.faults = [refuse("/projects/.*/", 503)]
    second = await look(plane, first, full=True)
    assert len(second.unknown_project_ids) == 63 and len(second.projects) == 63
    assert sum(plane.count().values()) < 80, "a few projects are tried, not all sixty"


async def test_projects_that_may_not_be_read_do_not_stop_the_others(plane: ControlPlane) -> None:
    for number in range(20):
        plane.add(f"p{number}")
    plane.faults = [refuse("/projects/(alpha|beta|gamma|p0|p1)/", 403)]
    inventory = await look(plane)
    assert len(inventory.unknown_project_ids) == 5 and len(inventory.projects) == 18


async def test_projects_with_trouble_of_their_own_do_not_look_like_an_api_that_is_down(plane: ControlPlane) -> None:
    for number in range(80):
        plane.add(f"q{number:02}")
    plane.faults = [refuse("/projects/q.[05]/", 503)]
    inventory = await look(plane)
    assert len(inventory.unknown_project_ids) == 16, "none is left out but those that fail"


@pytest.mark.fault("API: the limit is hit in the middle of a round")
async def test_a_429_in_the_middle_ends_the_round(plane: ControlPlane) -> None:
    for number in range(60):
        plane.add(f"p{number}")
    first = await look(plane)
    plane.count()
    plane.faults = [refuse("/projects/.*/", 429, None, **{"Retry-After": "600"})]
    second = await look(plane, first, full=True)
    assert len(second.unknown_project_ids) == 63 and sum(plane.count().values()) < 20


@pytest.mark.fault("API: a project vanishes while it is read")
async def test_a_project_deleted_between_list_and_read_is_gone(plane: ControlPlane) -> None:
    plane.faults = [refuse("/projects/beta/", 404)]
    inventory = await look(plane)
    assert sorted(inventory.projects) == ["alpha", "gamma"] and not inventory.unknown_project_ids


async def test_globs_select_by_id_and_by_name(plane: ControlPlane) -> None:
    inventory = await look(plane, include=["al*", "name of g*"], exclude=["gam*"])
    assert sorted(inventory.projects) == ["alpha"]
    assert inventory.excluded_project_ids == {"beta", "gamma"}
    assert "/projects/beta/branches" not in plane.count()


async def test_what_is_excluded_stays_so_while_it_cannot_be_listed(plane: ControlPlane) -> None:
    first = await look(plane, exclude=["beta", "gamma"])
    plane.unavailable = ["beta"]
    second = await look(plane, first, exclude=["beta", "gamma"])
    assert second.excluded_project_ids == {"beta", "gamma"}
    del plane.projects["gamma"]
    third = await look(plane, second, exclude=["beta", "gamma"])
    assert third.excluded_project_ids == {"beta"}, "one that was deleted is not excluded any more"


# --- kinds of keys -----------------------------------------------------------------------------------------------


async def test_a_setting_narrows_several_organisations_to_one(plane: ControlPlane) -> None:
    plane.orgs.append({"id": "org-two", "name": "Two", "plan": "free"})
    inventory = await look(plane, org_id="org-two")
    assert inventory.org_id == "org-two" and inventory.plan == "free"


async def test_an_organisation_key_finds_its_organisation_in_the_projects(plane: ControlPlane) -> None:
    plane.faults = [refuse("/users/", 403)]
    inventory = await look(plane)
    assert (inventory.org_id, inventory.plan) == ("org-one", "scale_v3") and not inventory.notes


async def test_a_key_that_shows_no_organisations_watches_those_of_its_projects(plane: ControlPlane) -> None:
    plane.faults = [refuse("/users/", 403)]
    plane.projects["beta"]["org_id"] = "org-two"
    inventory = await look(plane)
    assert [org.id for org in inventory.organizations] == ["org-one", "org-two"] and len(inventory.projects) == 3
    assert [(part.org_id, len(part.projects)) for part in by_organization(inventory)] == [
        ("org-one", 2),
        ("org-two", 1),
    ]
    assert any("may not read the organisation org-two" in note for note in inventory.notes)


async def test_a_personal_account_works_without_an_organisation(plane: ControlPlane) -> None:
    plane.orgs = []
    for project in plane.projects.values():
        project.pop("org_id")
    inventory = await look(plane)
    assert inventory.org_id == "" and len(inventory.projects) == 3
    assert inventory.plan == "launch_v3", "the plan comes from a project's owner"
    assert any("no organisation" in note for note in inventory.notes)


async def test_a_project_key_that_may_list_degrades(plane: ControlPlane) -> None:
    plane.faults = [refuse("/users/|/organizations/", 404)]
    inventory = await look(plane)
    assert inventory.org_id == "org-one" and inventory.plan == "launch_v3" and len(inventory.projects) == 3
    assert any("may not read the organisation org-one" in note for note in inventory.notes)


@pytest.mark.parametrize("status", [403, 404])
async def test_a_project_key_reads_the_projects_that_are_named(plane: ControlPlane, status: int) -> None:
    plane.faults = [refuse("/users/|/organizations/|/projects$", status)]
    inventory = await look(plane, include=["beta"])
    assert sorted(inventory.projects) == ["beta"] and inventory.plan == "launch_v3"
    assert inventory.server_now == NOW
    assert any("may not list projects" in note for note in inventory.notes)
    with pytest.raises(NeonError, match=r"neon\.include") as caught:
        await look(plane)
    assert caught.value.status is Status.NO_PRIVILEGE


async def test_a_refused_key_is_an_error(plane: ControlPlane) -> None:
    plane.faults = [refuse("/", 401)]
    with pytest.raises(NeonError) as caught:
        await look(plane)
    assert caught.value.status is Status.AUTH


# --- series ------------------------------------------------------------------------------------------------------

OF_NEON = ("neon_connection_counts", "neon_db_total_size", "neon_lfc_", "neon_max_cluster_size", "neon_pg_stats_userdb",
           "neon_pgbouncer_", "neon_replication_delay_", "neon_getpage_", "neon_compute_")  # fmt: skip


def test_no_name_is_one_of_neons_own_export() -> None:
    assert not [metric.name for metric in METRICS if metric.name.startswith(OF_NEON)]


async def test_series(plane: ControlPlane) -> None:
    plane.add("awake", active=True)
    plane.endpoints["awake"][0].update(suspend_timeout_seconds=-1, started_at=stamp(NOW - 60), current_state="dreaming")
    plane.branches["awake"][1]["expires_at"] = stamp(NOW + 60)
    by_target = {observation.target.key: observation for observation in observe(await look(plane))}
    awake = by_target["project:awake"]
    series = {metric.name: values for metric, values in awake.families.items()}
    assert series["neon_project_info"] == {("name of awake", "org-one", "aws-eu-central-1", "18"): 1}
    assert series["neon_branch_info"]["br-awake-0", "b0", "", "default", "true", ""] == 1
    assert series["neon_branch_info"]["br-awake-1", "b1", "br-awake-0", "child", "false", ""] == 1
    key = ("br-awake-0", "ep-awake")
    assert series["neon_endpoint_state"] == {
        (*key, "active"): 0,
        (*key, "idle"): 0,
        (*key, "init"): 0,
        (*key, "dreaming"): 1,
    }
    assert series["neon_endpoint_suspend_timeout_seconds"] == {key: float("inf")}
    assert series["neon_endpoint_last_active_timestamp_seconds"] == {key: NOW - 30}
    assert series["neon_endpoint_autoscaling_min_cu"] == {key: 0.25}
    assert series["neon_branch_expires_timestamp_seconds"] == {("br-awake-1",): NOW + 60}
    assert series["neon_project_history_retention_seconds"] == {(): 86400}
    assert "neon_endpoint_suspended_timestamp_seconds" not in series, "what Neon does not say is absent"
    assert awake.rows == 4
    agent = {metric.name: values for metric, values in by_target["agent:"].families.items()}
    assert agent["neon_inventory_projects"] == {(): 4} and agent["neon_inventory_unknown_projects"] == {(): 0}
    declared = {metric.name for metric in METRICS}
    assert {metric.name for observation in by_target.values() for metric, _ in observation.families.items()} <= declared


async def test_a_shard_lists_every_project_and_reads_its_own(plane: ControlPlane) -> None:
    whole = await look(plane)
    plane.count()
    parts = [await look(plane, owns=lambda key, part=part: (key == "beta") == part) for part in (True, False)]  # type: ignore[misc]
    asked = plane.count()
    assert [sorted(part.projects) for part in parts] == [["beta"], ["alpha", "gamma"]]
    assert all(asked[f"/projects/{name}/branches"] == 1 for name in whole.projects)
    assert all(part.listed == whole.projects == part.of_account.projects for part in parts)
    assert {**parts[0].endpoints, **parts[1].endpoints} == whole.endpoints
    assert not any(part.excluded_project_ids or part.unknown_project_ids for part in parts)
    moved = await look(plane, parts[1], owns=lambda key: key != "alpha")
    assert sorted(moved.projects) == ["beta", "gamma"], "a project that moves away goes, one that comes is read"
    shown = [observe(part, account=account) for part, account in zip(parts, (False, True), strict=True)]
    series = [(metric.name, seen.target.key, labels) for part in shown for seen in part
              for metric, found in seen.families.items() for labels in found]  # fmt: skip
    assert len(series) == len(set(series)), "shown twice"
    one = {(metric.name, seen.target.key, labels) for seen in observe(whole)
           for metric, found in seen.families.items() for labels in found}  # fmt: skip
    assert set(series) == one


async def test_what_neon_cannot_list_is_unknown_to_its_owner_alone(plane: ControlPlane) -> None:
    before = await look(plane)
    plane.unavailable = ["alpha", "beta"]
    found = await look(plane, before, owns=lambda key: key != "beta")
    assert found.unknown_project_ids == {"alpha"}


@pytest.mark.parametrize(("projects", "allowed"), [(0, 600), (10, 600), (1_000, 600), (10_000, 600), (2_500, 150)])
def test_reading_all_again_fits_into_the_requests_that_are_allowed(projects: int, allowed: int) -> None:
    age = reread_seconds(projects, allowed)
    assert age >= MAX_AGE_SECONDS
    assert REQUESTS_PER_PROJECT * projects / (age / 60) <= REREAD_SHARE * allowed + 1e-9
    assert age * 1.25 < 3600, "younger than an hour at 10,000 projects, also with the spread"
