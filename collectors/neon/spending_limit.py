"""The spending limit that an organisation has set at Neon: a budget that is there already.

It only notifies, at 80 and at 100 %; Neon suspends nothing. Not every plan has it, and not every key may read it.
"""

from __future__ import annotations

from pydantic import BaseModel

from collectors.base import Status
from collectors.neon.client import NeonClient
from collectors.neon.errors import NeonError


class SpendingLimitAnswer(BaseModel):
    """``GET /organizations/{org_id}/billing/spending_limit``."""

    spending_limit_cents: int | None = None


async def read_spending_limit(client: NeonClient, org_id: str) -> int | None:
    """US cents a month; None where no limit is set, or the plan has none, or the key may not see it.

    Raises:
        NeonError: Neon did not answer.
    """
    try:
        answer, _ = await client.get(f"/organizations/{org_id}/billing/spending_limit", None, SpendingLimitAnswer)
    except NeonError as problem:
        if problem.status in (Status.UNSUPPORTED, Status.NO_PRIVILEGE):
            return None
        raise
    return answer.spending_limit_cents
