"""What is promised and what is possible: targets from the settings, and the earliest instant that can be restored."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, TypeVar

from exporter.settings.dsn import matches
from exporter.settings.recovery import RecoverySettings, RecoveryTarget


class Somewhere(Protocol):
    """A setting that is for some projects and branches."""

    @property
    def project(self) -> str:
        """Glob over project id or name."""

    @property
    def branch(self) -> str:
        """Glob over branch id or name."""


class Spot(Protocol):
    """A branch by its ids and names."""

    @property
    def project_id(self) -> str:
        """Id of the project."""

    @property
    def project_name(self) -> str:
        """Its name."""

    @property
    def branch_id(self) -> str:
        """Id of the branch."""

    @property
    def branch_name(self) -> str:
        """Its name."""


Setting = TypeVar("Setting", bound=Somewhere)


def of_spot(settings: Iterable[Setting], spot: Spot) -> list[Setting]:
    """The settings that are for this branch, in their order."""
    return [
        each
        for each in settings
        if matches(each.project, spot.project_id, spot.project_name)
        and matches(each.branch, spot.branch_id, spot.branch_name)
    ]


def target_of(settings: RecoverySettings, spot: Spot) -> RecoveryTarget | None:
    """What is promised for a branch; the first match wins."""
    return next(iter(of_spot(settings.targets, spot)), None)


def earliest_restorable(now: float, retention: float, *known_since: float | None) -> float:
    """The earliest instant (unix seconds) that Neon can go back to, given the window and when the branch began.

    ``known_since`` are its creation and its last reset: what was before belongs to another history.
    """
    return max([now - retention, *(each for each in known_since if each is not None)])
