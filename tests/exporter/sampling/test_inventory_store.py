"""The inventory on the disk: what comes back, what is written, and what a damaged or foreign one costs."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from collectors.base import Status
from collectors.neon import inventory as reading
from collectors.neon.holdings import merged, observe
from collectors.neon.inventory import Inventory, refresh
from collectors.wake.policy import WakePolicy, WakeState, decide
from exporter.app.features import SCHEMAS
from exporter.sampling.computes import computes
from exporter.sampling.inventory_store import InventoryStore
from exporter.storage.store import Store
from tests.collectors.neon.control_plane import NOW, ControlPlane, stamp

API = "https://console.neon.tech/api/v2"


@pytest.fixture(autouse=True)
def a_large_organisation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some projects stand for many here."""
    monkeypatch.setattr(reading, "READ_AT_EVERY_LOOK", 0)


@pytest.fixture
def plane() -> ControlPlane:
    plane = ControlPlane()
    for name in ("alpha", "beta", "gamma"):
        plane.add(name)
    return plane


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store.open(tmp_path / "neonmeter.db", SCHEMAS)
    yield store
    store.close()


async def look(plane: ControlPlane, previous: Inventory | None = None, **options: object) -> Inventory:
    async with plane.client() as client:
        return await refresh(client, previous, clock=lambda: plane.now, **options)  # type: ignore[arg-type]


def load(store: Store, now: float, *, org_id: str | None = None, without: str = "") -> Inventory | None:
    return InventoryStore(store, API).load(org_id, lambda project_id, _: project_id != without, now)


async def test_what_comes_back_is_equal_and_is_no_evidence(plane: ControlPlane, store: Store) -> None:
    read = await look(plane)
    InventoryStore(store, API).save(read)
    found = load(store, NOW + 7200)
    assert found is not None
    assert (found.projects, found.branches, found.endpoints) == (read.projects, read.branches, read.endpoints)
    assert [org.id for org in found.organizations] == [org.id for org in read.organizations]
    assert found.recalled and found.unread_project_ids == found.unknown_project_ids == frozenset(read.projects)
    assert found.taken_at == NOW
    for observation in observe(found):
        if observation.target.scope.value[:1] == ("project_id",):
            assert (observation.status, observation.at) == (Status.NO_DATA, NOW)
            assert observation.families.items()
    for compute in computes(found):
        for state in (None, WakeState(compute.endpoint.id, own_end=NOW - 900, foreign=True, proof=NOW + 7199)):
            assert not decide(WakePolicy(), compute.facts, state, NOW + 7200).allow
            assert not decide(WakePolicy(evidence="database"), compute.facts, state, NOW + 7200).allow
        assert (compute.facts.last_active, compute.facts.started_at) == (None, None)


async def test_the_next_look_reads_what_moved_or_may_be_awake_and_nothing_else(
    plane: ControlPlane, store: Store
) -> None:
    InventoryStore(store, API).save(await look(plane))
    found = load(store, NOW + 60)
    plane.now = NOW + 60
    plane.projects["beta"]["updated_at"] = stamp(NOW + 30)
    plane.count()
    again = await look(plane, found)
    counts = plane.count()
    assert counts.get("/projects/beta/endpoints") == 1 and "/projects/alpha/endpoints" not in counts
    assert not again.unknown_project_ids and not again.unread_project_ids and not again.recalled
    del plane.projects["gamma"]
    assert sorted((await look(plane, again)).projects) == ["alpha", "beta"]


async def test_only_what_changed_is_written_and_what_is_gone_leaves(plane: ControlPlane, store: Store) -> None:
    inventories = InventoryStore(store, API)
    first = await look(plane)
    inventories.save(first)
    written: list[str] = []
    assert store._writer is not None
    store._writer.set_trace_callback(
        lambda sql: written.append(sql) if sql.startswith("INSERT INTO inventory_project") else None
    )
    plane.projects["beta"]["updated_at"] = stamp(NOW + 30)
    second = await look(plane, first)
    inventories.save(second)
    assert len(written) == 1 and "'beta'" in written[0]
    inventories.save(second)
    assert len(written) == 1
    del plane.projects["gamma"]
    inventories.save(await look(plane, second))
    found = load(store, NOW)
    assert found is not None and sorted(found.projects) == ["alpha", "beta"]
    left = load(store, NOW, without="alpha")
    assert left is not None and sorted(left.projects) == ["beta"] and left.excluded_project_ids == {"alpha"}


@pytest.mark.parametrize(
    ("damage", "known", "says"),
    [
        ("UPDATE inventory_account SET format = '0.old'", None, "another format"),
        ("UPDATE inventory_account SET body = x'00ff'", None, "damaged"),
        ("UPDATE inventory_project SET body = x'00ff' WHERE project_id = 'beta'", ["alpha", "gamma"], "1 of 3"),
        ("UPDATE inventory_project SET body = substr(body, 1, 40) WHERE project_id > 'b'", ["alpha"], "2 of 3"),
    ],
)
async def test_a_damaged_or_foreign_one_costs_only_the_fast_start(
    plane: ControlPlane,
    store: Store,
    caplog: pytest.LogCaptureFixture,
    damage: str,
    known: list[str] | None,
    says: str,
) -> None:
    InventoryStore(store, API).save(await look(plane))
    with store.transaction() as cursor:
        cursor.execute(damage)
    with caplog.at_level(logging.INFO):
        found = load(store, NOW)
    assert (found and sorted(found.projects)) == known
    assert len(caplog.records) == 1 and says in caplog.text
    whole = await look(plane, found)
    assert sorted(whole.projects) == ["alpha", "beta", "gamma"]
    InventoryStore(store, API).save(whole)
    again = load(store, NOW)
    assert again is not None and sorted(again.projects) == ["alpha", "beta", "gamma"]


async def test_one_of_another_account_is_not_shown(plane: ControlPlane, store: Store) -> None:
    InventoryStore(store, API).save(await look(plane))
    assert InventoryStore(store, "https://elsewhere").load(None, lambda *_: True, NOW) is None
    assert load(store, NOW, org_id="org-two") is None


async def test_parts_name_what_they_do_not_know(
    plane: ControlPlane, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "PART_SECONDS", 0.0)
    InventoryStore(store, API).save(await look(plane))
    before = load(store, NOW)
    plane.add("delta")
    parts: list[Inventory] = []

    async def take(part: Inventory) -> None:
        parts.append(part)

    whole = await look(plane, before, on_part=take, full=True)
    everything = frozenset(whole.projects)
    known = before
    for part in parts:
        assert not part.complete
        assert part.projects.keys() | part.unknown_project_ids == everything
        assert not part.projects.keys() & part.unknown_project_ids
        known = merged(known, part)
        assert known.projects.keys() | known.unknown_project_ids == everything
        assert known.unread_project_ids <= known.unknown_project_ids
        assert {compute.place.project_id for compute in computes(known) if compute.facts.read_at is None} <= (
            known.unread_project_ids
        )
    assert whole.complete and not whole.unread_project_ids
