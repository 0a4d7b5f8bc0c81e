"""Migration histories of a database, as their tools recorded them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from collectors.base import Status

RUNNING_SECONDS = 600.0
"""A migration that began this long ago and neither finished nor logged an error counts as failed."""


class Migration(NamedTuple):
    """One migration as its tool recorded it."""

    id: str
    """Name or version; Liquibase: file::id::author, Sqitch: project:change, Django: app.name."""
    checksum: str | None
    state: str
    """``applied``, ``failed``, ``running`` or ``skipped``."""
    at: float | None
    """When, in unix seconds; None where the tool records no time."""


@dataclass(frozen=True, slots=True)
class History:
    """One history table. ``migrations`` are in the order in which they were applied."""

    tool: str
    schema: str
    table: str
    migrations: tuple[Migration, ...] = ()
    digest: str = ""
    """Equal digests: the same migrations in the same states."""
    rolled_back: int = 0
    status: Status = Status.OK

    def count(self, state: str) -> int:
        """Migrations in a state."""
        return sum(migration.state == state for migration in self.migrations)

    def failed(self, server_clock: float) -> int:
        """Those that failed, and those that began too long ago to be still running."""
        stuck = sum(
            migration.state == "running" and server_clock - (migration.at or 0.0) > RUNNING_SECONDS
            for migration in self.migrations
        )
        return self.count("failed") + stuck


@dataclass(frozen=True, slots=True)
class Lock:
    """A tool's lock that is held: for how long at most (None: unknown) and by whom, as far as it is known."""

    tool: str
    schema: str
    seconds: float | None
    by: str = ""


@dataclass(frozen=True, slots=True)
class MigrationFacts:
    """All histories, and the locks in use, of one database."""

    datname: str
    histories: tuple[History, ...]
    locks: tuple[Lock, ...]


def majority(histories: Iterable[History]) -> str:
    """The digest that most readable histories share; of equally common ones the one with more migrations."""
    counts: dict[str, tuple[int, int, str]] = {}
    for history in histories:
        if history.status is Status.OK:
            count = counts.get(history.digest, (0, len(history.migrations), history.digest))
            counts[history.digest] = (count[0] + 1, *count[1:])
    return max(counts.values(), default=(0, 0, ""))[2]
