"""Settings of real servers against each other and against a file of the desired state."""

from __future__ import annotations

from pathlib import Path

import pytest

from collectors.neon.models import Branch, Endpoint, Project
from collectors.postgres.cluster.settings import SettingsCollector
from collectors.postgres.domain.settings import SettingsFacts, canonical
from exporter.demo.postgres import Cluster
from exporter.drift.desired import Desired, DesiredError, platform_of
from exporter.drift.domain.desired import against, between
from tests.collectors.reading import admin, read

PROJECT = Project.model_validate(
    {"id": "p1", "name": "shop", "history_retention_seconds": 86400, "settings": {"enable_logical_replication": True}}
)
BRANCH = Branch.model_validate({"id": "br1", "project_id": "p1", "name": "main"})
ENDPOINT = Endpoint.model_validate(
    {"id": "ep1", "project_id": "p1", "branch_id": "br1", "host": "ep1.example", "autoscaling_limit_min_cu": 0.25,
     "autoscaling_limit_max_cu": 2, "suspend_timeout_seconds": 300}
)  # fmt: skip


async def facts(postgres: Cluster, *wanted: str) -> SettingsFacts:
    found = (await read(postgres, SettingsCollector(wanted))).facts
    assert isinstance(found, SettingsFacts)
    return found


async def test_a_changed_setting_and_a_role_are_seen(postgres18: Cluster) -> None:
    before = await facts(postgres18)
    assert between(before, before).changes == ()
    with admin(postgres18) as connection:
        connection.execute("ALTER SYSTEM SET work_mem = '7MB'")
        connection.execute("ALTER SYSTEM SET cluster_name = 'elsewhere'")  # Differs between any two: no drift.
        connection.execute("ALTER SYSTEM SET vacuum_cost_delay = '3ms'")
        connection.execute("SELECT pg_reload_conf()")
        connection.execute("CREATE ROLE drifting LOGIN CREATEDB")
        connection.execute("ALTER ROLE drifting SET statement_timeout = '5s'")
        try:
            after = await facts(postgres18)
            found = {(change.kind, change.identity): change for change in between(before, after).changes}
            assert set(found) == {("guc", "work_mem"), ("guc", "vacuum_cost_delay"), ("role", "drifting")}
            assert (found["guc", "work_mem"].was, found["guc", "work_mem"].now) == ("4096 kB", "7168 kB")
            assert found["guc", "vacuum_cost_delay"].now == "(not shown)", "its value never left the server"
            assert found["role", "drifting"].now.startswith("login createdb set statement_timeout=")
        finally:
            for name in ("work_mem", "cluster_name", "vacuum_cost_delay"):
                connection.execute(f"ALTER SYSTEM RESET {name}".encode())
            connection.execute("SELECT pg_reload_conf()")
            connection.execute("DROP ROLE drifting")
    assert between(before, await facts(postgres18)).changes == ()


async def test_against_the_desired_state(postgres18: Cluster, tmp_path: Path) -> None:
    path = tmp_path / "desired.yaml"
    path.write_text(
        "- branch: main\n"
        "  settings: {work_mem: 8MB, statement_timeout: 0, enable_seqscan: true, vacuum_cost_delay: 0, no.such: x}\n"
        "  endpoint: {autoscaling_limit_max_cu: 4, suspend_timeout_seconds: 300}\n"
        "  extensions: {pgcrypto: '*', hstore: '1.8'}\n"
        "- settings: {work_mem: 1GB}\n"
        "  history_retention_seconds: 604800\n"
        "  logical_replication: true\n"
        "  roles: {monitor: '*', app: login}\n"
    )
    desired = Desired.read(path)
    server = await facts(postgres18, *desired.names)
    wanted = desired.of(PROJECT, BRANCH, server.settings)
    drift = against(wanted, server, platform_of(PROJECT, ENDPOINT), {"hstore": "1.7"})
    assert [(change.kind, change.identity, change.change, change.was, change.now) for change in drift.changes] == [
        ("guc", "work_mem", "changed", "8192 kB", "4096 kB"),
        ("endpoint", "autoscaling_limit_max_cu", "changed", "4", "2"),
        ("project", "history_retention_seconds", "changed", "604800", "86400"),
        ("extension", "hstore", "changed", "1.8", "1.7"),
        ("extension", "pgcrypto", "removed", "*", ""),
        ("role", "app", "removed", "login", ""),
    ]
    assert drift.unverified == ("no.such",)
    asleep = against(wanted, None, platform_of(PROJECT, None), None)
    assert {"work_mem", "autoscaling_limit_max_cu", "hstore", "app"} <= set(asleep.unverified)


@pytest.mark.parametrize(
    ("wanted", "unit", "vartype", "kept"),
    [("8MB", "kB", "integer", "8192"), ("1GB", "8kB", "integer", "131072"), (True, None, "bool", "on"),
     ("5min", "s", "integer", "300"), ("1.5", None, "real", "1.5"), (-1, "ms", "integer", "-1"),
     ("replica", None, "enum", "replica"), ("500ms", "ms", "integer", "500"), (300, "s", "integer", "300")],
)  # fmt: skip
def test_a_value_is_read_as_postgres_keeps_it(wanted: object, unit: str | None, vartype: str, kept: str) -> None:
    assert canonical(wanted, unit, vartype) == kept


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- {branhc: x}", "0.branhc"),
        ("{a: 1}", "list"),
        ("- {settings: {work_mem: [1]}}", "settings"),
        ("[", "not YAML"),
    ],
)
def test_a_broken_file_is_one_clear_error(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "desired.yaml"
    path.write_text(text)
    with pytest.raises(DesiredError, match=r"drift\.desired: ") as error:
        Desired.read(path)
    assert said in str(error.value)
    with pytest.raises(DesiredError, match="No such file"):
        Desired.read(tmp_path / "none.yaml")


async def test_a_value_of_the_wrong_kind_is_said(postgres18: Cluster, tmp_path: Path) -> None:
    server = await facts(postgres18)
    (tmp_path / "desired.yaml").write_text("- settings: {work_mem: much}\n")
    desired = Desired.read(tmp_path / "desired.yaml")
    with pytest.raises(DesiredError, match="work_mem: 'much' is not a number"):
        desired.of(PROJECT, BRANCH, server.settings)
