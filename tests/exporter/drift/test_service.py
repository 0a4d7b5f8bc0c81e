"""What the agent shows of drift: baselines, approvals, since when, stale looks, histories, settings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from collectors.base import Status
from collectors.neon.inventory import Inventory
from collectors.postgres.domain.migrations import History, Migration
from collectors.postgres.domain.settings import Setting, SettingsFacts
from tests.exporter.drift.world import CHILD, MAIN, World, world
from tests.exporter.sampling.domain.test_schema_comparison import ORDERS, made, table

WITH_COLUMN = ORDERS | {("column", "shop", "orders.tmp"): "int"}


async def drifted(here: World) -> None:
    await here.read(MAIN, ORDERS)
    await here.read(CHILD, WITH_COLUMN)
    await here.look()


async def test_a_child_drifts_from_its_parent_and_comes_back(tmp_path: Path) -> None:
    with world(tmp_path) as here:
        await drifted(here)
        assert here.series("neon_schema_drift_objects") == {("br-child", "app", "column", "added"): 1}
        assert here.series("neon_schema_drift_detected") == {("br-child", "app", "parent"): 1}
        assert here.series("neon_schema_drift_since_timestamp_seconds") == {("br-child", "app", "parent"): 1000}
        assert here.series("neon_schema_scan_duration_seconds")["br-child", "app"] == 0.02
        assert here.page(CHILD)["databases"]["app"]["changes"] == [
            {"kind": "column", "name": "shop.orders.tmp", "change": "added", "now": "int"}
        ]
        assert "shop.orders.tmp" in here.markdown(CHILD)
        # A branch without a parent is measured by what was approved.
        assert here.series("neon_schema_drift_uncompared") == {("br-main", "app", "approved"): 1}
    with world(tmp_path) as again:
        again.now = 2000.0
        await again.look()
        since = again.series("neon_schema_drift_since_timestamp_seconds")
        assert since == {("br-child", "app", "parent"): 1000}, "a restart does not make it younger"
        await again.read(CHILD, ORDERS)
        await again.look()
        assert again.series("neon_schema_drift_objects") == {("br-child", "app", "column", "added"): 0}
        assert again.series("neon_schema_drift_since_timestamp_seconds") == {}


async def test_an_approval_is_seen_at_the_next_look(tmp_path: Path) -> None:
    with world(tmp_path) as here:
        await drifted(here)
        path = here.approvals.write(CHILD, made(WITH_COLUMN), by="ann", reason="as planned", at=1500.0)
        await here.look()
        assert here.series("neon_schema_drift_detected") == {("br-child", "app", "approved"): 0}
        assert here.page(CHILD)["databases"]["app"]["baseline"]["name"] == "ann"
        await here.read(CHILD, WITH_COLUMN | table("shop", "more", "id"))
        await here.look()
        assert [entry["name"] for entry in here.page(CHILD)["databases"]["app"]["changes"]] == ["shop.more"]
        path.write_text("{}")
        await here.look()
        assert here.approvals.problems, "an edited file is no approval"
        assert here.series("neon_schema_drift_detected") == {("br-child", "app", "parent"): 1}


async def test_a_look_that_brought_nothing_leaves_the_last_one_marked_stale(tmp_path: Path) -> None:
    with world(tmp_path) as here:
        await drifted(here)
        await here.missed(CHILD, Status.NO_DATA, "a table is locked")
        await here.missed(CHILD, Status.BUG, "could not open relation with OID 7 (XX000)")
        await here.look()
        assert here.series("neon_schema_scan_stale") == {("br-child", "app", "no_data"): 1}
        assert here.series("neon_schema_scan_errors_total") == {("br-child", "app", "no_data"): 2}
        assert here.series("neon_schema_drift_detected") == {("br-child", "app", "parent"): 1}
        assert here.page(CHILD)["databases"]["app"]["stale"] is True
        assert here.page(CHILD)["databases"]["app"]["drifted"] is True
        await here.read(CHILD, WITH_COLUMN)
        await here.look()
        assert here.series("neon_schema_scan_stale") == {}


async def test_a_rule_with_its_reason_and_its_day(tmp_path: Path) -> None:
    rule = {"kind": "column", "identity": "orders.tmp", "reason": "an experiment", "expires": "1970-01-02"}
    with world(tmp_path, ignore=[rule]) as here:
        await drifted(here)
        assert here.series("neon_schema_drift_detected") == {("br-child", "app", "parent"): 0}
        assert here.series("neon_schema_drift_ignored_objects")["br-child", "app"] == 1
        assert here.page(CHILD)["ignore"][0]["reason"] == "an experiment"
        assert "an experiment, until 1970-01-02" in here.markdown(CHILD)
        here.now = 86400.0
        await here.look()
        assert here.series("neon_schema_drift_detected") == {("br-child", "app", "parent"): 1}


@pytest.mark.parametrize(
    ("baseline", "labels", "detected"),
    [
        ("none", None, None),
        ("branch:main", ("br-child", "app", "branch"), 1),
        ("git:{folder}/{database}.json", ("br-child", "app", "git"), 0),
    ],
)
async def test_baselines_by_policy(
    tmp_path: Path, baseline: str, labels: tuple[str, ...] | None, detected: float | None
) -> None:
    (tmp_path / "app.json").write_text(made(WITH_COLUMN).to_json())
    policy = baseline.replace("{folder}", str(tmp_path))
    with world(tmp_path, baselines=[{"branch": "child", "baseline": policy}]) as here:
        await drifted(here)
        assert here.series("neon_schema_drift_detected") == ({labels: detected} if labels else {})


async def test_tenants_of_one_branch(tmp_path: Path) -> None:
    objects = {key: text for name in ("t_a", "t_b", "t_c") for key, text in table(name, "orders", "id").items()}
    with world(tmp_path) as here:
        await here.read(MAIN, objects | {("column", "t_b", "orders.more"): "int"})
        await here.look()
        assert here.series("neon_tenant_schema_drift_objects") == {("br-main", "app", "b", "added"): 1}
        assert here.series("neon_tenant_schemas") == {
            ("br-main", "app", "alike"): 2, ("br-main", "app", "deviating"): 1
        }  # fmt: skip


def without(inventory: Inventory, branch_id: str, endpoint_id: str) -> Inventory:
    branches = {key: branch for key, branch in inventory.branches.items() if key != branch_id}
    endpoints = {key: endpoint for key, endpoint in inventory.endpoints.items() if key != endpoint_id}
    return replace(inventory, branches=branches, endpoints=endpoints)


async def test_a_branch_that_is_gone_leaves_series_and_pages(tmp_path: Path) -> None:
    with world(tmp_path) as here:
        await drifted(here)
        await here.migrated(MAIN, history("a"))
        await here.migrated(CHILD, history("a"))
        await here.look()
        assert {"br-main", "br-child"} == {key[0] for key in here.series("neon_schema_fingerprint_info")}
        assert {"br-main", "br-child"} == {key[0] for key in here.series("neon_migrations_applied", "migrations")}
        here.inventory = without(here.inventory, "br-child", "ep-child")
        await here.look()
        assert {"br-main"} == {key[0] for key in here.series("neon_schema_fingerprint_info")}
        assert {"br-main"} == {key[0] for key in here.series("neon_migrations_applied", "migrations")}
        assert here.details.get("/api/v1/drift/p1/br-child") is None
        assert here.details.get("/api/v1/drift/p1/br-main") is not None
        here.state.retire("drift")
        assert list(here.state.entries()) == []


def stored(here: World) -> dict[str, set[tuple[str, ...]]]:
    """The rows of every table of drift: branch and database, or branch and compute."""
    found = {}
    with here.store.snapshot() as cursor:
        names = cursor.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE 'drift%'").fetchall()
        for (name,) in names:
            found[name] = {tuple(row[1:3]) for row in cursor.execute(f"SELECT * FROM {name}").fetchall()}
    return found


async def filled(here: World) -> None:
    await here.read(MAIN, WITH_COLUMN)
    await here.read(CHILD, ORDERS)
    for key in (MAIN, CHILD):
        await here.migrated(key, history("a"))
        here.told(key, facts(search_path="a"))
        here.approvals.write(key, made({}), by="ann", reason="as planned", at=1.0)
    await here.look()


@pytest.mark.parametrize("restarted", [False, True])
async def test_no_table_keeps_rows_of_a_deleted_branch(tmp_path: Path, restarted: bool) -> None:
    with world(tmp_path) as here:
        await filled(here)
        assert len(before := stored(here)) == 4
        assert all({row[0] for row in rows} == {"br-main", "br-child"} for rows in before.values()), before
    with world(tmp_path) as here:
        if not restarted:
            await here.look()
        del here.inventory.branches["br-child"], here.inventory.endpoints["ep-child"]
        for unsure in ({"unknown_project_ids": {"p2"}}, {"excluded_project_ids": {"p1"}}, {"projects": {}}):
            await here.service.look(replace(here.inventory, **unsure))
            assert stored(here) == before, unsure
        await here.look()
        assert all({row[0] for row in rows} == {"br-main"} for rows in stored(here).values()), stored(here)
        assert {key[0] for key in here.series("neon_schema_fingerprint_info")} == {"br-main"}


async def test_no_table_keeps_rows_of_a_dropped_database(tmp_path: Path) -> None:
    with world(tmp_path) as here:
        await filled(here)
        await here.scanner.finish(here.compute(CHILD), ["another"], Status.OK, "", 0.1)
        await here.look()
        assert all(("br-child", "app") not in rows and ("br-main", "app") in rows
                   for name, rows in stored(here).items() if name != "drift_settings")  # fmt: skip


def history(*ids: str, schema: str = "public", tool: str = "typeorm") -> History:
    rows = tuple(Migration(name, None, "applied", None) for name in ids)
    return History(tool, schema, "migrations", rows, digest="/".join(ids))


async def test_a_rollback_without_a_record_is_seen_by_what_is_gone(tmp_path: Path) -> None:
    rolled = "neon_migrations_rolled_back"
    with world(tmp_path) as here:
        await here.migrated(MAIN, history("a", "b", "c"), history("x", "y", tool="alembic", schema="other"))
        assert here.series(rolled, "migrations")["br-main", "app", "typeorm", "public"] == 0
    with world(tmp_path) as here:
        await here.scanner.load()
        await here.migrated(MAIN, history("a"), history("z", tool="alembic", schema="other"))
        assert here.series(rolled, "migrations") == {
            ("br-main", "app", "typeorm", "public"): 2,
            ("br-main", "app", "alembic", "other"): 0,  # It keeps only its heads: one that moved is no roll-back.
        }


async def test_a_branch_is_behind_and_ahead_of_its_baseline(tmp_path: Path) -> None:
    with world(tmp_path) as here:
        await drifted(here)
        await here.migrated(MAIN, history("a", "b"))
        await here.migrated(CHILD, history("a", "c", "d"))
        await here.look()
        assert here.series("neon_migrations_divergence") == {
            ("br-child", "app", "typeorm", "behind"): 1, ("br-child", "app", "typeorm", "ahead"): 2
        }  # fmt: skip


def facts(**values: Any) -> SettingsFacts:
    settings = {name: Setting(value, value, None, "string", changed=True) for name, value in values.items()}
    return SettingsFacts(settings, {"app": "login"})


async def test_settings_against_the_parent_and_the_desired_state(tmp_path: Path) -> None:
    path = tmp_path / "desired.yaml"
    path.write_text("- {branch: main, endpoint: {autoscaling_limit_max_cu: 1}, settings: {work_mem: x}}\n")
    with world(tmp_path, desired=str(path)) as here:
        here.told(MAIN, facts(search_path="a"))
        here.told(CHILD, facts(search_path="b", shared_buffers="9"))
        await here.look()
        assert here.series("neon_settings_drift_objects") == {
            ("br-main", "desired", "endpoint", "changed"): 1, ("br-child", "parent", "guc", "changed"): 1
        }  # fmt: skip
        assert here.series("neon_settings_drift_unverified")["br-main", "desired"] == 1
        assert here.page(CHILD)["settings"]["parent"]["changes"][0]["identity"] == "search_path"
        assert "autoscaling_limit_max_cu" in here.markdown(MAIN)
        path.write_text("- {branch: main, endpoint: {autoscaling_limit_max_cu: 2}}\n")
        here.told(CHILD, facts(search_path="a"))
        await here.look()
        assert set(here.series("neon_settings_drift_objects").values()) == {0}
        path.write_text("- {brnach: main}\n")
        await here.look()
        assert here.series("neon_settings_drift_detected")["br-main", "desired"] == 0, "the last good file counts"
    with world(tmp_path) as again:
        await again.look()
        assert again.series("neon_settings_drift_detected") == {("br-child", "parent"): 0}
