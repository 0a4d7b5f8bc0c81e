"""The round of consumption: usage from Neon into the ledger, priced and shown, the ledger kept in order, gaps filled.

What cannot be read or worked out stays as old as it is, and its status says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial

from collectors.base import Status
from collectors.neon.errors import NeonError
from collectors.neon.inventory import Inventory
from exporter.core import selfmetrics
from exporter.core.feeds import Feeds
from exporter.core.parts import STEP
from exporter.cost.cost_round import CostRound, InventoryView
from exporter.cost.organizations import each_organization
from exporter.cost.upkeep import Upkeep
from exporter.cost.usage_import import HOURLY, Backfill, Outcome, Span, UsageImporter, hours_from
from exporter.feature.services import Services
from exporter.feature.workspace import names_of
from exporter.storage.store import StoreError
from exporter.storage.tables import KeyValueStore

HOUR = 3600
GROWING_BUCKETS = 3
"""The newest hourly buckets still grow: they are read again."""


class UsageRound:
    """Lives on the event loop; the ledger's work is done on the ledger's thread, pricing on another."""

    def __init__(self, services: Services, money: CostRound, upkeep: Upkeep, *, pace: float) -> None:
        """``pace`` is the interval of the round in seconds."""
        self._services = services
        self._money = money
        self._upkeep = upkeep
        self._pace = pace
        self._clock = services.clock
        self._key_values = KeyValueStore(services.store)
        self._importer = UsageImporter(services.client, services.ledger, services.ledger_writer)
        self._backfill = Backfill(self._importer, self._key_values, services.writer)
        self.feeds = Feeds(services.state, services.clock)

    async def run(self, view: InventoryView) -> None:
        """Read consumption into the ledger, then price it; then read what was missing of the past.

        Raises:
            StoreError: the ledger or the file cannot be used; its status says so, and the next round tries again.
        """
        inventory = view.inventory
        if inventory is None or not inventory.organizations:
            return
        inventory = inventory.of_account
        began = self._clock()
        now = began + inventory.skew
        await self._read_limits(inventory, began)
        each = partial(each_organization, inventory)
        if await self._fed("consumption", lambda: each(lambda part: self._read_consumption(part, now))):
            await self._price(view, inventory.skew)
            if await self._fed("backfill", lambda: each(lambda part: self._backfill.run(part, now))):
                await self._price(view, inventory.skew)

    async def _read_limits(self, inventory: Inventory, now: float) -> None:
        with self._services.parts.guard(f"{STEP}spending_limit"):
            notes = []
            for org in inventory.organizations:
                try:
                    await self._money.read_limit(self._services.client, self._services.writer, org.id, now)
                except NeonError as problem:
                    notes.append(problem.message)
            self.feeds.note("spending limit", tuple(notes))

    async def _fed(self, feed: str, read: Callable[[], Awaitable[Outcome | None]]) -> bool:
        """Run one reading into the ledger and report how it went; False when nothing can have changed."""
        began = self._clock()
        try:
            outcome = await read()
        except NeonError as problem:
            self.feeds.failed(feed, problem, self._pace)
            return False
        except StoreError as problem:
            self.feeds.put(feed, Status.UNREACHABLE, began, self._pace, str(problem))
            raise
        except Exception:
            self.feeds.put(feed, Status.BUG, began, self._pace, "see the log")
            raise
        if outcome is None:
            return False
        status, notes = outcome
        self.feeds.note(feed, notes)
        self.feeds.put(feed, status, began, self._pace, "; ".join(notes))
        return True

    async def _read_consumption(self, inventory: Inventory, now: float) -> Outcome:
        """Read what may have grown; of a project that is new here, all that Neon still has by the hour (168 h)."""
        services, org = self._services, inventory.org_id
        read_until = await services.writer.run(lambda: self._key_values.read("consumption", org)) or {}
        # What was read "until" a time that Neon has not come to (a clock was wrong then) was read until nobody knows.
        through = {project: int(str(at)) for project, at in read_until.items() if int(str(at)) <= now + HOUR}
        await self._backfill.note(inventory, through, now)
        groups: dict[int, list[str]] = {}
        for project in sorted(inventory.projects):
            start = max(hours_from(now), (through.get(project, 0) // HOUR - GROWING_BUCKETS) * HOUR)
            groups.setdefault(start, []).append(project)
        status, notes = Status.OK, dict[str, None]()
        for start, projects in groups.items():
            outcome, sentences = await self._importer.read(inventory, projects, Span(HOURLY, start, now), now)
            notes.update(dict.fromkeys(sentences))
            if outcome not in (Status.OK, Status.TRUNCATED):
                return outcome, tuple(notes)
            if outcome is Status.OK:
                through |= dict.fromkeys(projects, int(now))
            else:
                status = Status.TRUNCATED
        if status is Status.OK:
            read_through = {org: int(now)}
            await services.ledger_writer.run(lambda: services.ledger.put((), read_through=read_through))
            services.metrics.set(selfmetrics.CONSUMPTION_LAST, self._clock())
        await services.writer.run(lambda: self._key_values.write("consumption", org, through))
        return status, tuple(notes)

    async def _price(self, view: InventoryView, skew: float) -> None:
        """Work the costs out and show them; then keep the ledger in order. ``skew`` is Neon's clock minus ours.

        Raises:
            StoreError: the ledger cannot be read or written; the status says so.
        """
        began, step = self._clock(), "pricing"
        try:
            shown, problems = await self._money.round(view, began + skew)
            for part, observations in shown.items():
                # Money never expires: it stays until its part does not name it any more.
                await self._services.state.show_made(
                    f"cost/{part}", partial(iter, observations), interval=self._pace, forever=True
                )
            self.feeds.put(step, Status.OK, began, self._pace)
            self._report(shown, problems)
            step = "upkeep"
            await asyncio.to_thread(lambda: self._upkeep.run(began + skew, names_of(self._services.store)))
            self.feeds.put(step, Status.OK, began, self._pace)
        except StoreError as problem:
            self.feeds.put(step, Status.UNREACHABLE, began, self._pace, str(problem))
            raise
        except Exception:
            self.feeds.put(step, Status.BUG, began, self._pace, "see the log")
            raise

    def _report(self, shown: Iterable[str], problems: Mapping[str, Exception]) -> None:
        """How each part of the pricing ended."""
        for name in shown:
            self._services.parts.succeeded(f"{STEP}pricing/{name}")
        for name, problem in problems.items():
            self._services.parts.failed(f"{STEP}pricing/{name}", problem)
