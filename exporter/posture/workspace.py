"""What `neonmeter posture` works with: facts that the agent stored, and what Neon says now (GET only), evaluated here.

It reads beside a running agent and writes nothing there; databases are never entered by it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from collectors.neon.client import NeonClient
from collectors.neon.inventory import Inventory, refresh
from exporter.feature.ports import RestoreDrills
from exporter.feature.workspace import open_store
from exporter.posture.evaluation import Evaluator, PostureEvaluation
from exporter.posture.fact_cache import CachedFacts, FactCache, facts_of
from exporter.posture.outside import sources_of
from exporter.posture.settings import PostureTree
from exporter.posture.sources import PostureSources
from exporter.posture.store import POSTURE_SCHEMA, FactKey, PostureStore
from exporter.tenancy.domain.rules import TenantRules

PASSES = 20
"""Of the API: each makes a bounded number of requests."""


@dataclass(frozen=True, slots=True)
class PreviousRun:
    """Facts and findings that the agent stored."""

    facts: CachedFacts
    since: Mapping[str, float]
    before: tuple[float, Mapping[str, tuple[str, str, str]]] | None
    """The state of the last day before today."""


def previous_run(settings: PostureTree, now: float) -> PreviousRun:
    """Read it; empty where no agent ever ran.

    Raises:
        StoreError: the file cannot be used.
    """
    if not settings.storage.path.exists():
        return PreviousRun({}, {}, None)
    with open_store(settings, {"posture": POSTURE_SCHEMA}) as opened:
        store = PostureStore(opened)
        day = store.day_before(now)
        return PreviousRun(facts_of(store), store.since(), None if day is None else (day.taken_at, day.failures))


@dataclass(frozen=True, slots=True)
class PostureLook:
    """An evaluation, and what it was made from."""

    evaluation: PostureEvaluation
    evaluator: Evaluator
    inventory: Inventory
    notes: tuple[str, ...]


async def look(
    settings: PostureTree,
    rules: TenantRules,
    client: NeonClient,
    known: PreviousRun,
    *,
    drills: Callable[[], RestoreDrills | None],
    clock: Callable[[], float] = time.time,
) -> PostureLook:
    """Read what is not fresh, and evaluate. ``drills`` answers who knows the restore drills.

    Raises:
        NeonError: Neon cannot be read.
        CatalogueError: a file of controls or frameworks cannot be used.
    """
    neon = settings.neon
    inventory = await refresh(client, None, org_id=neon.org_id, include=neon.include, exclude=neon.exclude)
    fact_cache = FactCache(facts=dict(known.facts))
    sources = PostureSources(sources_of(settings, client, drills), fact_cache, clock)
    for _ in range(PASSES):
        before = await _missing(fact_cache, inventory)
        await sources.look(inventory)
        if not before or await _missing(fact_cache, inventory) in (0, before):
            break
        sources.again()
    evaluator = Evaluator(settings, rules)
    facts = await fact_cache.load()
    evaluation = evaluator.evaluate(inventory, facts, known.since, clock())
    return PostureLook(
        evaluation, evaluator, inventory, (*inventory.notes, *sources.notes(), *_limits(settings, facts))
    )


async def _missing(fact_cache: FactCache, inventory: Inventory) -> int:
    """Branches whose security Neon was never asked for."""
    facts = await fact_cache.load()
    return sum(
        FactKey("branch", f"{branch.project_id}/{branch.id}") not in facts for branch in inventory.branches.values()
    )  # fmt: skip


def _limits(settings: PostureTree, facts: CachedFacts) -> tuple[str, ...]:
    read = any(key.source == "database" for key in facts)
    if read:
        return ()
    if settings.postgres.dsn is None and not any(override.dsn for override in settings.postgres.overrides):
        return (
            "No database was read: postgres.dsn is not set, so nothing is known of grants, row security and roles.",
        )
    return ("No database was read yet: `neonmeter run` reads one while others use it. Grants, row security and roles "
            "are unknown until then.",)  # fmt: skip
