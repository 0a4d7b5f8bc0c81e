"""The ports by which one feature knows another: what is asked, never who answers.

A feature that answers registers itself (``services.provide(Port, answer)``); one that asks calls
``services.find(Port)``, gets None where nobody answers, and shows the figure as unknown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from collectors.neon.snapshots import Snapshots
from collectors.platforms.domain.security import DrillFacts
from exporter.sampling.computes import Compute


class OffsiteCopies(Protocol):
    """Knows how fresh copies outside Neon are. Posture answers, recovery asks."""

    def newest_copies(self) -> Mapping[str, float]:
        """When the newest off-site copy was taken (unix seconds), by project id; absent where none is known."""
        ...


class RestoreDrills(Protocol):
    """Knows which restores were drilled. Recovery answers, posture asks."""

    def drill_facts(self, projects: Iterable[tuple[str, str]]) -> Mapping[str, DrillFacts]:
        """By ``project/kind``: of every project that was drilled, and of those that must be and never were.

        ``projects``: id and name of each that there is. Where the drills cannot be read, the facts say why. Reads a
        file: call it in a thread.
        """
        ...


class SnapshotList(Protocol):
    """Knows which snapshots Neon has. Sampling answers; cost, recovery and posture ask."""

    def snapshots(self) -> Snapshots:
        """The snapshots of each project as last read, by project id; None where Neon refuses the list."""
        ...


class SchemaRoles(Protocol):
    """Knows which role works in which schema of a database. Sampling answers, drift asks."""

    def own_roles(self, compute: Compute, datname: str) -> Mapping[str, str]:
        """The role of each schema in which exactly one role works that works nowhere else."""
        ...
