"""Worlds written down: the built-in one is what its documentation says, and a wrong one names every wrong place."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from exporter.demo.api import serve_named
from exporter.demo.worldfile import WorldFileError, branch_id, build_world, endpoint_id, load, parse, project_id
from tests.fix_twin import MovableClock

MINIMAL = """
projects:
  - name: shop
    region: aws-eu-central-1
    branches:
      - name: main
      - {name: dev, parent: main, endpoint: {suspend_timeout: 300, max_cu: 1}}
"""


def test_the_small_world_is_as_described() -> None:
    spec = load("small")
    assert sorted(project_spec.region[:6] for project_spec in spec.projects) == ["aws-eu", "aws-us"]
    branches = [branch for project in spec.projects for branch in project.branches]
    assert len(branches) == 6
    assert len({tenant.name for branch in branches for tenant in branch.tenants}) == 5
    # The five models, each once: by branch, by project, by database, by role, by schema.
    assert [sorted(rule.keys() & {"database", "role", "schema"}) for rule in spec.tenancy] == [
        [], [], ["database"], ["role"], ["schema"],
    ]  # fmt: skip
    assert all(tenant.schema == f"t_{tenant.name}" for branch in branches for tenant in branch.tenants)
    assert sum(branch.parent is not None and bool(branch.drift_sql) for branch in branches) >= 3
    assert sum(branch.slot is not None for branch in branches) == 1
    assert sum(branch.pooled for branch in branches) == 1
    unused = [branch.name for branch in branches if branch.endpoint and not branch.tenants]
    assert unused == ["preview"]


def test_ids_are_stable_unique_and_fit_the_api() -> None:
    spec = load("small")
    one, other = (build_world(spec, MovableClock(value)) for value in (1e9, 2e9))
    assert one.branches.keys() == other.branches.keys()
    assert one.endpoints.keys() == other.endpoints.keys()
    ids = [*one.projects, *one.branches, *one.endpoints]
    assert len(ids) == len(set(ids)) == 2 + 6 + 5
    assert all(re.fullmatch(r"[a-z0-9-]{1,60}", name) for name in ids)
    project = spec.projects[0]
    assert one.branches[branch_id(project, "staging")].parent_id == branch_id(project, "main")
    assert one.endpoints[endpoint_id(project, "main")].project_id == project_id(project)


def test_what_is_left_out_has_a_default() -> None:
    spec = parse(MINIMAL)
    main, dev = spec.projects[0].branches
    assert main.endpoint is not None
    assert main.endpoint.suspend_timeout == 60
    assert dev.endpoint is not None
    assert (dev.endpoint.suspend_timeout, dev.endpoint.min_cu, dev.endpoint.max_cu) == (300, 0.25, 1)
    world = build_world(spec, MovableClock(1e9))
    assert all(
        endpoint.current_state == "idle" and endpoint.last_active is None for endpoint in world.endpoints.values()
    )


@pytest.mark.parametrize(
    ("change", "place", "says"),
    [
        (("region:", "regoin:"), "projects[0].regoin", "Unexpected"),
        (("region: aws-eu-central-1", ""), "projects[0].region", "required"),
        (("parent: main", "parent: mian"), "projects[0].branches[1].parent", "no branch 'mian'"),
        (("name: dev", "name: main"), "projects[0].branches[1].name", "another branch"),
        (("parent: main, ", ""), "projects[0].branches", "2 branches without a parent"),
        (("max_cu: 1", "max_cu: 100"), "projects[0].branches[1].endpoint.max_cu", "56"),
        (("max_cu: 1", "min_cu: 4"), "projects[0].branches[1].endpoint", "min_cu 4 is over max_cu 2"),
        (("endpoint: {suspend_timeout: 300, max_cu: 1}", "endpoint: null, slot: s"), "branches[1].endpoint", "slot"),
        (("name: main", "name: Main!"), "projects[0].branches[0].name", "pattern"),
        (("projects:", "projcts:"), "projcts", "Unexpected"),
        ((MINIMAL, "- 1"), "the top level", ""),
        ((MINIMAL, "a: [1"), "not YAML", ""),
    ],
)
def test_a_wrong_world_names_the_place(change: tuple[str, str], place: str, says: str) -> None:
    text = MINIMAL.replace(*change, 1)
    assert text != MINIMAL
    with pytest.raises(WorldFileError) as caught:
        parse(text, "mine.yaml")
    assert str(caught.value).startswith("mine.yaml: ")
    assert place in str(caught.value)
    assert says in str(caught.value)


def test_two_tenants_of_one_branch_differ() -> None:
    tenants = "tenants: [{name: a, schema: t_a, role: a}, {name: a, schema: t_b, role: b}]"
    with pytest.raises(WorldFileError, match="two tenants have the name 'a'"):
        parse(MINIMAL.replace("max_cu: 1}", f"max_cu: 1}}, {tenants}"))


def test_all_problems_come_at_once() -> None:
    with pytest.raises(WorldFileError) as caught:
        parse(MINIMAL.replace("region:", "regoin:").replace("max_cu: 1", "max_cu: much"))
    assert len(str(caught.value).splitlines()) == 3


def test_a_file_is_read_and_a_missing_one_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(MINIMAL)
    assert load(path) == parse(MINIMAL)
    path.write_text('{"projects": [{"name": "a", "region": "azure-gwc", "branches": [{"name": "main"}]}]}')
    assert load(str(path)).projects[0].region == "azure-gwc"
    with pytest.raises(WorldFileError, match=r"none\.yaml"):
        load(tmp_path / "none.yaml")


def test_a_file_can_be_served(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(MINIMAL)
    with serve_named(str(path)) as api:
        assert len(api.view.project_ids()) == 1
        assert api.url.endswith("/api/v2")


def test_the_world_of_posture_has_a_good_and_a_bad_state_of_everything() -> None:
    now = 1e9
    world = build_world(load("posture"), MovableClock(now))
    regions = {project.region_id for project in world.projects.values()}
    assert regions == {"aws-eu-central-1", "aws-eu-west-2", "azure-gwc"}
    roots = [branch for branch in world.branches.values() if branch.default]
    assert {root.protected for root in roots} == {True, False}
    assert {root.id in world.backup_frequency for root in roots} == {True, False}
    windows = {project.history_retention_seconds for project in world.projects.values()}
    assert min(windows) < 86400 and max(windows) >= 604800
    security = world.security
    assert {member.has_mfa for member in security.members} == {True, False}
    assert any(
        now - twin_api_key.created_at > 365 * 86400 and not twin_api_key.project_id for twin_api_key in security.keys
    )
    assert {bool(access.allowed_ips) for access in security.access.values()} == {True, False}
    assert {masking.state for masking in security.masking.values()} == {"anonymized", "error"}
    copies = {branch.id for branch in world.branches.values() if branch.parent_id and not branch.schema_only}
    assert security.masking.keys() < copies, "one copy is not masked"
    assert len({share.email.rpartition("@")[2] for row in security.shares.values() for share in row}) == 2


def test_security_that_names_nothing_is_refused() -> None:
    with pytest.raises(WorldFileError, match=r"api_keys\[0\]\.project: no such project: 'gone'"):
        parse(MINIMAL + "api_keys: [{name: k, days_ago: 1, project: gone}]\n")
    with pytest.raises(WorldFileError, match=r"masking.rules"):
        parse(MINIMAL.replace("max_cu: 1}", "max_cu: 1}, masking: {rules: {email: anon.fake_email()}}"))
