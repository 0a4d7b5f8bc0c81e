"""Neon's spending limit: read from the twin; absent for a plan or a key that has none."""

from __future__ import annotations

import httpx
import pytest

from collectors.base import Status
from collectors.neon.account import read_spending_limit
from collectors.neon.client import NeonClient
from collectors.neon.errors import NeonError
from tests.collectors.neon.control_plane import KEY
from tests.fix_twin import Twin


async def test_the_twin_has_one(twin_api: Twin) -> None:
    async with NeonClient(twin_api.url, lambda: twin_api.key) as client:
        assert await read_spending_limit(client, twin_api.world.org_id) == 2500
        assert await read_spending_limit(client, "org-of-nobody") is None
    assert twin_api.api.non_get == 0


def answering(status: int, text: str) -> NeonClient:
    def answer(request: httpx.Request) -> httpx.Response:
        assert request.url.path.endswith("/organizations/org-1/billing/spending_limit")
        return httpx.Response(status, text=text, headers={"content-type": "application/json"})

    async def at_once(seconds: float) -> None:
        del seconds

    return NeonClient("http://neon.test", lambda: KEY, transport=httpx.MockTransport(answer), sleep=at_once)


@pytest.mark.parametrize(
    ("status", "text", "cents"),
    [(200, '{"spending_limit_cents": 9223372036854775807}', 2**63 - 1), (200, '{"spending_limit_cents": null}', None),
     (403, '{"message": "not on this plan"}', None), (404, '{"message": "no such thing"}', None)],
)  # fmt: skip
async def test_a_limit_or_none(status: int, text: str, cents: int | None) -> None:
    async with answering(status, text) as client:
        assert await read_spending_limit(client, "org-1") == cents


async def test_an_outage_is_told() -> None:
    async with answering(401, '{"message": "who?"}') as client:
        with pytest.raises(NeonError) as caught:
            await read_spending_limit(client, "org-1")
    assert caught.value.status is Status.AUTH
