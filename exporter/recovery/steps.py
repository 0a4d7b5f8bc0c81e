"""What a drill does at Neon, step by step: find the branch, wait for operations, find and remove what is left over."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from collectors.errors import NeonmeterError
from collectors.neon.client import NeonClient
from collectors.neon.inventory import Inventory
from collectors.neon.models import Branch, BranchPage, Model
from collectors.neon.operations import read_operations
from exporter.recovery.journal import ABORTED, CLEANED, Drill, DrillJournal, began_at
from exporter.recovery.series import earliest_restorable
from exporter.recovery.writer import DrillWriter

_FIRST_POLL_SECONDS, _LONGEST_POLL_SECONDS = 0.2, 3.0
"""Often at first, because the answer is a part of the RTO that is measured."""
CLEAN_SECONDS = 180.0
"""Longest wait for a branch to be gone."""
OVER_AFTER_SECONDS = 86_400.0
"""A branch of a drill that nobody here knows is left alone for so long: the drill may run elsewhere."""
_FINAL = frozenset({"finished", "skipped"})
_FAILED = frozenset({"failed", "error", "cancelled"})


class DrillError(NeonmeterError):
    """The drill cannot go on: one line for a person."""


class Database(Model):
    """``Database`` of the API, as far as a drill reads it."""

    name: str


class DatabaseList(Model):
    """GET /projects/{project_id}/branches/{branch_id}/databases."""

    databases: tuple[Database, ...]


@dataclass(frozen=True, slots=True)
class Source:
    """The branch that a drill goes back in."""

    project_id: str
    project_name: str
    branch_id: str
    branch_name: str
    host: str
    """Host of its read-write compute; empty without one."""
    earliest: float | None
    """Earliest restorable instant; None when Neon does not tell the window."""


def source_of(inventory: Inventory, text: str) -> Source:
    """The branch of ``project/branch`` by ids or names.

    Raises:
        DrillError: there is none, or it cannot be told from others.
    """
    project_text, _, branch_text = text.partition("/")
    if not project_text or not branch_text:
        raise DrillError(f"{text!r}: write PROJECT/BRANCH, by names or ids")
    projects = [project for project in inventory.projects.values() if project_text in (project.id, project.name)]
    if len(projects) != 1:
        known = ", ".join(sorted(project.name or project.id for project in inventory.projects.values())[:12]) or "none"
        why = "several projects have this name: give the id" if projects else f"the key sees {known}"
        raise DrillError(f"no single project {project_text!r}; {why}")
    project = projects[0]
    branches = [branch for branch in inventory.branches.values() if branch.project_id == project.id]
    branch = next((branch for branch in branches if branch_text in (branch.id, branch.name)), None)
    if branch is None:
        known = ", ".join(sorted(branch.name for branch in branches)[:12])
        raise DrillError(f"{project.name} has no branch {branch_text!r}; there are {known}")
    endpoints = [endpoint for endpoint in inventory.endpoints.values() if endpoint.branch_id == branch.id]
    writing = [endpoint.host for endpoint in endpoints if endpoint.type == "read_write"]
    retention = project.history_retention_seconds
    earliest = (
        None
        if retention is None
        else earliest_restorable(inventory.server_now, retention, branch.created_at, branch.last_reset_at)
    )
    return Source(project.id, project.name, branch.id, branch.name, next(iter(writing), ""), earliest)


async def wait_for_operations(
    client: NeonClient, project_id: str, branch_id: str, since: float, seconds: float
) -> dict[str, float]:
    """Wait until every operation on the branch has ended well; answers what each took, in seconds, by action.

    Raises:
        DrillError: one failed, or they take longer than ``seconds``.
        NeonError: Neon does not answer.
    """
    deadline, pause = time.monotonic() + seconds, _FIRST_POLL_SECONDS
    while True:
        listed = await read_operations(client, project_id, since - 60)
        operations = [operation for operation in listed if operation.branch_id == branch_id]
        failed = [f"{operation.action} {operation.status}" for operation in operations if operation.status in _FAILED]
        if failed:
            raise DrillError(f"Neon could not create the branch: {', '.join(failed)}")
        if operations and all(operation.status in _FINAL for operation in operations):
            return {operation.action: operation.total_duration_ms / 1000 for operation in operations}
        if time.monotonic() > deadline:
            running = (
                ", ".join(
                    f"{operation.action} {operation.status}"
                    for operation in operations
                    if operation.status not in _FINAL
                )
                or "none"
            )
            raise DrillError(f"the branch was not ready after {seconds:.0f} s; operations: {running}")
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, _LONGEST_POLL_SECONDS)


async def databases_of(client: NeonClient, project_id: str, branch_id: str) -> list[str]:
    """The databases that the control plane knows of a branch.

    Raises:
        NeonError: the list could not be read.
    """
    page, _ = await client.get(f"/projects/{project_id}/branches/{branch_id}/databases", None, DatabaseList)
    return [database.name for database in page.databases]


async def branches_of(client: NeonClient, project_id: str) -> tuple[Branch, ...]:
    """The branches of a project as they are now.

    Raises:
        NeonError: the list could not be read.
    """
    return (await client.pages(f"/projects/{project_id}/branches", {}, BranchPage)).items


@dataclass(frozen=True, slots=True)
class LeftOver:
    """A branch of a drill that is over, or may be."""

    branch: Branch
    ours: Drill | None
    """The drill of our journal that made it."""
    over: bool
    """Whether that drill certainly is over."""


def leftovers(branches: Iterable[Branch], journal: DrillJournal, now: float) -> list[LeftOver]:
    """Branches of drills among these. Call it inside ``DrillJournal.alone``: then no drill of our journal runs.

    Raises:
        JournalError: the journal cannot be read.
    """
    ours = {drill.copy_name: drill for drill in journal.drills()}
    found = []
    for branch in branches:
        began = began_at(branch.name)
        if began is None or branch.default or branch.protected or not branch.parent_id:
            continue
        mine = ours.get(branch.name)
        over = mine is not None or now - began > OVER_AFTER_SECONDS or (branch.expires_at or now) < now
        found.append(LeftOver(branch, mine, over))
    return found


async def remove(client: NeonClient, writer: DrillWriter, branch: Branch, seconds: float) -> None:
    """Delete a branch of a drill and see that it is gone.

    Raises:
        NeonError, DrillError: it is still there.
    """
    deadline, pause = time.monotonic() + seconds, _FIRST_POLL_SECONDS
    await writer.delete(branch)
    while any(other.id == branch.id for other in await branches_of(client, branch.project_id)):
        if time.monotonic() > deadline:
            raise DrillError(f"{branch.name} was deleted and still exists after {seconds:.0f} s")
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, _LONGEST_POLL_SECONDS)


async def find_copy(client: NeonClient, project_id: str, name: str) -> Branch | None:
    """The branch of a drill by its name; None when it was never made.

    Raises:
        NeonError: nobody knows.
    """
    return next((other for other in await branches_of(client, project_id) if other.name == name), None)


async def sweep(
    client: NeonClient,
    writer: DrillWriter,
    journal: DrillJournal,
    inventory: Inventory,
    *,
    say: Callable[[str], None],
) -> list[str]:
    """Remove the branches of drills that are over; answers their names. One that may be of a drill elsewhere is told.

    Raises:
        NeonError, DrillError: one is still there.
        JournalError: the journal cannot be used.
    """
    removed = []
    for left in leftovers(inventory.branches.values(), journal, inventory.server_now):
        branch = left.branch
        if not left.over:
            say(f"{branch.name}: a drill that this ledger does not know; left alone until it expires")
            continue
        say(f"{branch.name}: left by a drill that was killed; deleting it ...")
        await remove(client, writer, branch, CLEAN_SECONDS)
        removed.append(branch.name)
        if (drill := left.ours) is not None:
            now = time.time()
            if not drill.result:
                drill = replace(drill, result=ABORTED, error="killed", ended_at=now)
            journal.write(CLEANED, replace(drill, copy_id=branch.id, cleaned=True), now)
    return removed
