"""The readers beside the databases: Neon's API, key stores, buckets, handshakes, poolers; each at its own pace.

One that fails keeps what it knew, and says so; nothing here opens a session in a user's database or wakes a compute.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from collectors.base import Status
from collectors.neon.client import NeonClient
from collectors.neon.inventory import Inventory
from collectors.neon.models import Branch, Project
from collectors.neon.security import Key, read_security
from exporter.core.clock import is_recent
from exporter.posture.fact_cache import CachedFacts, FactCache
from exporter.posture.store import FactKey
from exporter.storage.store import StoreError

_log = logging.getLogger("neonmeter.posture")
_API = ("organization", "project", "branch")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one look at a source ended. ``note`` is for a person, empty when all is well."""

    status: Status = Status.OK
    note: str = ""


class Source(Protocol):
    """A source of facts that is read at its own pace."""

    @property
    def name(self) -> str:
        """``api``, ``vault``, ``s3``, ``tls``, ``pooler``."""

    @property
    def every(self) -> float:
        """Seconds between two looks."""

    async def read(self, inventory: Inventory, fact_cache: FactCache, now: float) -> Outcome:
        """Look, and put what was found into the cache."""


AGAIN_SECONDS = 900.0
"""What Neon refused is asked for again after so long: a refusal does not end within a minute."""


class NeonApi:
    """Roles, keys, members, masks, schedules; a bounded number of requests in each pass, the longest ago first."""

    name = "api"

    def __init__(self, client: NeonClient, every: float, *, account: bool = True) -> None:
        """``every``: how old a fact may get before it is asked for again; ``account``: of the organisation, too."""
        self._client = client
        self._account = account
        self._fresh = every
        self.every = min(every, 60.0)
        self._tried: dict[Key, float] = {}
        """What could not be read, as if read so long ago that it is due again after AGAIN_SECONDS."""

    async def read(self, inventory: Inventory, fact_cache: FactCache, now: float) -> Outcome:
        """Read what is older than the pace allows, and store it."""
        known = dict(await fact_cache.load())
        projects, read_at = await asyncio.to_thread(self._known, inventory, known)
        organizations = [org.id for org in inventory.organizations] if self._account else []
        found = await read_security(self._client, organizations, projects, read_at, now, every=self._fresh)
        await fact_cache.put("organization", found.organizations, now)
        await fact_cache.put("project", found.projects, now)
        await fact_cache.put("snapshots", found.snapshots, now)
        await fact_cache.put("branch", found.branches, now)
        self._tried |= dict.fromkeys(found.failed, now - self._fresh + AGAIN_SECONDS)
        if found.stopped is not None:
            left = f"the security of {found.left} objects was not read: {found.stopped.why}"
            return Outcome(found.stopped.status, left)
        if found.failed:
            first = next(iter(found.failed.values()))
            return Outcome(first.status, f"the security of {len(found.failed)} objects was not read: {first.why}")
        return Outcome()

    def _known(
        self, inventory: Inventory, known: CachedFacts
    ) -> tuple[list[tuple[Project, list[Branch]]], dict[Key, float]]:
        """Every project with its branches, and when which thing was read or tried last."""
        read_at: dict[Key, float] = {(key.source, key.key): at for key, (at, _) in known.items() if key.source in _API}
        for key, at in self._tried.items():
            read_at[key] = max(at, read_at.get(key, 0.0))
        by_project: dict[str, list[Branch]] = {}
        for branch in inventory.branches.values():
            by_project.setdefault(branch.project_id, []).append(branch)
        return [(project, by_project.get(project.id, [])) for _, project in sorted(inventory.projects.items())], read_at


async def forget_gone(inventory: Inventory, fact_cache: FactCache) -> None:
    """Drop the facts of projects and branches that are no more; not while Neon could not list all of them."""
    if not inventory.projects or inventory.unknown_project_ids:
        return
    known = list(await fact_cache.load())
    await fact_cache.forget(await asyncio.to_thread(lambda: _gone(inventory, known)))


def _gone(inventory: Inventory, known: Iterable[FactKey]) -> list[FactKey]:
    """Facts of projects and branches that are no more."""
    branches = {f"{branch.project_id}/{branch.id}" for branch in inventory.branches.values()}

    def exists(key: FactKey) -> bool:
        if key.source in ("project", "snapshots"):
            return key.key in inventory.projects
        if key.source in ("branch", "server"):
            return key.key in branches
        return key.source not in ("database", "names") or "/".join(key.key.split("/", 2)[:2]) in branches

    return [key for key in known if not exists(key)]


@dataclass(slots=True)
class _Looked:
    at: float | None = None
    outcome: Outcome | None = None


@dataclass(slots=True)
class PostureSources:
    """All of them; ``look`` reads those whose time has come. Lives on the event loop, one call at a time."""

    sources: tuple[Source, ...]
    fact_cache: FactCache
    clock: Callable[[], float] = time.time
    _looked: dict[str, _Looked] = field(default_factory=dict)

    async def look(self, inventory: Inventory) -> None:
        """Read what is due. What a reader does not expect costs only its own reading."""
        for source in self.sources:
            looked = self._looked.setdefault(source.name, _Looked())
            now = self.clock()
            if looked.at is not None and is_recent(looked.at, now, source.every):
                continue
            looked.at = now
            outcome = await _guarded(
                source.name,
                lambda reader=source, at=now: reader.read(inventory, self.fact_cache, at),  # type: ignore[misc]
            )
            before = looked.outcome
            if outcome.note and (before is None or before.note != outcome.note):
                _log.warning("posture, %s: %s", source.name, outcome.note)
            looked.outcome = outcome

    def again(self) -> None:
        """Let the next look read the API again at once: it does a bounded part of its work at each."""
        self._looked.pop(NeonApi.name, None)

    def outcomes(self) -> Mapping[str, Outcome]:
        """How the last look at each ended; those never looked at are not there."""
        return {name: looked.outcome for name, looked in self._looked.items() if looked.outcome is not None}

    def notes(self) -> tuple[str, ...]:
        """A sentence for each source whose last look failed."""
        return tuple(f"posture, {name}: {outcome.note}" for name, outcome in self.outcomes().items() if outcome.note)


async def _guarded(name: str, read: Callable[[], Awaitable[Outcome]]) -> Outcome:
    try:
        return await read()
    except StoreError:
        raise
    except Exception as problem:
        _log.exception("posture, %s", name)
        return Outcome(Status.BUG, f"our bug: {type(problem).__name__}")
