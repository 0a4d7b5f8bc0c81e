"""Whose projects a key can see: an organisation's, a person's, or one project only; each kind of key works.

Neon has no call that says what a key may do for every kind of key, so this asks what it would use anyway and takes a
refusal as the answer. What a key cannot do becomes a note for a person, not a failure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from pydantic import BaseModel

from collectors.base import Status
from collectors.neon.client import Listing, NeonClient
from collectors.neon.errors import NeonError, one_line
from collectors.neon.models import Organization, OrganizationPage, Project, ProjectAnswer, ProjectPage

_REFUSED = frozenset({403, 404})
_LIST_TIMEOUT_MS = 20_000
"""After this long Neon answers with what it has; the rest of the ids come as unavailable."""
_GLOB = frozenset("*?[")


@dataclass(frozen=True, slots=True)
class Account:
    """The organisation at hand. ``org_id`` is empty when there is none or the key does not show it."""

    org_id: str = ""
    org_name: str = ""
    plan: str = ""
    notes: tuple[str, ...] = ()
    requests: int = 0


async def find_account(client: NeonClient, org_id: str | None) -> Account:
    """The configured organisation, or the only one that the key can see.

    Raises:
        NeonError: the key is refused, several organisations are possible, or Neon does not answer.
    """
    if org_id:
        return await _describe(client, Account(org_id=org_id))
    try:
        listing = await client.pages("/users/me/organizations", {}, OrganizationPage)
    except NeonError as problem:
        if problem.http_status in _REFUSED:  # not a user's key: the projects show the owner
            return Account(requests=1)
        raise
    found = listing.items
    if len(found) > 1:
        names = ", ".join(f"{org.id} ({one_line(org.name, 60)})" for org in found[:10])
        raise NeonError(
            Status.UNSUPPORTED,
            f"the API key can see {len(found)} organisations: {names}; set neon.org_id to the one to watch",
        )
    if not found:
        note = "the API key belongs to no organisation: its personal projects are listed, without consumption and cost"
        return Account(notes=(note,), requests=listing.pages)
    return Account(found[0].id, found[0].name, found[0].plan, requests=listing.pages)


async def settle_account(client: NeonClient, account: Account, projects: Sequence[Project]) -> Account:
    """Complete the account from the projects that the key can list: their organisation, and a plan.

    Raises:
        NeonError: Neon does not answer.
    """
    if not account.org_id:
        owners = {project.org_id: project.org_name for project in projects if project.org_id}
        if len(owners) > 1:
            names = ", ".join(sorted(owners)[:10])
            note = (
                f"the projects belong to several organisations ({names}): set neon.org_id to see consumption and cost"
            )
            return replace(account, notes=(*account.notes, note))
        if owners:
            ((org_id, org_name),) = owners.items()
            account = await _describe(client, replace(account, org_id=org_id, org_name=org_name))
    if not account.plan and projects:
        account = replace(account, plan=await _plan_of(client, projects[0]), requests=account.requests + 1)
    return account


async def _describe(client: NeonClient, account: Account) -> Account:
    asked = replace(account, requests=account.requests + 1)
    try:
        org, _ = await client.get(f"/organizations/{account.org_id}", None, Organization)
    except NeonError as problem:
        if problem.http_status not in _REFUSED:
            raise
        note = (
            f"the API key may not read the organisation {account.org_id} (HTTP {problem.http_status}): it is limited to"
            " a project, or neon.org_id is wrong; consumption and cost need a key of the organisation"
        )
        return replace(asked, notes=(*account.notes, note))
    return replace(asked, org_id=org.id, org_name=org.name, plan=org.plan)


async def _plan_of(client: NeonClient, project: Project) -> str:
    if project.owner is not None:
        return project.owner.subscription_type
    try:
        answer, _ = await client.get(f"/projects/{project.id}", None, ProjectAnswer)
    except NeonError as problem:
        if problem.http_status in _REFUSED:
            return ""
        raise
    return answer.project.owner.subscription_type if answer.project.owner else ""


async def list_projects(
    client: NeonClient, org_id: str, include: Iterable[str]
) -> tuple[Listing[Project], tuple[str, ...]]:
    """All projects that the key can see, and notes; a key that may not list reads those that ``include`` names by id.

    Raises:
        NeonError: nothing can be listed and nothing is named, or Neon does not answer.
    """
    params: dict[str, str | int] = {"limit": 400, "timeout": _LIST_TIMEOUT_MS}
    if org_id:
        params["org_id"] = org_id
    try:
        return await client.pages("/projects", params, ProjectPage), ()
    except NeonError as problem:
        if problem.http_status not in _REFUSED:
            raise
        refusal = problem
    named = [pattern for pattern in include if not _GLOB & set(pattern)]
    if not named:
        raise NeonError(
            Status.NO_PRIVILEGE,
            f"the API key may not list projects (HTTP {refusal.http_status}): if it is limited to one project, put that"
            " project's id into neon.include; else use a key of the organisation",
            refusal.request_id,
            refusal.http_status,
        )
    return await _named_projects(client, named)


async def _named_projects(client: NeonClient, ids: Sequence[str]) -> tuple[Listing[Project], tuple[str, ...]]:
    notes = [
        "the API key may not list projects: only those that neon.include names by id are read,"
        " and consumption and cost need a key of the organisation"
    ]
    projects: list[Project] = []
    unavailable: set[str] = set()
    server_now, last = 0.0, None
    for project_id in ids:
        try:
            answer, server_now = await client.get(f"/projects/{project_id}", None, ProjectAnswer)
            projects.append(answer.project)
        except NeonError as problem:
            last = problem
            if problem.status is Status.AUTH:
                raise
            notes.append(f"project {one_line(project_id, 60)}: {problem.message}")
            if problem.http_status not in _REFUSED:
                unavailable.add(project_id)
    if not projects and last is not None:
        raise last
    return Listing(tuple(projects), server_now, len(ids), unavailable=frozenset(unavailable)), tuple(notes)


class SpendingLimitAnswer(BaseModel):
    """``GET /organizations/{org_id}/billing/spending_limit``."""

    spending_limit_cents: int | None = None


async def read_spending_limit(client: NeonClient, org_id: str) -> int | None:
    """The spending limit that the organisation has set at Neon, in US cents a month.

    None where no limit is set, the plan has none, or the key may not see it. At 80 and at 100 % Neon notifies; it
    suspends nothing.

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
