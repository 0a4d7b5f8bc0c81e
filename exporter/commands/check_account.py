"""The part of `neonmeter check` about the account: whose key it is, what it sees, and what a plan has no usage of.

A key of a person sees what its person sees; a key of an organisation that organisation; a key that is limited to a
project that project, and neither consumption nor members.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import NamedTuple

from collectors.neon.account import read_key
from collectors.neon.client import NeonClient
from collectors.neon.errors import NeonError
from collectors.neon.inventory import Inventory
from collectors.neon.organizations import by_organization, without_organization
from exporter.cost.domain.quota import runs_out
from exporter.cost.quotas import ProjectQuotas, read_quotas
from exporter.documents.terminal import counted
from exporter.pricing.free_plan import FREE_PLANS

_UNKNOWN_KEY = "Neon does not tell this key whose it is; what it can do shows below"
_REACH = {
    "api_key_user": "it sees the organisations that its person is a member of",
    "api_key_org": "it sees that organisation, or one project of it",
}


class AccountLine(NamedTuple):
    """What was looked at, whether it is as it should be (None: nothing to look at), and what it means or what to do."""

    what: str
    works: bool | None
    detail: str


async def key_line(client: NeonClient) -> AccountLine | None:
    """Whose key it is; None where Neon did not answer, which the next row says."""
    try:
        details = await read_key(client)
    except NeonError:
        return None
    if details is None:
        return AccountLine("API key", None, _UNKNOWN_KEY)
    reach = _REACH.get(details.auth_method, "its kind is new here; what it can do shows below")
    return AccountLine("API key", True, f"{details.text}: {reach}")


def organization_lines(found: Inventory) -> Iterator[AccountLine]:
    """A row for each organisation where there are several, and one for what belongs to none of them."""
    for part in by_organization(found) if len(found.organizations) > 1 else ():
        (org,) = part.organizations
        managed = f", managed by {org.managed_by}" if org.managed_by not in ("", "console") else ""
        text = f"{org.id}, plan {org.plan or 'unknown'}{managed}: {counted(len(part.projects), 'project')}"
        yield AccountLine(f"organisation {org.name or org.id}", True, text)
    lost = without_organization(found) if len(found.organizations) > 1 else ()
    if lost:
        why = "belong to no organisation that the key shows: no consumption and cost; add its person to theirs"
        yield AccountLine("organisation", False, f"{counted(len(lost), 'project')} ({', '.join(lost[:5])}) {why}")


def free_line(part: Inventory) -> AccountLine | None:
    """What stands for the consumption of a Free account, of which Neon has no history; None for any other."""
    if part.plan not in FREE_PLANS:
        return None
    text = "the Free plan has no consumption history and no bill; what it allows is in neon_quota_limit"
    return AccountLine("consumption", None, text)


async def quota_lines(client: NeonClient, found: Inventory) -> list[AccountLine]:
    """A row for each project with limits: what is used up, what will be, and until when its computes are suspended."""
    now = time.time() + found.skew
    return [_quota_line(entry, now) async for entry in read_quotas(client, found, now)]


def _quota_line(found: ProjectQuotas, now: float) -> AccountLine:
    what, project = f"quota {found.project.name}", found.project
    if found.failed is not None:
        return AccountLine(what, False, found.failed.message)
    end = project.consumption_period_end
    until = f"until {_day(end)}" if end else "until the next billing period"
    if found.suspended:
        names = ", ".join(f"{quota.name} ({quota.used:,} of {quota.limit:,})" for quota in found.suspended)
        remedy = "raise the quota in the project's settings" if found.suspended[0].source == "settings" else "upgrade"
        return AccountLine(what, False, f"suspended by quota {until}: {names} used up; {remedy} to go on before")
    full = [quota for quota in found.quotas if quota.reached]
    if full:
        names = ", ".join(f"{quota.name} ({quota.used:,} of {quota.limit:,})" for quota in full)
        return AccountLine(what, False, f"used up: {names}; no more can be stored or made")
    soon = {quota.name: out for quota in found.quotas if (out := runs_out(quota, found.period, now)) is not None}
    if soon:
        days = ", ".join(f"{name} on {_day(out)}" for name, out in sorted(soon.items(), key=lambda item: item[1]))
        return AccountLine(what, False, f"used up before the period ends, at the pace so far: {days}")
    shares = (f"{quota.name} {_share(quota.used, quota.limit)}" for quota in found.quotas)
    return AccountLine(what, True, ", ".join(shares))


def _share(used: int | None, limit: int) -> str:
    return "unknown" if used is None else f"{100 * used / limit:.0f}%"


def _day(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d}"
