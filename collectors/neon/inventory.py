"""The inventory: projects, branches and computes, read from Neon at the price of what changed.

One list call shows which projects moved; only those, and those with a compute that is awake, are read again. What Neon
cannot answer in time is unknown, never deleted: its last known state stays, marked. Nothing here wakes a compute.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Protocol, TypeVar

from collectors.base import Observation, Status, Target
from collectors.metric import Families, Scope
from collectors.neon.account import Account, find_account, list_projects, settle_account
from collectors.neon.client import Listing, NeonClient
from collectors.neon.domain.pace import reread_seconds, spread
from collectors.neon.errors import NeonError
from collectors.neon.models import Branch, BranchPage, Endpoint, EndpointPage, Organization, Project
from collectors.neon.project_metrics import (
    KNOWN_PROJECTS,
    METRICS,
    UNKNOWN_PROJECTS,
    observe_organizations,
    project_families,
)
from collectors.slices import in_slices

__all__ = ["METRICS", "Holding", "Inventory", "observe", "refresh"]

NAME = "inventory"
_FAN_OUT = 8
"""Past about ten in flight, more only hides round trips, and the token bucket decides anyway."""
_BRANCHES_SECONDS = 300.0
"""An active project changes at every refresh; the sizes of its branches are read again this often, not each time."""
_LARGE = 500
"""Branches and computes of one project from which on its series are made in a worker thread."""
_FAILURES_TO_STOP = _FAN_OUT
"""Failures in a row: as many as requests under way at once, so that a few failing projects do not look like an API that
is down."""
READ_AT_EVERY_LOOK = 40
"""In an organisation of at most so many projects, their computes are read at every refresh: the list of projects shows
late that one woke, and a visit must come soon after. It is a tenth of our share of Neon's rate limit."""


class _Identified(Protocol):
    @property
    def id(self) -> str: ...


Item = TypeVar("Item", bound=_Identified)


@dataclass(frozen=True, slots=True, eq=False)
class Holding:
    """One project with its branches and computes, and when which part was read (unix seconds of this machine).

    ``families`` is the same object as long as nothing in it changed, so that publishing can see that at once.
    """

    project: Project
    branches: tuple[Branch, ...]
    endpoints: tuple[Endpoint, ...]
    families: Families
    branches_at: float
    branches_marks: tuple[object, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Inventory:
    """The account at one refresh.

    ``projects``, ``branches`` and ``endpoints`` are by id and hold the last known state also of what is in
    ``unknown_project_ids``: such a state is no ground for connecting to a compute. ``notes`` are degradations, each a
    sentence for a person. ``excluded_project_ids`` are those that the key can see and the settings leave out.
    ``server_now`` is the API's clock at the end of the round, ``skew`` that clock minus ours, both to about a second.
    ``taken_at`` is our clock. ``org_id``, ``org_name`` and ``plan`` are empty when the key does not show them, and of
    several organisations: then ``organizations`` names them.
    """

    org_id: str
    org_name: str
    plan: str
    projects: Mapping[str, Project]
    branches: Mapping[str, Branch]
    endpoints: Mapping[str, Endpoint]
    unknown_project_ids: frozenset[str]
    notes: tuple[str, ...]
    server_now: float
    skew: float
    taken_at: float
    requests: int
    holdings: Mapping[str, Holding] = field(repr=False, default_factory=dict)
    account: Account = field(repr=False, default_factory=Account)
    excluded_project_ids: frozenset[str] = frozenset()
    listed: Mapping[str, Project] = field(repr=False, default_factory=dict)
    """Every project that the settings select, as listed, also those that another shard reads; by id."""
    reread_seconds: float = 0.0
    """The age at which a project is read again though nothing in its list row moved."""

    @property
    def of_account(self) -> Inventory:
        """The same with every listed project; branches and computes only of those that are read here."""
        missing = self.listed.keys() - self.projects.keys()
        return self if not missing else replace(self, projects={**self.listed, **self.projects})

    @property
    def organizations(self) -> tuple[Organization, ...]:
        """Every organisation that is watched, by id."""
        only = (Organization(id=self.org_id, name=self.org_name, plan=self.plan),) if self.org_id else ()
        return self.account.organizations or only

    @property
    def title(self) -> str:
        """The organisations for a person; empty when there is none."""
        return ", ".join(org.name or org.id for org in self.organizations)


async def refresh(
    client: NeonClient,
    previous: Inventory | None,
    *,
    org_id: str | None = None,
    include: Sequence[str] = ("*",),
    exclude: Sequence[str] = (),
    owns: Callable[[str], bool] = bool,
    full: bool = False,
    clock: Callable[[], float] = time.time,
) -> Inventory:
    """Read what changed since ``previous``. ``include`` and ``exclude`` are globs on project ids and names.

    ``owns`` says by id which of the listed projects are read here: by default all, otherwise a shard's.

    Raises:
        NeonError: the account or the list of projects cannot be read; ``previous`` is then still the best there is.
    """
    base, known = (previous.account, previous.holdings) if previous is not None else (Account(), {})
    fresh = previous is None or full or (bool(org_id) and base.org_id != org_id)
    account = await find_account(client, org_id) if fresh else replace(base, requests=0)
    listing, list_notes = await list_projects(client, account, include, (row.project for row in known.values()))
    skew = listing.server_now - clock()
    listed, rows = await asyncio.to_thread(_selection, listing, include, exclude, owns)
    if fresh:
        account = await settle_account(client, account, list(listed.values()))
    reads = _Round(client, clock, listing.server_now, full or previous is None, len(rows))
    holdings = await reads.read(rows, known)
    unknown = {*filter(owns, _unlisted(listing, rows, known, include, exclude))}
    holdings |= {key: known[key] for key in unknown & known.keys() - holdings.keys()}
    projects, branches, endpoints = await asyncio.to_thread(_by_id, holdings)
    return Inventory(
        org_id=account.org_id,
        org_name=account.org_name,
        plan=account.plan,
        projects=projects,
        branches=branches,
        endpoints=endpoints,
        unknown_project_ids=frozenset(unknown | reads.failed.keys()),
        notes=(*account.notes, *list_notes, *_listing_notes(listing, unknown), *reads.notes()),
        server_now=reads.server_now,
        skew=skew,
        taken_at=clock(),
        requests=account.requests + listing.pages + reads.requests,
        holdings=holdings,
        account=account,
        excluded_project_ids=_left_out(listing, listed, previous),
        listed=listed,
        reread_seconds=reads.max_age,
    )


def _selection(
    listing: Listing[Project], include: Sequence[str], exclude: Sequence[str], owns: Callable[[str], bool]
) -> tuple[dict[str, Project], dict[str, Project]]:
    """The listed projects that the settings select, and those of them that are read here."""
    listed = {row.id: row for row in listing.items if _selected(row.id, row.name, include, exclude)}
    return listed, {project_id: row for project_id, row in listed.items() if owns(project_id)}


def _by_id(
    holdings: Mapping[str, Holding],
) -> tuple[dict[str, Project], dict[str, Branch], dict[str, Endpoint]]:
    """All projects, branches and computes."""
    projects = {project_id: holding.project for project_id, holding in holdings.items()}
    branches = {branch.id: branch for holding in holdings.values() for branch in holding.branches}
    endpoints = {endpoint.id: endpoint for holding in holdings.values() for endpoint in holding.endpoints}
    return projects, branches, endpoints


def _left_out(listing: Listing[Project], rows: Mapping[str, Project], previous: Inventory | None) -> frozenset[str]:
    """Projects that were listed and not selected; of those that could not be listed, the ones left out before."""
    before = previous.excluded_project_ids - rows.keys() if previous is not None else frozenset()
    unlisted = before & listing.unavailable if listing.complete else before
    return frozenset({row.id for row in listing.items} - rows.keys() | unlisted)


def _selected(project_id: str, name: str, include: Iterable[str], exclude: Iterable[str]) -> bool:
    def matches(globs: Iterable[str]) -> bool:
        return any(fnmatchcase(project_id, glob) or fnmatchcase(name, glob) for glob in globs)

    return matches(include) and not matches(exclude)


def _unlisted(
    listing: Listing[Project],
    rows: Mapping[str, Project],
    known: Mapping[str, Holding],
    include: Sequence[str],
    exclude: Sequence[str],
) -> set[str]:
    """Projects that this list does not contain although they may exist."""
    unknown = {
        project_id
        for project_id in listing.unavailable
        if project_id not in rows and (project_id in known or _selected(project_id, project_id, include, exclude))
    }
    if not listing.complete:
        unknown |= known.keys() - rows.keys()
    return unknown


def _listing_notes(listing: Listing[Project], unknown: set[str]) -> list[str]:
    notes = []
    if listing.unavailable:
        notes.append(f"Neon could not fetch {len(listing.unavailable)} projects in time: {_some(listing.unavailable)}")
    if listing.truncated:
        notes.append(f"the list of projects repeats itself after {listing.pages} pages: there may be more projects")
    if listing.bad_items:
        notes.append(f"{listing.bad_items} items of the list of projects could not be read and are left out")
    if unknown - listing.unavailable:
        notes.append(f"{len(unknown - listing.unavailable)} projects are shown as last known")
    return notes


def _some(names: Iterable[str]) -> str:
    ordered = sorted(names)
    return ", ".join(ordered[:5]) + (f" and {len(ordered) - 5} more" if len(ordered) > 5 else "")


class _Round:
    """The reads of one refresh: which projects, how many at once, and when to stop asking an API that fails."""

    def __init__(
        self, client: NeonClient, clock: Callable[[], float], server_now: float, full: bool, projects: int
    ) -> None:
        self._client = client
        self._clock = clock
        self._full = full
        self.max_age = reread_seconds(projects, client.requests_per_minute)
        """A project that is older is read again, moved or not."""
        self._gate = asyncio.Semaphore(_FAN_OUT)
        self._stopped: NeonError | None = None
        self.server_now = server_now
        self.requests = 0
        self.every = projects <= READ_AT_EVERY_LOOK
        """Whether the computes of every project are read, moved or not."""
        self.failed: dict[str, NeonError] = {}
        self._bad = 0
        self._failures_in_a_row = 0

    async def read(self, rows: Mapping[str, Project], known: Mapping[str, Holding]) -> dict[str, Holding]:
        """The holdings of all rows; a project that could not be read has its previous one."""
        now = self._clock()
        done = await in_slices(rows.values(), lambda row: self._project(row, known.get(row.id), now))
        return {holding.project.id: holding for holding in done if holding is not None}

    def notes(self) -> list[str]:
        """What went wrong, in sentences."""
        notes = []
        if self.failed:
            first = next(iter(self.failed.values()))
            notes.append(f"{len(self.failed)} projects could not be read: {_some(self.failed)}; {first.message}")
        if self._bad:
            notes.append(
                f"{self._bad} branches or computes could not be read and are shown as last known, or not at all"
            )
        return notes

    async def _project(self, row: Project, before: Holding | None, now: float) -> Holding | None:
        branches_due, endpoints_due = self._due(row, before, now)
        if before is not None and not branches_due and not endpoints_due:
            return _hold(
                before,
                row,
                before.branches,
                before.endpoints,
                branches_at=before.branches_at,
                marks=before.branches_marks,
            )
        async with self._gate:
            if self._stopped is not None:
                self.failed[row.id] = self._stopped
                return before
            try:
                holding = await self._read_project(row, before, branches_due, endpoints_due, now)
            except NeonError as problem:
                if problem.http_status == 404:  # deleted since the list was made
                    return None
                self._fail(row.id, problem)
                return before
            self._failures_in_a_row = 0
            return holding

    def _fail(self, project_id: str, problem: NeonError) -> None:
        self.failed[project_id] = problem
        self._failures_in_a_row += problem.status in (Status.TIMEOUT, Status.UNREACHABLE)
        # One failing project is no reason to stop; an API that fails is left alone until the next round.
        down = self._failures_in_a_row >= _FAILURES_TO_STOP
        if down or problem.status in (Status.AUTH, Status.RATE_LIMITED):
            self._stopped = problem

    def _due(self, row: Project, before: Holding | None, now: float) -> tuple[bool, bool]:
        """Whether to read the branches, and whether to read the computes."""
        if before is None or self._full:
            return True, True
        age = now - before.branches_at
        if age >= self.max_age * spread(row.id) or age < -_BRANCHES_SECONDS:  # or our clock was set back since
            return True, True
        moved = row.marks != before.project.marks
        stale = row.marks != before.branches_marks and now - before.branches_at >= _BRANCHES_SECONDS
        changed = row.updated_at != before.project.updated_at or not all(branch.settled for branch in before.branches)
        return changed or stale, self.every or moved or not all(endpoint.settled for endpoint in before.endpoints)

    async def _read_project(
        self, row: Project, before: Holding | None, branches_due: bool, endpoints_due: bool, now: float
    ) -> Holding:
        branches = before.branches if before is not None else ()
        endpoints = before.endpoints if before is not None else ()
        branches_at, marks = (before.branches_at, before.branches_marks) if before is not None else (now, row.marks)
        if endpoints_due:
            found = await self._client.pages(f"/projects/{row.id}/endpoints", {}, EndpointPage)
            endpoints = self._take(found, endpoints)
        if branches_due or {endpoint.branch_id for endpoint in endpoints} - {branch.id for branch in branches}:
            listed = await self._client.pages(f"/projects/{row.id}/branches", {"limit": 10_000}, BranchPage)
            branches = self._take(listed, branches)
            branches_at, marks = now, row.marks

        def hold() -> Holding:
            return _hold(before, row, branches, endpoints, branches_at=branches_at, marks=marks)

        return await asyncio.to_thread(hold) if len(branches) + len(endpoints) > _LARGE else hold()

    def _take(self, listing: Listing[Item], before: tuple[Item, ...]) -> tuple[Item, ...]:
        self.requests += listing.pages
        self.server_now = max(self.server_now, listing.server_now)
        self._bad += listing.bad_items
        items = {item.id: item for item in before} if not listing.complete else {}
        items.update((item.id, item) for item in listing.items)
        return tuple(items[key] for key in sorted(items))


def _hold(
    before: Holding | None,
    row: Project,
    branches: tuple[Branch, ...],
    endpoints: tuple[Endpoint, ...],
    *,
    branches_at: float,
    marks: tuple[object, ...],
) -> Holding:
    same = before is not None and (before.project, before.branches, before.endpoints) == (
        row,
        branches,
        endpoints,
    )
    families = before.families if before is not None and same else project_families(row, branches, endpoints)
    return Holding(row, branches, endpoints, families, branches_at, marks)


def observe(inventory: Inventory, *, account: bool = True) -> list[Observation]:
    """One observation for each project, one for each organisation, one of the inventory itself (scope AGENT).

    ``account``: whether the whole account's figures are shown here, and not by another shard.
    """
    at = inventory.taken_at
    observations = []
    for project_id, holding in inventory.holdings.items():
        target = Target(Scope.PROJECT, (project_id,), holding.project.name)
        if project_id in inventory.unknown_project_ids:
            continue
        rows = 1 + len(holding.branches) + len(holding.endpoints)
        observations.append(Observation(NAME, target, Status.OK, at, families=holding.families, rows=rows))
    for project_id in sorted(inventory.unknown_project_ids):
        name = inventory.projects[project_id].name if project_id in inventory.projects else ""
        error = "Neon did not return the project's state in the last round; the data shown is older"
        target = Target(Scope.PROJECT, (project_id,), name)
        observations.append(Observation(NAME, target, Status.UNREACHABLE, at, error=error))
    if account:
        observations += observe_organizations(inventory.organizations, inventory.plan, at)
    families = Families()
    if account:
        families.set(KNOWN_PROJECTS, (), len(inventory.of_account.projects))
    if account or inventory.unknown_project_ids:  # Once for the account; by another shard only when it is trouble.
        families.set(UNKNOWN_PROJECTS, (), len(inventory.unknown_project_ids))
    observations.append(Observation(NAME, Target(Scope.AGENT, ()), Status.OK, at, families=families, rows=1))
    return observations
