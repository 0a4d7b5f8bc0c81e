"""What a control says of one object. Six outcomes that are never blurred: what could not be read never passes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b
from typing import Final

from collectors.base import Status, Unread


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


_RANKS: Final = {severity: rank for rank, severity in enumerate(Severity)}

NOT_KNOWN_YET: Final = frozenset({Status.ASLEEP, Status.NO_DATA, Status.BREAKER_OPEN, Status.RATE_LIMITED})
"""Why something was not read although nobody refused it."""


def outcome_of(value: Unread) -> Outcome:
    """Unknown, not applicable or error, as the reading of a fact ended; never pass."""
    if value.status in NOT_KNOWN_YET:
        return Outcome.UNKNOWN
    return Outcome.NOT_APPLICABLE if value.status is Status.UNSUPPORTED else Outcome.ERROR


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of one control at one object."""

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
