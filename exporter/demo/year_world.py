"""Who lives in the synthetic year: organisations, projects, branches and tenants, all drawn from one seed.

A branch lives for a while and does one thing (its rhythm). How much it uses in an hour follows from this and the clock
alone, so any day of the year can be made without the days before it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random

from exporter.pricing.domain.calendar import DAY, HOUR

GB = 10**9
KINDS = ("database", "branch", "schema", "ci", "project", "role", "unmeasured")
"""The tenancy of a project: a tenant is a database, a branch, a schema ...; ``ci`` is many short-lived branches for one
team, and of an ``unmeasured`` project nobody reads the statements."""
_NAMES = {
    "database": "shop",
    "branch": "sites",
    "schema": "crm",
    "ci": "platform",
    "project": "silo",
    "role": "api",
    "unmeasured": "legacy",
}
_SIZES = {
    "database": (3, 6),
    "branch": (14, 44),
    "schema": (3, 5),
    "ci": (24, 64),
    "project": (1, 2),
    "role": (2, 4),
    "unmeasured": (1, 3),
}
_TENANTS = {"database": (5, 16), "schema": (6, 20), "role": (3, 8)}
_EGRESS_GB = (30, 4, 760, 90, 2, 12, 1, 310, 55, 1400)
"""Public transfer of a project in a usual month, taken in turn: some end above 500 GB, most far below."""


@dataclass(frozen=True, slots=True)
class YearBranch:
    """One branch: when it lived (unix seconds, whole hours), what it stores and how it is used."""

    id: str
    name: str
    parent_id: str
    created: int
    deleted: int
    rhythm: str
    cu: int
    """Autoscaling minimum in quarters of a CU."""
    max_cu: int
    bytes: int
    growth: int
    """Bytes more in every hour."""
    tenants: tuple[tuple[str, int], ...] = ()
    """Name and weight; empty where nothing is measured."""

    @property
    def root(self) -> bool:
        """Whether its storage is root storage."""
        return not self.parent_id


@dataclass(frozen=True, slots=True)
class YearProject:
    """One project and everything that only projects have."""

    number: int
    id: str
    name: str
    org_id: str
    kind: str
    branches: tuple[YearBranch, ...]
    egress: int
    """Public bytes in an hour of average business."""
    private: int
    """Private bytes in an hour, under a plan that has private networking."""
    snapshot: int
    """Bytes held in snapshots at the begin of the year; it grows by a thousandth a day."""
    ci: int
    """Short-lived children in a busy hour, gone before anybody could list them."""
    trend: int
    """Growth of use over 365 days, in thousandths."""


@dataclass(frozen=True, slots=True)
class Org:
    """An organisation and its plans: from when (unix seconds), which subscription type."""

    id: str
    name: str
    plans: tuple[tuple[int, str], ...] = field(default=())

    def plan(self, at: int) -> str:
        """The plan at an instant."""
        return next((plan for start, plan in reversed(self.plans) if start <= at), self.plans[0][1])


def draw_orgs(count: int, start: int, change: int) -> list[Org]:
    """Launch and Scale in turn; the last organisation goes from Launch to Scale at ``change``, in mid-month."""
    plans = [((start, "scale_v3" if number % 2 else "launch_v3"),) for number in range(count - 1)]
    return [
        Org(f"org-year-{number}", f"Organisation {number}", row)
        for number, row in enumerate([*plans, ((start, "launch_v3"), (change, "scale_v3"))], 1)
    ]


def draw_projects(seed: int, orgs: list[Org], branches: int, start: int, end: int) -> Iterator[YearProject]:
    """Projects of every kind in turn, until there are ``branches`` branches in all."""
    number, left = 0, branches
    while left:
        kind = KINDS[number % len(KINDS)]
        random = Random(f"{seed}/project/{number}")
        low, high = _SIZES[kind]
        size = min(left, random.randint(low, high), max(2, branches // 3))
        project_id = f"year-{_NAMES[kind]}-{number:04d}"
        yield YearProject(
            number=number,
            id=project_id,
            name=f"{_NAMES[kind]}-{number // len(KINDS) + 1}",
            org_id=orgs[number % len(orgs)].id,
            kind=kind,
            branches=tuple(_draw_branches(random, number, kind, size=size, start=start, end=end)),
            egress=_EGRESS_GB[number % len(_EGRESS_GB)] * GB // 730,
            private=random.randrange(1, 40) * 10**7 if number % 4 == 1 else 0,
            snapshot=random.randrange(1, 200) * GB if number % 3 == 0 else 0,
            ci=random.randrange(12, 40) if kind == "ci" else 0,
            trend=random.randrange(-100, 900),
        )
        number, left = number + 1, left - size


def _draw_branches(random: Random, project: int, kind: str, *, size: int, start: int, end: int) -> Iterator[YearBranch]:
    root = f"br-year-{project:04d}-000"
    days = (end - start) // DAY
    for number in range(size):
        branch_id = f"br-year-{project:04d}-{number:03d}"
        name, rhythm = _role(random, kind, number)
        created, deleted = start, end
        if name.startswith("preview"):
            created = start + random.randrange(days * 24 - 24) * HOUR
            deleted = min(end, created + random.choice((8, 30, 70, 150, 400, 1100)) * HOUR)
        elif number and random.random() < 0.25:
            created = start + random.randrange(days * 18) * HOUR
        elif number and random.random() < 0.15:
            deleted = end - random.randrange(days * 18) * HOUR
        cu = random.choice((1, 1, 2, 4) if number == 0 else (1, 1, 1, 2))
        yield YearBranch(
            id=branch_id,
            name=name,
            parent_id=root if number else "",
            created=created,
            deleted=deleted,
            rhythm=rhythm,
            cu=cu,
            max_cu=cu * random.choice((2, 4)),
            bytes=random.randrange(2 * GB, 400 * GB) if number == 0 else random.randrange(10**6, 12 * GB),
            growth=random.randrange(1, 4 * 10**7) if number == 0 else random.randrange(0, 10**6),
            tenants=tuple(_draw_tenants(random, project, kind, number)),
        )


def _role(random: Random, kind: str, number: int) -> tuple[str, str]:
    """What a branch is called and how it is used."""
    if number == 0:
        return "main", random.choice(("steady", "web", "web", "office"))
    if kind == "branch":
        return f"tenant-{number:02d}", random.choice(("web", "office", "cron", "never"))
    if kind == "ci":
        return f"preview-{number}", random.choice(("preview", "preview", "never"))
    if number == 1:
        return "staging", random.choice(("office", "cron"))
    return f"dev-{number}", random.choice(("office", "never", "cron"))


def _draw_tenants(random: Random, project: int, kind: str, number: int) -> Iterator[tuple[str, int]]:
    if kind in _TENANTS and number == 0:
        for tenant in range(random.randint(*_TENANTS[kind])):
            yield f"{_NAMES[kind]}{project}-t{tenant:02d}", random.choice((1, 1, 2, 3, 5, 13))
    elif kind == "branch" and number:
        yield f"{_NAMES[kind]}{project}-t{number:02d}", 1
    elif kind == "project":
        yield f"customer-{project:03d}", 1
    elif kind != "unmeasured":
        yield f"team-{project:03d}", 1
