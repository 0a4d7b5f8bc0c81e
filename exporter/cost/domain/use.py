"""How much of a branch's usage each tenant had, in whole numbers, so that hours and days add up exactly.

Compute is split hour by hour, in CU-microseconds. A tenant's share of an awake hour is the CU time its statements were
busy; the rest of the hour is ``__idle__``. When the statements were busier than the compute was awake (several run at
once on one CU), the awake time goes by busy share and nothing is idle. An awake hour in which nothing was measured is
``__unattributed__``: not seen is not the same as idle. Everything else is split by the day, in the API's own unit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from math import inf
from typing import NamedTuple, Protocol

from exporter.cost.domain.weights import Confidence, largest_remainder
from exporter.pricing.domain.components import MICRO, Component
from exporter.pricing.domain.price import PricePeriod
from exporter.pricing.domain.usage import UNATTRIBUTED
from exporter.tenancy.domain.rules import IDLE

Place = tuple[str, str]
"""Project id, branch id."""
Sightings = Mapping[tuple[str, str, int], Mapping[str, int]]
"""(project id, branch id, hour) -> by tenant what visits found in that hour."""


class TenantHour(Protocol):
    """What the statements of one tenant did in one hour of one branch; ``wal_bytes`` and ``rows`` may be missing."""

    @property
    def project_id(self) -> str: ...  # noqa: D102 - the names say it
    @property
    def branch_id(self) -> str: ...  # noqa: D102
    @property
    def tenant(self) -> str: ...  # noqa: D102
    @property
    def hour(self) -> int:
        """Begin of the hour in unix seconds."""

    @property
    def busy_us(self) -> int:
        """Execution and planning time in microseconds."""


TenantHours = Callable[[int, int], Iterable[TenantHour]]
"""Answers the tenant hours with ``start`` <= hour < ``end``."""


class UseKey(NamedTuple):
    """What a cost line and the usage behind it share."""

    project_id: str
    branch_id: str
    plan: str
    period: PricePeriod
    component: Component = Component.COMPUTE


@dataclass(slots=True)
class Use:
    """Usage of one component of one branch over some hours or days, by tenant; the parts sum to ``total``.

    The unit is the API's own, for compute and branch-hours a millionth of it.
    """

    total: int = 0
    measured: int = 0
    """Of compute: busy time of statements, in each hour at most the awake time."""
    tenants: dict[str, int] = field(default_factory=dict)
    soft: dict[tuple[str, Confidence], int] = field(default_factory=dict)
    """The parts of ``tenants`` that are not simply measured, and what they are instead."""
    pending: dict[str, int] = field(default_factory=dict)
    """The parts of ``tenants`` that may still move to somebody else, because their hour or day is open."""

    def add(self, other: Use) -> None:
        """Sum hours or days."""
        self.total += other.total
        self.measured += other.measured
        for tenant, part in other.tenants.items():
            self.tenants[tenant] = self.tenants.get(tenant, 0) + part
        for key, part in other.soft.items():
            self.soft[key] = self.soft.get(key, 0) + part
        for tenant, part in other.pending.items():
            self.pending[tenant] = self.pending.get(tenant, 0) + part

    def copy(self) -> Use:
        """One that can be added to."""
        return Use(self.total, self.measured, dict(self.tenants), dict(self.soft), dict(self.pending))

    def give(self, tenant: str, part: int, confidence: Confidence) -> None:
        """Add to a tenant's part, not to the total."""
        if part:
            self.tenants[tenant] = self.tenants.get(tenant, 0) + part
            if confidence is not Confidence.MEASURED:
                self.soft[tenant, confidence] = self.soft.get((tenant, confidence), 0) + part

    def move(
        self, source: str, weights: Mapping[str, int | Fraction], confidence: Confidence, *, settled: bool = True
    ) -> None:
        """Share out what ``source`` has by weight; nothing moves when all weights are 0.

        ``settled`` is False while the weights themselves may still change: then all that moves is pending.
        """
        amount = self.tenants.get(source, 0)
        if not amount or not sum(weights.values()):
            return
        open_part = self.pending.pop(source, 0)
        del self.tenants[source]
        for key in [key for key in self.soft if key[0] == source]:
            del self.soft[key]
        waiting = largest_remainder(open_part, weights)
        for tenant, part in largest_remainder(amount, weights).items():
            self.give(tenant, part, confidence)
            wait = min(part, waiting[tenant]) if settled else part
            if wait:
                self.pending[tenant] = self.pending.get(tenant, 0) + wait

    @property
    def coverage(self) -> Fraction:
        """Measured busy time over awake time, 0 to 1."""
        return Fraction(self.measured, self.total) if self.total else Fraction()


def split_hour(awake_us: int, busy: Mapping[str, int]) -> dict[str, int]:
    """CU-microseconds of one awake hour by tenant; the rest is idle, or unattributed if nothing was measured."""
    if not busy:
        return {UNATTRIBUTED: awake_us} if awake_us else {}
    measured = sum(busy.values())
    if measured > awake_us:
        return largest_remainder(awake_us, busy)
    parts = dict(busy)
    if awake_us > measured:
        parts[IDLE] = parts.get(IDLE, 0) + awake_us - measured
    return parts


def split_hours(
    compute: Iterable[tuple[str, str, str, int, int]],
    tenant_hours: Iterable[TenantHour],
    *,
    open_from: float = inf,
    samples: Sightings | None = None,
    holders: Sightings | None = None,
) -> dict[tuple[str, str, str], Use]:
    """Split the awake hours of many branches by tenant.

    ``compute`` holds (project id, branch id, plan, hour, CU-seconds). Busy time in an hour without compute is dropped:
    there is no cost to share. Hours that begin at ``open_from`` or later may still be measured further, so what is idle
    or unattributed in them is also noted as pending. ``samples`` place measured work that no rule over statements
    matched; ``holders`` place idle time with whom they name, for the policy ``wake``. The answer is by (project id,
    branch id, plan).
    """
    busy: dict[tuple[str, str, int], dict[str, int]] = {}
    for row in tenant_hours:
        tenants = busy.setdefault((row.project_id, row.branch_id, row.hour), {})
        tenants[row.tenant] = tenants.get(row.tenant, 0) + row.busy_us
    uses: dict[tuple[str, str, str], Use] = {}
    for project, branch, plan, hour, cu_seconds in compute:
        use = uses.get((project, branch, plan))
        if use is None:
            use = uses[project, branch, plan] = Use()
        where = (project, branch, hour)
        seen, is_open = busy.get(where, {}), hour >= open_from
        sampled = samples.get(where) if samples and UNATTRIBUTED in seen else None
        holding = holders.get(where) if holders else None
        if sampled or holding:
            use.add(_found_hour(cu_seconds * MICRO, seen, sampled or {}, holding or {}, is_open=is_open))
        else:
            _add_hour(use, cu_seconds * MICRO, seen, is_open=is_open)
    return uses


def _add_hour(use: Use, awake: int, seen: Mapping[str, int], *, is_open: bool) -> None:
    tenants = use.tenants
    measured = sum(seen.values())
    use.total += awake
    use.measured += min(awake, measured)
    if measured <= awake:
        # The usual hour, in place: what the statements leave over is idle, or unattributed where none were seen.
        for tenant, part in seen.items():
            tenants[tenant] = tenants.get(tenant, 0) + part
        rest = IDLE if seen else UNATTRIBUTED
        tenants[rest] = tenants.get(rest, 0) + awake - measured
        if is_open:
            use.pending[rest] = use.pending.get(rest, 0) + awake - measured
    else:
        for tenant, part in split_hour(awake, seen).items():
            tenants[tenant] = tenants.get(tenant, 0) + part


def _found_hour(
    awake: int, seen: Mapping[str, int], sampled: Mapping[str, int], holding: Mapping[str, int], *, is_open: bool
) -> Use:
    """An hour in which visits tell more than the statements do."""
    use = Use()
    _add_hour(use, awake, seen, is_open=is_open)
    if seen:
        # Before the idle time is given away: who is sampled later changes what went before within an open hour.
        use.move(UNATTRIBUTED, sampled, Confidence.SAMPLED, settled=not is_open)
    use.move(IDLE, holding, Confidence.SAMPLED, settled=not is_open)
    return use
