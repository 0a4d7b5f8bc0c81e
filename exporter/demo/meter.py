"""What the twin's world used: awake seconds x CU, sizes over time, WAL in the history window, transfer.

It counts in whole microseconds, thousandths of a CU and bytes, so nothing is ever rounded away: a bucket shows the
whole units of its running total that are new in it, hence any run of buckets sums to the floor of the true total.
"""

from __future__ import annotations

import json
import os
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from collectors.errors import UsageError
from exporter.demo.view import Frame, Period
from exporter.demo.world import World

HOUR = 3_600_000_000
"""One hour in microseconds: the step of the buckets."""
_UNITS = {
    "compute_unit_seconds": 1_000_000_000,  # from microseconds x thousandths of a CU
    "root_branch_bytes_month": HOUR,  # from bytes x microseconds
    "child_branch_bytes_month": HOUR,
    "instant_restore_bytes_month": HOUR,
    "public_network_transfer_bytes": 1,
    "private_network_transfer_bytes": 1,
    "extra_branches_month": HOUR,  # from branches x microseconds
    "snapshot_storage_bytes_month": HOUR,
}
_FORMAT = 1
_WAL_STEPS = 500
"""WAL leaves the history window in at most this many steps, so that memory stays bounded."""


def _us(seconds: float) -> int:
    return round(seconds * 1_000_000)


class MeterFileError(UsageError):
    """The file of a meter is not one of ours."""


class Meter:
    """Hourly buckets of raw units for each branch; a project is the sum of its branches.

    Thread-safe. Times are unix seconds, in order for each branch. What the API may see is refreshed every ``refresh``
    seconds (Neon: about 15 minutes); the buckets of the running hour grow.
    """

    def __init__(self, world: World, *, refresh: float = 1.0) -> None:
        """Count for ``world`` from now on; every branch that it has exists from its ``created_at``."""
        self._world = world
        self._refresh = _us(refresh)
        self._lock = threading.RLock()
        self._buckets: dict[str, dict[int, dict[str, int]]] = {}
        self._levels: dict[str, tuple[int, int]] = {}  # "account metric source" -> level, since
        self._sizes: dict[str, int] = {}
        self._wal: dict[str, int] = {}
        self._leaving: dict[str, list[tuple[int, int]]] = {}  # branch -> (when, bytes) that leave the window
        self._shown: dict[str, dict[int, dict[str, int]]] = {}
        self._shown_at = 0
        self._projects: dict[str, str] = {}
        self._ended: set[str] = set()
        with world.lock:
            start = min((project.created_at for project in world.projects.values()), default=world.clock())
            plan = world.plan
        self._plans: list[tuple[int, str]] = [(_us(start) // HOUR, plan)]
        self.branches_changed()

    # What happened.

    def branches_changed(self) -> None:
        """Notice branches that are new in the world; the hours of children count from their creation."""
        with self._world.lock, self._lock:
            for branch in self._world.branches.values():
                if branch.id in self._projects:
                    continue
                self._projects[branch.id] = branch.project_id
                created = _us(branch.created_at)
                if branch.parent_id:
                    self._set_level(branch.project_id, "extra_branches_month", branch.id, created, 1)
                self._sizes[branch.id] = branch.logical_size
                self._wal[branch.id] = branch.wal_bytes
                self._set_storage(branch.id, created)

    def awake(self, branch_id: str, start: float, end: float, cu: float) -> None:
        """A compute of the branch ran from ``start`` to ``end`` at ``cu``; call it every second or so."""
        with self._lock:
            self._spread(branch_id, "compute_unit_seconds", _us(start), _us(end), round(cu * 1000))

    def size(self, branch_id: str, at: float, logical_bytes: int) -> None:
        """The branch holds ``logical_bytes`` from ``at`` on."""
        with self._lock:
            self._sizes[branch_id] = logical_bytes
            self._set_storage(branch_id, _us(at))

    def wal(self, branch_id: str, at: float, total_bytes: int) -> None:
        """The branch has written ``total_bytes`` of WAL since its creation; a total that falls starts a new count."""
        with self._lock:
            before = self._wal.get(branch_id, 0)
            new = total_bytes - before if total_bytes >= before else total_bytes
            self._wal[branch_id] = total_bytes
            now = _us(at)
            if new and not self._is_child(branch_id):
                self._keep_history(branch_id, now, new)
            self._set_storage(branch_id, now)

    def egress(self, branch_id: str, at: float, transferred: int, *, private: bool = False) -> None:
        """``transferred`` bytes left the branch at ``at``."""
        metric = "private_network_transfer_bytes" if private else "public_network_transfer_bytes"
        with self._lock:
            self._add(branch_id, metric, _us(at) // HOUR, transferred)

    def snapshot(self, project_id: str, snapshot_id: str, at: float, held: int) -> None:
        """The snapshot holds ``held`` bytes from ``at`` on; 0 when it is gone."""
        with self._lock:
            self._set_level(project_id, "snapshot_storage_bytes_month", snapshot_id, _us(at), held)

    def branch_ended(self, branch_id: str, at: float) -> None:
        """The branch was deleted: its storage and its branch-hours end, its history stays."""
        with self._lock:
            now = _us(at)
            self._ended.add(branch_id)
            for metric in ("root_branch_bytes_month", "child_branch_bytes_month", "instant_restore_bytes_month"):
                self._set_level(branch_id, metric, "", now, 0)
            self._leaving.pop(branch_id, None)
            if branch_id in self._projects:
                self._set_level(self._projects[branch_id], "extra_branches_month", branch_id, now, 0)

    def plan(self, at: float, plan: str) -> None:
        """The plan changes with the hour of ``at``; the API answers with a new period."""
        hour = _us(at) // HOUR
        with self._world.lock, self._lock:
            self._world.plan = plan
            self._plans = [*(row for row in self._plans if row[0] < hour), (hour, plan)]

    # What the API sees.

    def periods(self) -> Sequence[Period]:
        """Stretches under one plan, oldest first."""
        with self._lock:
            plans = list(self._plans)
        ends = [start for start, _ in plans[1:]]
        return [
            Period(str(uuid.UUID(int=(start << 64) + number)), plan, start, end)
            for number, ((start, plan), end) in enumerate(zip(plans, [*ends, None], strict=True), 1)
        ]

    def branch(self, project_id: str, branch_id: str, frames: Sequence[Frame]) -> list[Mapping[str, int]]:
        """Whole units for each frame; ``project_id`` is of no matter here."""
        del project_id
        with self._lock:
            self._show()
            return [self._sum([branch_id], frame) for frame in frames]

    def project(self, project_id: str, frames: Sequence[Frame]) -> list[Mapping[str, int]]:
        """Whole units for each frame: the sum of the branches, deleted ones too, and the project's own."""
        with self._lock:
            self._show()
            accounts = [project_id, *(bid for bid, pid in self._projects.items() if pid == project_id)]
            return [self._sum(accounts, frame) for frame in frames]

    def _sum(self, accounts: Sequence[str], frame: Frame) -> Mapping[str, int]:
        total: dict[str, int] = {}
        for account in accounts:
            shown = self._shown.get(account, {})
            for hour in range(*frame) if frame[1] - frame[0] < len(shown) else shown:
                if not frame[0] <= hour < frame[1]:
                    continue
                for metric, value in shown.get(hour, {}).items():
                    total[metric] = total.get(metric, 0) + value
        return {metric: value for metric, value in total.items() if value}

    def refresh(self) -> None:
        """Show the API all that was counted until now, before the next refresh is due."""
        with self._lock:
            self._shown_at = 0
            self._show()

    def _show(self) -> None:
        now = _us(self._world.clock())
        if self._shown_at and 0 <= now - self._shown_at < self._refresh:
            return
        self._advance(now)
        self._shown_at = now
        self._shown = {account: _whole(buckets) for account, buckets in self._buckets.items()}

    # Integration.

    def _set_storage(self, branch_id: str, at: int) -> None:
        """A root is billed for its size; a child for what it changed, but never for more than its size."""
        if branch_id in self._ended:
            return
        size, changed = self._sizes.get(branch_id, 0), self._wal.get(branch_id, 0)
        if self._is_child(branch_id):
            self._set_level(branch_id, "child_branch_bytes_month", "", at, min(size, changed))
        else:
            self._set_level(branch_id, "root_branch_bytes_month", "", at, size)

    def _keep_history(self, branch_id: str, now: int, new: int) -> None:
        project = self._world.projects.get(self._projects.get(branch_id, ""))
        window = _us(project.history_retention_seconds) if project else 0
        if not window:
            return
        self._drop_history(branch_id, now)
        leaving = self._leaving.setdefault(branch_id, [])
        if leaving and now + window - leaving[-1][0] < window // _WAL_STEPS:
            leaving[-1] = (leaving[-1][0], leaving[-1][1] + new)
        else:
            leaving.append((now + window, new))
        self._set_level(branch_id, "instant_restore_bytes_month", "", now, sum(number for _, number in leaving))

    def _drop_history(self, branch_id: str, now: int) -> None:
        leaving = self._leaving.get(branch_id, [])
        while leaving and leaving[0][0] <= now:
            when, _ = leaving.pop(0)
            self._set_level(branch_id, "instant_restore_bytes_month", "", when, sum(number for _, number in leaving))

    def _is_child(self, branch_id: str) -> bool:
        branch = self._world.branches.get(branch_id)
        return branch is not None and bool(branch.parent_id)

    def _advance(self, now: int) -> None:
        for branch_id in list(self._leaving):
            self._drop_history(branch_id, now)
        for key, (level, _) in list(self._levels.items()):
            account, metric, source = key.split(" ")
            self._set_level(account, metric, source, now, level)

    def _set_level(self, account: str, metric: str, source: str, at: int, level: int) -> None:
        key = f"{account} {metric} {source}"
        before, since = self._levels.get(key, (0, at))
        if at > since:
            self._spread(account, metric, since, at, before)
        self._levels[key] = (level, max(at, since))

    def _spread(self, account: str, metric: str, start: int, end: int, level: int) -> None:
        while start < end:
            hour = start // HOUR
            until = min(end, (hour + 1) * HOUR)
            self._add(account, metric, hour, (until - start) * level)
            start = until

    def _add(self, account: str, metric: str, hour: int, value: int) -> None:
        if value:
            bucket = self._buckets.setdefault(account, {}).setdefault(hour, {})
            bucket[metric] = bucket.get(metric, 0) + value

    # Survival.

    def to_json(self) -> dict[str, Any]:
        """All of it, counted up to now; storage goes on being counted from there when the twin is down."""
        with self._lock:
            self._advance(_us(self._world.clock()))
            return {
                "format": _FORMAT,
                "buckets": {a: {str(h): dict(m) for h, m in hours.items()} for a, hours in self._buckets.items()},
                "levels": {key: list(value) for key, value in self._levels.items()},
                "sizes": dict(self._sizes),
                "wal": dict(self._wal),
                "leaving": {key: [list(row) for row in value] for key, value in self._leaving.items()},
                "projects": dict(self._projects),
                "ended": sorted(self._ended),
                "plans": [list(plan) for plan in self._plans],
            }

    @classmethod
    def from_json(cls, world: World, data: Mapping[str, Any], *, refresh: float = 1.0) -> Meter:
        """Continue what ``to_json`` wrote, for a world with the same ids.

        Raises:
            MeterFileError: it is of another format.
        """
        if not isinstance(data, Mapping) or data.get("format") != _FORMAT:
            raise MeterFileError("not the file of a meter, or of another version: remove it to start anew")
        meter = cls(world, refresh=refresh)
        meter._buckets = {a: {int(h): dict(m) for h, m in hours.items()} for a, hours in data["buckets"].items()}
        meter._levels = {key: (level, since) for key, (level, since) in data["levels"].items()}
        meter._sizes = dict(data["sizes"])
        meter._wal = dict(data["wal"])
        meter._leaving = {key: [(when, size) for when, size in value] for key, value in data["leaving"].items()}
        meter._projects = dict(data["projects"])
        meter._ended = set(data["ended"])
        meter._plans = [(hour, plan) for hour, plan in data["plans"]]
        world.plan = meter._plans[-1][1]
        meter.branches_changed()
        return meter

    def save(self, path: Path) -> None:
        """Write it so that a kill at any moment leaves the old file or the new one."""
        spare = path.with_name(path.name + ".new")
        with spare.open("w", encoding="utf-8") as file:
            json.dump(self.to_json(), file, separators=(",", ":"))
            file.flush()
            os.fsync(file.fileno())
        spare.replace(path)

    @classmethod
    def load(cls, world: World, path: Path, *, refresh: float = 1.0) -> Meter:
        """Continue from ``path``; a new meter when there is no such file.

        Raises:
            MeterFileError: it cannot be read as the file of a meter.
        """
        try:
            data = json.loads(path.read_text("utf-8"))
        except FileNotFoundError:
            return cls(world, refresh=refresh)
        except ValueError as problem:
            raise MeterFileError(f"{path}: {problem}") from None
        return cls.from_json(world, data, refresh=refresh)


def _whole(buckets: Mapping[int, Mapping[str, int]]) -> dict[int, dict[str, int]]:
    shown: dict[int, dict[str, int]] = {}
    for metric, hour, value in _floors(buckets):
        shown.setdefault(hour, {})[metric] = value
    return shown


def _floors(buckets: Mapping[int, Mapping[str, int]]) -> Iterator[tuple[str, int, int]]:
    rest = dict.fromkeys(_UNITS, 0)
    for hour in sorted(buckets):
        for metric, exact in buckets[hour].items():
            value, rest[metric] = divmod(rest[metric] + exact, _UNITS[metric])
            if value:
                yield metric, hour, value
