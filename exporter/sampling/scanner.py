"""What may ride along into the user databases: schema sizes, fingerprints, migrations, posture.

A rider names what it wants to read in a database and is told what came back. When a session may be opened there, for
how long, and how it is accounted for, is decided once, in `collecting.user_databases`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from collectors.base import Reading, SqlCollector, Status
from exporter.sampling.computes import Compute


class DatabaseScanner(Protocol):
    """One passenger of the rides into user databases. Lives on the event loop; one call at a time per compute."""

    async def recall(self, compute: Compute) -> None:
        """Before a visit: bring back from the disk what an earlier life of the agent learnt of this compute."""
        ...

    def wants(self, compute: Compute, datname: str, now: float) -> Sequence[SqlCollector]:
        """What to read in this database now; empty when nothing is due there."""
        ...

    async def take(
        self, compute: Compute, datname: str, readings: dict[str, Reading], failures: dict[str, tuple[Status, str]]
    ) -> None:
        """Keep what one database told, by collector name; what failed, and why, is in ``failures``."""
        ...

    async def finish(self, compute: Compute, names: Sequence[str], status: Status, error: str, seconds: float) -> None:
        """After a ride: ``names`` are all databases that exist; forget the others, show what is known."""
        ...
