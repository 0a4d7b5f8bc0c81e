"""Who holds keys, who belongs to the organisation, what a branch's roles, schedules and masks are: read from Neon.

GET only, and no compute is woken. Every part is a value or says why it is not there: a refusal is never an empty list.
Reading is incremental: what was read a few hours ago is left alone, and one pass makes a bounded number of requests.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias, TypeVar

from collectors.base import Status
from collectors.neon.client import NeonClient
from collectors.neon.errors import NeonError
from collectors.neon.models import Branch, Page, Project
from collectors.neon.security_models import (
    AnonymizedStatus,
    ApiKey,
    ApiKeyList,
    Credential,
    CredentialPage,
    Frequency,
    Jwks,
    JwksPage,
    MaskingRule,
    MaskingRulePage,
    Member,
    MemberPage,
    Permission,
    PermissionPage,
    Role,
    RolePage,
    SchedulePage,
)
from collectors.neon.snapshots import Snapshot, SnapshotPage
from collectors.postgres.database.security import NotRead

EVERY_SECONDS = 4 * 3600.0
REQUESTS = 150
"""Of one pass, about (what is begun is ended): a quarter of what the client may send in a minute, so that the inventory
is never kept waiting."""
_FAN_OUT = 8
_MEMBERS = 500
_STOPS = frozenset({Status.AUTH, Status.RATE_LIMITED})
"""The next request would fare no better."""
_FAILS = frozenset({Status.TIMEOUT, Status.UNREACHABLE})
_FAILURES_TO_STOP = 8
"""In a row; a few projects with trouble of their own are no API that is down."""
_NOT_YET = NotRead(Status.NO_DATA, "not asked")
_NO_SCHEDULE = NotRead(Status.UNSUPPORTED, "only root branches have a backup schedule")

T = TypeVar("T")
Item = TypeVar("Item")
Known: TypeAlias = T | NotRead
Key = tuple[str, str]
"""``organization``, ``project`` or ``branch``, and its id (of a branch ``project/branch``)."""


@dataclass(frozen=True, slots=True)
class OrganizationSecurity:
    """An organisation's keys and people. ``personal_keys``: those of the person whose key we use, where it is one."""

    org_id: str
    keys: Known[tuple[ApiKey, ...]] = _NOT_YET
    personal_keys: Known[tuple[ApiKey, ...]] = _NOT_YET
    members: Known[tuple[Member, ...]] = _NOT_YET


@dataclass(frozen=True, slots=True)
class ProjectSecurity:
    """What hangs on a project beside its settings, which the inventory has."""

    project_id: str
    permissions: Known[tuple[Permission, ...]] = _NOT_YET
    jwks: Known[tuple[Jwks, ...]] = _NOT_YET
    snapshots: Known[tuple[Snapshot, ...]] = _NOT_YET
    """Of all branches."""


@dataclass(frozen=True, slots=True)
class Masking:
    """An anonymised branch: how far it is, and which columns have a rule."""

    status: AnonymizedStatus
    rules: Known[tuple[MaskingRule, ...]]


@dataclass(frozen=True, slots=True)
class BranchSecurity:
    """What hangs on a branch. ``masking`` None: a plain branch, its rows are as they were copied."""

    project_id: str
    branch_id: str
    roles: Known[tuple[Role, ...]] = _NOT_YET
    schedule: Known[tuple[Frequency, ...]] = _NOT_YET
    masking: Known[Masking | None] = _NOT_YET
    credentials: Known[tuple[Credential, ...]] = _NOT_YET


@dataclass(slots=True)
class SecurityPass:
    """What one pass read, by id (a branch by ``project/branch``).

    ``failed``: what Neon did not answer for; what was known of it stays, and whoever calls counts this as a try.
    ``left``: due, and not reached. ``stopped``: why the pass ended early.
    """

    organizations: dict[str, OrganizationSecurity] = field(default_factory=dict)
    projects: dict[str, ProjectSecurity] = field(default_factory=dict)
    branches: dict[str, BranchSecurity] = field(default_factory=dict)
    failed: dict[Key, NotRead] = field(default_factory=dict)
    requests: int = 0
    left: int = 0
    stopped: NotRead | None = None


_Work = tuple[Key, Callable[[], Awaitable[None]]]


async def read_security(
    client: NeonClient,
    organizations: Sequence[str],
    projects: Sequence[tuple[Project, Sequence[Branch]]],
    read_at: Mapping[Key, float],
    now: float,
    *,
    every: float = EVERY_SECONDS,
    requests: int = REQUESTS,
) -> SecurityPass:
    """Read what is due: never read first, then the longest ago; organisations, projects, production before copies.

    ``read_at`` says when each was read or tried last (unix seconds, as ``now``).
    """
    reader = _Reader(client, requests)
    due = [
        (read_at.get(key, 0.0), rank, key, work)
        for rank, (key, work) in enumerate(reader.work(organizations, projects))
        if now - read_at.get(key, 0.0) >= every
    ]
    due.sort(key=lambda entry: entry[:2])
    await reader.run([(key, work) for _, _, key, work in due])
    return reader.found


class _NoAnswerError(Exception):
    """Neon does not answer; nothing more is asked of this thing."""

    def __init__(self, why: NotRead) -> None:
        super().__init__(why.why)
        self.why = why


class _Reader:
    """One pass: its budget, and what it learnt of paths that this key cannot use."""

    def __init__(self, client: NeonClient, requests: int) -> None:
        self._client = client
        self._budget = requests
        self._gate = asyncio.Semaphore(_FAN_OUT)
        self._closed: dict[str, NotRead] = {}
        """By project: its branches' credentials were refused once; the others would be too."""
        self._failures_in_a_row = 0
        self.found = SecurityPass()

    def work(
        self, organizations: Sequence[str], projects: Sequence[tuple[Project, Sequence[Branch]]]
    ) -> Iterator[_Work]:
        """All there is to read, the most telling first."""
        for org_id in organizations:
            yield ("organization", org_id), lambda org_id=org_id: self._organization(org_id)  # type: ignore[misc]
        for project, _ in projects:
            yield ("project", project.id), lambda project=project: self._project(project)  # type: ignore[misc]
        branches = [branch for _, sequence in projects for branch in sequence]
        for branch in sorted(
            branches, key=lambda entry: (not entry.default, not entry.protected, bool(entry.parent_id))
        ):
            key = ("branch", f"{branch.project_id}/{branch.id}")
            yield key, lambda branch=branch: self._branch(branch)  # type: ignore[misc]

    async def run(self, due: Sequence[_Work]) -> None:
        """Do what the budget allows."""
        done = await asyncio.gather(*(self._one_of(key, work) for key, work in due))
        self.found.left = len(due) - sum(done)

    async def _one_of(self, key: Key, work: Callable[[], Awaitable[None]]) -> bool:
        async with self._gate:
            if self.found.stopped is not None or self.found.requests >= self._budget:
                return False
            try:
                await work()
            except _NoAnswerError as problem:
                self.found.failed[key] = problem.why
                self._failures_in_a_row += 1
                if problem.why.status in _STOPS or self._failures_in_a_row >= _FAILURES_TO_STOP:
                    self.found.stopped = problem.why
            else:
                self._failures_in_a_row = 0
            return True

    async def _organization(self, org_id: str) -> None:
        path = f"/organizations/{org_id}"
        members = await self._list(f"{path}/members", MemberPage, Status.NO_PRIVILEGE, {"limit": _MEMBERS})
        self.found.organizations[org_id] = OrganizationSecurity(
            org_id,
            keys=await self._keys(f"{path}/api_keys", Status.NO_PRIVILEGE),
            personal_keys=await self._keys("/api_keys", Status.UNSUPPORTED),
            members=members,
        )

    async def _project(self, project: Project) -> None:
        path = f"/projects/{project.id}"
        self.found.projects[project.id] = ProjectSecurity(
            project.id,
            permissions=await self._list(f"{path}/permissions", PermissionPage, Status.NO_PRIVILEGE),
            jwks=await self._list(f"{path}/jwks", JwksPage, Status.NO_PRIVILEGE),
            snapshots=await self._list(f"{path}/snapshots", SnapshotPage, Status.UNSUPPORTED),
        )

    async def _branch(self, branch: Branch) -> None:
        path = f"/projects/{branch.project_id}/branches/{branch.id}"
        schedule: Known[tuple[Frequency, ...]] = _NO_SCHEDULE
        if not branch.parent_id:
            schedule = await self._list(f"{path}/backup_schedule", SchedulePage, Status.UNSUPPORTED)
        self.found.branches[f"{branch.project_id}/{branch.id}"] = BranchSecurity(
            branch.project_id,
            branch.id,
            roles=await self._list(f"{path}/roles", RolePage, Status.NO_PRIVILEGE),
            schedule=schedule,
            masking=await self._masking(path),
            credentials=await self._credentials(path, branch.project_id),
        )

    async def _masking(self, path: str) -> Known[Masking | None]:
        status = await self._ask(lambda: self._one(f"{path}/anonymized_status"), Status.UNSUPPORTED)
        if isinstance(status, NotRead):
            # Neon answers 404 for every branch that is not anonymised, and the branch itself is there.
            return None if status.status is Status.UNSUPPORTED else status
        return Masking(status, await self._list(f"{path}/masking_rules", MaskingRulePage, Status.UNSUPPORTED))

    async def _one(self, path: str) -> AnonymizedStatus:
        return (await self._client.get(path, None, AnonymizedStatus))[0]

    async def _credentials(self, path: str, project_id: str) -> Known[tuple[Credential, ...]]:
        if project_id in self._closed:
            return self._closed[project_id]
        found = await self._list(f"{path}/credentials", CredentialPage, Status.UNSUPPORTED)
        if isinstance(found, NotRead) and found.status in (Status.UNSUPPORTED, Status.NO_PRIVILEGE):
            self._closed[project_id] = found
        return found

    async def _keys(self, path: str, absent: Status) -> Known[tuple[ApiKey, ...]]:
        async def read() -> Known[tuple[ApiKey, ...]]:
            answer, _ = await self._client.get(path, None, ApiKeyList)
            return _whole(answer.root, sum(api_key is None for api_key in answer.root))

        return await self._ask(read, absent)

    async def _list(
        self, path: str, page: type[Page[Item]], absent: Status, params: Mapping[str, int] | None = None
    ) -> Known[tuple[Item, ...]]:
        async def read() -> Known[tuple[Item, ...]]:
            listing = await self._client.pages(path, params or {}, page)
            self.found.requests += listing.pages - 1
            return _whole(listing.items, listing.bad_items + listing.truncated)

        return await self._ask(read, absent)

    async def _ask(self, read: Callable[[], Awaitable[Known[T]]], absent: Status) -> Known[T]:
        """The value, or why not. ``absent`` is what a 404 means: the path is not there, or the key may not see it.

        Raises:
            _NoAnswerError: Neon does not answer, limits us, or no longer takes the key.
        """
        self.found.requests += 1
        try:
            return await read()
        except NeonError as problem:
            status = absent if problem.http_status == 404 else problem.status
            unread = NotRead(status, problem.message)
            if status in _STOPS | _FAILS:
                raise _NoAnswerError(unread) from None
            return unread


def _whole(items: Sequence[T | None], unreadable: int) -> Known[tuple[T, ...]]:
    """All of a list, or nothing: what is missing in it might be what a control looks for."""
    if unreadable:
        return NotRead(Status.TRUNCATED, f"{unreadable} items of the list could not be read")
    return tuple(item for item in items if item is not None)
