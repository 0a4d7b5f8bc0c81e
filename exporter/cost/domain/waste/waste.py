"""Waste: what is paid for and of no use, in dollars a month, each with its evidence and with what ends it.

Each dollar belongs to one rule. The costs of a month are pooled by project, branch and component, and the rules take
from it in a fixed order (``rules.RULES``): what ends most comes first, and what a rule has taken
is gone for those after it. So the waste of an account never exceeds its cost, and doing all of it saves the sum.

What cannot be worked out is reported as unknown, with the reason; it is not 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import NamedTuple

from exporter.cost.domain.allocate import Confidence
from exporter.pricing.domain.components import Component
from exporter.sampling.domain.awake_shares import AwakeHolder


class Pool(NamedTuple):
    """Where dollars lie: a component of one branch, or of ``__project__`` for what is billed by project."""

    project_id: str
    branch_id: str
    component: Component


@dataclass(frozen=True, slots=True)
class Waste:
    """One finding. ``command`` is exact: a person can paste it."""

    rule: str
    project_id: str
    branch_id: str
    usd_per_month: Fraction
    """What ending it saves in a month of 744 h; only what no rule before it has taken."""
    evidence: str
    action: str
    command: str
    confidence: Confidence
    subject: str = ""
    """What exactly: an endpoint, a snapshot, a slot, or who holds a compute awake."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """A rule that could not be applied, and why."""

    rule: str
    project_id: str
    why: str


@dataclass(frozen=True, slots=True)
class Policy:
    """The thresholds; times in seconds."""

    idle: int = 7 * 86400
    """A branch without activity for so long is idle."""
    branch_ttl: int = 7 * 86400
    """A child branch is expected to be gone by this age."""
    diverged: Fraction = Fraction(4, 5)
    """A child that holds so much of its size by itself shares little with its parent."""
    busy: Fraction = Fraction(1, 20)
    """Busy below this part of its awake time, a compute is near idle."""
    always_awake: Fraction = Fraction(19, 20)
    snapshot_age: int = 30 * 86400
    history: int = 7 * 86400
    egress: Fraction = Fraction(4, 5)
    """Warn when a month will use so much of its transfer allowance."""
    api_url: str = "https://console.neon.tech/api/v2"


@dataclass(frozen=True, slots=True)
class BranchFacts:
    """One branch; instants in unix seconds, sizes in bytes."""

    id: str
    name: str
    child: bool = False
    default: bool = False
    protected: bool = False
    children: int = 0
    """Branches made from it: while there are any, it cannot be deleted."""
    created_at: int | None = None
    expires_at: int | None = None
    last_active: int | None = None
    """The latest sign of life of any of its computes, or its creation; None when neither is known."""
    size: int | None = None
    stored: Fraction = Fraction()
    """Mean bytes that its storage was billed for."""


@dataclass(frozen=True, slots=True)
class ComputeFacts:
    """One compute. What was measured inside it is None where nothing was."""

    id: str
    branch_id: str
    replica: bool = False
    suspend_after: int | None = 300
    """Seconds; None: never."""
    least_cu: Fraction = Fraction()
    most_cu: Fraction = Fraction()
    cost_share: Fraction | None = Fraction(1)
    """Its part of the compute cost of its branch, by awake time; None when that is not known."""
    awake: int | None = None
    """Awake microseconds within the last day, of ``watched``; None: never looked at."""
    watched: int = 0
    kept: Mapping[AwakeHolder, int] = field(default_factory=dict)
    """Awake microseconds by holder within the last day."""
    calls: int | None = None
    """Statements of anybody but ourselves over the whole window; None: no visit saw its statements."""


@dataclass(frozen=True, slots=True)
class ComputeHours:
    """The compute of one branch over the window, hour by hour, reduced to what the rules ask."""

    busy: Fraction | None = None
    """Measured busy time over awake CU time; None: nothing was measured."""
    awake: Fraction | None = None
    """Part of the window that it was awake at its minimum size or more, capped at 1; None with too few hours."""
    busy_p95: Fraction | None = None
    """CU that 95 % of the measured hours got by with; None with less than a day of them."""
    at_least: Fraction = Fraction()
    """Part of its CU-seconds from hours in which it was never larger than its minimum."""


@dataclass(frozen=True, slots=True)
class SnapshotFacts:
    """One snapshot; ``charged`` bytes, None when Neon has not said."""

    id: str
    name: str
    branch_id: str
    created_at: int
    charged: int | None


@dataclass(frozen=True, slots=True)
class Transfer:
    """Public transfer of this calendar month, in GB of 10^9 bytes."""

    used: Fraction
    expected: Fraction
    """At the month's end, at the pace of the window."""
    allowance: int | None
    rate: Fraction | None


@dataclass(frozen=True, slots=True)
class CheaperPlan:
    """What the compute and the branches of a project would cost on the cheaper plan."""

    name: str
    compute_saved: Fraction
    """Part of the compute cost that the lower rate saves."""
    branches_added: Fraction
    """USD a month more for branches past its smaller allowance."""
    needs: tuple[str, ...] | None
    """Features in use anywhere in the organisation that only the present plan has; None: cannot be read."""


@dataclass(frozen=True, slots=True)
class ProjectFacts:
    """One project with everything in it."""

    id: str
    name: str
    readable: bool = True
    """False: Neon could not tell its state in the last look."""
    history: int | None = None
    """Seconds of the history window."""
    branches: tuple[BranchFacts, ...] = ()
    computes: tuple[ComputeFacts, ...] = ()
    hours: Mapping[str, ComputeHours] = field(default_factory=dict)
    """By branch id."""
    snapshots: tuple[SnapshotFacts, ...] | None = None
    """None: not read."""
    snapshot_rate: Fraction | None = None
    """USD per GB-month."""
    free_branches: int | None = None
    """Children that cost nothing; None: the plan has no such allowance."""
    transfer: Transfer | None = None
    cheaper: CheaperPlan | None = None

    @property
    def children(self) -> int:
        """Child branches that exist now."""
        return sum(branch.child for branch in self.branches)


@dataclass(frozen=True, slots=True)
class Account:
    """Everything that the rules are applied to: projects, and what each component costs in a month of 744 h."""

    now: int
    projects: tuple[ProjectFacts, ...]
    costs: Mapping[Pool, Fraction]
    window: int = 0
    """Seconds of usage that the costs were projected from."""
    prices: str = "list prices"
    """What the prices are, for a person."""

    @property
    def cost(self) -> Fraction:
        """USD a month at the present pace."""
        return sum(self.costs.values(), Fraction())


@dataclass(frozen=True, slots=True)
class Findings:
    """All waste, most expensive first, and what is not known."""

    found: tuple[Waste, ...]
    unknown: tuple[Unknown, ...]
    cost: Fraction
    """USD a month of everything: never less than ``total``."""

    @property
    def total(self) -> Fraction:
        """USD a month that ending all of it saves."""
        return sum((waste.usd_per_month for waste in self.found), Fraction())


class Purse:
    """The costs that no rule has taken yet."""

    def __init__(self, costs: Mapping[Pool, Fraction]) -> None:
        """Start with all of them.

        Raises:
            ValueError: a negative cost.
        """
        if any(cost < 0 for cost in costs.values()):
            raise ValueError("a cost below 0 cannot be wasted")
        self._costs = costs
        self._left = dict(costs)

    def cost(self, pool: Pool) -> Fraction:
        """What was there at first."""
        return self._costs.get(pool, Fraction())

    def left(self, pool: Pool) -> Fraction:
        """What is still there."""
        return self._left.get(pool, Fraction())

    def take(self, pool: Pool, share: Fraction = Fraction(1)) -> Fraction:
        """Take a part (0 to 1) of what is left."""
        return self.take_at_most(pool, self.left(pool) * min(Fraction(1), max(Fraction(), share)))

    def take_at_most(self, pool: Pool, usd: Fraction) -> Fraction:
        """Take dollars, or what is left of them; never less than nothing."""
        taken = max(Fraction(), min(usd, self.left(pool)))
        if taken:
            self._left[pool] -= taken
        return taken

    def take_all(self, project_id: str, branch_id: str, components: Iterable[Component]) -> Fraction:
        """Take all that is left of some components of one branch."""
        return sum((self.take(Pool(project_id, branch_id, component)) for component in components), Fraction())
