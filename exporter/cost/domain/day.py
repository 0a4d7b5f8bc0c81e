"""One day of usage, split by tenant: every component by the measure that moves it, and nothing lost on the way.

A day is split once and kept, so a cost that was shown for a closed day never moves because of a later one. In order:
a branch that belongs to one tenant goes to that one whole; else a component goes by its measure (compute by busy time,
storage by size, restore history by WAL, transfer by rows); what no rule matched goes by samples, then by declared
weights; what has no measure at all by declared weights, else it is ``__shared__``. At last the policies.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import inf
from typing import NamedTuple

from exporter.cost.domain.policy import IdlePolicy, SharedPolicy, Shares, is_tenant, move_idle, move_shared
from exporter.cost.domain.use import Place, Sightings, TenantHour, Use, split_hours
from exporter.cost.domain.weights import Confidence, Weights, largest_remainder
from exporter.pricing.domain.calendar import DAY, HOUR
from exporter.pricing.domain.components import METRIC_COMPONENTS, MICRO, Component, Level, Measure
from exporter.pricing.domain.usage import PROJECT_LEVEL, UsageFact, bucket_hours
from exporter.tenancy.domain.rules import SHARED, UNATTRIBUTED

CLOSE_ENOUGH = Fraction(1, 10)
"""Child branches whose known life differs by more than this from what was billed make an estimate, not a measure."""


class DayKey(NamedTuple):
    """One component of one branch under one plan."""

    project_id: str
    branch_id: str
    plan: str
    component: Component


class BranchSpan(NamedTuple):
    """When a child branch existed, in unix seconds."""

    branch_id: str
    start: int
    end: int


class SnapshotSpan(NamedTuple):
    """A snapshot: of which branch, when it existed (unix seconds), and the bytes that it is charged for."""

    branch_id: str
    start: int
    end: int
    charged: int


@dataclass(frozen=True, slots=True)
class DayWeights:
    """All that is known of one day beside its usage. Everything may be missing; what is, splits nothing."""

    day: int
    """00:00 UTC, unix seconds."""
    sizes: Mapping[Place, Weights] = field(default_factory=dict)
    """Bytes by tenant."""
    wal: Mapping[Place, Mapping[str, int]] = field(default_factory=dict)
    """WAL bytes by tenant over the days whose history is kept."""
    samples: Sightings = field(default_factory=dict)
    """Sessions at work, by the tenant that their application_name tells."""
    holders: Sightings = field(default_factory=dict)
    """Awake time by the tenant of who kept the compute awake."""
    children: Mapping[str, Sequence[BranchSpan]] = field(default_factory=dict)
    """By project id."""
    snapshots: Mapping[str, Sequence[SnapshotSpan]] = field(default_factory=dict)
    """By project id."""
    owner: Callable[[str, str], str | None] = lambda _project, _branch: None
    """(project id, branch id; empty for the project) -> the one tenant whose all of it is."""
    declared: Callable[[str, str, Component], Shares] = lambda _project, _branch, _component: {}
    """(project id, branch id, component) -> declared weights of the day."""
    free_children: Callable[[str], int] = lambda _plan: 0
    """Plan -> child branches without charge at any time."""
    rate: Callable[[str, Component], Fraction] = lambda _plan, _component: Fraction()
    """(plan, component) -> USD a unit of `Use`, allowances left aside: by it direct costs are compared."""


@dataclass(frozen=True, slots=True)
class Policies:
    """What the settings say of idle time and of shared costs."""

    idle: IdlePolicy = IdlePolicy.SEPARATE
    shared: SharedPolicy = SharedPolicy.SEPARATE


def split_day(
    usage: Iterable[UsageFact],
    compute: Iterable[UsageFact],
    tenant_hours: Iterable[TenantHour],
    weights: DayWeights,
    *,
    policies: Policies = Policies(),
    open_from: float = inf,
) -> dict[DayKey, Use]:
    """Split one day.

    ``usage`` holds sums of the day (of branch-hours: the buckets), ``compute`` the hourly CU-seconds of branches, in
    the units of the API. Hours and days that end after ``open_from`` may still move; see `Use.pending`.
    """
    return _Splitting(weights, policies, open_from).split(usage, compute, list(tenant_hours))


class _Splitting:
    def __init__(self, weights: DayWeights, policies: Policies, open_from: float) -> None:
        self._weights = weights
        self._policies = policies
        self._open_from = open_from
        self._settled = weights.day + DAY <= open_from
        self._uses: dict[DayKey, Use] = {}
        self._rows: dict[Place, dict[str, int]] = {}
        self._wal: dict[Place, dict[str, int]] = {}
        self._samples: dict[Place, dict[str, int]] = {}
        self._seen: set[Place] = set()
        """Branches in which statements were measured: there a size that is not known yet will come."""

    def split(
        self, usage: Iterable[UsageFact], compute: Iterable[UsageFact], hours: list[TenantHour]
    ) -> dict[DayKey, Use]:
        self._look_at(hours)
        self._compute(compute, hours)
        counted: list[UsageFact] = []
        for fact in usage:
            component = METRIC_COMPONENTS.get(fact.metric)
            if component is None:
                continue
            if component is Component.EXTRA_BRANCHES:
                counted.append(fact)
            elif component is Component.SNAPSHOT_STORAGE and not fact.branch_id:
                self._snapshots(fact)
            elif component is not Component.COMPUTE and fact.branch_id:
                self._use(fact, fact.branch_id, component).add(self._measured(fact, component))
        for fact, times in self._alike(counted):
            self._extra_branches(fact, times)
        for key, use in self._uses.items():
            self._place(key, use)
        self._share()
        return self._uses

    def _look_at(self, hours: Iterable[TenantHour]) -> None:
        for row in hours:
            place = (row.project_id, row.branch_id)
            self._seen.add(place)
            for amounts, name in ((self._rows, "rows"), (self._wal, "wal_bytes")):
                amount = getattr(row, name, 0)
                if amount:
                    tenants = amounts.setdefault(place, {})
                    tenants[row.tenant] = tenants.get(row.tenant, 0) + amount
        for (project, branch, _), found in self._weights.samples.items():
            tenants = self._samples.setdefault((project, branch), {})
            for tenant, sessions in found.items():
                tenants[tenant] = tenants.get(tenant, 0) + sessions

    def _use(self, fact: UsageFact, branch: str, component: Component) -> Use:
        return self._uses.setdefault(DayKey(fact.project_id, branch, fact.plan, component), Use())

    def _compute(self, compute: Iterable[UsageFact], hours: list[TenantHour]) -> None:
        buckets = ((f.project_id, f.branch_id, f.plan, f.start // HOUR * HOUR, f.value) for f in compute if f.branch_id)
        holders = self._weights.holders if self._policies.idle is IdlePolicy.WAKE else None
        samples = self._weights.samples
        found = split_hours(buckets, hours, open_from=self._open_from, samples=samples, holders=holders)
        for (project, branch, plan), use in found.items():
            self._uses[DayKey(project, branch, plan, Component.COMPUTE)] = use
            declared = self._weights.declared(project, branch, Component.COMPUTE)
            move_idle(use, self._policies.idle, declared, settled=self._settled)

    def _measured(self, fact: UsageFact, component: Component) -> Use:
        """One component by its measure, or whole when there is none."""
        place, amount = (fact.project_id, fact.branch_id), fact.value * component.spec.parts
        sizes = self._weights.sizes.get(place)
        if component is Component.ROOT_STORAGE and sizes:
            return self._by(amount, sizes.shares, sizes.confidence)
        wal = self._weights.wal.get(place) or self._wal.get(place)
        if component.spec.measure is Measure.WAL and wal:
            return self._by(amount, wal, Confidence.MEASURED, firm=self._settled)
        rows = self._rows.get(place)
        if component.spec.measure is Measure.ROWS:
            return self._by(amount, rows or {}, Confidence.ESTIMATED, firm=self._settled)
        # A child is billed for its difference from the parent, by tenant unknown: its sizes are the best estimate.
        return self._by(amount, sizes.shares if sizes else {}, Confidence.ESTIMATED, firm=self._firm(place))

    def _firm(self, place: Place) -> bool:
        return self._settled or place in self._weights.sizes or place not in self._seen

    def _by(self, amount: int, shares: Shares, confidence: Confidence, *, firm: bool = True) -> Use:
        use = Use(amount)
        if amount and any(shares.values()):
            for tenant, part in largest_remainder(amount, shares).items():
                use.give(tenant, part, confidence)
        else:
            use.give(SHARED, amount, Confidence.EXACT)
        if not firm:
            use.pending = dict(use.tenants)
        return use

    def _whole(self, amount: int) -> Use:
        return self._by(amount, {}, Confidence.EXACT)

    def _alike(self, counted: Iterable[UsageFact]) -> Iterator[tuple[UsageFact, int]]:
        """Buckets of branch-hours, and how many more there are in which the same children lived: those split alike.

        A project has hundreds of children and 24 hours in a day, and in most of these none came or went.
        """
        edges: dict[str, list[int]] = {}
        alike: dict[object, list[UsageFact]] = {}
        for fact in counted:
            project = fact.project_id
            if project not in edges:
                lives = self._weights.children.get(project, ())
                edges[project] = sorted({at for life in lives for at in (life.start, life.end)})
            end = fact.start + bucket_hours(fact.start, fact.granularity) * HOUR
            same = bisect_right(edges[project], fact.start)
            if bisect_left(edges[project], end) > same:  # Somebody came or went within it: like no other.
                yield fact, 1
            else:
                key = (project, fact.plan, fact.granularity, end - fact.start, fact.value, same)
                alike.setdefault(key, []).append(fact)
        for facts in alike.values():
            yield facts[0], len(facts)

    def _extra_branches(self, fact: UsageFact, times: int = 1) -> None:
        """What is past the allowance in this bucket, so many times, goes by how long each child lived in it."""
        hours = bucket_hours(fact.start, fact.granularity)
        billable = max(0, fact.value - self._weights.free_children(fact.plan) * hours) * MICRO
        if not billable:
            return
        end = fact.start + hours * HOUR
        lived: dict[str, int] = {}
        for life in self._weights.children.get(fact.project_id, ()):
            seconds = min(life.end, end) - max(life.start, fact.start)
            if seconds > 0:
                lived[life.branch_id] = lived.get(life.branch_id, 0) + seconds
        known = sum(lived.values())
        if not known:
            self._use(fact, PROJECT_LEVEL, Component.EXTRA_BRANCHES).add(self._whole(billable * times))
            return
        close = abs(known - fact.value * HOUR) <= CLOSE_ENOUGH * fact.value * HOUR
        confidence = Confidence.MEASURED if close else Confidence.ESTIMATED
        for branch, part in largest_remainder(billable, lived).items():
            use = self._use(fact, branch, Component.EXTRA_BRANCHES)
            use.total += part * times
            use.give(SHARED, part * times, confidence)

    def _snapshots(self, fact: UsageFact) -> None:
        """By the branch that each was taken of, size x time; then as the child storage of that branch."""
        end = fact.start + max(DAY, bucket_hours(fact.start, fact.granularity) * HOUR)
        held: dict[str, int] = {}
        for row in self._weights.snapshots.get(fact.project_id, ()):
            amount = max(0, min(row.end, end) - max(row.start, fact.start)) * row.charged
            if amount and row.branch_id:
                held[row.branch_id] = held.get(row.branch_id, 0) + amount
        if not held:
            self._use(fact, PROJECT_LEVEL, Component.SNAPSHOT_STORAGE).add(self._whole(fact.value))
            return
        for branch, part in largest_remainder(fact.value, held).items():
            place = (fact.project_id, branch)
            sizes = self._weights.sizes.get(place)
            shares = sizes.shares if sizes else {SHARED: 1}
            split = self._by(part, shares, Confidence.ESTIMATED, firm=self._firm(place))
            self._use(fact, branch, Component.SNAPSHOT_STORAGE).add(split)

    def _place(self, key: DayKey, use: Use) -> None:
        """Owners, then samples and declared weights for what has no tenant yet."""
        branch = "" if key.branch_id == PROJECT_LEVEL else key.branch_id
        owner = self._weights.owner(key.project_id, branch)
        if owner is not None:
            use.tenants, use.soft, use.pending = {}, {}, {}
            use.give(owner, use.total, Confidence.EXACT)
            return
        if key.component.spec.measure in (Measure.WAL, Measure.ROWS) and UNATTRIBUTED in use.tenants:
            sampled = self._samples.get((key.project_id, key.branch_id), {})
            use.move(UNATTRIBUTED, sampled, Confidence.SAMPLED, settled=self._settled)
        sources = [UNATTRIBUTED]
        only_shared = key.component.spec.level is Level.PROJECT and use.tenants.keys() == {SHARED}
        if only_shared or (SHARED, Confidence.EXACT) in use.soft:
            sources.append(SHARED)  # Not what a rule declared shared, but what has no measure.
        if any(source in use.tenants for source in sources):
            declared = self._weights.declared(key.project_id, branch, key.component)
            for source in sources:
                use.move(source, declared, Confidence.DECLARED)

    def _share(self) -> None:
        if self._policies.shared is SharedPolicy.SEPARATE:
            return
        direct: dict[Place, dict[str, Fraction]] = {}
        for key, use in self._uses.items():
            rate = self._weights.rate(key.plan, key.component)
            for place in ((key.project_id, key.branch_id), (key.project_id, PROJECT_LEVEL)):
                tenants = direct.setdefault(place, {})
                for tenant, part in use.tenants.items():
                    if is_tenant(tenant):
                        tenants[tenant] = tenants.get(tenant, Fraction()) + part * rate
        for key, use in self._uses.items():
            if SHARED in use.tenants:
                declared = self._weights.declared(
                    key.project_id, "" if key.branch_id == PROJECT_LEVEL else key.branch_id, key.component
                )
                place = (key.project_id, key.branch_id)
                move_shared(use, self._policies.shared, direct[place], declared, settled=self._settled)
