"""Whose projects a key can see: organisations', a person's, or one project only; each kind of key works.

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
from collectors.neon.models import (
    KeyDetails,
    Organization,
    OrganizationPage,
    Project,
    ProjectAnswer,
    ProjectPage,
)

_REFUSED = frozenset({403, 404})
_LIST_TIMEOUT_MS = 20_000
"""After this long Neon answers with what it has; the rest of the ids come as unavailable."""
_GLOB = frozenset("*?[")
MOST_ORGANIZATIONS = 100
"""Each is a list request at every refresh; past this, the settings have to choose."""
NO_ORGANIZATION = (
    "the API key belongs to no organisation, and Neon lists projects only by organisation: set neon.org_id to the"
    " organisation's id (Neon console, Settings of the organisation), or use a key that was made in the organisation;"
    " or name the projects by id in neon.include, which shows them without consumption and cost"
)


@dataclass(frozen=True, slots=True)
class Account:
    """What the key can see: organisations (none when it shows none), the plan of the only one, and notes."""

    organizations: tuple[Organization, ...] = ()
    plan: str = ""
    notes: tuple[str, ...] = ()
    requests: int = 0

    @property
    def only(self) -> Organization | None:
        """The organisation, when there is exactly one."""
        return self.organizations[0] if len(self.organizations) == 1 else None

    @property
    def org_id(self) -> str:
        """Id of the only organisation; empty when there is none or more than one."""
        return self.only.id if self.only else ""

    @property
    def org_name(self) -> str:
        """Name of the only organisation."""
        return self.only.name if self.only else ""


async def read_key(client: NeonClient) -> KeyDetails | None:
    """Whose key it is, as ``GET /auth`` says; None where Neon does not tell this key.

    Raises:
        NeonError: the key is refused, or Neon does not answer.
    """
    try:
        return (await client.get("/auth", None, KeyDetails))[0]
    except NeonError as problem:
        if problem.http_status in _REFUSED:
            return None
        raise


async def find_account(client: NeonClient, org_id: str | None) -> Account:
    """The configured organisation, or every one that the key can see.

    Raises:
        NeonError: the key is refused, there are too many organisations, or Neon does not answer.
    """
    if org_id:
        return await _described(client, Account(), [Organization(id=org_id)])
    try:
        listing = await client.pages("/users/me/organizations", {}, OrganizationPage)
    except NeonError as problem:
        if problem.http_status not in _REFUSED:
            raise
        return await _of_organization_key(client)
    found = listing.items
    if len(found) > MOST_ORGANIZATIONS:
        names = ", ".join(f"{org.id} ({one_line(org.name, 60)})" for org in found[:10])
        raise NeonError(
            Status.UNSUPPORTED,
            f"the API key can see {len(found)} organisations, more than {MOST_ORGANIZATIONS} ({names}, ...): set"
            " neon.org_id to one, and start an agent for each",
        )
    if not found:
        note = "the API key belongs to no organisation: its personal projects are listed, without consumption and cost"
        return Account(notes=(note,), requests=listing.pages)
    return Account(tuple(sorted(found, key=lambda org: org.id)), _plan(found), requests=listing.pages)


async def _of_organization_key(client: NeonClient) -> Account:
    """The organisation that the key is of, when the key may read it; else the projects show their owner."""
    details = await read_key(client)
    if details is None or details.auth_method != "api_key_org" or not details.account_id:
        return Account(requests=2)
    try:
        org, _ = await client.get(f"/organizations/{details.account_id}", None, Organization)
    except NeonError as problem:
        if problem.http_status in _REFUSED:
            return Account(requests=3)
        raise
    return Account((org,), org.plan, requests=3)


def _plan(organizations: Sequence[Organization]) -> str:
    return organizations[0].plan if len(organizations) == 1 else ""


async def settle_account(client: NeonClient, account: Account, projects: Sequence[Project]) -> Account:
    """Complete the account from the projects that the key can list: their organisations, and a plan.

    Raises:
        NeonError: Neon does not answer.
    """
    if not account.organizations:
        owners = {project.org_id: project.org_name for project in projects if project.org_id}
        named = [Organization(id=org_id, name=name) for org_id, name in sorted(owners.items())]
        account = await _described(client, account, named)
    if not account.plan and len(account.organizations) < 2 and projects:
        account = replace(account, plan=await _plan_of(client, projects[0]), requests=account.requests + 1)
    return account


async def _described(client: NeonClient, account: Account, organizations: Sequence[Organization]) -> Account:
    """The account with these organisations, each as Neon describes it; with a note on those it does not."""
    found, notes = list[Organization](), list[str]()
    for org in organizations:
        try:
            found.append((await client.get(f"/organizations/{org.id}", None, Organization))[0])
        except NeonError as problem:
            if problem.http_status not in _REFUSED:
                raise
            found.append(org)
            notes.append(
                f"the API key may not read the organisation {org.id} (HTTP {problem.http_status}): it is limited to a"
                " project, or neon.org_id is wrong; consumption and cost need a key of the organisation"
            )
    return Account(tuple(found), _plan(found), (*account.notes, *notes), account.requests + len(organizations))


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
    client: NeonClient, account: Account, include: Iterable[str], known: Iterable[Project] = ()
) -> tuple[Listing[Project], tuple[str, ...]]:
    """All projects that the key can see, and notes; a key that may not list reads those that ``include`` names by id.

    ``known`` are the projects that are known already: when one of several organisations cannot be listed, its known
    projects come as unavailable. Deleted projects that Neon could still recover are left out.

    Raises:
        NeonError: nothing can be listed and nothing is named, or Neon does not answer.
    """
    try:
        if len(account.organizations) > 1:
            return await _of_several(client, account.organizations, known)
        return await _listed(client, account.org_id), ()
    except NeonError as problem:
        if problem.http_status not in (_REFUSED if account.organizations else _REFUSED | {400}):
            raise
        refusal = problem
    named = [pattern for pattern in include if not _GLOB & set(pattern)]
    if named:
        return await _named_projects(client, named)
    message = (
        f"the API key may not list projects (HTTP {refusal.http_status}): if it is limited to one project, put that"
        " project's id into neon.include; else use a key of the organisation"
    )
    if refusal.http_status == 400:
        message = f"{NO_ORGANIZATION}. {refusal.message}"
    raise NeonError(Status.NO_PRIVILEGE, message, refusal.request_id, refusal.http_status)


async def _listed(client: NeonClient, org_id: str, **params: str | int) -> Listing[Project]:
    params |= {"limit": 400, "timeout": _LIST_TIMEOUT_MS}
    if org_id:
        params["org_id"] = org_id
    listing = await client.pages("/projects", params, ProjectPage)
    if "recoverable" in params:
        return listing
    return replace(listing, items=tuple(row for row in listing.items if row.deleted_at is None))


async def _of_several(
    client: NeonClient, organizations: Sequence[Organization], known: Iterable[Project]
) -> tuple[Listing[Project], tuple[str, ...]]:
    """The lists of several organisations as one; one that cannot be read costs the others nothing."""
    rows, known = dict[str, Project](), tuple(known)
    notes, unavailable, pages, bad, truncated = list[str](), set[str](), 0, 0, False
    server_now, last = 0.0, None
    for org in organizations:
        try:
            listing = await _listed(client, org.id)
        except NeonError as problem:
            if problem.status in (Status.AUTH, Status.RATE_LIMITED):
                raise
            last = problem
            notes.append(f"the projects of the organisation {one_line(org.name or org.id, 60)}: {problem.message}")
            unavailable |= {project.id for project in known if project.org_id == org.id}
            continue
        # A project belongs to the organisation that lists it, also where its row does not say so.
        rows |= {row.id: row if row.org_id else row.model_copy(update={"org_id": org.id}) for row in listing.items}
        unavailable |= listing.unavailable
        pages, bad, truncated = pages + listing.pages, bad + listing.bad_items, truncated or listing.truncated
        server_now = max(server_now, listing.server_now)
    if last is not None and not server_now:
        raise last
    return Listing(tuple(rows.values()), server_now, pages, truncated, bad, frozenset(unavailable)), tuple(notes)


async def read_recoverable(client: NeonClient, account: Account) -> tuple[Project, ...] | None:
    """Deleted projects that Neon can still bring back, with ``deleted_at`` and ``recoverable_until``.

    None where the key may not list them, or this Neon does not.

    Raises:
        NeonError: Neon does not answer.
    """
    found: list[Project] = []
    for org in account.organizations or (None,):
        try:
            listing = await _listed(client, org.id if org else "", recoverable="true")
        except NeonError as problem:
            if problem.http_status in _REFUSED | {400}:
                return None
            raise
        found += (row for row in listing.items if row.deleted_at is not None)
    return tuple(found)


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
