"""Every kind of key and account, as Neon was recorded to answer it: what is watched, and what a person is told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from collectors.base import Status
from collectors.metric import Scope
from collectors.neon.account import read_key
from collectors.neon.client import NeonClient
from collectors.neon.errors import NeonError
from collectors.neon.inventory import Inventory, observe, refresh
from collectors.neon.organizations import by_organization
from tests.fix_evidence import EvidenceServer, playing


@asynccontextmanager
async def connected(server: EvidenceServer) -> AsyncIterator[NeonClient]:
    async def no_sleep(seconds: float) -> None:
        return None

    async with NeonClient(server.url, lambda: "napi_evidence", burst=1000, timeout=120, sleep=no_sleep) as client:
        yield client


async def look(server: EvidenceServer, previous: Inventory | None = None, **options: Any) -> Inventory:
    async with connected(server) as client:
        return await refresh(client, previous, **options)


async def test_a_personal_key_sees_every_organisation() -> None:
    with playing("personal_several") as server:
        inventory = await look(server)
        assert sorted(inventory.projects) == ["north-one-1", "shop-one-1"] and not inventory.notes
        assert inventory.org_id == "", "there is no single one"
        parts = {part.org_id: part for part in by_organization(inventory)}
        assert {key: sorted(part.projects) for key, part in parts.items()} == {
            "org-agency-shop-2": ["shop-one-1"],
            "org-north-wind-1": ["north-one-1"],
        }
        assert parts["org-agency-shop-2"].plan == "free" and parts["org-north-wind-1"].plan == "launch"
        assert not set(parts["org-agency-shop-2"].branches) & set(parts["org-north-wind-1"].branches)
        orgs = {entry.target.labels for entry in observe(inventory) if entry.target.scope is Scope.ORG}
        assert orgs == {("org-agency-shop-2",), ("org-north-wind-1",)}
        only = await look(server, org_id="org-agency-shop-2")
        assert sorted(only.projects) == ["shop-one-1"] and only.org_id == "org-agency-shop-2"


@pytest.mark.parametrize("status", [403, 404])
async def test_an_organisation_that_refuses_costs_the_others_nothing(status: int) -> None:
    with playing("personal_several") as server:
        first = await look(server)
        server.answers["/projects?org_id=org-agency-shop-2"] = (status, {"message": "no"})
        second = await look(server, first)
        assert sorted(second.projects) == ["north-one-1", "shop-one-1"], "what was known of it is not gone"
        assert second.unknown_project_ids == {"shop-one-1"}
        assert any("Shop" in note and f"HTTP {status}" in note for note in second.notes)
        server.answers["/projects?org_id=org-north-wind-1"] = (status, {"message": "no"})
        with pytest.raises(NeonError):
            await look(server, second)


async def test_a_personal_key_of_no_organisation_is_told_what_to_do() -> None:
    with playing("personal_none") as server:
        with pytest.raises(NeonError) as caught:
            await look(server)
        assert caught.value.status is Status.NO_PRIVILEGE
        for word in ("no organisation", "neon.org_id", "neon.include", "org_id is required"):
            assert word in caught.value.message
        assert "neon.api_url" not in caught.value.message


async def test_a_key_of_an_organisation_tells_which() -> None:
    with playing("organisation") as server:
        inventory = await look(server)
        assert inventory.org_id == "org-north-wind-1" and sorted(inventory.projects) == ["north-one-1"]
        assert not inventory.notes and inventory.plan == "launch"


async def test_a_key_of_one_project_reads_the_project_that_is_named() -> None:
    with playing("project") as server:
        with pytest.raises(NeonError, match=r"neon\.include"):
            await look(server)
        inventory = await look(server, include=["north-one-1"])
        assert sorted(inventory.projects) == ["north-one-1"] and inventory.plan == "launch"
        assert any("may not list projects" in note for note in inventory.notes)


@pytest.mark.parametrize(
    ("account", "words"),
    [
        ("personal_several", "a personal key of account 6a1f0c52"),
        ("organisation", "a key of an organisation of account org-north-wind-1"),
    ],
)
async def test_whose_key_it_is(account: str, words: str) -> None:
    with playing(account) as server:
        async with connected(server) as client:
            details = await read_key(client)
            assert details is not None and details.text.startswith(words)
            server.answers["/auth"] = (404, {"message": "no"})
            assert await read_key(client) is None


async def test_counters_that_neon_leaves_at_zero_are_absent() -> None:
    with playing("as_it_is") as server:
        inventory = await look(server)
    families = next(entry.families for entry in observe(inventory) if entry.target.labels == ("north-one-1",))
    series = {metric.name: values for metric, values in families.items()}
    assert "neon_project_storage_bytes" not in series
    assert series["neon_branch_active_seconds_total"] == {("br-read-2",): 922}
    assert series["neon_branch_compute_unit_seconds_total"] == {("br-read-2",): 230}
    assert series["neon_branch_written_bytes_total"] == {("br-read-2",): 0}, "it was awake, so a zero was counted"
    assert series["neon_branch_data_transfer_bytes_total"] == {("br-read-2",): 0, ("br-main-1",): 72911}
    assert ("br-main-1", "ep-copy-2") not in series["neon_endpoint_last_active_timestamp_seconds"]
    assert len(series["neon_endpoint_info"]) == 3 and series["neon_endpoint_pending"][("br-read-2", "ep-new-3")] == 1
