"""Price components: everything about what Neon's invoice has a line for, in one table.

Each member of `Component` is one entry of that table. A new component is one more entry here, its rate in
``exporter/pricing/neon.json`` and a test (see CONTRIBUTING.md); no other module of the product has a table by
component. Pure: no file, no clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from typing import NamedTuple, Self

from exporter.pricing.domain.calendar import HOUR

GB = 10**9
"""Bytes in a GB of the price list."""
MONTH_HOURS = 744
"""Hours in a billing month, whatever the calendar says."""
MICRO = 10**6
"""Parts of a raw unit that usage is split in, where the shares of tenants are finer than whole raw units."""


class Level(Enum):
    """The finest level at which the API reports the usage of a component."""

    BRANCH = auto()
    PROJECT = auto()


class Group(StrEnum):
    """Components that a summary adds up; the value is the heading of the column."""

    COMPUTE = "compute"
    STORAGE = "storage"
    RESTORE = "restore"
    TRANSFER = "transfer"
    BRANCHES = "branches"


class Measure(StrEnum):
    """What the usage of a component is split between tenants by; the value is FOCUS's AllocatedMethodId."""

    BUSY_TIME = "compute-by-busy-time"
    SIZE = "storage-by-size"
    WAL = "restore-by-wal"
    LIFETIME = "branches-by-hours"
    ROWS = "transfer-by-rows"


class AllowancePeriod(Enum):
    """Over what time usage is set against its allowance."""

    HOUR = auto()
    """Each hour for itself: a quiet hour does not pay for a busy one."""
    MONTH = auto()
    """The usage of a calendar month, pooled by the scope of the allowance."""


class AllowanceRule(NamedTuple):
    """How the allowance of a component works; how much it is stands in the rate card."""

    period: AllowancePeriod
    unit: str


class RawUnit(NamedTuple):
    """What one whole number of the API counts, from a day on."""

    valid_from: int
    """Unix seconds, 00:00 UTC; 0 for the first one."""
    name: str
    per_unit: int
    """How many of them are one priced unit."""


class InvoiceWords(NamedTuple):
    """How a line of an invoice is recognised by its text."""

    turn: int
    """Patterns are tried in rising order, because texts overlap: "snapshot storage" is no storage."""
    pattern: str
    """Regular expression over the text in lower case."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentSpec:
    """One entry of the table."""

    metric: str
    """The name in ``/consumption_history/v2``."""
    raw_units: tuple[RawUnit, ...]
    """Units of the metric's values over time, the oldest first."""
    unit: str
    """The unit that rates are per."""
    focus_unit: str
    """The same as FOCUS spells it."""
    title: str
    """The name for readers who do not know Neon's."""
    phrase: str
    """The same in the middle of a sentence."""
    level: Level
    group: Group
    measure: Measure
    stored: bool = False
    """Whether it is a size that is there every day, rather than something that is done."""
    allowance: AllowanceRule | None = None
    """None where no plan includes any of it."""
    parts: int = 1
    """Parts of a raw unit that usage is split in, `MICRO` or whole units."""
    invoice: InvoiceWords

    def per_unit(self, at: int) -> int:
        """Raw units in one priced unit, for usage at an instant (unix seconds)."""
        return next(raw.per_unit for raw in reversed(self.raw_units) if raw.valid_from <= at)

    @property
    def hourly_allowance(self) -> bool:
        """Whether what is free is free per hour, so that its hours must not be summed before they are priced."""
        return self.allowance is not None and self.allowance.period is AllowancePeriod.HOUR

    @property
    def needs_hours(self) -> bool:
        """Whether hours are priced or split one by one, so that they are never summed up to days for good."""
        return self.hourly_allowance or self.measure is Measure.BUSY_TIME

    @property
    def monthly_allowance(self) -> bool:
        """Whether what is free is free per month, so that the price of an hour depends on the rest of the month."""
        return self.allowance is not None and self.allowance.period is AllowancePeriod.MONTH


_BYTE_HOURS = (RawUnit(0, "byte-hour", MONTH_HOURS * GB),)
_BYTES = (RawUnit(0, "byte", GB),)


class Component(StrEnum):
    """What an invoice has a line for; the value is the ``component`` label, ``spec`` its entry."""

    spec: ComponentSpec

    def __new__(cls, name: str, spec: ComponentSpec | None = None) -> Self:
        """Make a member of its entry. ``Component("compute")`` finds one and does not come here."""
        if spec is None:
            raise TypeError(f"{name} has no entry")
        member = str.__new__(cls, name)
        member._value_ = name
        member.spec = spec
        return member

    COMPUTE = (
        "compute",
        ComponentSpec(
            metric="compute_unit_seconds",
            raw_units=(RawUnit(0, "CU-second", HOUR),),
            unit="CU-hour",
            focus_unit="CU-Hours",
            title="Compute (databases at work)",
            phrase="compute time",
            level=Level.BRANCH,
            group=Group.COMPUTE,
            measure=Measure.BUSY_TIME,
            parts=MICRO,
            invoice=InvoiceWords(8, r"compute|cu.?hour"),
        ),
    )
    ROOT_STORAGE = (
        "root_storage",
        ComponentSpec(
            metric="root_branch_bytes_month",
            raw_units=_BYTE_HOURS,
            unit="GB-month",
            focus_unit="GB-Months",
            title="Storage",
            phrase="stored data",
            level=Level.BRANCH,
            group=Group.STORAGE,
            measure=Measure.SIZE,
            stored=True,
            invoice=InvoiceWords(7, r"root.*storage|storage.*root"),
        ),
    )
    CHILD_STORAGE = (
        "child_storage",
        ComponentSpec(
            metric="child_branch_bytes_month",
            raw_units=_BYTE_HOURS,
            unit="GB-month",
            focus_unit="GB-Months",
            title="Storage of child branches",
            phrase="data in child branches",
            level=Level.BRANCH,
            group=Group.STORAGE,
            measure=Measure.SIZE,
            stored=True,
            invoice=InvoiceWords(6, r"child.*storage|storage.*child"),
        ),
    )
    INSTANT_RESTORE = (
        "instant_restore",
        ComponentSpec(
            metric="instant_restore_bytes_month",
            raw_units=_BYTE_HOURS,
            unit="GB-month",
            focus_unit="GB-Months",
            title="Restore history",
            phrase="restore history",
            level=Level.BRANCH,
            group=Group.RESTORE,
            measure=Measure.WAL,
            stored=True,
            invoice=InvoiceWords(1, r"instant.?restore|history|point.?in.?time|pitr|wal retention"),
        ),
    )
    SNAPSHOT_STORAGE = (
        "snapshot_storage",
        ComponentSpec(
            metric="snapshot_storage_bytes_month",
            raw_units=_BYTE_HOURS,
            unit="GB-month",
            focus_unit="GB-Months",
            title="Snapshots",
            phrase="snapshots",
            level=Level.PROJECT,
            group=Group.BRANCHES,
            measure=Measure.SIZE,
            stored=True,
            invoice=InvoiceWords(2, r"snapshot|backup"),
        ),
    )
    EXTRA_BRANCHES = (
        "extra_branches",
        ComponentSpec(
            metric="extra_branches_month",
            raw_units=(RawUnit(0, "branch-hour", MONTH_HOURS),),
            unit="branch-month",
            focus_unit="Branch-Months",
            title="Branches past the allowance",
            phrase="branches past the allowance",
            level=Level.PROJECT,
            group=Group.BRANCHES,
            measure=Measure.LIFETIME,
            allowance=AllowanceRule(AllowancePeriod.HOUR, "child branches"),
            parts=MICRO,
            invoice=InvoiceWords(5, r"(extra|additional).*branch|branch.?(month|hour)"),
        ),
    )
    PUBLIC_TRANSFER = (
        "public_transfer",
        ComponentSpec(
            metric="public_network_transfer_bytes",
            raw_units=_BYTES,
            unit="GB",
            focus_unit="GB",
            title="Data transfer out",
            phrase="data transfer out",
            level=Level.BRANCH,
            group=Group.TRANSFER,
            measure=Measure.ROWS,
            allowance=AllowanceRule(AllowancePeriod.MONTH, "GB"),
            invoice=InvoiceWords(4, r"(public|network|data).*(transfer|egress)|egress|\btransfer\b"),
        ),
    )
    PRIVATE_TRANSFER = (
        "private_transfer",
        ComponentSpec(
            metric="private_network_transfer_bytes",
            raw_units=_BYTES,
            unit="GB",
            focus_unit="GB",
            title="Private data transfer",
            phrase="private data transfer",
            level=Level.BRANCH,
            group=Group.TRANSFER,
            measure=Measure.ROWS,
            invoice=InvoiceWords(3, r"private.*(transfer|network|link)"),
        ),
    )


METRIC_COMPONENTS: Mapping[str, Component] = {component.spec.metric: component for component in Component}
"""The component that each metric of the API is billed as."""
USAGE_METRICS: Mapping[str, tuple[str, ...]] = {
    "branches": tuple(component.spec.metric for component in Component if component.spec.level is Level.BRANCH),
    "projects": tuple(METRIC_COMPONENTS),
}
"""The metrics that each level of the API is asked for."""


def of_group(group: Group) -> tuple[Component, ...]:
    """The components that a summary adds up under one heading, in the order of the table."""
    return tuple(component for component in Component if component.spec.group is group)


STORED = tuple(component for component in Component if component.spec.stored)
"""Sizes that are there every day."""
STORAGE = of_group(Group.STORAGE)
"""What databases hold, without history and snapshots. An invoice may show it as one line."""
