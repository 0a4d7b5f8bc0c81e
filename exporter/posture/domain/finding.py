"""What a control says of one object. Six outcomes that are never blurred: what could not be read never passes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b
from typing import Final, TypeAlias, TypeVar

from collectors.base import Status


class Outcome(StrEnum):
    """How a control ended."""

    PASS = "pass"  # noqa: S105 - an outcome, no password
    FAIL = "fail"
    NOT_APPLICABLE = "not_applicable"
    """There is nothing here that the control speaks of, or the platform does not have it."""
    ERROR = "error"
    """Asked, and refused or broken: a permission is missing, a service fails."""
    UNKNOWN = "unknown"
    """Not known yet: the compute sleeps, or it was not asked."""
    MANUAL = "manual"
    """No fact here decides it; a person has to look."""


class Severity(StrEnum):
    """How bad a failure is."""

    CRITICAL = "critical"
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"
    INFO = "info"

    @property
    def rank(self) -> int:
        """0 is the worst."""
        return _RANKS[self]


_RANKS: Final = {entry: rank for rank, entry in enumerate(Severity)}

NOT_KNOWN_YET: Final = frozenset({Status.ASLEEP, Status.NO_DATA, Status.BREAKER_OPEN, Status.RATE_LIMITED})
"""Why something was not read although nobody refused it."""


@dataclass(frozen=True, slots=True)
class Unread:
    """In place of a value that is not known, and why, for a person."""

    status: Status
    why: str

    @property
    def outcome(self) -> Outcome:
        """Unknown, not applicable or error; never pass."""
        if self.status in NOT_KNOWN_YET:
            return Outcome.UNKNOWN
        return Outcome.NOT_APPLICABLE if self.status is Status.UNSUPPORTED else Outcome.ERROR


T = TypeVar("T")
Known: TypeAlias = T | Unread
"""A value, or why there is none."""
NOT_ASKED: Final = Unread(Status.NO_DATA, "not asked yet")


@dataclass(frozen=True, slots=True)
class Finding:
    """One control's word about one object."""

    control: str
    """``P01``."""
    object_id: str
    """A path of ids and names, as ``project/branch/database/schema.table``: what a waiver's glob is matched with."""
    outcome: Outcome
    severity: Severity
    """Of the failure, had it one: a pass keeps the control's own."""
    tenant: str
    """Whose data is at risk; empty when it is nobody's in particular."""
    evidence: str
    """One sentence with the facts."""
    count: int = 1
    """How many objects it stands for: those beyond the named ones are one finding together."""

    @property
    def cache_key(self) -> str:
        """The same as long as the same object fails the same control: 16 hexadecimal digits."""
        return blake2b(f"{self.control}\x1f{self.object_id}".encode(), digest_size=8).hexdigest()


def object_id(*parts: str) -> str:
    """The parts that are there, joined by slashes."""
    return "/".join(part for part in parts if part)


SEVERITIES: Final[Mapping[str, Severity]] = {
    number: severity
    for severity, numbers in {
        Severity.CRITICAL: "P01 P02 P05 P11 P14 P22 P35 P50 P51 P58 P70",
        Severity.HIGH: (
            "P03 P04 P06 P07 P08 P09 P12 P15 P16 P18 P19 P20 P21 P24 P25 P27 P29 P32 P33 P34 P36 P38 P41 P42 P44 P46 "
            "P49 P52 P53 P55 P56 P59 P60 P61 P62 P63 P64 P65 P66 P68 P69"
        ),
        Severity.MEDIUM: "P10 P23 P26 P28 P31 P37 P39 P40 P43 P45 P47 P48 P54 P57",
        Severity.LOW: "P13 P17 P30 P67",
    }.items()
    for number in numbers.split()
}
"""The severity of each control's failures; a control may say a lower one of a failure that is less than it."""
