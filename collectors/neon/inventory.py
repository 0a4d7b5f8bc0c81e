"""The inventory: projects, branches and computes, read from Neon at the price of what changed.

One list call shows which projects moved; only those, and those with a compute that is awake, are read again. What Neon
cannot answer in time is unknown, never deleted: its last known state stays, marked. Nothing here wakes a compute.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Protocol, TypeVar

from collectors.base import Status
from collectors.neon.account import Account, find_account, list_projects, settle_account
from collectors.neon.client import Listing, NeonClient
from collectors.neon.domain.pace import reread_seconds, spread
from collectors.neon.errors import NeonError
from collectors.neon.holdings import Holding, Inventory, by_id, observe
from collectors.neon.models import Branch, BranchPage, Endpoint, EndpointPage, Project
from collectors.neon.project_metrics import (
    METRICS,
    project_families,
)
from collectors.slices import in_slices

__all__ = ["METRICS", "Holding", "Inventory", "observe", "refresh"]

_FAN_OUT = 8
"""Past about ten in flight, more only hides round trips, and the token bucket decides anyway."""
_BRANCHES_SECONDS = 300.0
"""An active project changes at every refresh; the sizes of its branches are read again this often, not each time."""
_LARGE = 500
"""Branches and computes of one project from which on its series are made in a worker thread."""
_FAILURES_TO_STOP = _FAN_OUT
"""Failures in a row: as many as requests under way at once, so that a few failing projects do not look like an API that
is down."""


PART_SECONDS = 2.0
"""What was read of a long reading is handed on this often."""
READ_AT_EVERY_LOOK = 40
"""In an organisation of at most so many projects, their computes are read at every refresh: the list of projects shows
late that one woke, and a visit must come soon after. It is a tenth of our share of Neon's rate limit."""


class _Identified(Protocol):
    @property
    def id(self) -> str: ...


Item = TypeVar("Item", bound=_Identified)


OnPart = Callable[[Inventory], Awaitable[None]]
"""Takes the projects that were read since the last part, while the others are still being read."""


async def refresh(
    client: NeonClient,
    previous: Inventory | None,
    *,
    org_id: str | None = None,
    include: Sequence[str] = ("*",),
    exclude: Sequence[str] = (),
    owns: Callable[[str], bool] = bool,
    full: bool = False,
    on_part: OnPart | None = None,
    clock: Callable[[], float] = time.time,
) -> Inventory:
    """Read what changed since ``previous``. ``include`` and ``exclude`` are globs on project ids and names.

    ``owns`` says by id which of the listed projects are read here: by default all, otherwise a shard's.

    A reading that takes long is handed to ``on_part`` in parts, every `PART_SECONDS`; it goes on meanwhile.

    Raises:
        NeonError: the account or the list of projects cannot be read; ``previous`` is then still the best there is.
    """
    base, known = (previous.account, previous.holdings) if previous is not None else (Account(), {})
    fresh = previous is None or previous.recalled or full or (bool(org_id) and base.org_id != org_id)
    account = await find_account(client, org_id) if fresh else replace(base, requests=0)
    listing, list_notes = await list_projects(client, account, include, (row.project for row in known.values()))
    skew = listing.server_now - clock()
    listed, rows = await asyncio.to_thread(_selection, listing, include, exclude, owns)
    if fresh:
        account = await settle_account(client, account, list(listed.values()))
    reads = _Round(client, clock, listing.server_now, full or previous is None, len(rows))
    unlisted = frozenset(filter(owns, _unlisted(listing, rows, known, include, exclude)))
    look = _Look(account, list_notes, listing, listed, rows, previous, reads, skew, unlisted, clock)

    async def take(part: Mapping[str, Holding]) -> None:
        if on_part is not None:
            await on_part(await asyncio.to_thread(look.part, part))

    reading = reads.read(rows, known)
    holdings = await (reading if on_part is None else reads.in_parts(reading, take))
    holdings |= {key: known[key] for key in unlisted & known.keys() - holdings.keys()}
    return await asyncio.to_thread(look.whole, holdings)


@dataclass(frozen=True, slots=True)
class _Look:
    """One look at an account: makes inventories of what was read."""

    account: Account
    list_notes: tuple[str, ...]
    listing: Listing[Project]
    listed: Mapping[str, Project]
    rows: Mapping[str, Project]
    previous: Inventory | None
    reads: _Round
    skew: float
    unlisted: frozenset[str]
    clock: Callable[[], float]

    def whole(self, holdings: Mapping[str, Holding]) -> Inventory:
        """Of all projects."""
        unknown = self.unlisted | self.reads.failed.keys()
        before = self.previous.unread_project_ids if self.previous is not None else frozenset()
        return replace(self._made(holdings), unknown_project_ids=unknown, unread_project_ids=unknown & before)

    def part(self, holdings: Mapping[str, Holding]) -> Inventory:
        """Of those that were just read; all others are unknown."""
        known, unread = frozenset[str](), frozenset[str]()
        if self.previous is not None:
            known, unread = frozenset(self.previous.holdings), self.previous.unread_project_ids
        listed = frozenset(self.rows)
        others = (listed | known | self.unlisted) - holdings.keys()
        unread = others & (unread | (listed - known))
        return replace(self._made(holdings), complete=False, unknown_project_ids=others, unread_project_ids=unread)

    def _made(self, holdings: Mapping[str, Holding]) -> Inventory:
        projects, branches, endpoints = by_id(holdings)
        notes = (*self.account.notes, *self.list_notes, *_listing_notes(self.listing, set(self.unlisted)))
        return Inventory(
            org_id=self.account.org_id,
            org_name=self.account.org_name,
            plan=self.account.plan,
            projects=projects,
            branches=branches,
            endpoints=endpoints,
            unknown_project_ids=frozenset(),
            notes=(*notes, *self.reads.notes()),
            server_now=self.reads.server_now,
            skew=self.skew,
            taken_at=self.clock(),
            requests=self.account.requests + self.listing.pages + self.reads.requests,
            holdings=holdings,
            account=self.account,
            excluded_project_ids=_left_out(self.listing, self.listed, self.previous),
            listed=self.listed,
            reread_seconds=self.reads.max_age,
        )


def _selection(
    listing: Listing[Project], include: Sequence[str], exclude: Sequence[str], owns: Callable[[str], bool]
) -> tuple[dict[str, Project], dict[str, Project]]:
    """The listed projects that the settings select, and those of them that are read here."""
    listed = {row.id: row for row in listing.items if selected(row.id, row.name, include, exclude)}
    return listed, {project_id: row for project_id, row in listed.items() if owns(project_id)}


def _left_out(listing: Listing[Project], rows: Mapping[str, Project], previous: Inventory | None) -> frozenset[str]:
    """Projects that were listed and not selected; of those that could not be listed, the ones left out before."""
    before = previous.excluded_project_ids - rows.keys() if previous is not None else frozenset()
    unlisted = before & listing.unavailable if listing.complete else before
    return frozenset({row.id for row in listing.items} - rows.keys() | unlisted)


def selected(project_id: str, name: str, include: Iterable[str], exclude: Iterable[str]) -> bool:
    """Whether the settings select a project, by globs on its id and its name."""

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
        if project_id not in rows and (project_id in known or selected(project_id, project_id, include, exclude))
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
        self._arrived: dict[str, Holding] = {}
        """What was read since the last part."""
        self._bad = 0
        self._failures_in_a_row = 0

    async def read(self, rows: Mapping[str, Project], known: Mapping[str, Holding]) -> dict[str, Holding]:
        """The holdings of all rows; a project that could not be read has its previous one."""
        now = self._clock()
        # Those whose computes may be awake come first.
        order = sorted(rows.values(), key=lambda row: row.compute_last_active_at or 0.0, reverse=True)
        done = await in_slices(order, lambda row: self._project(row, known.get(row.id), now))
        found = {holding.project.id: holding for holding in done if holding is not None}
        return {project_id: found[project_id] for project_id in rows if project_id in found}

    async def in_parts(
        self, reading: Coroutine[None, None, dict[str, Holding]], take: Callable[[dict[str, Holding]], Awaitable[None]]
    ) -> dict[str, Holding]:
        """The same as a task, with what arrives handed on meanwhile."""
        task = asyncio.ensure_future(reading)
        try:
            while not (await asyncio.wait({task}, timeout=PART_SECONDS))[0]:
                if self._arrived:
                    part, self._arrived = self._arrived, {}
                    await take(part)
            return await task
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await task

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
            holding = replace(_hold(before, row, before.branches, before.endpoints), read_at=now)
            self._arrived[row.id] = holding
            return holding
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
            self._arrived[row.id] = holding
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
        read_at = self._clock() if endpoints_due else now
        if endpoints_due:
            found = await self._client.pages(f"/projects/{row.id}/endpoints", {}, EndpointPage)
            endpoints = self._take(found, endpoints)
        if branches_due or {endpoint.branch_id for endpoint in endpoints} - {branch.id for branch in branches}:
            listed = await self._client.pages(f"/projects/{row.id}/branches", {"limit": 10_000}, BranchPage)
            branches = self._take(listed, branches)
            branches_at, marks = now, row.marks

        def hold() -> Holding:
            made = _hold(before, row, branches, endpoints)
            return replace(made, branches_at=branches_at, branches_marks=marks, read_at=read_at)

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
) -> Holding:
    """The state of a project with its series, and the times of the one before."""
    same = before is not None and (before.project, before.branches, before.endpoints) == (
        row,
        branches,
        endpoints,
    )
    families = before.families if before is not None and same else project_families(row, branches, endpoints)
    if before is None:
        return Holding(row, branches, endpoints, families, 0.0, (), 0.0)
    return replace(before, project=row, branches=branches, endpoints=endpoints, families=families)
