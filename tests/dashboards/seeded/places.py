"""Where: one organisation, four projects, their branches and computes; and when each compute is awake."""

from __future__ import annotations

from dataclasses import dataclass

from tests.dashboards.seeded.exposition import END, SCRAPE_SECONDS, Exposition

HOUR = 3600
ORG = "org-bookshop-00000001"


@dataclass(frozen=True)
class Place:
    """A compute; ``awake`` and ``asleep`` are the lengths of its turns in seconds, 0 asleep is always on."""

    project: str
    branch: str
    region: str
    tenants: tuple[str, ...]
    awake: int = 1
    asleep: int = 0
    night: tuple[int, int] = (0, 0)
    cu: float = 0.25
    calls: float = 0.0
    type: str = "read_write"
    number: int = 0

    @property
    def project_id(self) -> str:
        return f"{self.project}-river-{len(self.project):08d}"

    @property
    def branch_id(self) -> str:
        return f"br-{self.branch}-{self.project}"

    @property
    def endpoint_id(self) -> str:
        return f"ep-{self.branch}-{self.project}" + ("-ro" if self.type == "read_only" else "")

    @property
    def of_project(self) -> dict[str, str]:
        return {"project_id": self.project_id}

    @property
    def of_branch(self) -> dict[str, str]:
        return {**self.of_project, "branch_id": self.branch_id}

    @property
    def labels(self) -> dict[str, str]:
        return {**self.of_branch, "endpoint_id": self.endpoint_id}

    def is_awake(self, now: int) -> bool:
        if self.night[0] <= now - END < self.night[1]:
            return False
        return not self.asleep or (now + self.number * 777) % (self.awake + self.asleep) < self.awake

    def turn(self, now: int, *, awake: bool) -> float:
        """When the compute last woke up (or fell asleep), to the minute."""
        at = now // 60 * 60
        while self.is_awake(at) is not awake and at > now - 12 * HOUR:
            at -= 60
        while self.is_awake(at) is awake and at > now - 12 * HOUR:
            at -= 60
        return at + 60


PLACES = tuple(
    Place(**entry, number=number)  # type: ignore[arg-type]
    for number, entry in enumerate((
        {"project": "bookshop", "branch": "main", "region": "aws-eu-central-1", "cu": 1.0, "calls": 120.0,
         "tenants": ("acme", "birch", "cedar"), "night": (-5 * HOUR, -int(3.6 * HOUR))},
        {"project": "bookshop", "branch": "main", "region": "aws-eu-central-1", "calls": 20.0, "tenants": ("acme",),
         "type": "read_only", "night": (-5 * HOUR, -int(3.6 * HOUR))},
        {"project": "bookshop", "branch": "staging", "region": "aws-eu-central-1", "calls": 6.0, "tenants": ("acme",),
         "awake": 1800, "asleep": 2400},
        {"project": "bookshop", "branch": "preview-142", "region": "aws-eu-central-1", "calls": 1.0,
         "tenants": ("cedar",), "awake": 600, "asleep": 5400},
        {"project": "analytics", "branch": "main", "region": "aws-us-east-1", "cu": 2.0, "calls": 40.0,
         "tenants": ("dune",)},
        {"project": "analytics", "branch": "dev", "region": "aws-us-east-1", "calls": 2.0, "tenants": ("dune",),
         "awake": 1200, "asleep": 4000},
        {"project": "payments", "branch": "main", "region": "aws-eu-west-2", "cu": 0.5, "calls": 60.0,
         "tenants": ("elm", "fir")},
        {"project": "payments", "branch": "staging", "region": "aws-eu-west-2", "calls": 3.0, "tenants": ("elm",),
         "awake": 900, "asleep": 2700},
        {"project": "wiki", "branch": "main", "region": "aws-us-east-1", "calls": 1.0, "tenants": ("gorse",),
         "awake": 300, "asleep": 20000},
    ))
)  # fmt: skip
BRANCHES = tuple({place.branch_id: place for place in reversed(PLACES)}.values())[::-1]
PROJECTS = tuple({place.project_id: place for place in reversed(PLACES)}.values())[::-1]


def put_places(out: Exposition) -> None:
    for plan, was in (("scale_v3", False), ("launch_v3", True)):
        out.put("neon_org_info", lambda now, was=was: 1 if (now < END - 3 * HOUR) is was else None,
                {"org_id": ORG, "org": "Bookshop", "plan": plan})  # fmt: skip
    for place in PROJECTS:
        labels = place.of_project
        info = {"project": place.project, "org_id": ORG, "region_id": place.region, "pg_version": "18"}
        out.put("neon_project_info", 1, {**labels, **info}, long=True)
        out.put("neon_project_history_retention_seconds", 7 * 86400, labels)
    for place in BRANCHES:
        main = place.branch == "main"
        info = {"branch": place.branch, "role": "default" if main else "child", "init_source": "parent-data",
                "parent_id": "" if main else f"br-main-{place.project}", "protected": str(main).lower()}  # fmt: skip
        out.put("neon_branch_info", 1, {**place.of_branch, **info})
        out.put("neon_branch_logical_size_bytes", 1e9 * (1 + place.number), place.of_branch)
    for place in PLACES:
        info = {"endpoint": "", "type": place.type, "compute_release_version": "17451"}
        out.put("neon_endpoint_info", 1, {**place.labels, **info})
        _put_state(out, place)


def _put_state(out: Exposition, place: Place) -> None:
    for state, awake in (("active", True), ("idle", False), ("init", None)):
        out.put("neon_endpoint_state", lambda now, awake=awake: float(place.is_awake(now) is awake),
                {**place.labels, "state": state})  # fmt: skip
    step = SCRAPE_SECONDS
    begins = lambda now: place.is_awake(now) and not place.is_awake(now - step)  # noqa: E731
    ends = lambda now: place.is_awake(now - step) and not place.is_awake(now)  # noqa: E731
    out.put("neon_endpoint_wakes_total", lambda now: begins(now) / step, place.labels)
    out.put("neon_endpoint_suspends_total", lambda now: ends(now) / step, place.labels)
    cold = 0.6 + 0.3 * place.number
    out.put("neon_endpoint_wake_duration_seconds_total", lambda now: cold * begins(now) / step, place.labels)
    out.put("neon_endpoint_last_wake_timestamp_seconds", lambda now: place.turn(now, awake=True), place.labels)
    out.put("neon_endpoint_suspended_timestamp_seconds", lambda now: place.turn(now, awake=False), place.labels)
    out.put("neon_endpoint_suspend_timeout_seconds", 300, place.labels)
    out.put("neon_endpoint_autoscaling_min_cu", place.cu, place.labels)
    out.put("neon_endpoint_autoscaling_max_cu", place.cu * 4, place.labels)
    out.put("neon_endpoint_awake_seconds_total", lambda now: float(place.is_awake(now)), place.labels)
