"""Paging: joined pages, cursors that repeat or never end, and what is only unavailable."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from collectors.neon import client as module
from collectors.neon.models import BranchPage, ProjectPage
from tests.collectors.neon.control_plane import ControlPlane


@pytest.fixture
def plane() -> ControlPlane:
    plane = ControlPlane()
    plane.add("alpha")
    return plane


async def test_pages_are_joined(plane: ControlPlane) -> None:
    for number in range(7):
        plane.add(f"p{number}")
    plane.page_size = 3
    async with plane.client() as client:
        listing = await client.pages("/projects", {"limit": 3}, ProjectPage)
    assert len(listing.items) == 8 and listing.pages == 3 and listing.complete


async def test_fewer_items_than_asked_for_are_the_last_page(plane: ControlPlane) -> None:
    for number in range(7):
        plane.add(f"p{number}")
    async with plane.client() as client:
        for limit, pages in ((400, 1), (9, 1), (8, 2), (5, 2), (4, 3), (1, 9)):
            plane.page_size = limit
            listing = await client.pages("/projects", {"limit": limit}, ProjectPage)
            assert len(listing.items) == 8 and listing.pages == pages and listing.complete, limit


def page(ids: str, **pagination: str) -> dict[str, Any]:
    return {"branches": [{"id": name, "project_id": "p"} for name in ids], "pagination": pagination}


@pytest.mark.parametrize(
    ("pages", "items", "truncated"),
    [
        ([page("ab", next="1"), page("c")], "abc", False),
        ([page("ab", next="1"), page("c", next="")], "abc", False),
        ([page("ab", next="1"), page("", next="2")], "ab", False),
        ([page("ab", next="1"), page("", next="1")], "ab", False),
        ([page("ab", next="1"), page("ab", next="1")], "abab", True),
        ([page("ab", next="1"), page("c", next="2"), page("a", next="1")], "abca", True),
    ],
)
async def test_paging_ends(plane: ControlPlane, pages: list[dict[str, Any]], items: str, truncated: bool) -> None:
    answers = iter(pages)
    plane.faults = [lambda request: httpx.Response(200, json=next(answers))]
    async with plane.client() as client:
        listing = await client.pages("/projects/p/branches", {}, BranchPage)
    assert "".join(branch.id for branch in listing.items) == items
    assert listing.truncated is truncated and listing.pages == len(pages)


async def test_endless_cursors_end(plane: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_PAGES", 20)
    plane.faults = [
        lambda request: httpx.Response(200, json=page("ab"[len(plane.requests) % 2], next=f"n{len(plane.requests)}"))
    ]
    async with plane.client() as client:
        listing = await client.pages("/projects/p/branches", {}, BranchPage)
    assert listing.truncated and len(plane.requests) == 20


async def test_a_server_that_takes_no_cursor_is_found_out(plane: ControlPlane) -> None:
    plane.faults = [lambda request: httpx.Response(200, json=page("ab", next=f"n{len(plane.requests)}"))]
    async with plane.client() as client:
        listing = await client.pages("/projects/p/branches", {"limit": 2}, BranchPage)
    assert listing.truncated and len(plane.requests) == 2


async def test_a_page_of_only_unavailable_projects_is_not_the_end(plane: ControlPlane) -> None:
    answers = iter([
        {"projects": [], "unavailable_project_ids": ["x"], "pagination": {"cursor": "1"}},
        {"projects": [{"id": "a"}], "unavailable_project_ids": ["y"]},
    ])  # fmt: skip
    plane.faults = [lambda request: httpx.Response(200, json=next(answers))]
    async with plane.client() as client:
        listing = await client.pages("/projects", {}, ProjectPage)
    assert listing.unavailable == {"x", "y"} and len(listing.items) == 1
