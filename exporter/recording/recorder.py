"""`neonmeter record`: everything that the agent reads of the Neon API, read once and written with all names replaced.

It asks with the agent's own client, which can only GET, and opens no connection to a database: it wakes nothing.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from collectors.base import Status
from collectors.errors import NeonmeterError
from collectors.neon.account import read_spending_limit
from collectors.neon.client import NeonClient, RawAnswer, route_of
from collectors.neon.consumption import read_consumption
from collectors.neon.errors import NeonError, http_date
from collectors.neon.inventory import Inventory, refresh
from collectors.neon.models import Operation, ProjectAnswer
from collectors.neon.operations import SUSPEND, read_operations
from collectors.neon.organizations import by_organization
from collectors.neon.security import read_security
from exporter.cost.usage_import import Span, hours_from, spans, windows
from exporter.feature.workspace import neon_client
from exporter.pricing.domain.calendar import HOUR
from exporter.pricing.domain.components import USAGE_METRICS
from exporter.pricing.domain.usage import HOURLY
from exporter.recording.domain.pseudonyms import Json, Pseudonyms
from exporter.recording.files import Exchange, RecordingWriter, Summary
from exporter.recording.words import vocabulary
from exporter.settings.tree import CoreSettings
from exporter.version import __version__

ALL_HOURS = 168
"""Neon keeps no more of them."""
MOST_PROJECTS = 200
"""So many projects are read beyond the lists: operations, detail."""
_BRANCH_BUCKETS = 4_000
_DETAILS = 10
_SECURITY_REQUESTS = 150
Result = TypeVar("Result")


class Recorder:
    """One recording."""

    def __init__(
        self,
        folder: Path,
        hours: int,
        *,
        say: Callable[[str], None] = lambda _: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Make the folder; ``hours`` of consumption and operations are read, ``say`` gets a line of progress.

        Raises:
            RecordingError: the folder holds something already.
        """
        self._writer = RecordingWriter(folder)
        self._say = say
        self._clock = clock
        self._began = clock()
        self._names = Pseudonyms(vocabulary())
        self._skews: list[float] = []
        self._disk_trouble: NeonmeterError | None = None
        self.summary = Summary(__version__, self._began, hours)

    def take(self, answer: RawAnswer) -> None:
        """Write one answer of the API, replaced."""
        now = self._clock()
        server = http_date(answer.headers.get("Date"))
        if server is not None:
            self._skews.append(server - now)
        try:
            body, unread = json.loads(answer.body, parse_constant=_refuse), ""
            json.dumps(body, allow_nan=False)
            body = self._names.body(body, error=answer.status >= 400)
        except (ValueError, RecursionError):
            body, unread = None, f"no JSON, {len(answer.body)} bytes"
        path = self._names.path(answer.path)
        pairs = [(name, str(value)) for name, value in (answer.params or {}).items()]
        route = self._names.route(route_of(answer.path))
        exchange = Exchange(
            round(now, 3), round(answer.seconds, 4), route, path, self._names.query(pairs), answer.status,
            self._names.headers(answer.headers), body, unread=unread,
        )  # fmt: skip
        self.summary.requests += 1
        self.summary.routes[exchange.route] = self.summary.routes.get(exchange.route, 0) + 1
        try:
            self._writer.add(exchange)
        except NeonmeterError as problem:  # the client must not take it for an answer that failed
            self._disk_trouble = self._disk_trouble or problem

    async def run(self, settings: CoreSettings) -> Inventory | None:
        """Read everything; the inventory, or None when not even that could be read.

        Raises:
            RecordingError: the disk is full, or the folder has gone.
        """
        neon = settings.neon
        async with neon_client(settings, on_answer=self.take) as client:
            found = await self._part(
                "inventory",
                lambda: refresh(
                    client, None, org_id=neon.org_id, include=neon.include, exclude=neon.exclude, full=True
                ),
            )
            if found is not None:
                await self._everything(client, found)
        self._finish()
        return found

    async def _everything(self, client: NeonClient, found: Inventory) -> None:
        summary = self.summary
        summary.projects, summary.branches = len(found.projects), len(found.branches)
        summary.computes = len(found.endpoints)
        now = self._clock() + found.skew
        projects = sorted(found.projects)[:MOST_PROJECTS]
        if len(found.projects) > len(projects):
            summary.not_read.append(f"operations of {len(found.projects) - len(projects)} projects")
        for project_id in projects[:_DETAILS]:
            await self._part("detail", lambda path=f"/projects/{project_id}": client.get(path, None, ProjectAnswer))  # type: ignore[misc]
        organizations = [org.id for org in found.organizations]
        for view in by_organization(found):
            await self._part("consumption", lambda view=view: self._consumption(client, view, now))  # type: ignore[misc]
            await self._part("spending limit", lambda view=view: read_spending_limit(client, view.org_id))  # type: ignore[misc]
        operations: list[Operation] = []
        since = now - summary.hours * HOUR
        for project_id in projects:
            read = await self._part("operations", lambda of=project_id: read_operations(client, of, since))  # type: ignore[misc]
            operations += read or []
        summary.operations = len(operations)
        self._suspends(found, operations)
        rows = [
            (project, [branch for branch in found.branches.values() if branch.project_id == project.id])
            for project in (found.projects[project_id] for project_id in projects)
        ]
        await self._part(
            "security",
            lambda: read_security(client, organizations, rows, {}, now, requests=_SECURITY_REQUESTS),
        )

    async def _consumption(self, client: NeonClient, found: Inventory, now: float) -> None:
        projects = sorted(found.projects)
        wanted = [Span(HOURLY, max(hours_from(now), int(now) // HOUR * HOUR - self.summary.hours * HOUR), now)]
        if self.summary.hours >= ALL_HOURS and projects:
            created = min(project.created_at or 0 for project in found.projects.values())
            wanted += spans(created, now)
        at_once = max(1, _BRANCH_BUCKETS // max(1, len(found.branches) + len(projects)))
        for span in wanted:
            for begin, end in windows(span, at_once):
                read = await read_consumption(
                    client, found.org_id, projects, begin, end, span.granularity, metrics=USAGE_METRICS
                )
                self.summary.usage_rows += len(read.rows)
                if read.status not in (Status.OK, Status.TRUNCATED):
                    break

    async def _part(self, name: str, read: Callable[[], Awaitable[Result]]) -> Result | None:
        """One part; what Neon does not answer is noted, and the rest still read."""
        found: Result | None = None
        try:
            found = await read()
        except NeonError as problem:
            said = f"{name}: {problem.status.value}" + (f", HTTP {problem.http_status}" if problem.http_status else "")
            if said not in self.summary.not_read:
                self.summary.not_read.append(said)
                self._say(f"{name} could not be read: {problem.message}")
        if self._disk_trouble is not None:
            raise self._disk_trouble
        return found

    def _suspends(self, found: Inventory, operations: Sequence[Operation]) -> None:
        """How long after its last activity each compute was suspended, by its own row and by the operations."""
        for row in suspend_rows(found, operations):
            self._writer.add_suspend(self._names.body(row))
            self.summary.suspends += 1

    def _finish(self) -> None:
        summary = self.summary
        if self._skews:
            ordered = sorted(self._skews)
            summary.clock = (round(ordered[0], 3), round(statistics.median(ordered), 3), round(ordered[-1], 3))
        summary.replaced_texts, summary.replaced_field_names = self._names.texts, self._names.field_names
        self._writer.finish(summary)


def suspend_rows(found: Inventory, operations: Iterable[Operation]) -> list[dict[str, Json]]:
    """For each compute that was active and then suspended: from when to when (unix seconds), and how far apart.

    ``source`` is ``endpoint`` (its own two instants) or ``operation`` (the suspend that followed its last activity).
    """
    rows: list[dict[str, Json]] = []
    suspends = sorted(
        (operation for operation in operations if operation.action == SUSPEND and operation.created_at),
        key=lambda operation: operation.created_at or 0.0,
    )
    for endpoint in found.endpoints.values():
        active, known = endpoint.last_active, endpoint.suspended_at
        if active is None:
            continue
        later = [op.created_at for op in suspends if op.endpoint_id == endpoint.id and (op.created_at or 0) >= active]
        for source, at in (("endpoint", known), ("operation", later[0] if later else None)):
            if at is not None and at >= active:
                rows.append({
                    "endpoint_id": endpoint.id, "project_id": endpoint.project_id, "source": source,
                    "suspend_timeout_seconds": endpoint.suspend_timeout_seconds, "state": endpoint.current_state,
                    "last_active": active, "suspended_at": at, "seconds": at - active,
                })  # fmt: skip
    return rows


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")
