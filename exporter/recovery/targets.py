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


class NamedBranch(Protocol):
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


def of_spot(settings: Iterable[Setting], branch_ref: NamedBranch) -> list[Setting]:
    """The settings that are for this branch, in their order."""
    return [
        setting
        for setting in settings
        if matches(setting.project, branch_ref.project_id, branch_ref.project_name)
        and matches(setting.branch, branch_ref.branch_id, branch_ref.branch_name)
    ]


def target_of(settings: RecoverySettings, branch_ref: NamedBranch) -> RecoveryTarget | None:
    """What is promised for a branch; the first match wins."""
    return next(iter(of_spot(settings.targets, branch_ref)), None)


def earliest_restorable(now: float, retention: float, *known_since: float | None) -> float:
    """The earliest instant (unix seconds) that Neon can go back to, given the window and when the branch began.

    ``known_since`` are its creation and its last reset: what was before belongs to another history.
    """
    return max([now - retention, *(value for value in known_since if value is not None)])
