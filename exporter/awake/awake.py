"""Who keeps each compute awake, added up on the disk before anyone sees it, and what that costs.

The control plane's looks say how long, the visits say who (`exporter.sampling.domain.awake_shares`). What is
exported was committed before, so no counter goes back after a kill. Every call may touch the disk: run it on the
disk's thread.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Final

from collectors.base import Observation, Status, Target
from collectors.metric import Families
from exporter.awake import metrics, tables
from exporter.awake.tables import AWAKE_SCHEMA, Hours, Page, Totals
from exporter.pricing.domain.components import Component
from exporter.pricing.domain.rates import RateCard, to_decimal
from exporter.sampling.computes import Compute
from exporter.sampling.domain.awake_shares import (
    HOUR,
    MICRO,
    NOBODY,
    UNCOVERED,
    AwakeHolder,
    Part,
    ShownState,
    Sighting,
    look,
    mean_cu,
    named,
    sample,
    total,
    usd,
    usd_per_day,
)
from exporter.storage.ledger.cost_counters import PICO, pico
from exporter.storage.ledger.ledger import Ledger
from exporter.storage.store import Store, StoreError

COLLECTOR: Final = "awake"
SCHEMAS: Final = {"awake": AWAKE_SCHEMA}
LEDGER, AUTOSCALING_MIN = "ledger", "autoscaling_min"
DAY_HOURS: Final = 24
_REFRESH: Final = 300.0
"""The window of the last day moves also where nothing happens; series follow it at this pace (seconds)."""


@dataclass(frozen=True, slots=True)
class Window:
    """The last day of one compute, or since first sight: amounts and length in microseconds."""

    length: int
    awake: int
    kept: Mapping[AwakeHolder, int]

    @property
    def pending(self) -> int:
        """Awake time of the last minutes, which the next visit will speak for."""
        return self.awake - sum(self.kept.values())


@dataclass(frozen=True, slots=True)
class Price:
    """CU while awake with where that is from, and USD per CU-hour; None where the plan has no price."""

    cu: Fraction
    source: str
    rate: Fraction | None


OnParts = Callable[[sqlite3.Cursor, tuple[str, str], Sequence[Part]], None]
"""Takes awake time of a (project, branch) by its keepers, in the transaction that counts it."""


class Awake:
    """The books of all computes. One thread at a time."""

    def __init__(self, store: Store, top: int = metrics.TOP) -> None:
        """``store`` must have been opened with ``SCHEMAS``.

        Raises:
            StoreError: the file cannot be read.
        """
        self._store = store
        self._top = top
        self._card: RateCard | None = None
        self._ledger: Ledger | None = None
        self._plan: str | None = None
        self._shown: dict[str, float] = {}
        self.on_parts: OnParts | None = None
        self._metered: dict[tuple[str, str], tuple[int, int]] = {}
        """By project and branch: CU-seconds and awake microseconds of the same hours."""
        self._plans: dict[str, str] = {}
        """The newest plan of each project in the ledger."""
        self._orgs: dict[str, str] = {}
        """The organisation of each project in the ledger."""
        self._metered_at = 0.0
        self._through = 0
        with store.snapshot() as cursor:
            self.pages, self._totals, self._hours = tables.load(cursor)
            self.looked = tables.looked_at(cursor)

    def use(self, card: RateCard, ledger: Ledger, plan: str | None) -> None:
        """Price with these from now on; ``plan`` overrides the API's (``cost.plan``)."""
        self._card, self._ledger, self._plan = card, ledger, plan
        self._through = 0
        self._shown.clear()

    def look(
        self, computes: Iterable[Compute], plan: str, added_seconds: Callable[[str], float], now: float
    ) -> list[Observation]:
        """Take in one look at the control plane; the series of every compute that changed.

        ``added_seconds`` answers our own part by endpoint id, ``now`` is our clock (unix seconds).

        Raises:
            StoreError: the disk is full or the file damaged; then nothing has changed.
        """
        found: dict[str, tuple[Page, list[Part]]] = {}
        targets: dict[str, Target] = {}
        at = self.looked
        with contextlib.suppress(StoreError):  # A shared ledger that is away: the means of the last look still hold.
            self.meter(now)
        for compute in computes:
            targets[compute.endpoint.id] = compute.target
            if compute.facts.current_state == "unknown" or compute.facts.read_at is None:
                continue
            at = max(at, _us(compute.facts.read_at))
            page, parts = self._looked(compute, plan)
            found[compute.endpoint.id] = self._priced(page, _us(added_seconds(compute.endpoint.id)), now), parts
        for key, page in self.pages.items():
            if key not in targets and page.book.open:  # It is gone, or not ours to watch any more.
                book, parts = look(page.book, ShownState(False, page.book.life, None), at)
                found[key] = replace(page, book=book), parts
        moved = self._commit(found, at)
        due = [key for key in targets if key in moved or now - self._shown.get(key, 0.0) >= _REFRESH]
        return [self._observe(targets[key], now) for key in due if key in self.pages]

    def _looked(self, compute: Compute, plan: str) -> tuple[Page, list[Part]]:
        endpoint, facts = compute.endpoint, compute.facts
        held = self.pages.get(endpoint.id)
        shown = ShownState(facts.current_state == "active", _opt(facts.started_at), _opt(endpoint.suspended_at))
        book, parts = look(held.book if held else None, shown, _us(facts.read_at or 0.0))
        page = held or Page(endpoint.id, endpoint.project_id, endpoint.branch_id, book)
        limits = (str(endpoint.autoscaling_limit_min_cu), str(endpoint.autoscaling_limit_max_cu))
        return replace(
            page,
            book=book,
            plan=self._plan_of(page, plan),
            least_cu=limits[0],
            most_cu=limits[1],
            suspend_after=facts.suspend_after,
        ), parts

    def _plan_of(self, page: Page, plan: str) -> str:
        """By which plan its usage is billed: the ledger says so; what an organisation calls its plan may be another."""
        only = set(self._plans.values())
        return self._plans.get(page.project_id) or (only.pop() if len(only) == 1 else page.plan or plan)

    def _priced(self, page: Page, added: int, now: float) -> Page:
        """Price what our own part grew by; what has no price waits for one."""
        price = self.price(page, now)
        if added <= page.added or price.rate is None:
            return page
        grown = pico(usd(added - page.added, price.cu, price.rate))
        return replace(page, added=added, added_pico=page.added_pico + grown)

    def sample(self, compute: Compute, sightings: Collection[Sighting], at: float, now: float) -> Observation | None:
        """Take in what a visit found at ``at`` (unix seconds of the API's clock); the series that follow from it.

        Raises:
            StoreError: the disk is full or the file damaged; then nothing has changed.
        """
        page = self.pages.get(compute.endpoint.id)
        if page is None or _opt(compute.facts.started_at) != page.book.life:
            return None
        book, parts = sample(page.book, sightings, _us(at))
        if book == page.book:
            return None
        self._commit({page.endpoint_id: (replace(page, book=book), parts)}, self.looked)
        return self._observe(compute.target, now)

    def _commit(self, found: Mapping[str, tuple[Page, list[Part]]], at: int) -> Collection[str]:
        """Write what changed; the ids of those."""
        changed = {key: (page, self._named(key, parts)) for key, (page, parts) in found.items()
                   if parts or self.pages.get(key) != page}  # fmt: skip
        oldest = at // HOUR * 3600 - (DAY_HOURS + 1) * 3600
        with self._store.transaction() as cursor:
            for key, (page, parts) in changed.items():
                tables.save(cursor, page, parts)
                if self.on_parts is not None:
                    self.on_parts(cursor, (page.project_id, page.branch_id), found[key][1])
            if at // HOUR != self.looked // HOUR:
                tables.forget_hours(cursor, oldest)
            tables.save_look(cursor, at)
        self.looked = at
        for key, (page, parts) in changed.items():
            self.pages[key] = page
            self._add(key, parts, oldest)
        return changed.keys()

    def _named(self, endpoint_id: str, parts: Sequence[Part]) -> list[Part]:
        known = set(self._totals.get(endpoint_id, ()))
        counted = []
        for part in parts:
            own = part.holder if part.holder in (NOBODY, UNCOVERED) else named(part.holder, known, self._top)
            known.add(own)
            counted.append(part._replace(holder=own))
        return counted

    def _add(self, endpoint_id: str, parts: Iterable[Part], oldest: int) -> None:
        totals: Totals = self._totals.setdefault(endpoint_id, {})
        hours: Hours = self._hours.setdefault(endpoint_id, {})
        for hour, holder, amount in parts:
            totals[holder] = totals.get(holder, 0) + amount
            of_hour = hours.setdefault(hour, {})
            of_hour[holder] = of_hour.get(holder, 0) + amount
        for hour in [hour for hour in hours if hour < oldest]:
            del hours[hour]

    def totals(self, endpoint_id: str) -> Mapping[AwakeHolder, int]:
        """Awake time by keeper since first sight, in microseconds."""
        return self._totals.get(endpoint_id, {})

    def window(self, endpoint_id: str) -> Window:
        """The last day of a compute up to the last look, or since its first sight."""
        book = self.pages[endpoint_id].book
        start = (self.looked // HOUR - DAY_HOURS + 1) * 3600
        kept: Totals = {}
        for hour, parts in self._hours.get(endpoint_id, {}).items():
            if hour >= start:
                for holder, amount in parts.items():
                    kept[holder] = kept.get(holder, 0) + amount
        end = max(self.looked, book.seen)
        return Window(end - max(start * MICRO, book.since), sum(kept.values()) + book.pending, kept)

    def price(self, page: Page, now: float) -> Price:
        """With what the awake time of a compute is priced."""
        least, most = Fraction(page.least_cu), Fraction(page.most_cu)
        metered, awake = self._metered.get((page.project_id, page.branch_id), (0, 0))
        mean = mean_cu(metered, awake, least, max(least, most))
        rate = None
        if self._card is not None:
            org = self._orgs.get(page.project_id, "")
            plan = self._plan or self._card.plan_of(page.plan, org, page.project_id, int(now))
            rate = self._card.rate(plan, Component.COMPUTE, int(now))
        return Price(mean or least, LEDGER if mean else AUTOSCALING_MIN, rate.amount if rate else None)

    def meter(self, now: float) -> None:
        """The mean size of each branch's computes, from the full hours of the last day that were metered and watched.

        The ledger knows branches: all computes of one share its mean.
        """
        if self._ledger is None:
            return
        through = min(self._ledger.through().orgs.values(), default=0)
        if through == self._through or (self._plans and now - self._metered_at < _REFRESH):
            return
        self._through, self._metered_at = through, now
        # The last quarter of an hour may still wait for a visit.
        end = min(through, int(now) - 1800) // 3600 * 3600
        first = end - DAY_HOURS * 3600
        watched: dict[tuple[str, str], int] = {}
        for page in self.pages.values():
            branch = (page.project_id, page.branch_id)
            watched[branch] = max(first, -(-page.book.since // HOUR) * 3600, watched.get(branch, 0))
        awake = dict.fromkeys(watched, 0)
        for page in self.pages.values():
            branch = (page.project_id, page.branch_id)
            hours = self._hours.get(page.endpoint_id, {})
            awake[branch] += sum(sum(parts.values()) for hour, parts in hours.items() if watched[branch] <= hour < end)
        metered = dict.fromkeys(watched, 0)
        for fact in self._ledger.hours("compute_unit_seconds", first, int(now) + 3600):
            self._plans[fact.project_id], self._orgs[fact.project_id] = fact.plan, fact.org_id
            branch = (fact.project_id, fact.branch_id)
            if watched.get(branch, end) <= fact.start < end:
                metered[branch] += fact.value
        self._metered = {branch: (metered[branch], awake[branch]) for branch in watched}

    def added_usd(self) -> Fraction:
        """What our own part cost at all computes ever seen."""
        return Fraction(sum(page.added_pico for page in self.pages.values()), PICO)

    def _observe(self, target: Target, now: float) -> Observation:
        key = target.labels[-1]
        self._shown[key] = now
        return Observation(COLLECTOR, target, Status.OK, now, families=self.families(key, now))

    def families(self, endpoint_id: str, now: float) -> Families:
        """The series of one compute that was seen."""
        page, totals, families = self.pages[endpoint_id], self._totals.get(endpoint_id, {}), Families()
        families.set(metrics.AWAKE, (), total(totals, page.book) / MICRO)
        families.set(metrics.UNCOVERED, (), totals.get(UNCOVERED, 0) / MICRO)
        for holder, amount in totals.items():
            if holder != UNCOVERED:
                families.add(metrics.KEPT, holder[:3], amount / MICRO)
        price, window = self.price(page, now), self.window(endpoint_id)
        families.set(metrics.CU, (price.source,), float(price.cu))
        if price.rate is not None:
            for holder, amount in window.kept.items():
                cost = usd_per_day(amount, window.length, price.cu, price.rate)
                families.add(metrics.KEPT_USD, holder[:3], to_decimal(cost))
            families.set(metrics.ADDED_USD, (), to_decimal(Fraction(page.added_pico, PICO)))
        return families


def _us(seconds: float) -> int:
    return round(seconds * MICRO)


def _opt(seconds: float | None) -> int | None:
    return None if seconds is None else _us(seconds)
