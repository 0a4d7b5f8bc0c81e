"""Consumption per hour, project and branch: the raw figures that cost is computed from. Reading it wakes nothing.

Neon keeps hourly figures for 168 hours, refreshes them about every 15 minutes and leaves out what is zero, so a caller
reads the newest buckets again and takes an absent metric as 0. An account whose plan has no consumption history is not
an error: the answer says so in a note.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from collectors.base import Status
from collectors.neon.client import Listing, NeonClient
from collectors.neon.errors import NeonError
from collectors.neon.models import BranchUsagePage, Page, ProjectUsagePage, UsageHistory

HOURLY_WINDOW_SECONDS = 168 * 3600
"""Further back Neon answers 406 to hourly questions."""
IDS_A_REQUEST = 100
_NOTHING_YET = "must be before 'to'"
"""What Neon says, with 400, where nothing is left between the two ends after it has rounded them."""


@dataclass(frozen=True, slots=True)
class UsageRow:
    """One metric of one bucket, in the raw unit of the API (see docs/billing.md).

    ``branch_id`` is empty for the figure of the whole project. ``start`` is the bucket's start in unix seconds.
    """

    project_id: str
    branch_id: str
    plan: str
    start: int
    granularity: str
    metric: str
    value: int


@dataclass(frozen=True, slots=True)
class BillingPeriod:
    """A period of a project's billing under one plan, in unix seconds; ``end`` is None while it lasts."""

    project_id: str
    period_id: str
    plan: str
    start: float | None
    end: float | None


@dataclass(frozen=True, slots=True)
class Consumption:
    """What one reading found.

    ``status`` is OK, UNSUPPORTED or NO_PRIVILEGE (the plan or the key has no such history), or TRUNCATED (some of it
    could not be read); ``notes`` say what is missing and why. Without ``branches`` there are project rows only.
    Nothing yet is OK and no rows: Neon cuts the end of a question off where its figures end.
    """

    rows: tuple[UsageRow, ...]
    periods: tuple[BillingPeriod, ...]
    status: Status
    notes: tuple[str, ...]
    branches: bool
    requests: int


async def read_consumption(  # noqa: PLR0917 - the question has six parts, and each caller names them
    client: NeonClient,
    org_id: str,
    project_ids: Sequence[str],
    start: float,
    end: float,
    granularity: str = "hourly",
    *,
    metrics: Mapping[str, Sequence[str]],
) -> Consumption:
    """Read the buckets from ``start`` to ``end`` (unix seconds, the edges of buckets: Neon rounds both to them).

    ``metrics`` are the names to ask for on the levels ``branches`` and ``projects``.
    With no project ids the whole organisation is read, on the level of projects only.

    Raises:
        NeonError: Neon does not answer; what a plan or a key does not allow is a status of the result instead.
    """
    if not org_id:
        note = "consumption needs an organisation: set neon.org_id, or use a key of the organisation"
        return Consumption((), (), Status.NO_PRIVILEGE, (note,), False, 0)
    params: dict[str, str | int] = {
        "org_id": org_id,
        "from": _rfc3339(start),
        "to": _rfc3339(end),
        "granularity": granularity,
    }
    reading = _Reading(client, params, granularity)
    chunks = [project_ids[at : at + IDS_A_REQUEST] for at in range(0, len(project_ids), IDS_A_REQUEST)]
    # Branches first: the newest hour grows between the two, and what a project has beyond its branches is a row of its
    # own, while branches beyond their project would make a sum that Neon never stated.
    branches = bool(chunks) and await reading.level("branches", BranchUsagePage, metrics["branches"], 1000, chunks)
    await reading.level("projects", ProjectUsagePage, metrics["projects"], 100, chunks or [()])
    return reading.result(branches)


def _rfc3339(at: float) -> str:
    return datetime.fromtimestamp(int(at), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class _Reading:
    """Collects the levels of one reading. The key of a row holds the period, so a page sent twice counts once."""

    def __init__(self, client: NeonClient, params: dict[str, str | int], granularity: str) -> None:
        self._client = client
        self._params = params
        self._granularity = granularity
        self._values: dict[tuple[str, str, str, str, int, str], int] = {}
        self._periods: dict[tuple[str, str], BillingPeriod] = {}
        self._notes: list[str] = []
        self._requests = 0
        self.status = Status.OK

    async def level(
        self,
        level: str,
        model: type[Page[UsageHistory]],
        metrics: Sequence[str],
        limit: int,
        chunks: Sequence[Sequence[str]],
    ) -> bool:
        """Read one level for all chunks of project ids; False when the plan or the key does not allow it."""
        for chunk in chunks:
            params = {**self._params, "metrics": ",".join(metrics), "limit": limit}
            if chunk:
                params["project_ids"] = ",".join(chunk)
            try:
                listing = await self._client.pages(f"/consumption_history/v2/{level}", params, model)
            except NeonError as problem:
                self._requests += 1
                if problem.http_status == 400 and _NOTHING_YET in problem.message:
                    continue
                if problem.http_status not in (403, 404, 406):
                    raise
                self._refused(level, problem)
                return False
            self._take(level, listing, set(metrics))
        return True

    def result(self, branches: bool) -> Consumption:
        """All rows; two periods of one plan that share a bucket are one row."""
        sums: dict[tuple[str, str, str, int, str], int] = {}
        for (project_id, branch_id, _, plan, start, metric), value in self._values.items():
            key = (project_id, branch_id, plan, start, metric)
            sums[key] = sums.get(key, 0) + value
        rows = tuple(
            UsageRow(project_id, branch_id, plan, start, self._granularity, metric, value)
            for (project_id, branch_id, plan, start, metric), value in sorted(sums.items())
        )
        periods = tuple(self._periods.values())
        return Consumption(rows, periods, self.status, tuple(self._notes), branches, self._requests)

    def _refused(self, level: str, problem: NeonError) -> None:
        reasons = {
            403: "the plan has no consumption history (Free has none), or the key is limited to a project",
            404: "the key is limited to a project, or neon.org_id is not an organisation of its account",
            406: "Neon no longer keeps this range (hourly for 168 h, daily for 60 days, monthly for a year)",
        }
        reason = reasons[problem.http_status or 0]
        if level == "projects":
            self._notes.clear()  # Without projects nobody misses the branches.
        self._notes.append(f"no consumption of {level}: {reason}. {problem.message}")
        if level == "projects":
            self.status = Status.NO_PRIVILEGE if problem.http_status == 404 else Status.UNSUPPORTED

    def _take(self, level: str, listing: Listing[UsageHistory], wanted: set[str]) -> None:
        self._requests += listing.pages
        bad = listing.bad_items
        for history in listing.items:
            bad += self._take_history(history, wanted, whole_project=level == "projects")
        if listing.truncated or bad:
            self.status = Status.TRUNCATED
            why = "the list repeats itself" if listing.truncated else f"{bad} items could not be read"
            self._notes.append(f"the consumption of {level} is incomplete: {why}")

    def _take_history(self, history: UsageHistory, wanted: set[str], *, whole_project: bool) -> int:
        bad = 0
        branch_id = "" if whole_project else history.branch_id
        if not whole_project and not branch_id:
            return 1
        for period in history.periods:
            if period is None:
                bad += 1
                continue
            owner, plan = (history.project_id, period.period_id), period.period_plan
            self._periods[owner] = BillingPeriod(*owner, plan, period.period_start, period.period_end)
            for frame in period.consumption:
                if frame is None or frame.timeframe_start is None:
                    bad += 1
                    continue
                start = int(frame.timeframe_start)
                values = [value for value in frame.metrics if value is not None and value.metric_name in wanted]
                bad += sum(value is None for value in frame.metrics)
                for value in values:
                    key = (history.project_id, branch_id, period.period_id, plan, start, value.metric_name)
                    self._values[key] = value.value
        return bad
