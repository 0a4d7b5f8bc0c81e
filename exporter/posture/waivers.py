"""Who answers for which failure until when. A waived failure is counted apart; an expired waiver waives nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from fnmatch import fnmatchcase

from exporter.posture.domain.finding import Finding, Outcome
from exporter.posture.settings import WaiverSettings


class WaiverState(StrEnum):
    """How a waiver stands."""

    ACTIVE = "active"
    EXPIRED = "expired"
    UNUSED = "unused"
    """Nothing fails that it speaks of: it can go."""


@dataclass(frozen=True, slots=True)
class Waiver:
    """One entry of ``posture.waivers``."""

    control: str
    object: str
    reason: str
    approver: str
    expires_at: float

    @property
    def expires(self) -> str:
        """The day."""
        return datetime.fromtimestamp(self.expires_at, UTC).strftime("%Y-%m-%d")

    def covers(self, finding: Finding, name: str = "") -> bool:
        """Whether it speaks of a failure, by the path of ids or by ``name``, the same path with names in it."""
        paths = (finding.object_id, name or finding.object_id)
        return finding.control == self.control and any(fnmatchcase(path, self.object) for path in paths)


@dataclass(frozen=True, slots=True)
class FindingState:
    """A finding with who answers for it."""

    finding: Finding
    waiver: Waiver | None = None
    """The one that speaks of it: in force, or expired."""
    waived: bool = False
    since: float | None = None
    """When we first saw the failure; None where it is none."""

    @property
    def order(self) -> tuple[str, str, str]:
        """Where it stands in a list of findings: by control, object and outcome."""
        return self.finding.control, self.finding.object_id, self.finding.outcome

    @property
    def open(self) -> bool:
        """A failure without a valid waiver."""
        return self.finding.outcome is Outcome.FAIL and not self.waived

    @property
    def expired(self) -> bool:
        """A failure whose waiver is over."""
        return self.open and self.waiver is not None

    @property
    def status(self) -> str:
        """``waived``, or the outcome."""
        return "waived" if self.waived else self.finding.outcome.value


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All findings, and how each waiver stands."""

    states: tuple[FindingState, ...]
    waivers: tuple[tuple[Waiver, WaiverState, int], ...]
    """With how many failures it speaks of."""

    @property
    def waived_keys(self) -> frozenset[str]:
        """Cache keys of the waived failures."""
        return frozenset(state.finding.cache_key for state in self.states if state.waived)


def waivers_of(settings: Sequence[WaiverSettings]) -> tuple[Waiver, ...]:
    """Those of the settings, in their order."""
    return tuple(
        Waiver(setting.control, setting.object_, setting.reason, setting.approver, setting.expires_at)
        for setting in settings
    )


class WaiverUse:
    """Puts the waivers onto failures, and counts how many failures each speaks of."""

    def __init__(
        self,
        waivers: Sequence[Waiver],
        now: float,
        since: Mapping[str, float] | None = None,
        *,
        name_of: Callable[[str], str] = str,
    ) -> None:
        """``name_of`` answers an object's path with names in place of ids.

        ``since`` is when each failure was first seen, by cache key.
        """
        self._by_control: dict[str, list[Waiver]] = {}
        for waiver in sorted(waivers, key=lambda waiver: waiver.expires_at <= now):
            self._by_control.setdefault(waiver.control, []).append(waiver)
        self._used: dict[Waiver, int] = dict.fromkeys(waivers, 0)
        self._since = since or {}
        self._now = now
        self._name_of = name_of

    def states(self, findings: Iterable[Finding]) -> tuple[FindingState, ...]:
        """The findings with who answers for each: a waiver in force before an expired one, then the first."""
        return tuple(map(self._state, findings))

    def _state(self, finding: Finding) -> FindingState:
        if finding.outcome is not Outcome.FAIL:
            return FindingState(finding)
        known = self._by_control.get(finding.control, ())
        name = self._name_of(finding.object_id) if known else ""
        found = next((waiver for waiver in known if waiver.covers(finding, name)), None)
        if found is not None:
            self._used[found] += finding.count
        waived = found is not None and self._now < found.expires_at
        return FindingState(finding, found, waived, self._since.get(finding.cache_key, self._now))

    def waivers(self) -> tuple[tuple[Waiver, WaiverState, int], ...]:
        """How each waiver stands, by all findings so far."""
        return tuple((waiver, _state_of(waiver, count, self._now), count) for waiver, count in self._used.items())


def _state_of(waiver: Waiver, used: int, now: float) -> WaiverState:
    if waiver.expires_at <= now:
        return WaiverState.EXPIRED
    return WaiverState.ACTIVE if used else WaiverState.UNUSED
