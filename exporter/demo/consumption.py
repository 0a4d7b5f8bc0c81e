"""Consumption v2 as Neon answers it: windows per granularity, periods per plan, nothing said where nothing was used."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

from exporter.demo.answers import Json, instant
from exporter.demo.request import ApiError, Key, Page, Request, page
from exporter.demo.view import BRANCH_METRICS, PROJECT_METRICS, Frame, Period, Usage, View

_WINDOW = {"hourly": 168, "daily": 60 * 24, "monthly": 366 * 24}
"""How far back each granularity reaches, in hours."""
_FREE = ("free_v2", "free_v3", "UNKNOWN")
Read = Callable[[Sequence[Frame]], list[Mapping[str, int]]]


def answer_projects(view: View, usage: Usage, request: Request) -> Json:
    """GET /consumption_history/v2/projects.

    Raises:
        ApiError: 400, 403, 404 or 406, as Neon.
    """
    ask = _Ask(view, request, PROJECT_METRICS)
    wanted = request.many("project_ids")
    _at_most(wanted, "project_ids")
    known = [project_id for project_id in view.project_ids() if not wanted or project_id in set(wanted)]
    chosen = page(known, request, request.number("limit", 10, 1, 100), lambda name: name)
    rows = [
        {
            "project_id": project_id,
            "periods": ask.periods(usage.periods(), partial(usage.project, project_id)),
        }
        for project_id in chosen.items
    ]
    return {"projects": rows, **pagination(chosen, request)}


def answer_branches(view: View, usage: Usage, request: Request) -> Json:
    """GET /consumption_history/v2/branches.

    Raises:
        ApiError: 400, 403, 404 or 406, as Neon.
    """
    ask = _Ask(view, request, BRANCH_METRICS)
    wanted, only = request.many("project_ids"), request.many("branch_ids")
    if not wanted:
        raise ApiError(400, "parameter 'project_ids' in query has an error: value is required but missing")
    _at_most(wanted, "project_ids")
    _at_most(only, "branch_ids")
    known = sorted(
        [project_id, branch.id]
        for project_id in set(wanted) & set(view.project_ids())
        for branch in view.branches(project_id)
        if not only or branch.id in only
    )
    chosen = page(known, request, request.number("limit", 100, 1, 1000), lambda row: row)
    rows = [
        {
            "project_id": project_id,
            "branch_id": branch_id,
            "periods": ask.periods(usage.periods(), partial(usage.branch, project_id, branch_id)),
        }
        for project_id, branch_id in chosen.items
    ]
    return {"branches": rows, **pagination(chosen, request)}


def pagination(chosen: Page, request: Request) -> Json:
    """The cursor of this page; an empty page repeats the one it was asked with, so clients must stop on that."""
    cursor = chosen.cursor or request.text("cursor")
    return {"pagination": {"cursor": cursor}} if cursor else {}


def _at_most(values: Sequence[str], name: str) -> None:
    if len(values) > 100:
        raise ApiError(400, f"parameter {name!r} in query has an error: maximum number of items is 100")


class _Ask:
    """What one request wants: frames, metrics."""

    def __init__(self, view: View, request: Request, allowed: Sequence[str]) -> None:
        allow(view, request.key)
        organisation = request.text("org_id")
        if not organisation:
            raise ApiError(400, "parameter 'org_id' in query has an error: value is required but missing")
        if organisation != view.org_id:
            raise ApiError(404, f"organization {organisation} not found")
        if view.plan in _FREE:
            raise ApiError(403, f"consumption history is not available on plan {view.plan}")
        self.metrics = request.many("metrics")
        unknown = [metric for metric in self.metrics if metric not in allowed]
        if unknown or not self.metrics:
            raise ApiError(400, f"parameter 'metrics' in query has an error: one or more of {', '.join(allowed)}")
        granularity = request.choice("granularity", "", tuple(_WINDOW))
        self._now = int(view.now()) // 3600
        self._era = view.era
        self._frames = frames(
            granularity, request.instant("from"), request.instant("to"), view.now(), whole=view.era.whole_buckets
        )

    def periods(self, periods: Sequence[Period], read: Read) -> list[Json]:
        """Each period under one plan with the frames in it; a frame over a change of plan is in both, in parts."""
        found = []
        for period in periods:
            until = self._now + 1 if period.end is None else period.end
            mine = [frame for frame in self._frames if frame[0] < until and frame[1] > period.start]
            spans = [(max(start, period.start), min(end, until)) for start, end in mine]
            used = [self._counted(row) for row in read(spans)]
            buckets = [
                {"timeframe_start": instant(start * 3600), "timeframe_end": instant(end * 3600), "metrics": values}
                for (start, end), row in zip(mine, used, strict=True)
                if (values := [{"metric_name": name, "value": row[name]} for name in self.metrics if row.get(name)])
            ]
            if buckets:
                found.append(_period(period, self._era.period_plan(period.plan), buckets))
        return found

    def _counted(self, used: Mapping[str, int]) -> Mapping[str, int]:
        """In the units of the time: byte-hours, or 744 of them as one, rounded."""
        if not self._era.byte_months:
            return used
        return {name: (value + 372) // 744 if name.endswith("_bytes_month") else value for name, value in used.items()}


def _period(period: Period, plan: str, buckets: list[Json]) -> Json:
    ending = {} if period.end is None else {"period_end": instant(period.end * 3600)}
    return {
        "period_id": period.id,
        "period_plan": plan,
        "period_start": instant(period.start * 3600),
        **ending,
        "consumption": buckets,
    }


def allow(view: View, key: Key) -> None:
    """Refuse what is not for keys of one project.

    Raises:
        ApiError: 404, as if there were no such organisation.
    """
    if key.kind == "project":
        raise ApiError(404, f"organization {view.org_id} not found")


def frames(granularity: str, start: float, end: float, now: float, *, whole: bool = True) -> list[Frame]:
    """The buckets from ``start`` to ``end``, as hours since the epoch.

    ``whole``: both ends are rounded down to the granularity; else only the first, and the last bucket is there too.

    Raises:
        ApiError: 400 when nothing is left between them, 406 before the window of the granularity.
    """
    first, last = _floor(granularity, int(start) // 3600), _floor(granularity, int(end) // 3600)
    if whole and first >= last:
        raise ApiError(400, "'from' must be before 'to'")
    if start > end:
        raise ApiError(406, "'from' must not be after 'to'")
    earliest = _floor(granularity, int(now) // 3600 - _WINDOW[granularity])
    if first < earliest:
        raise ApiError(406, f"{granularity} consumption starts at {instant(earliest * 3600)}: 'from' is before that")
    if not whole and end > last * 3600:
        last = _next(granularity, last)
    found = []
    while first < last and first * 3600 <= now:
        found.append((first, _next(granularity, first)))
        first = found[-1][1]
    return found


def _floor(granularity: str, hour: int) -> int:
    if granularity == "hourly":
        return hour
    if granularity == "daily":
        return hour - hour % 24
    month = datetime.fromtimestamp(hour * 3600, UTC).replace(day=1, hour=0)
    return int(month.timestamp()) // 3600


def _next(granularity: str, hour: int) -> int:
    if granularity == "hourly":
        return hour + 1
    if granularity == "daily":
        return hour + 24
    return _floor("monthly", hour + 31 * 24)


def this_month(now: float) -> list[Frame]:
    """From the first of the month to the end of the running hour."""
    hour = int(now) // 3600
    return [(_floor("monthly", hour), hour + 1)]


def usage_of(read: Read, now: float) -> Mapping[str, Any]:
    """What was used this month."""
    return read(this_month(now))[0]
