"""Who holds keys, who belongs to the organisation, what a branch's roles, schedules and masks are: read from Neon.

GET only, and no compute is woken. Every part is a value or says why it is not there: a refusal is never an empty list.
Reading is incremental: what was read a few hours ago is left alone, and one pass makes a bounded number of requests.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import Annotated, Any, TypeVar, cast, get_args, get_type_hints

from pydantic import BeforeValidator, Field, RootModel, TypeAdapter, create_model

from collectors.base import Known, Status, Unread
from collectors.neon.client import NeonClient
from collectors.neon.domain.security import (
    ApiKey,
    BranchFacts,
    ListSource,
    Masking,
    OrganizationFacts,
    ProjectFacts,
    ProjectSnapshots,
    Snapshot,
    instant,
    sources_of,
)
from collectors.neon.errors import NeonError, one_line
from collectors.neon.models import Branch, Instant, Model, Page, Project, Text, Tolerant
from collectors.neon.snapshots import SnapshotPage

EVERY_SECONDS = 4 * 3600.0
REQUESTS = 150
"""Of one pass, about (what is begun is ended): a quarter of what the client may send in a minute, so that the inventory
is never kept waiting."""
CHANGED_SECONDS = 300.0
"""A status that was updated so long after its last run was changed since: the run itself updates it too."""
_FAN_OUT = 8
_LONGEST_TEXT = 200
_STOPS = frozenset({Status.AUTH, Status.RATE_LIMITED})
"""The next request would fare no better."""
_FAILS = frozenset({Status.TIMEOUT, Status.UNREACHABLE})
_FAILURES_TO_STOP = 8
"""In a row; a few projects with trouble of their own are no API that is down."""
_NO_SCHEDULE = Unread(Status.UNSUPPORTED, "only root branches have a backup schedule")

T = TypeVar("T")
Made = TypeVar("Made")
Fact = TypeVar("Fact", OrganizationFacts, ProjectFacts, BranchFacts)
Key = tuple[str, str]
"""``organization``, ``project`` or ``branch``, and its id (of a branch ``project/branch``)."""


def item(kind: type[T]) -> Any:
    """The type by which pydantic reads an item of a list as one of `collectors.neon.domain.security`."""
    return Annotated[kind, BeforeValidator(partial(_by_field, kind))]


def parse(kind: type[T], tree: object) -> T:
    """One item of a list.

    Raises:
        ValidationError: it does not fit.
    """
    made: T = TypeAdapter(item(kind)).validate_python(tree)
    return made


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)


def _by_field(kind: type, tree: object) -> object:
    """What stands in the JSON of an item, under the names of the fields; what is not there is left out."""
    if not isinstance(tree, Mapping):
        return tree
    found: dict[str, object] = {}
    for field_ in dataclasses.fields(kind):
        value: object = tree
        for step in field_.metadata.get("path", (field_.name,)):
            value = value.get(step, dataclasses.MISSING) if isinstance(value, Mapping) else dataclasses.MISSING
        hint, clean = _hints(kind)[field_.name], field_.metadata.get("clean")
        if value is None and hint is str:
            value = ""
        if value is not dataclasses.MISSING and value is not None:
            found[field_.name] = _value(value, hint, clean, identifies=field_.name == "id")
    return found


def _value(value: object, hint: object, clean: Callable[[str], object] | None, *, identifies: bool) -> object:
    if clean is not None and isinstance(value, str):
        value = clean(value)
    elif float in get_args(hint):
        return instant(value)  # A time that cannot be read is a time that we do not know: it must not cost the item.
    elif identifies and isinstance(value, int):
        value = str(value)
    if isinstance(value, list):
        return tuple(one_line(entry, _LONGEST_TEXT) if isinstance(entry, str) else entry for entry in value)
    return one_line(value, _LONGEST_TEXT) if isinstance(value, str) else value


@cache
def _page(kind: Any, key: str) -> type[Page[Any]]:
    items: Any = (tuple[Tolerant[item(kind)], ...], Field(validation_alias=key))  # type: ignore[misc]
    return create_model(f"{kind.__name__}Page", __base__=Page, items=items)


class _ApiKeyList(RootModel[tuple[Tolerant[item(ApiKey)], ...]]):  # type: ignore[misc]
    """GET /organizations/{org_id}/api_keys and GET /api_keys: a bare list, in one piece."""


class _MaskingRun(Model):
    """``AnonymizationRunMetadata``; who ran it is not read."""

    completed_at: Instant = None
    masked_columns: int | None = None


class _AnonymizedStatus(Model):
    """GET /projects/{project_id}/branches/{branch_id}/anonymized_status of a branch that is anonymised."""

    state: Text
    updated_at: Instant = None
    last_run: _MaskingRun | None = None


@dataclass(frozen=True, slots=True)
class _MaskingRule:
    """Which column; how it is masked is not read."""

    schema_name: str
    table_name: str
    column_name: str


@dataclass(frozen=True, slots=True)
class _Frequency:
    """``BackupScheduleItem``: ``daily``, ``weekly``, ..."""

    frequency: str


@dataclass(slots=True)
class SecurityPass:
    """What one pass read, by id (a branch by ``project/branch``).

    ``failed``: what Neon did not answer for; what was known of it stays, and whoever calls counts this as a try.
    ``left``: due, and not reached. ``stopped``: why the pass ended early.
    """

    organizations: dict[str, OrganizationFacts] = field(default_factory=dict)
    projects: dict[str, ProjectFacts] = field(default_factory=dict)
    snapshots: dict[str, ProjectSnapshots] = field(default_factory=dict)
    branches: dict[str, BranchFacts] = field(default_factory=dict)
    failed: dict[Key, Unread] = field(default_factory=dict)
    requests: int = 0
    left: int = 0
    stopped: Unread | None = None


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

    def find_due() -> list[_Work]:
        due = [
            (read_at.get(key, 0.0), rank, key, work)
            for rank, (key, work) in enumerate(reader.work(organizations, projects))
            if now - read_at.get(key, 0.0) >= every
        ]
        due.sort(key=lambda entry: entry[:2])
        return [(key, work) for _, _, key, work in due]

    await reader.run(await asyncio.to_thread(find_due))
    return reader.found


class _NoAnswerError(Exception):
    """Neon does not answer; nothing more is asked of this thing."""

    def __init__(self, why: Unread) -> None:
        super().__init__(why.why)
        self.why = why


class _Reader:
    """One pass: its budget, and what it learnt of paths that this key cannot use."""

    def __init__(self, client: NeonClient, requests: int) -> None:
        self._client = client
        self._budget = requests
        self._closed: dict[str, Unread] = {}
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
        waiting = iter(due)
        done = await asyncio.gather(*(self._work_off(waiting) for _ in range(_FAN_OUT)))
        self.found.left = len(due) - sum(done)

    async def _work_off(self, waiting: Iterator[_Work]) -> int:
        """Do one after the other; answers how many."""
        done = 0
        while self.found.stopped is None and self.found.requests < self._budget:
            key, work = next(waiting, (None, None))
            if key is None or work is None:
                break
            done += 1
            try:
                await work()
            except _NoAnswerError as problem:
                self.found.failed[key] = problem.why
                self._failures_in_a_row += 1
                if problem.why.status in _STOPS or self._failures_in_a_row >= _FAILURES_TO_STOP:
                    self.found.stopped = problem.why
            else:
                self._failures_in_a_row = 0
        return done

    async def _organization(self, org_id: str) -> None:
        path = f"/organizations/{org_id}"
        facts = await self._lists(path, OrganizationFacts(org_id))
        keys = await self._keys(f"{path}/api_keys", Status.NO_PRIVILEGE, personal=False)
        own = await self._keys("/api_keys", Status.UNSUPPORTED, personal=True)
        if not isinstance(keys, Unread) and not isinstance(own, Unread):
            keys = (*keys, *own)
        self.found.organizations[org_id] = replace(facts, keys=keys)

    async def _project(self, project: Project) -> None:
        path = f"/projects/{project.id}"
        facts = await self._lists(path, ProjectFacts(project.id))
        snapshots = await self._snapshots(f"{path}/snapshots")
        self.found.projects[project.id], self.found.snapshots[project.id] = facts, snapshots

    async def _branch(self, branch: Branch) -> None:
        path = f"/projects/{branch.project_id}/branches/{branch.id}"
        facts = BranchFacts(branch.project_id, branch.id, schedule=_NO_SCHEDULE, masking=await self._masking(path))
        if not branch.parent_id:
            source = ListSource("backup_schedule", "schedule", Status.UNSUPPORTED)
            schedule = await self._list(path, source, _Frequency)
            facts = replace(facts, schedule=_each(schedule, lambda entry: entry.frequency))
        closed = self._closed.get(branch.project_id)
        facts = await self._lists(path, facts, **({} if closed is None else {"credentials": closed}))
        credentials = facts.credentials
        if isinstance(credentials, Unread):
            if credentials.status in (Status.UNSUPPORTED, Status.NO_PRIVILEGE):
                self._closed[branch.project_id] = credentials
        else:
            in_force = tuple(credential for credential in credentials if credential.revoked_at is None)
            facts = replace(facts, credentials=in_force)
        self.found.branches[f"{branch.project_id}/{branch.id}"] = facts

    async def _masking(self, path: str) -> Known[Masking | None]:
        async def read() -> _AnonymizedStatus:
            return (await self._client.get(f"{path}/anonymized_status", None, _AnonymizedStatus))[0]

        status = await self._ask(read, Status.UNSUPPORTED)
        if isinstance(status, Unread):
            # Neon answers 404 for every branch that is not anonymised, and the branch itself is there.
            return None if status.status is Status.UNSUPPORTED else status
        run, changed = status.last_run or _MaskingRun(), status.updated_at
        if changed is not None and run.completed_at is not None and changed <= run.completed_at + CHANGED_SECONDS:
            changed = None
        source = ListSource("masking_rules", "masking_rules", Status.UNSUPPORTED)
        rules = _each(
            await self._list(path, source, _MaskingRule),
            lambda rule: f"{rule.schema_name}.{rule.table_name}.{rule.column_name}",
        )
        told = None if isinstance(rules, Unread) else rules
        return Masking(
            state=status.state,
            rules=None if told is None else len(told),
            masked_columns=run.masked_columns,
            completed_at=run.completed_at,
            rules_changed_at=changed,
            covered=None if told is None else tuple(sorted(told)),
        )

    async def _snapshots(self, path: str) -> ProjectSnapshots:
        async def read() -> Known[tuple[Any, ...]]:
            listing = await self._client.pages(path, {}, SnapshotPage)
            self.found.requests += listing.pages - 1
            return _whole(listing.items, listing.bad_items + listing.truncated)

        listed = await self._ask(read, Status.UNSUPPORTED)
        if isinstance(listed, Unread):
            return ProjectSnapshots(listed)
        by_branch: dict[str, tuple[Snapshot, ...]] = {}
        for taken in sorted(listed, key=lambda entry: str(entry.source_branch_id)):
            snapshot = Snapshot(taken.id, taken.created_at, taken.expires_at)
            by_branch[taken.source_branch_id] = (*by_branch.get(taken.source_branch_id, ()), snapshot)
        return ProjectSnapshots(by_branch)

    async def _keys(self, path: str, absent: Status, *, personal: bool) -> Known[tuple[ApiKey, ...]]:
        async def read() -> Known[tuple[ApiKey, ...]]:
            answer, _ = await self._client.get(path, None, _ApiKeyList)
            return _whole(answer.root, sum(api_key is None for api_key in answer.root))

        return _each(await self._ask(read, absent), lambda key: replace(key, personal=personal))

    async def _lists(self, path: str, facts: Fact, **known: object) -> Fact:
        """The facts with every list that their fields name, but for those that are ``known``."""
        found: dict[str, Any] = dict(known)
        kind: Any = type(facts)
        for name, source in sources_of(kind).items():
            if name not in found:
                (items,) = (hint for hint in get_args(_hints(kind)[name]) if hint is not Unread)
                found[name] = await self._list(path, source, get_args(items)[0])
        return replace(facts, **found)

    async def _list(self, path: str, source: ListSource, kind: type[T]) -> Known[tuple[T, ...]]:
        async def read() -> Known[tuple[T, ...]]:
            params = {} if source.limit is None else {"limit": source.limit}
            page: type[Page[T]] = _page(cast("Any", kind), source.key)
            listing = await self._client.pages(f"{path}/{source.route}", params, page)
            self.found.requests += listing.pages - 1
            return _whole(listing.items, listing.bad_items + listing.truncated)

        return await self._ask(read, source.absent)

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
            unread = Unread(status, problem.message)
            if status in _STOPS | _FAILS:
                raise _NoAnswerError(unread) from None
            return unread


def _whole(items: Sequence[T | None], unreadable: int) -> Known[tuple[T, ...]]:
    """All of a list, or nothing: what is missing in it might be what a control looks for."""
    if unreadable:
        return Unread(Status.TRUNCATED, f"{unreadable} items of the list could not be read")
    return tuple(item for item in items if item is not None)


def _each(found: Known[tuple[T, ...]], make: Callable[[T], Made]) -> Known[tuple[Made, ...]]:
    return found if isinstance(found, Unread) else tuple(make(entry) for entry in found)
