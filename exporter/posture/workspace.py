"""What `neonmeter posture` works with: facts that the agent kept, what Neon says now (GET only), judged here.

It reads beside a running agent and writes nothing there; databases are never entered by it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from collectors.neon.client import NeonClient
from collectors.neon.errors import NeonError
from collectors.neon.inventory import Inventory, refresh
from exporter.posture.assemble import sources_of
from exporter.posture.evaluation import Judge, Judgement
from exporter.posture.fact_cache import Shelf, Shelved, from_book
from exporter.posture.sources import Sources
from exporter.posture.store import Book, FactKey
from exporter.settings import Settings
from exporter.storage.store import Rooms, Store
from exporter.tenancy.domain.rules import TenantRules

PASSES = 20
"""Of the API: each makes a bounded number of requests."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What the agent left behind."""

    facts: Shelved
    since: Mapping[str, float]
    before: tuple[float, Mapping[str, tuple[str, str, str]]] | None
    """The state of the last day before today."""


def kept(settings: Settings, rooms: Rooms, now: float) -> Kept:
    """Read it; empty where no agent ever ran.

    Raises:
        StoreError: the file cannot be used.
    """
    if not settings.ledger.path.exists():
        return Kept({}, {}, None)
    store = Store.open(settings.ledger.path, rooms, read_only=True)
    try:
        book = Book(store)
        day = book.day_before(now)
        return Kept(from_book(book), book.since(), None if day is None else (day.taken_at, day.failures))
    finally:
        store.close()


@dataclass(frozen=True, slots=True)
class Look:
    """One look at everything."""

    judgement: Judgement
    judge: Judge
    inventory: Inventory
    notes: tuple[str, ...]


async def look(
    settings: Settings, rules: TenantRules, client: NeonClient, known: Kept, clock: Callable[[], float] = time.time
) -> Look:
    """Read what is not fresh, and judge.

    Raises:
        NeonError: Neon cannot be read.
        CatalogueError: a file of controls or frameworks cannot be used.
    """
    neon = settings.neon
    inventory = await refresh(client, None, org_id=neon.org_id, include=neon.include, exclude=neon.exclude)
    shelf = Shelf(facts=dict(known.facts))
    sources = Sources(sources_of(settings, client), shelf, clock)
    for _ in range(PASSES):
        before = await _missing(shelf, inventory)
        await sources.look(inventory)
        if not before or await _missing(shelf, inventory) in (0, before):
            break
        sources.again()
    judge = Judge(settings, rules)
    facts = await shelf.load()
    judgement = judge.judge(inventory, facts, known.since, clock())
    return Look(judgement, judge, inventory, (*inventory.notes, *sources.notes(), *_limits(settings, facts)))


async def _missing(shelf: Shelf, inventory: Inventory) -> int:
    """Branches whose security Neon was never asked for."""
    facts = await shelf.load()
    return sum(
        FactKey("branch", f"{each.project_id}/{each.id}") not in facts for each in inventory.branches.values()
    )  # fmt: skip


def _limits(settings: Settings, facts: Shelved) -> tuple[str, ...]:
    read = any(key.source == "database" for key in facts)
    if read:
        return ()
    if settings.postgres.dsn is None and not any(each.dsn for each in settings.postgres.overrides):
        return (
            "No database was read: postgres.dsn is not set, so nothing is known of grants, row security and roles.",
        )
    return ("No database was read yet: `neonmeter run` reads one while others use it. Grants, row security and roles "
            "are unknown until then.",)  # fmt: skip


__all__ = ["Kept", "Look", "NeonError", "kept", "look"]
