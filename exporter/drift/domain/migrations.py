"""Migrations compared: with what git holds, with another branch, and of tenants among each other. Pure.

A migration is identified by its id; a checksum that differs under the same id is a finding of its own, where the tool
stores one that can be computed from the files. What a tool cannot know stays unknown: a history without an order has no
migrations out of order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from collectors.postgres.domain.migrations import Migration


@dataclass(frozen=True, slots=True)
class Expected:
    """A migration as the files in git have it, in the order in which it is to be applied."""

    id: str
    checksum: str | None = None
    """In the tool's own form, or None where it cannot be worked out from the file."""
    ancestors: frozenset[str] = frozenset()
    """Ids that are applied when this one is, for tools that store only their heads (Alembic, golang-migrate)."""
    repeatable: bool = False
    """It has no place in the order (Flyway ``R__``)."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """All migrations of one tool in git. ``heads_only``: the database has only the last of them."""

    tool: str
    expected: tuple[Expected, ...]
    heads_only: bool = False


@dataclass(frozen=True, slots=True)
class MigrationState:
    """Where one history stands against the files: ids, in the order of the files."""

    pending: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    """Applied in the database, but not in git: a branch that was not merged, or a file that was deleted."""
    mismatched: tuple[str, ...] = ()
    """Applied with another content than the file has now."""
    out_of_order: tuple[str, ...] = ()
    """Pending, although something later is applied."""


@dataclass(frozen=True, slots=True)
class Divergence:
    """Two histories of one tool: what only one of them has, and what both have with other contents."""

    behind: tuple[str, ...]
    ahead: tuple[str, ...]
    changed: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Whether they differ at all."""
        return bool(self.behind or self.ahead or self.changed)


def standing(manifest: Manifest, history: Sequence[Migration]) -> MigrationState:
    """Compare a database's history with the files."""
    done = {migration.id: migration for migration in history if migration.state == "applied"}
    known = {expected.id: expected for expected in manifest.expected}
    applied = set(done)
    if manifest.heads_only:
        for head in done.keys() & known.keys():
            applied |= known[head].ancestors
    pending = tuple(expected.id for expected in manifest.expected if expected.id not in applied)
    mismatched = tuple(
        expected.id
        for expected in manifest.expected
        if expected.id in done
        and expected.checksum is not None
        and done[expected.id].checksum not in (None, expected.checksum)
    )
    ordered = [expected.id for expected in manifest.expected if not expected.repeatable]
    last = max((place for place, name in enumerate(ordered) if name in applied), default=-1)
    late = tuple(name for name in ordered[:last] if name not in applied)
    unknown = tuple(sorted(done.keys() - known.keys()))
    return MigrationState(pending, unknown, mismatched, late)


def divergence(baseline: Sequence[Migration], current: Sequence[Migration]) -> Divergence:
    """What ``current`` lacks (behind), has in addition (ahead), or has with another checksum; ids, sorted."""
    theirs, ours = (
        {migration.id: migration.checksum for migration in side if migration.state == "applied"}
        for side in (baseline, current)
    )
    changed = [name for name in theirs.keys() & ours.keys() if theirs[name] != ours[name]]
    return Divergence(
        tuple(sorted(theirs.keys() - ours.keys())), tuple(sorted(ours.keys() - theirs.keys())), tuple(sorted(changed))
    )


def behind(reference: Sequence[Migration], histories: Mapping[str, Sequence[Migration]]) -> dict[str, Divergence]:
    """By schema or tenant: how those that differ from the reference do. Who agrees is absent."""
    found = {name: divergence(reference, history) for name, history in histories.items()}
    return {name: differs for name, differs in sorted(found.items()) if differs}


def ancestry(parents: Mapping[str, Iterable[str]]) -> dict[str, frozenset[str]]:
    """All ancestors of every revision of a graph of parents; a parent that is not in the graph counts as one too."""
    known: dict[str, frozenset[str]] = {}

    def walk(start: str) -> None:
        stack = [start]
        while stack:
            here = stack[-1]
            missing = [name for name in parents.get(here, ()) if name in parents and name not in known and name != here]
            if missing and len(stack) <= len(parents):
                stack.extend(missing)
                continue
            above = set(parents.get(here, ()))
            for name in tuple(above):
                above |= known.get(name, frozenset())
            known[here] = frozenset(above)
            stack.pop()

    for revision in parents:
        if revision not in known:
            walk(revision)
    return known
