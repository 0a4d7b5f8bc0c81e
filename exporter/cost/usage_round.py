"""The round of consumption: usage from Neon into the ledger, priced and shown, the ledger kept in order, gaps filled.

What cannot be read or worked out stays as old as it is, and its status says so.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial

from collectors.base import Status
from collectors.neon.errors import NeonError
from collectors.neon.inventory import Inventory
from exporter.core import selfmetrics
from exporter.core.clock import is_recent
from exporter.core.feeds import Feeds
from exporter.core.parts import STEP
from exporter.cost.backlog import Backlog
from exporter.cost.cost_round import CostRound, InventoryView
from exporter.cost.organizations import each_organization
from exporter.cost.unit_repair import settle_units
from exporter.cost.upkeep import Upkeep
from exporter.cost.usage_import import (
    HOURLY,
    LEAST_BUCKETS,
    Backfill,
    Outcome,
    Span,
    UsageImporter,
    hours_from,
    read_account_plan,
    requests,
    root_sizes,
)
from exporter.feature.services import Services
from exporter.feature.workspace import names_of
from exporter.storage.store import StoreError
from exporter.storage.tables import KeyValueStore

_log = logging.getLogger("neonmeter.neon")
HOUR = 3600
GROWING_BUCKETS = LEAST_BUCKETS - 1
"""The newest hourly buckets still grow: they are read again."""
_PLAN_SECONDS = 24 * HOUR


class UsageRound:
    """Lives on the event loop; the ledger's work is done on the ledger's thread, pricing on another."""

    def __init__(
        self, services: Services, money: CostRound, upkeep: Upkeep, *, pace: float, storage_unit: str, per_minute: int
    ) -> None:
        """``pace`` is the interval of the round in seconds, ``per_minute`` how many requests for usage are allowed.

        ``storage_unit`` is the settings' word on what stored bytes are counted in; empty: found out.
        """
        self._services = services
        self._money = money
        self._upkeep = upkeep
        self._pace = pace
        self._clock = services.clock
        self._key_values = KeyValueStore(services.store)
        self.backlog = Backlog(services.metrics, self._key_values, services.writer, per_minute=per_minute)
        self._importer = UsageImporter(
            services.client,
            services.ledger,
            services.ledger_writer,
            storage_unit=storage_unit,
            progress=self.backlog.count,
        )
        self._storage_unit = storage_unit
        self._plans_read: dict[str, float] = {}
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
        try:
            if await self._fed("consumption", lambda: each(lambda part: self._read_consumption(part, now))):
                await self.price(view, inventory.skew)
                if await self._fed("backfill", lambda: each(lambda part: self._read_past(part, now))):
                    await self.price(view, inventory.skew)
        finally:
            await self.backlog.end()

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
        groups: dict[Span, list[str]] = {}
        for project in sorted(inventory.projects):
            start = max(hours_from(now), (through.get(project, 0) // HOUR - GROWING_BUCKETS) * HOUR)
            groups.setdefault(Span(HOURLY, start, now), []).append(project)
        hours = sum(requests(inventory, projects, span) for span, projects in groups.items())
        await self.backlog.begin(org, hours + await self._backfill.pending(inventory, now))
        await self._read_plan(inventory, now)
        status, notes, delivered, whole = Status.OK, dict[str, None](), 0, list[str]()
        for span, projects in groups.items():
            outcome = await self._importer.read(inventory, projects, span, now)
            notes.update(dict.fromkeys(outcome.notes))
            if outcome.status not in (Status.OK, Status.TRUNCATED):
                return outcome.status, tuple(notes)
            delivered = max(delivered, outcome.delivered)
            if outcome.status is Status.OK:
                whole += projects
            else:
                status = Status.TRUNCATED
        # What Neon has not delivered is asked for again; where nothing is used nothing ever comes.
        through |= dict.fromkeys(whole, delivered or int(now) // HOUR * HOUR)
        await self._settle_units(inventory, now)
        if status is Status.OK:
            read_through = {org: delivered} if delivered else {}
            await services.ledger_writer.run(lambda: services.ledger.put((), read_through=read_through))
            services.metrics.set(selfmetrics.CONSUMPTION_LAST, self._clock())
        await services.writer.run(lambda: self._key_values.write("consumption", org, through))
        return status, tuple(notes)

    async def _read_past(self, inventory: Inventory, now: float) -> Outcome | None:
        outcome = await self._backfill.run(inventory, now)
        await self._settle_units(inventory, now)
        return outcome

    async def _read_plan(self, inventory: Inventory, now: float) -> None:
        """What the account says of its plan beside its usage, once a day."""
        if not is_recent(self._plans_read.get(inventory.org_id, 0.0), now, _PLAN_SECONDS):
            self._importer.told_of(inventory.org_id).plan = await read_account_plan(self._services.client, inventory)
            self._plans_read[inventory.org_id] = now

    async def _settle_units(self, inventory: Inventory, now: float) -> None:
        told, services = self._importer.told_of(inventory.org_id), self._services
        if told.settled or not (told.evidence.unit or self._storage_unit):
            return
        sizes, org = root_sizes(inventory), inventory.org_id
        noted = await services.ledger_writer.run(
            lambda: settle_units(services.ledger, org, sizes, now, known=told.evidence.unit, said=self._storage_unit)
        )
        told.settled = True
        if noted:
            _log.info("stored bytes of %d figures of the ledger now have a unit (%s)", noted, told.evidence.text)

    async def price(self, view: InventoryView, skew: float, *, upkeep: bool = True) -> None:
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
            if not upkeep:
                return
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
