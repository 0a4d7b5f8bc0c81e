"""When computes woke and slept, from Neon's own record of its operations: exact, and available for months.

The inventory shows a compute only at each refresh; this record has no gaps. Reading it wakes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Self

from collectors.base import Observation, Status, Target
from collectors.metric import Families, Kind, Metric, Scope, Unit
from collectors.neon.client import NeonClient
from collectors.neon.models import Operation, OperationPage

NAME = "operations"
START, SUSPEND = "start_compute", "suspend_compute"
_WAKES = frozenset({START, "start_reserved_compute"})
_FINAL = frozenset({"finished", "failed", "error", "cancelled", "skipped"})
_FAILED = frozenset({"failed", "error"})
PAGE = 1000
"""Operations in one answer: Neon's most."""
_MANY = 5000
_OVERLAP_SECONDS = 120.0
"""An operation may show in the list after one that was asked for later; so far back the list is read again."""

WAKES = Metric(
    "neon_endpoint_wakes_total", Kind.COUNTER, Unit.NONE, Scope.PROJECT,
    "Starts of the compute by Neon since this agent first read its operations.",
    ("branch_id", "endpoint_id"), worse="up", max_series=_MANY,
)  # fmt: skip
SUSPENDS = Metric(
    "neon_endpoint_suspends_total", Kind.COUNTER, Unit.NONE, Scope.PROJECT,
    "Suspends of the compute by Neon since this agent first read its operations.",
    ("branch_id", "endpoint_id"), max_series=_MANY,
)  # fmt: skip
WAKE_TIME = Metric(
    "neon_endpoint_wake_duration_seconds_total", Kind.COUNTER, Unit.SECONDS, Scope.PROJECT,
    "Time spent starting the compute; divided by the wakes it is the mean cold start.",
    ("branch_id", "endpoint_id"), worse="up", max_series=_MANY,
)  # fmt: skip
LAST_WAKE = Metric(
    "neon_endpoint_last_wake_timestamp_seconds", Kind.GAUGE, Unit.TIMESTAMP, Scope.PROJECT,
    "When Neon last started the compute.", ("branch_id", "endpoint_id"), max_series=_MANY,
)  # fmt: skip
FAILED = Metric(
    "neon_project_failed_operations_total", Kind.COUNTER, Unit.NONE, Scope.PROJECT,
    "Failed operations of the project since this agent first read its operations.",
    ("action",), worse="up", max_series=60,
)  # fmt: skip
METRICS: tuple[Metric, ...] = (WAKES, SUSPENDS, WAKE_TIME, LAST_WAKE, FAILED)


@dataclass(frozen=True, slots=True)
class WakeEvent:
    """A compute started (``kind`` is "wake") or stopped ("suspend") at ``at`` (unix seconds), and took ``seconds``."""

    endpoint_id: str
    branch_id: str
    kind: str
    at: float
    seconds: float


async def read_operations(client: NeonClient, project_id: str, since: float) -> list[Operation]:
    """The project's operations created at or after ``since`` (unix seconds), oldest first.

    Neon lists the newest first, so paging stops at the first page that reaches back far enough; a list in another order
    is read to its end.

    Raises:
        NeonError: the list could not be read.
    """

    def enough(page: tuple[Operation, ...]) -> bool:
        times = [operation.created_at for operation in page if operation.created_at is not None]
        return bool(times) and times[0] >= times[-1] and times[-1] < since

    path = f"/projects/{project_id}/operations"
    listing = await client.pages(path, {"limit": PAGE}, OperationPage, enough=enough)
    found = {op.id: op for op in listing.items if op.created_at is not None and op.created_at >= since}
    return sorted(found.values(), key=lambda op: (op.created_at or 0.0, op.id))


def wake_history(operations: Iterable[Operation]) -> list[WakeEvent]:
    """The finished wakes and suspends among the operations, oldest first; ``at`` is when each was asked for."""
    events = []
    for operation in operations:
        kind = _kind(operation)
        if kind and operation.status == "finished" and operation.created_at is not None:
            seconds = operation.total_duration_ms / 1000
            events.append(WakeEvent(operation.endpoint_id, operation.branch_id, kind, operation.created_at, seconds))
    return sorted(events, key=lambda event: (event.at, event.endpoint_id))


def _kind(operation: Operation) -> str:
    if not operation.endpoint_id:
        return ""
    if operation.action in _WAKES:
        return "wake"
    return "suspend" if operation.action == SUSPEND else ""


@dataclass(slots=True)
class OperationCounts:
    """Monotone counts of one project's operations, each counted once, when it has ended.

    ``since`` is what to ask :func:`read_operations` for next: everything before it is counted. Kept across restarts by
    :meth:`as_dict`, the counters lose and repeat no operation; without that they start at zero with ``since`` now.
    """

    project_id: str
    since: float
    counts: dict[tuple[str, ...], float] = field(default_factory=dict)
    counted: dict[str, float] = field(default_factory=dict)
    """Ids counted already, with their creation: those at or after ``since``, which the next list repeats."""
    unfinished: int = 0
    """Operations that still ran when they were listed last: above zero, ask again although nothing else changed."""

    def absorb(self, operations: Iterable[Operation]) -> list[WakeEvent]:
        """Count what is new among the operations; returns the new wakes and suspends."""
        fresh = []
        waiting: list[float] = []
        newest = self.since
        for operation in operations:
            created = operation.created_at
            if created is None or created < self.since:
                continue
            newest = max(newest, created)
            if operation.status not in _FINAL:
                waiting.append(created)
            elif operation.id not in self.counted:
                self.counted[operation.id] = created
                fresh.append(operation)
        for operation in fresh:
            if operation.status in _FAILED:
                self._add(("failed", operation.action), 1)
        events = wake_history(fresh)
        for event in events:
            where = (event.branch_id, event.endpoint_id)
            self._add((event.kind, *where), 1)
            if event.kind == "wake":
                self.add_wake_time(("seconds", *where), event.seconds)
                self.counts[("last", *where)] = max(self.counts.get(("last", *where), 0.0), event.at)
        # One that still runs holds the window open, or it would end uncounted.
        self.unfinished = len(waiting)
        self.since = max(self.since, min([newest - _OVERLAP_SECONDS, *waiting]))
        self.counted = {key: created for key, created in self.counted.items() if created >= self.since}
        return events

    def families(self) -> Families:
        """The counters as series."""
        families = Families()
        names = {"wake": WAKES, "suspend": SUSPENDS, "seconds": WAKE_TIME, "last": LAST_WAKE, "failed": FAILED}
        for (kind, *labels), value in self.counts.items():
            families.set(names[kind], tuple(labels), value)
        return families

    def as_dict(self) -> dict[str, object]:
        """Everything as a mapping that can be written as JSON."""
        counts = [[*key, value] for key, value in self.counts.items()]
        return {"project_id": self.project_id, "since": self.since, "counts": counts, "counted": dict(self.counted)}

    @classmethod
    def from_dict(cls, saved: Mapping[str, object]) -> Self:
        """The inverse of :meth:`as_dict`.

        Raises:
            ValueError: it was not made by it.
        """
        project_id, since, counts, counted = (saved.get(name) for name in ("project_id", "since", "counts", "counted"))
        if not (isinstance(project_id, str) and isinstance(since, int | float)):
            raise ValueError("saved operation counts lack project_id or since")  # noqa: TRY004 - data, not a call
        if not (isinstance(counts, list) and isinstance(counted, dict)):
            raise ValueError("saved operation counts lack counts or counted")  # noqa: TRY004
        return cls(project_id, since, {tuple(row[:-1]): row[-1] for row in counts}, dict(counted))

    def add_wake_time(self, key: tuple[str, ...], seconds: float) -> None:
        """Add to a count of seconds, in whole milliseconds as Neon has them: so nothing is lost by rounding."""
        self.counts[key] = (round(self.counts.get(key, 0.0) * 1000) + round(seconds * 1000)) / 1000

    def _add(self, key: tuple[str, ...], value: float) -> None:
        self.counts[key] = self.counts.get(key, 0) + value


def observe(counts: OperationCounts, at: float, name: str = "") -> Observation:
    """The counts of one project as an observation; ``name`` is the project's for a person."""
    target = Target(Scope.PROJECT, (counts.project_id,), name)
    families = counts.families()
    return Observation(NAME, target, Status.OK, at, families=families, rows=len(families))
