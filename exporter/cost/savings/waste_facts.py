"""From what is known to the facts of the rules of waste: inventory, ledger, statements, and who keeps computes awake.

Dollars a month are the usage of the last days at the prices in force, times 744 h over the time that it covers; what
was created within the window is projected from its creation on. Public transfer is this calendar month's, because its
allowance is.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from collectors.neon.inventory import Inventory
from collectors.neon.models import ALWAYS_ON_CU, Branch, Endpoint, Project
from collectors.neon.snapshots import Snapshot, Snapshots
from exporter.cost.domain.allocate import AGENT
from exporter.cost.domain.waste.waste import (
    Account,
    BranchFacts,
    CheaperPlan,
    ComputeFacts,
    ComputeHours,
    Pool,
    ProjectFacts,
    SnapshotFacts,
    Transfer,
)
from exporter.pricing.domain.calendar import DAY, HOUR, month_start
from exporter.pricing.domain.components import GB, METRIC_COMPONENTS, MICRO, MONTH_HOURS, STORAGE, Component
from exporter.pricing.domain.price import price
from exporter.pricing.domain.rates import AllowanceScope, RateCard
from exporter.pricing.domain.usage import PROJECT_LEVEL, UsageFact
from exporter.sampling.awake_store import AwakeWindow
from exporter.sampling.counters.tables import TenantHour
from exporter.storage.ledger.ledger import Ledger

CHEAPER: Mapping[str, str] = {"scale_v3": "launch_v3"}
"""A plan, and the one that is like it but cheaper."""
LAUNCH_HISTORY_SECONDS = 7 * DAY
"""Launch keeps at most so much history; Scale 30 days."""
MeasuredHours = Callable[[float, float], Iterable[TenantHour]]
"""Answers what visits measured in the hours from one instant to another (unix seconds)."""
_LEAST_SPAN = 60
_STORAGE = tuple(component.spec.metric for component in STORAGE)
_NEVER = float("inf")


@dataclass(frozen=True, slots=True)
class WasteSources:
    """Where the facts come from."""

    ledger: Ledger
    card: RateCard
    tenant_hours: MeasuredHours
    awake: Mapping[str, AwakeWindow]
    """The last day of each compute, by endpoint id."""
    plan: str | None = None
    window: int = 7 * DAY


@dataclass(slots=True)
class _Measured:
    """What visits saw in one branch."""

    busy_us: dict[int, int] = field(default_factory=dict)
    """By hour, of anybody but us; an hour with 0 was measured."""
    calls: dict[str, int] = field(default_factory=dict)
    """By endpoint."""


def gather(sources: WasteSources, inventory: Inventory, snapshots: Snapshots, now: int) -> Account:
    """Everything that the rules are applied to, as of ``now`` (unix seconds).

    Raises:
        StoreError: the ledger's file cannot be read.
    """
    return _Gathering(sources, inventory, snapshots, now).account()


class _Gathering:
    def __init__(self, sources: WasteSources, inventory: Inventory, snapshots: Snapshots, now: int) -> None:
        self._sources, self._inventory, self._snapshots, self._now = sources, inventory, snapshots, now
        through = max(sources.ledger.through().orgs.values(), default=now)
        self._end = min(now, through)
        first = (self._end - sources.window) // HOUR * HOUR
        # No rate changes within the window, so that it is priced as one.
        self._start = max([first, *(boundary for boundary in sources.card.boundaries if boundary <= self._end)])
        whole = -(-self._end // HOUR) * HOUR
        self._facts = [_as(fact, sources) for fact in sources.ledger.window(self._start, whole)]
        self._begins = self._beginnings()
        self._plans = {fact.project_id: fact.plan for fact in sorted(self._facts, key=lambda fact: fact.start)}
        self._stored: dict[str, int] = {}
        for fact in self._facts:
            if fact.metric in _STORAGE:
                self._stored[fact.branch_id] = self._stored.get(fact.branch_id, 0) + fact.value
        self._compute: dict[str, dict[int, int]] = {}
        for fact in sources.ledger.hours(Component.COMPUTE.spec.metric, self._start, whole):
            if fact.branch_id:
                hours = self._compute.setdefault(fact.branch_id, {})
                hours[fact.start] = hours.get(fact.start, 0) + fact.value
        self._branches: dict[str, list[Branch]] = {}
        self._children: dict[str, int] = {}
        for branch in inventory.branches.values():
            self._branches.setdefault(branch.project_id, []).append(branch)
            if branch.parent_id:
                self._children[branch.parent_id] = self._children.get(branch.parent_id, 0) + 1
        self._endpoints: dict[str, list[Endpoint]] = {}
        self._computes: dict[str, list[Endpoint]] = {}
        for endpoint in inventory.endpoints.values():
            self._endpoints.setdefault(endpoint.project_id, []).append(endpoint)
            self._computes.setdefault(endpoint.branch_id, []).append(endpoint)
        self._measured = self._measure(whole)
        self._transfers = self._transfer(whole)

    def account(self) -> Account:
        """The whole."""
        costs = self._costs()
        cheaper = dict(self._cheaper(costs))
        projects = tuple(
            self._project(project, cheaper.get(project.id))
            for project in sorted(self._inventory.projects.values(), key=lambda project: project.id)
        )
        return Account(self._now, projects, costs, self._end - min(self._begins.values(), default=self._end))

    def _beginnings(self) -> dict[str, int]:
        """From when on the usage of each project counts."""
        found: dict[str, int] = {}
        for fact in self._facts:
            found[fact.project_id] = min(fact.start, found.get(fact.project_id, fact.start))
        for key, project in self._inventory.projects.items():
            found[key] = max(self._start, found.get(key, self._start), _whole(project.created_at) or 0)
        return found

    def _span(self, project_id: str, branch_id: str) -> int:
        """Seconds of usage behind the figures of a branch, or of a project."""
        branch = self._inventory.branches.get(branch_id)
        begin = self._begins.get(project_id, self._start)
        if branch is not None and branch.created_at is not None:
            begin = max(begin, int(branch.created_at))
        return max(_LEAST_SPAN, self._end - begin)

    def _monthly(self, amount: Fraction | int, project_id: str, branch_id: str = "") -> Fraction:
        return Fraction(amount) * MONTH_HOURS * HOUR / self._span(project_id, branch_id)

    def _costs(self) -> dict[Pool, Fraction]:
        costs: dict[Pool, Fraction] = {}
        metered = [f for f in self._facts if METRIC_COMPONENTS.get(f.metric) is not Component.PUBLIC_TRANSFER]
        for line in price(metered, self._sources.card).lines:
            if line.cost:
                pool = Pool(line.project_id, line.branch_id, line.component)
                monthly = self._monthly(line.cost, line.project_id, line.branch_id)
                costs[pool] = costs.get(pool, Fraction()) + monthly
        for project_id, (transfer, past) in self._transfers.items():
            if past and transfer.rate:
                costs[Pool(project_id, PROJECT_LEVEL, Component.PUBLIC_TRANSFER)] = past * transfer.rate
        return costs

    def _transfer(self, whole: int) -> dict[str, tuple[Transfer, Fraction]]:
        """Public transfer of this calendar month by project, with the GB that are expected past the allowance."""
        metric = Component.PUBLIC_TRANSFER.spec.metric
        month = month_start(self._end)
        # By the sums of days, as nothing is there after now: hours of a whole month are a million rows.
        used = _by_project(self._sources.ledger.priceable(month, -(-whole // DAY) * DAY), metric)
        pace = _by_project(self._facts, metric)
        rest = max(0, month + MONTH_HOURS * HOUR - self._end)
        expected = {
            key: used.get(key, 0) + Fraction(pace.get(key, 0) * rest, self._span(key, "")) for key in used | pace
        }
        total = sum(expected.values(), Fraction())
        found: dict[str, tuple[Transfer, Fraction]] = {}
        for key, amount in expected.items():
            plan = self._plans.get(key, "")
            rate = self._sources.card.rate(plan, Component.PUBLIC_TRANSFER, self._end)
            allowance = self._sources.card.allowance(plan, Component.PUBLIC_TRANSFER, self._end)
            limit = allowance.quantity if allowance else None
            past = max(Fraction(), amount / GB - (limit or 0))
            if allowance and allowance.scope is AllowanceScope.ORG:
                # One pool for all projects: each pays its part of what is past it.
                past = max(Fraction(), total / GB - allowance.quantity) * amount / total if total else Fraction()
            transfer = Transfer(Fraction(used.get(key, 0), GB), amount / GB, limit, rate.amount if rate else None)
            found[key] = transfer, past
        return found

    def _cheaper(self, costs: Mapping[Pool, Fraction]) -> Iterator[tuple[str, CheaperPlan]]:
        """What a cheaper plan would mean; it is the organisation's, so what it costs more is shared by all."""
        card = self._sources.card
        private = {
            key for key, value in _by_project(self._facts, Component.PRIVATE_TRANSFER.spec.metric).items() if value
        }
        needs = needs_of(self._inventory, private)
        compute: dict[str, Fraction] = {}
        for pool, cost in costs.items():
            if pool.component is Component.COMPUTE:
                compute[pool.project_id] = compute.get(pool.project_id, Fraction()) + cost
        total = sum(compute.values(), Fraction())
        branches = [fact for fact in self._facts if fact.metric == Component.EXTRA_BRANCHES.spec.metric]
        for plan, name in CHEAPER.items():
            projects = [key for key, own in self._plans.items() if own == plan and compute.get(key)]
            now, then = (card.rate(text, Component.COMPUTE, self._end) for text in (plan, name))
            if not projects or now is None or then is None or not total:
                continue
            added = Fraction()
            for line in price([fact for fact in branches if fact.plan == plan], card, plan=name).lines:
                present = costs.get(Pool(line.project_id, PROJECT_LEVEL, Component.EXTRA_BRANCHES), Fraction())
                added += max(Fraction(), self._monthly(line.cost, line.project_id) - present)
            for key in projects:
                part = added * compute[key] / total
                yield key, CheaperPlan(card.plans[name].label, 1 - then.amount / now.amount, part, needs)

    def _measure(self, whole: int) -> dict[str, _Measured]:
        found: dict[str, _Measured] = {}
        for row in self._sources.tenant_hours(self._start, whole):
            measured = found.setdefault(row.branch_id, _Measured())
            others = row.tenant != AGENT
            measured.busy_us[row.hour] = measured.busy_us.get(row.hour, 0) + row.busy_us * others
            measured.calls[row.endpoint_id] = measured.calls.get(row.endpoint_id, 0) + row.calls * others
        return found

    def _project(self, project: Project, cheaper: CheaperPlan | None) -> ProjectFacts:
        inventory, card = self._inventory, self._sources.card
        branches, endpoints = self._branches.get(project.id, []), self._endpoints.get(project.id, [])
        plan = self._plans.get(project.id, "")
        free = card.allowance(plan, Component.EXTRA_BRANCHES, self._end)
        rate = card.rate(plan, Component.SNAPSHOT_STORAGE, self._end)
        snapshots = self._snapshots.get(project.id)
        return ProjectFacts(
            project.id,
            project.name,
            project.id not in inventory.unknown_project_ids,
            project.history_retention_seconds,
            tuple(self._branch(branch) for branch in branches),
            tuple(self._computer(endpoint) for endpoint in endpoints),
            {branch.id: self._hours(branch) for branch in branches if branch.id in self._compute},
            None if snapshots is None else tuple(_snapshot(snapshot) for snapshot in snapshots),
            rate.amount if rate else None,
            free.quantity if free else None,
            self._transfers[project.id][0] if project.id in self._transfers else None,
            cheaper,
        )

    def _branch(self, branch: Branch) -> BranchFacts:
        signs = [endpoint.last_active for endpoint in self._computes.get(branch.id, ())]
        hours = [hour + HOUR for hour, value in self._compute.get(branch.id, {}).items() if value]
        known = [int(sign) for sign in (*signs, branch.created_at) if sign is not None]
        stored = self._stored.get(branch.id, 0)
        return BranchFacts(
            branch.id,
            branch.name,
            bool(branch.parent_id),
            branch.default,
            branch.protected,
            self._children.get(branch.id, 0),
            _whole(branch.created_at),
            _whole(branch.expires_at),
            max(known + ([] if any(signs) else hours), default=None),
            branch.logical_size,
            Fraction(stored * HOUR, self._span(branch.project_id, branch.id)),
        )

    def _computer(self, endpoint: Endpoint) -> ComputeFacts:
        windows = self._sources.awake
        window = windows.get(endpoint.id)
        own = [compute.id for compute in self._computes[endpoint.branch_id]]
        share: Fraction | None = Fraction(1)
        if len(own) > 1:
            times = [windows[name].awake if name in windows else None for name in own]
            total = sum(time or 0 for time in times)
            known = total and window is not None and None not in times
            share = Fraction(window.awake, total) if known and window is not None else None
        measured = self._measured.get(endpoint.branch_id)
        timeout = endpoint.effective_suspend_seconds
        return ComputeFacts(
            endpoint.id,
            endpoint.branch_id,
            endpoint.type == "read_only",
            None if timeout == _NEVER else int(timeout),
            Fraction(str(endpoint.autoscaling_limit_min_cu)),
            Fraction(str(endpoint.autoscaling_limit_max_cu)),
            share,
            window.awake if window else None,
            window.length if window else 0,
            dict(window.by_holder) if window else {},
            measured.calls.get(endpoint.id) if measured else None,
        )

    def _hours(self, branch: Branch) -> ComputeHours:
        sizes = [Fraction(str(endpoint.autoscaling_limit_min_cu)) for endpoint in self._computes.get(branch.id, ())]
        smallest, all_of_them = min(sizes, default=Fraction()), sum(sizes, Fraction())
        used = self._compute[branch.id]
        begin = self._end - self._span(branch.project_id, branch.id)
        full = range(-(-begin // HOUR) * HOUR, self._end // HOUR * HOUR, HOUR)
        # Whole seconds: the least that is not below the limit, and the most that is not above it.
        nearly, most = -(-smallest * HOUR * 99 // 100), all_of_them * HOUR // 1
        awake = sum(used.get(hour, 0) >= nearly for hour in full)
        total = sum(used.values())
        at_least = sum(value for value in used.values() if value <= most)
        measured = self._measured.get(branch.id, _Measured()).busy_us
        both = [hour for hour in measured if used.get(hour)]
        awake_us = sum(used[hour] for hour in both) * MICRO
        busy = Fraction(sum(min(measured[hour], used[hour] * MICRO) for hour in both), awake_us) if awake_us else None
        return ComputeHours(
            busy,
            Fraction(awake, len(full)) if len(full) >= 24 else None,
            _p95([_busy_cu(measured[hour], used[hour], all_of_them) for hour in both]),
            Fraction(at_least, total) if total else Fraction(),
        )


def _busy_cu(busy_us: int, cu_seconds: int, least: Fraction) -> Fraction:
    """CU that an hour's statements kept busy while it was awake; a small hour was awake for a part of it only."""
    if not least or cu_seconds * least.denominator >= HOUR * least.numerator:
        return Fraction(busy_us, MICRO * HOUR)
    return Fraction(busy_us * least.numerator, MICRO * cu_seconds * least.denominator)


def _p95(values: list[Fraction]) -> Fraction | None:
    if len(values) < 24:
        return None
    return sorted(values, key=float)[-(-len(values) * 95 // 100) - 1]


def _by_project(facts: Iterable[UsageFact], metric: str) -> dict[str, int]:
    """Sums by project: its own figure, or that of its branches where it is larger."""
    own: dict[str, int] = {}
    below: dict[str, int] = {}
    for fact in facts:
        if fact.metric == metric:
            sums = below if fact.branch_id else own
            sums[fact.project_id] = sums.get(fact.project_id, 0) + fact.value
    return {key: max(own.get(key, 0), below.get(key, 0)) for key in own | below}


def _snapshot(snapshot: Snapshot) -> SnapshotFacts:
    created = _whole(snapshot.created_at) or 0
    return SnapshotFacts(
        snapshot.id, snapshot.name, snapshot.source_branch_id, created, snapshot.charged_bytes if created else None
    )


def _as(fact: UsageFact, sources: WasteSources) -> UsageFact:
    plan = sources.plan or sources.card.plan_of(fact.plan, fact.org_id, fact.project_id, fact.start)
    return fact if plan == fact.plan else fact._replace(plan=plan)


def _whole(at: float | None) -> int | None:
    return None if at is None else int(at)


def needs_of(inventory: Inventory, private_transfer: Collection[str]) -> tuple[str, ...] | None:
    """Features of Scale that any project of the organisation uses, as far as the API shows them; None: unknown.

    Support, the service level, single sign-on and Neon's own metrics export do not show there: a person decides on
    those. ``private_transfer`` holds the ids of projects with traffic over private networking.
    """
    projects = [project for key, project in inventory.projects.items() if key not in inventory.unknown_project_ids]
    if inventory.unknown_project_ids or any(project.settings is None for project in projects):
        return None
    found = {feature for project in projects for feature in _scale_features(project)}
    if private_transfer:
        found.add("private networking")
    if any(endpoint.autoscaling_limit_max_cu > ALWAYS_ON_CU for endpoint in inventory.endpoints.values()):
        found.add(f"computes over {ALWAYS_ON_CU:g} CU")
    return tuple(sorted(found))


def _scale_features(project: Project) -> Iterator[str]:
    settings = project.settings
    if settings is None:
        return
    if (project.history_retention_seconds or 0) > LAUNCH_HISTORY_SECONDS:
        yield "history over 7 days"
    if settings.allowed_ips is not None and settings.allowed_ips.ips:
        yield "IP allow list"
    if settings.block_public_connections or settings.block_vpc_connections:
        yield "private networking"
    if settings.hipaa or project.hipaa_enabled_at is not None:
        yield "HIPAA"
    if settings.audit_log_level not in ("", "base"):
        yield "audit logs"
