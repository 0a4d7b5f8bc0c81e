"""What splits a cost beside statements, on the disk: sizes by tenant and day, samples, lives of branches."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.pricing.domain.calendar import DAY, HOUR
from exporter.storage.store import Store
from exporter.tenancy.domain.rules import SHARED, UNATTRIBUTED, TenantRule, TenantRules
from exporter.tenancy.store import SCHEMAS, BranchLife, BranchRef, SchemaSize, SnapshotLife, Tenancy, TenantSample

RULES = TenantRules(
    [
        TenantRule(database="customer_(?P<tenant>.+)"),
        TenantRule(schema="t_(?P<tenant>.+)"),
        TenantRule(role="(?P<tenant>.+)_app"),
        TenantRule(schema="public", tenant=SHARED),
    ],
    own_roles=["monitor"],
)
SPOT = BranchRef("p1", "b1", "shop", "main")
TODAY = 20_000 * DAY
MB = 10**6


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(tmp_path / "neonmeter.db", SCHEMAS)
    yield opened
    opened.close()


def sizes(tenancy: Tenancy, day: int) -> dict[str, int]:
    return {found.tenant: found.bytes for found in tenancy.sizes(day)}


def test_a_database_is_its_tenants_or_its_schemas_are(store: Store) -> None:
    tenancy = Tenancy(store, RULES)
    databases = {"customer_acme": 10 * MB, "app": 100 * MB, "postgres": 7 * MB, "stray": 5 * MB}
    tenancy.absorb_databases(SPOT, databases, TODAY + 60)
    assert sizes(tenancy, TODAY) == {"acme": 10 * MB, SHARED: 7 * MB, UNATTRIBUTED: 105 * MB}
    schemas = {
        "t_birch": SchemaSize(30 * MB),
        "fir": SchemaSize(20 * MB, ("fir_app", "monitor")),
        "public": SchemaSize(5 * MB, ("fir_app", "birch_app")),
        "strange": SchemaSize(1 * MB),
    }
    tenancy.absorb_schemas(SPOT, "app", schemas, TODAY + 90)
    whole = {"acme": 10 * MB, "birch": 30 * MB, "fir": 20 * MB, SHARED: 56 * MB, UNATTRIBUTED: 6 * MB}
    assert sizes(tenancy, TODAY) == whole
    assert sum(whole.values()) == sum(databases.values())
    assert not any(found.rough for found in tenancy.sizes(TODAY))
    # A restart knows the schemas: the next size of the database alone is split as before.
    again = Tenancy(store, RULES)
    again.absorb_databases(SPOT, {**databases, "app": 120 * MB}, TODAY + 120)
    assert sizes(again, TODAY) == {**whole, SHARED: 76 * MB}
    again.absorb_schemas(SPOT, "app", {**schemas, "t_birch": SchemaSize(0, rough=True)}, TODAY + 150)
    assert {found.tenant for found in again.sizes(TODAY) if found.rough} == {"birch", SHARED}


def test_a_day_without_a_reading_has_the_sizes_of_the_last_one_before(store: Store) -> None:
    tenancy = Tenancy(store, RULES)
    tenancy.absorb_databases(SPOT, {"customer_acme": MB}, TODAY)
    tenancy.absorb_databases(SPOT, {"customer_birch": 2 * MB}, TODAY + 3 * DAY)
    assert tenancy.sizes(TODAY - DAY) == []
    assert sizes(tenancy, TODAY) == sizes(tenancy, TODAY + 2 * DAY) == {"acme": MB}
    assert [(found.day, found.tenant) for found in tenancy.sizes(TODAY + 9 * DAY)] == [(TODAY + 3 * DAY, "birch")]
    assert tenancy.forget(TODAY + 99 * DAY) == 1
    assert sizes(tenancy, TODAY + 99 * DAY) == {"birch": 2 * MB}


def test_new_rules_count_from_the_next_reading_on(store: Store) -> None:
    tenancy = Tenancy(store, RULES)
    tenancy.absorb_databases(SPOT, {"customer_acme": MB}, TODAY)
    tenancy.use(TenantRules([TenantRule(database=".+", tenant="all")]))
    assert sizes(tenancy, TODAY) == {"acme": MB}
    tenancy.absorb_databases(SPOT, {"customer_acme": MB}, TODAY + DAY)
    assert (sizes(tenancy, TODAY), sizes(tenancy, TODAY + DAY)) == ({"acme": MB}, {"all": MB})


def test_samples_and_kept_time_add_up_by_the_hour(store: Store) -> None:
    tenancy = Tenancy(store, RULES)
    tenancy.absorb_samples(SPOT, TODAY + 10.5, {"acme": 2, "none": 0})
    tenancy.absorb_samples(SPOT, TODAY + 70, {"acme": 1})
    with store.transaction() as cursor:
        tenancy.add_kept(cursor, ("p1", "b1"), [(TODAY, "acme", 5), (TODAY + HOUR, "birch", 7)])
    assert tenancy.samples(TODAY, TODAY + DAY) == [
        TenantSample(TODAY, "p1", "b1", "acme", 3, 5),
        TenantSample(TODAY + HOUR, "p1", "b1", "birch", 0, 7),
    ]


def life(branch: str, born: int, seen: int, name: str = "") -> BranchLife:
    return BranchLife(branch, "p1", name or branch, "shop", True, born, seen)


def test_snapshots_are_known_for_the_days_in_which_they_existed(store: Store) -> None:
    tenancy = Tenancy(store, RULES)
    taken = SnapshotLife("s1", "p1", "b1", 5 * MB, TODAY - DAY, TODAY)
    tenancy.absorb_snapshots([taken, taken._replace(snapshot_id="s2", born=TODAY, seen=TODAY)])
    tenancy.absorb_snapshots([taken._replace(seen=TODAY + 2 * DAY)])
    days = {day: [snapshot.snapshot_id for snapshot in tenancy.snapshots(TODAY + day * DAY, TODAY + (day + 1) * DAY)]
            for day in (-2, -1, 0, 1, 3)}  # fmt: skip
    assert days == {-2: [], -1: ["s1"], 0: ["s1", "s2"], 1: ["s1"], 3: []}


def test_a_branch_that_is_gone_keeps_its_name_and_its_life(store: Store) -> None:
    tenancy = Tenancy(store, RULES)
    tenancy.look([life("b1", TODAY, TODAY), life("b2", TODAY, TODAY, "old")], TODAY)
    tenancy.look([life("b1", TODAY, TODAY + 60), life("b2", TODAY, TODAY + 60, "preview")], TODAY + 60)
    tenancy.look([life("b1", TODAY, TODAY + 120)], TODAY + 120)
    tenancy.look([life("b1", TODAY, TODAY + 2 * HOUR)], TODAY + 2 * HOUR)
    again = Tenancy(store, RULES)
    assert {live.branch_id: (live.branch, live.seen - TODAY) for live in again.lives()} == {
        "b1": ("b1", 2 * HOUR),
        "b2": ("preview", 120),
    }
    assert again.branch_ref("p1", "b2") == BranchRef("p1", "b2", "shop", "preview")
    assert again.branch_ref("p1", "b9") == BranchRef("p1", "b9", "shop", "b9")
