"""In which unit the API counted stored bytes: in byte-hours at first, in byte-months since the summer of 2026.

A bucket of one hour of a branch of S bytes says S in byte-hours and S / 744 in byte-months, so what an account is told
shows beside the sizes of its root branches; no other knowledge is needed. Money is worked out in byte-hours: a
byte-month is exactly 744 of them, whatever the calendar says, so nothing is rounded on our side. The API rounds each
bucket of byte-months to a whole number: a bucket is off by less than one byte-month, 0.00000035 cents of root storage.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

from exporter.pricing.domain.calendar import HOUR, day_seconds
from exporter.pricing.domain.components import MONTH_HOURS, Component
from exporter.pricing.domain.usage import UsageFact, bucket_hours

BYTE_HOURS, BYTE_MONTHS = "byte-hour", "byte-month"
SCALE: Mapping[str, int] = {"": 1, BYTE_HOURS: 1, BYTE_MONTHS: MONTH_HOURS}
"""Byte-hours in one raw unit."""
STORED_METRICS = frozenset(component.spec.metric for component in Component if component.spec.stored)
"""The metrics whose unit changed."""
ROOT_METRIC = Component.ROOT_STORAGE.spec.metric
"""A root branch is billed by its logical size, which the inventory shows: so its hours tell the unit."""
SETTLED_FROM = day_seconds("2026-08-01")
"""All that was published says byte-months from here on, so one project alone does not contradict it in the past."""
_NEAR = 9
"""A size may be off by this factor and the unit still be plain: the two units are a factor of 744 apart."""


def in_byte_hours(fact: UsageFact, unit: str) -> UsageFact:
    """The same usage in byte-hours; ``unit`` is what its value counts."""
    return fact._replace(value=fact.value * SCALE[unit], unit=BYTE_HOURS)


def unit_of(ratio: Fraction) -> str:
    """The unit in which a figure counts that is ``ratio`` of size x hours; empty when it fits neither."""
    if Fraction(1, _NEAR) <= ratio <= _NEAR:
        return BYTE_HOURS
    return BYTE_MONTHS if Fraction(1, _NEAR) <= ratio * MONTH_HOURS <= _NEAR else ""


@dataclass(frozen=True, slots=True)
class UnitEvidence:
    """What an account's own figures say; ``unit`` is empty when they do not decide."""

    unit: str = ""
    ratio: Fraction | None = None
    """Root storage of an hour over the root branches' sizes: about 1, or about 1/744."""
    projects: int = 0
    """How many were compared."""

    @property
    def text(self) -> str:
        """For a person: the unit and why."""
        if self.ratio is None:
            return "undecided: no hour of root storage to hold against the size of a root branch"
        shown = f"an hour of root storage is {float(self.ratio):.3g} of the root branches' size"
        if self.ratio < Fraction(1, 2):
            shown += f" (1/{float(1 / self.ratio):.1f})" if self.ratio else ""
        return f"{self.unit}s: {shown}" if self.unit else f"undecided: {shown}, which is neither 1 nor 1/{MONTH_HOURS}"


class Bucket(NamedTuple):
    """Root storage of one whole project in one bucket, in the unit that is to be found."""

    project_id: str
    granularity: str
    start: int
    value: int


class UnitWalk:
    """Finds the unit of an account's buckets from the newest back, each by the size that the newer ones leave.

    Sizes change from bucket to bucket by far less than the 744 that the units are apart, so the day of a change shows
    wherever it is. The API went from byte-hours to byte-months and not back; a single project that says otherwise
    after the change was general has dropped its data.
    """

    def __init__(
        self, sizes: Mapping[str, int], now: float, *, known: str = "", created: Mapping[str, float] | None = None
    ) -> None:
        """``sizes`` are bytes of the root branches of now by project, ``now`` is by the API's clock (unix seconds).

        ``created`` is when projects were made: of the bucket in which one was, only the rest counts.
        ``known`` is the unit of the account's newest figures, for when these do not tell.
        """
        self.evidence = UnitEvidence()
        self._sizes = {project: Fraction(size) for project, size in sizes.items() if size > 0}
        self._now = now
        self._created = created or {}
        self._unit = known

    def units(self, buckets: Iterable[Bucket]) -> dict[tuple[str, int], str]:
        """The unit by granularity and start; empty where nothing tells. Call again with older buckets, not newer."""
        found: dict[tuple[str, int], str] = {}
        together: dict[tuple[int, str], list[Bucket]] = {}
        for bucket in buckets:
            together.setdefault((bucket.start, bucket.granularity), []).append(bucket)
        growing: list[tuple[int, str]] = []
        newest = ""
        for (start, granularity), rows in sorted(together.items(), reverse=True):
            hours = bucket_hours(start, granularity)
            if start + hours * HOUR > self._now:
                growing.append((start, granularity))
                continue
            found[granularity, start] = self._decide(start, rows, start + hours * HOUR)
            newest = newest or found[granularity, start]
        for start, granularity in growing:
            if not newest and self._now - start > 1:
                newest = self._decide(start, together[start, granularity], int(self._now))
            found[granularity, start] = newest or self._unit
        return found

    def _decide(self, start: int, rows: list[Bucket], end: int) -> str:
        votes = {BYTE_HOURS: 0, BYTE_MONTHS: 0, "": 0}
        value, whole, known = 0, Fraction(), 0
        for row in rows:
            size = self._sizes.get(row.project_id)
            hours = Fraction(end - max(start, int(self._created.get(row.project_id, 0))), HOUR)
            if size and hours > 0:
                votes[unit_of(row.value / (size * hours))] += 1
                value, whole, known = value + row.value, whole + size * hours, known + 1
        unit = max((BYTE_HOURS, BYTE_MONTHS), key=votes.__getitem__) if votes[BYTE_HOURS] != votes[BYTE_MONTHS] else ""
        if known and not self.evidence.unit:
            self.evidence = UnitEvidence(unit, value / whole, known)
        if self._unit and unit != self._unit:
            back = unit == BYTE_HOURS and (start < SETTLED_FROM or votes[unit] > 1)
            unit = unit if back else self._unit
        self._unit = unit
        for row in rows:
            if unit and row.value:
                hours = Fraction(end - max(start, int(self._created.get(row.project_id, 0))), HOUR)
                self._sizes[row.project_id] = row.value * SCALE[unit] / max(hours, Fraction(1, HOUR))
        return unit
