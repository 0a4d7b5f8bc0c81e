"""A world of any size without servers: every number follows from a seed and the clock, nothing is stored.

For scale tests. An endpoint's state, its operations and its consumption come from the same cycle of waking and
suspending, so they agree; every figure is a whole number at any moment, so the branches of a project sum to it exactly.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from random import Random

from collectors.errors import UsageError
from exporter.demo.answers import REGIONS
from exporter.demo.security import TwinSecurity
from exporter.demo.view import BRANCH_METRICS, PROJECT_METRICS, Frame, Period
from exporter.demo.world import (
    TODAY,
    Clock,
    TwinBranch,
    TwinDatabase,
    TwinEndpoint,
    TwinOperation,
    TwinProject,
    TwinRole,
    TwinSnapshot,
)

ORIGIN = 1_735_689_600
"""2025-01-01T00:00:00Z: when all of it was created."""
_PLANS = (("launch_v3", 0), ("scale_v3", 1_772_323_200))
"""The plan changed on 2026-03-01."""
_DAY = (1, 1, 1, 1, 2, 3, 5, 8, 12, 15, 16, 15, 14, 15, 16, 15, 13, 10, 8, 6, 5, 4, 3, 2)
"""How transfer is spread over the hours of a day."""
_HISTORY = 48 * 3600
"""How far back the operations go, in seconds."""
_NAME = re.compile(r"large:([1-9][0-9]{0,5})x([1-9][0-9]{0,4})\Z")
_CACHED = 60_000
"""Branches whose coefficients are kept: about 25 MB."""


class LargeWorldError(UsageError):
    """The size is not ``large:PROJECTSxBRANCHES``."""


@dataclass(frozen=True, slots=True)
class _Branch:
    """What determines a branch. All of it whole multiples, so that no figure is ever rounded."""

    number: int
    fate: str
    cu: int
    """In quarters."""
    period: int
    offset: int
    busy: int
    timeout: int
    bytes: int
    growth: int
    """Bytes more in every hour."""
    history: int
    public: int
    private: int

    def awake(self, at: int) -> int:
        """Seconds awake from the origin until ``at`` seconds after it."""
        if self.fate == "always":
            return at
        if self.fate != "cycle":
            return 0
        cycles, phase = divmod(at - self.offset, self.period)
        before = min((-self.offset) % self.period, self.busy + self.timeout)
        first = -self.offset // self.period
        return (cycles - first) * (self.busy + self.timeout) + min(phase, self.busy + self.timeout) - before

    def totals(self, at: int) -> tuple[int, int, int, int, int, int]:
        """The running totals of the six branch metrics ``at`` seconds after the origin (a multiple of 4)."""
        hours, rest = divmod(at, 3600)
        stored = self.bytes * hours + self.growth * (hours * (hours - 1) // 2)
        stored += (self.bytes + self.growth * hours) * rest // 3600
        root = self.number == 0
        days, hour = divmod(hours, 24)
        weight = days * sum(_DAY) + sum(_DAY[:hour])
        return (
            self.awake(at) * self.cu // 4,
            stored if root else 0,
            0 if root else stored,
            self.history * at // 3600,
            self.public * (weight * 3600 + _DAY[hour] * rest) // 3600,
            self.private * at // 3600,
        )


class LargeWorld:
    """``projects`` x ``branches``, as a view; it holds a few cached coefficients and no history."""

    def __init__(self, projects: int, branches: int, clock: Clock, seed: int = 1) -> None:
        """Any two with the same arguments are the same world."""
        self.org_id = f"org-large-{projects}x{branches}"
        self.org_name = f"Large {projects}x{branches}"
        self.plan = _PLANS[-1][0]
        self.spending_limit_cents: int | None = None
        self.managed_by = "console"
        self.recoverable: Sequence[TwinProject] = ()
        self.security = TwinSecurity()
        self.era = TODAY
        self.created_at = float(ORIGIN)
        self._projects = projects
        self._branches = branches
        self._clock = clock
        self._seed = seed
        self._ids = tuple(f"large-{number:06d}" for number in range(projects))
        self._coefficients = lru_cache(_CACHED // branches + 1)(self._draw)

    @classmethod
    def parse(cls, name: str, clock: Clock, seed: int = 1) -> LargeWorld:
        """From ``large:PROJECTSxBRANCHES``.

        Raises:
            LargeWorldError: it is written otherwise, or too large.
        """
        found = _NAME.match(name)
        if not found:
            raise LargeWorldError(f"{name!r}: write large:PROJECTSxBRANCHES, such as large:1000x50")
        return cls(int(found[1]), int(found[2]), clock, seed)

    def _draw(self, project: int) -> tuple[_Branch, ...]:
        random = Random(f"{self._seed}/{project}")
        return tuple(self._draw_branch(number, random) for number in range(self._branches))

    @staticmethod
    def _draw_branch(number: int, random: Random) -> _Branch:
        period = random.choice((3600, 7200, 21600, 86400))
        fate = random.choices(("cycle", "always", "unused", "disabled", "init"), (80, 6, 9, 3, 2))[0]
        size = random.randrange(3, 3_000_000 if number == 0 else 30_000) * 3600
        return _Branch(
            number=number,
            fate=fate,
            cu=random.choice((1, 1, 1, 2, 4, 8)),
            period=period,
            offset=random.randrange(0, period, 4),
            busy=random.randrange(60, period // 2, 4),
            timeout=random.choice((60, 300, 600)),
            bytes=size,
            growth=random.randrange(1, 200) * 3600,
            history=0 if number else size // 36000 * 3600,
            public=random.randrange(1, 2000) * 3600 if fate in ("cycle", "always") else 0,
            private=random.randrange(1, 900) * 3600 if number % 10 == 3 else 0,
        )

    def _number(self, project_id: str) -> int | None:
        number = project_id.removeprefix("large-")
        known = number != project_id and len(number) == 6 and number.isdigit() and int(number) < self._projects
        return int(number) if known else None

    def now(self) -> float:
        """The clock."""
        return self._clock()

    def project_ids(self) -> Sequence[str]:
        """All of them, sorted."""
        return self._ids

    def project(self, project_id: str) -> TwinProject | None:
        """One project."""
        number = self._number(project_id)
        if number is None:
            return None
        return TwinProject(
            id=project_id,
            name=f"customer-{number}",
            region_id=list(REGIONS)[number % len(REGIONS)],
            pg_version=14 + number % 5,
            history_retention_seconds=86400 * (1 + number % 7),
            created_at=ORIGIN,
            updated_at=ORIGIN + number,
            enable_logical_replication=number % 20 == 0,
        )

    def branches(self, project_id: str) -> list[TwinBranch]:
        """The branches of a project: number 0 is the root, the others hang below it three by three."""
        project = self._number(project_id)
        if project is None:
            return []
        hours = max(0, int(self.now()) - ORIGIN) // 3600
        return [
            TwinBranch(
                id=_branch_id(project, coefficient.number),
                project_id=project_id,
                name=f"preview-{coefficient.number}" if coefficient.number else "main",
                parent_id=_branch_id(project, (coefficient.number - 1) // 3) if coefficient.number else "",
                default=coefficient.number == 0,
                protected=coefficient.number == 0,
                created_at=ORIGIN,
                updated_at=ORIGIN + coefficient.number,
                logical_size=coefficient.bytes + coefficient.growth * hours,
                wal_bytes=coefficient.growth * hours,
            )
            for coefficient in self._coefficients(project)
        ]

    def endpoints(self, project_id: str) -> list[TwinEndpoint]:
        """One compute for each branch, in every state there is."""
        project = self._number(project_id)
        if project is None:
            return []
        now = self.now()
        return [_endpoint(project_id, project, coefficient, now) for coefficient in self._coefficients(project)]

    def operations(self, project_id: str) -> list[TwinOperation]:
        """The wakes and suspends of the last 48 hours, newest first."""
        project = self._number(project_id)
        if project is None:
            return []
        found = [cycle for branch in self._coefficients(project) for cycle in self._cycles(project_id, project, branch)]
        return sorted(found, key=lambda cycle: -cycle.created_at)

    def _cycles(self, project_id: str, project: int, branch: _Branch) -> Iterator[TwinOperation]:
        if branch.fate != "cycle":
            return
        now = self.now()
        cycle = int(now - _HISTORY - ORIGIN - branch.offset) // branch.period
        while (start := ORIGIN + branch.offset + cycle * branch.period) <= now:
            moments = (("start_compute", start, 0.4), ("suspend_compute", start + branch.busy + branch.timeout, 0.2))
            for number, (action, at, seconds) in enumerate(moments):
                if now - _HISTORY <= at <= now - seconds:
                    yield TwinOperation(
                        id=f"{project:08x}-{branch.number:04x}-4000-8000-{2 * cycle + number:012x}",
                        project_id=project_id,
                        branch_id=_branch_id(project, branch.number),
                        endpoint_id=_endpoint_id(project, branch.number),
                        action=action,
                        created_at=at,
                        duration_seconds=seconds,
                    )
            cycle += 1

    def databases(self, branch_id: str) -> list[TwinDatabase]:
        """One."""
        del branch_id
        return [TwinDatabase("app", "app_owner", ORIGIN)]

    def roles(self, branch_id: str) -> list[TwinRole]:
        """One."""
        del branch_id
        return [TwinRole("app_owner", created_at=ORIGIN, updated_at=ORIGIN)]

    def snapshots(self, project_id: str) -> list[TwinSnapshot]:
        """One for every fourth project."""
        number = self._number(project_id)
        if number is None or not self._snapshot(number):
            return []
        root = _branch_id(number, 0)
        return [TwinSnapshot(f"snap-{number:06d}", project_id, root, "weekly", ORIGIN, self._snapshot(number))]

    def _snapshot(self, project: int) -> int:
        """Bytes, a multiple of 3600."""
        return 0 if project % 4 else 36_000_000 * (1 + project % 9)

    def backup_frequency(self, branch_id: str) -> str:
        """Roots have a schedule."""
        return "daily" if branch_id.endswith("-00000") else ""

    def coefficients(self, project_id: str) -> tuple[_Branch, ...]:
        """What determines the branches of a project; none when there is no such project."""
        project = self._number(project_id)
        return () if project is None else self._coefficients(project)

    def snapshot_bytes(self, project_id: str) -> int:
        """Bytes in the snapshots of a project, a multiple of 3600."""
        project = self._number(project_id)
        return 0 if project is None else self._snapshot(project)


class LargeUsage:
    """The consumption of a large world, computed for the frames that are asked for."""

    def __init__(self, world: LargeWorld) -> None:
        """Count for ``world``."""
        self._world = world

    def periods(self) -> Sequence[Period]:
        """Two: the plan changed once."""
        starts = [start // 3600 for _, start in _PLANS]
        return [
            Period(f"{number:08x}-0000-4000-8000-000000000000", plan, start, end)
            for number, ((plan, _), start, end) in enumerate(zip(_PLANS, starts, [*starts[1:], None], strict=True))
        ]

    def branch(self, project_id: str, branch_id: str, frames: Sequence[Frame]) -> list[Mapping[str, int]]:
        """Whole units for each frame."""
        number = branch_id.rpartition("-")[2]
        branches = self._world.coefficients(project_id)
        if not number.isdigit() or int(number) >= len(branches):
            return [{} for _ in frames]
        one = branches[int(number)]
        totals = {edge: one.totals(at) for edge, at in self._edges(frames).items()}
        return [_difference(BRANCH_METRICS, totals[start], totals[end]) for start, end in frames]

    def project(self, project_id: str, frames: Sequence[Frame]) -> list[Mapping[str, int]]:
        """Whole units for each frame: the sum of the branches, and what only projects have."""
        branches = self._world.coefficients(project_id)
        if not branches:
            return [{} for _ in frames]
        held = self._world.snapshot_bytes(project_id)
        totals = {}
        for edge, at in self._edges(frames).items():
            summed = map(sum, zip(*(branch.totals(at) for branch in branches), strict=True))
            totals[edge] = (*summed, (len(branches) - 1) * at // 3600, held * at // 3600)
        return [_difference(PROJECT_METRICS, totals[start], totals[end]) for start, end in frames]

    def _edges(self, frames: Sequence[Frame]) -> dict[int, int]:
        """Seconds since the origin for each hour that a frame starts or ends with, never past now."""
        now = int(self._world.now()) - ORIGIN
        return {edge: max(0, min(edge * 3600 - ORIGIN, now - now % 4)) for frame in frames for edge in frame}


def _difference(names: Sequence[str], before: Sequence[int], after: Sequence[int]) -> Mapping[str, int]:
    return {name: new - old for name, old, new in zip(names, before, after, strict=True) if new != old}


def _branch_id(project: int, number: int) -> str:
    return f"br-{project:06d}-{number:05d}"


def _endpoint_id(project: int, number: int) -> str:
    return f"ep-{project:06d}-{number:05d}"


def _endpoint(project_id: str, project: int, branch: _Branch, now: float) -> TwinEndpoint:
    endpoint = TwinEndpoint(
        id=_endpoint_id(project, branch.number),
        project_id=project_id,
        branch_id=_branch_id(project, branch.number),
        min_cu=branch.cu / 4,
        max_cu=branch.cu / 2,
        suspend_timeout_seconds=-1 if branch.fate == "always" else branch.timeout,
        current_state="init" if branch.fate == "init" else "idle",
        disabled=branch.fate == "disabled",
        created_at=ORIGIN,
        updated_at=ORIGIN,
    )
    if branch.fate == "always":
        endpoint.current_state, endpoint.started_at, endpoint.last_active = "active", ORIGIN, now
    elif branch.fate == "cycle":
        _place_in_cycle(endpoint, branch, now)
    return endpoint


def _place_in_cycle(endpoint: TwinEndpoint, branch: _Branch, now: float) -> None:
    phase = (now - ORIGIN - branch.offset) % branch.period
    start, awake = now - phase, branch.busy + branch.timeout
    endpoint.started_at = start
    endpoint.last_active = min(now, start + branch.busy)
    if phase < awake:
        endpoint.current_state = "active" if phase >= 1 else "idle"
        endpoint.pending_state = "" if phase >= 1 else "active"
        endpoint.suspended_at = start - branch.period + awake
        endpoint.updated_at = start
    else:
        endpoint.suspended_at = endpoint.updated_at = start + awake
