"""Security facts from the twin's control plane over real HTTP: every state of its world, refusals, budgets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest

from collectors.base import Status, Unread
from collectors.neon.client import NeonClient, route_of
from collectors.neon.domain.security import ApiRole, BranchFacts, Jwks, Masking, OrganizationFacts, Permission
from collectors.neon.inventory import refresh
from collectors.neon.models import Branch, Project
from collectors.neon.security import SecurityPass, parse, read_security
from exporter.demo.api import TwinApi, serve
from exporter.demo.meter import Meter
from exporter.demo.world import World
from exporter.demo.worldfile import build_world, load
from tests.fix_twin import MovableClock

NOW = 1_795_000_000.0
DAY = 86400.0


@pytest.fixture
def world() -> World:
    return build_world(load("posture"), MovableClock(NOW))


@pytest.fixture
def api(world: World) -> Iterator[TwinApi]:
    with serve(world, Meter(world)) as running:
        yield running


class Look:
    """One reader of the API: what it asked, and what came of it."""

    def __init__(self, api: TwinApi, key: str = "") -> None:
        self.api = api
        self.key = key or api.settings.org_key
        self.routes: list[str] = []

    async def read(self, read_at: Mapping[tuple[str, str], float] | None = None, **options: float) -> SecurityPass:
        async def no_sleep(seconds: float) -> None:
            return None

        def count(route: str, status: int | None, seconds: float) -> None:
            self.routes.append(route)

        async with NeonClient(
            self.api.url, lambda: self.key, burst=10_000, timeout=120, sleep=no_sleep, on_request=count
        ) as client:
            org = self.api.view.org_id
            inventory = await refresh(client, None, org_id=org, include=tuple(self.api.view.project_ids()))
            projects = [
                (project, [branch for branch in inventory.branches.values() if branch.project_id == project.id])
                for project in inventory.projects.values()
            ]
            self.routes.clear()
            return await read_security(client, [org], projects, read_at or {}, NOW, **options)  # type: ignore[arg-type]


def project_named(world: World, name: str) -> str:
    return next(project.id for project in world.projects.values() if project.name == name)


def branch_key(world: World, project: str, branch: str) -> str:
    pid = project_named(world, project)
    return f"{pid}/{next(e.id for e in world.branches.values() if (e.project_id, e.name) == (pid, branch))}"


async def test_the_organisation(api: TwinApi) -> None:
    found = (await Look(api).read()).organizations[api.view.org_id]
    assert not isinstance(found.keys, Unread) and not isinstance(found.members, Unread)
    keys = {api_key.name: api_key for api_key in found.keys}
    assert keys["old-ci"].created_at == NOW - 400 * DAY and not keys["old-ci"].project_id
    assert keys["forgotten"].last_used_at is None and keys["forgotten"].project_id
    assert keys["from-elsewhere"].last_used_from == "203.0.113.7"
    assert "laptop" not in keys, "an organisation's key sees no person's keys"
    assert not any(api_key.personal for api_key in found.keys)
    assert [member.has_mfa for member in found.members] == [True, False, True]
    assert [member.deactivated for member in found.members] == [False, False, True]


async def test_a_person_sees_its_own_keys(api: TwinApi) -> None:
    found = (await Look(api, api.settings.personal_key).read()).organizations[api.view.org_id]
    assert not isinstance(found.keys, Unread)
    assert {api_key.name for api_key in found.keys if api_key.personal} == {"personal", "laptop"}


async def test_the_projects(api: TwinApi, world: World) -> None:
    found = await Look(api).read()
    london = found.projects[project_named(world, "london")]
    assert not isinstance(london.permissions, Unread) and not isinstance(london.jwks, Unread)
    assert [permission.domain for permission in london.permissions] == ["elsewhere.invalid"] * 2
    assert [permission.revoked_at for permission in london.permissions] == [None, NOW - 20 * DAY]
    assert [jwk.url for jwk in london.jwks] == ["https://unknown.invalid/jwks.json"]
    assert found.snapshots[project_named(world, "london")].by_branch == {}
    snapshots = found.snapshots[project_named(world, "vault")].by_branch
    assert not isinstance(snapshots, Unread)
    (of_main,) = snapshots.values()
    assert [snapshot.created_at for snapshot in of_main] == [NOW - DAY / 2, NOW - 1.5 * DAY]


async def test_the_branches(api: TwinApi, world: World) -> None:
    branches = (await Look(api).read()).branches
    assert len(branches) == len(world.branches)

    def of(project: str, name: str) -> BranchFacts:
        return branches[branch_key(world, project, name)]

    main = of("vault", "main")
    assert main.schedule == ("daily",)
    assert main.masking is None and not isinstance(main.credentials, Unread)
    assert main.credentials[0].expires_at == NOW + 20 * DAY
    assert of("london", "main").schedule == ()
    old = of("london", "main").roles
    assert not isinstance(old, Unread) and old[0].updated_at == NOW - 400 * DAY and not old[0].no_login
    child = of("london", "copy")
    assert isinstance(child.schedule, Unread) and child.schedule.status is Status.UNSUPPORTED
    assert child.masking is None, "a 404 is a branch that is not anonymised"
    states = {name: of(*name).masking for name in (("vault", "staging"), ("london", "half-masked"))}
    said = {name[1]: masking.state for name, masking in states.items() if isinstance(masking, Masking)}
    assert said == {"staging": "anonymized", "half-masked": "error"}
    late = of("london", "outdated").masking
    assert isinstance(late, Masking) and late.covered is not None
    assert (late.masked_columns, late.rules) == (1, 2) and "public.customers.email" in late.covered
    assert (late.completed_at or 0) < (late.rules_changed_at or 0)
    assert api.non_get == 0


async def test_a_refusal_is_no_empty_list(api: TwinApi, world: World) -> None:
    api.faults.put({"kind": "status", "route": "/organizations/{org_id}/members", "status": 403})
    api.faults.put({"kind": "status", "route": "*/anonymized_status", "status": 403})
    api.faults.put({"kind": "status", "route": "*/credentials", "status": 404})
    api.faults.put({"kind": "status", "route": "*/permissions", "status": 404})
    look = Look(api)
    found = await look.read()
    members = found.organizations[api.view.org_id].members
    assert isinstance(members, Unread) and members.status is Status.NO_PRIVILEGE and "HTTP 403" in members.why
    branch = found.branches[branch_key(world, "london", "copy")]
    assert isinstance(branch.masking, Unread) and branch.masking.status is Status.NO_PRIVILEGE, "never plain"
    assert isinstance(branch.credentials, Unread) and branch.credentials.status is Status.UNSUPPORTED
    permissions = next(iter(found.projects.values())).permissions
    assert isinstance(permissions, Unread) and permissions.status is Status.NO_PRIVILEGE
    assert not isinstance(branch.roles, Unread), "what can be read is read"
    asked = look.routes.count("/projects/{project_id}/branches/{branch_id}/credentials")
    assert asked < len(world.branches), "what one branch of a project refuses, the others are not asked"


async def test_a_key_of_one_project(api: TwinApi, world: World) -> None:
    found = await Look(api, api.settings.project_key).read()
    keys = found.organizations[api.view.org_id].keys
    assert isinstance(keys, Unread) and keys.status is Status.NO_PRIVILEGE, "the organisation is there"
    assert len(found.projects) == 1 and found.left == 0


async def test_read_again_only_when_due(api: TwinApi) -> None:
    look = Look(api)
    first = await look.read()
    asked = len(look.routes)
    assert first.requests == asked and first.left == 0 and first.stopped is None
    keys = [("organization", organization) for organization in first.organizations]
    keys += [("project", project) for project in first.projects]
    keys += [("branch", branch) for branch in first.branches]
    read_at = dict.fromkeys(keys, NOW - 3600)
    again = await look.read(read_at)
    assert again.requests == 0 and look.routes == []
    read_at[keys[-1]] = NOW - 5 * 3600
    one = await look.read(read_at)
    assert list(one.branches) == [keys[-1][1]] and not one.projects and not one.organizations


async def test_a_pass_has_a_budget_and_the_next_goes_on(api: TwinApi, world: World) -> None:
    look, read_at = Look(api), dict[tuple[str, str], float]()
    for _ in range(20):
        found = await look.read(read_at, requests=10)
        assert found.requests <= 10 + 8 * 5
        if not found.left:
            break
        for source, ids in (
            ("organization", found.organizations), ("project", found.projects), ("branch", found.branches)
        ):  # fmt: skip
            assert not {(source, name) for name in ids} & read_at.keys(), "nothing twice"
            read_at |= {(source, name): NOW for name in ids}
    assert found.left == 0
    assert set(look.routes) == {route_of(route) for route in look.routes}, "labels without ids"


async def test_one_bad_project_does_not_hold_up_the_others(api: TwinApi, world: World) -> None:
    bad = project_named(world, "london")
    api.faults.put({"kind": "status", "route": f"/projects/{bad}/jwks", "status": 503})
    found = await Look(api).read()
    assert found.stopped is None and list(found.failed) == [("project", bad)]
    assert found.failed["project", bad].status is Status.UNREACHABLE and bad not in found.projects
    assert len(found.projects) == 2 and len(found.branches) == len(world.branches)


@pytest.mark.parametrize(("status", "closed"), [(401, Status.AUTH), (429, Status.RATE_LIMITED)])
async def test_no_more_is_asked_of_who_refuses_everything(api: TwinApi, status: int, closed: Status) -> None:
    look = Look(api)
    api.faults.put({"kind": "status", "route": "*/members", "status": status})
    api.faults.put({"kind": "status", "route": "*/roles", "status": status})
    api.faults.put({"kind": "status", "route": "*/permissions", "status": status})
    found = await look.read()
    assert found.stopped is not None and found.stopped.status is closed
    assert not found.organizations and not found.projects and found.left > 0


async def test_an_item_that_cannot_be_read_hides_nothing(api: TwinApi, world: World) -> None:
    key = branch_key(world, "london", "copy")
    world.roles[key.partition("/")[2]][0].name = 7  # type: ignore[assignment]
    roles = (await Look(api).read()).branches[key].roles
    assert isinstance(roles, Unread) and roles.status is Status.TRUNCATED


def test_nothing_secret_survives_the_parse() -> None:
    role = parse(ApiRole, {"name": "app", "password": "s3cret-word", "branch_id": "br-1"})
    share = parse(Permission, {"id": "1", "granted_to_email": "Jo.Doe@Example.COM"})
    jwks = parse(Jwks, {"id": "1", "jwks_url": "https://me:s3cret-word@x.example/keys?token=s3cret-word"})
    assert "s3cret-word" not in f"{role!r}{jwks!r}" and jwks.url == "https://x.example/keys"
    assert "Doe" not in repr(share) and share.domain == "example.com"


def test_unknown_fields_and_values_are_taken() -> None:
    role = parse(ApiRole, {"name": "app", "authentication_method": "passkey", "brand_new": {"x": 1}})
    assert role.no_login is False and role.updated_at is None
    assert Project.model_validate({"id": "p"}).settings is None
    assert Branch.model_validate({"id": "b", "project_id": "p"}).init_source == ""


def test_facts_start_as_not_asked() -> None:
    empty = OrganizationFacts("org-1")
    assert isinstance(empty.keys, Unread) and empty.keys.status is Status.NO_DATA
