"""The awake time of every compute by who held it, added up in the store before it is exported, and what it costs.

The control plane says how long, the visits say who (`exporter.sampling.domain.awake_shares`). What is exported was
committed before, so no counter goes back after a kill. Every call may touch the disk: run it on the writer's thread.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Final

from collectors.base import Observation, Status, Target
from collectors.metric import Families
from exporter.awake import series
from exporter.awake.series import AUTOSCALING_MIN, LEDGER, Price
from exporter.core.clock import is_recent
from exporter.pricing.domain.components import Component
from exporter.pricing.domain.rates import RateCard
from exporter.sampling import awake_store
from exporter.sampling.awake_store import DAY_HOURS, AwakeRecord, AwakeWindow, Hours, Totals
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
    usd,
)
from exporter.storage.ledger.cost_counters import PICO, pico
from exporter.storage.ledger.ledger import Ledger
from exporter.storage.store import Store, StoreError

_REFRESH: Final = 300.0
"""The window of the last day moves also where nothing happens; series follow it at this pace (seconds)."""


OnParts = Callable[[sqlite3.Cursor, tuple[str, str], Sequence[Part]], None]
"""Takes awake time of a (project, branch) by its holders, in the transaction that counts it."""


class Awake:
    """Awake time of all computes. One thread at a time."""

    def __init__(self, store: Store, top: int = series.TOP) -> None:
        """``store`` must have been opened with `exporter.sampling.awake_store.SCHEMAS`.

        Raises:
            StoreError: the file cannot be read.
        """
        self._store = store
        self._top = top
        self._card: RateCard | None = None
        self._ledger: Ledger | None = None
        self._plan: str | None = None
        self._observed_at: dict[str, float] = {}
        self.on_parts: OnParts | None = None
        self._metered: dict[tuple[str, str], tuple[int, int]] = {}
        """By project and branch: CU-seconds and awake microseconds of the same hours."""
        self._plans: dict[str, str] = {}
        """The newest plan of each project in the ledger."""
        self._only_plan = ""
        """The plan of all of them; empty where there is more than one."""
        self._orgs: dict[str, str] = {}
        """The organisation of each project in the ledger."""
        self._metered_at = 0.0
        self._through = 0
        self._load()
        store.mirrored(self._load)

    def _load(self) -> None:
        """Take everything from the disk."""
        self.records, self._totals, self._hours, self.looked_at = awake_store.load(self._store)

    def use(self, card: RateCard, ledger: Ledger, plan: str | None) -> None:
        """Price with these from now on; ``plan`` overrides the API's (``cost.plan``)."""
        self._card, self._ledger, self._plan = card, ledger, plan
        self._through = 0
        self._observed_at.clear()

    def look(
        self,
        computes: Iterable[Compute],
        plan: str,
        added_seconds: Callable[[str], float],
        now: float,
        unknown: Collection[str] = (),
    ) -> list[Observation]:
        """Take in one look at the control plane; the series that changed, or are older than five minutes.

        ``added_seconds`` answers our own part by endpoint id, ``now`` is Neon's clock (unix seconds). A compute that is
        not named is gone, but for those of the ``unknown`` projects (ids).

        Raises:
            StoreError: the disk is full or the file damaged; then nothing has changed.
        """
        found: dict[str, tuple[AwakeRecord, list[Part]]] = {}
        targets: dict[str, Target] = {}
        at = self.looked_at
        with contextlib.suppress(StoreError):  # A shared ledger that is away: the means of the last look still hold.
            self.meter(now)
        for compute in computes:
            targets[compute.endpoint.id] = compute.target
            if compute.facts.current_state == "unknown" or compute.facts.read_at is None:
                continue
            at = max(at, _us(compute.facts.read_at))
            record, parts = self._looked(compute, plan)
            found[compute.endpoint.id] = self._priced(record, _us(added_seconds(compute.endpoint.id)), now), parts
        for key, record in self.records.items():
            # It is gone, or not ours to watch any more.
            if key not in targets and record.state.open and record.project_id not in unknown:
                state, parts = look(record.state, ShownState(False, record.state.life, None), at)
                found[key] = replace(record, state=state), parts
        moved = self._commit(found, at)
        unseen = {key for key, record in self.records.items() if record.project_id in unknown} if unknown else set()
        named = targets.keys() | unseen
        self._observed_at = {key: then for key, then in self._observed_at.items() if key in named}
        due = [key for key in targets if key in moved or not is_recent(self._observed_at.get(key, 0.0), now, _REFRESH)]
        return [self._observe(targets[key], now) for key in due if key in self.records]

    def _looked(self, compute: Compute, plan: str) -> tuple[AwakeRecord, list[Part]]:
        endpoint, facts = compute.endpoint, compute.facts
        held = self.records.get(endpoint.id)
        shown = ShownState(facts.current_state == "active", _opt(facts.started_at), _opt(endpoint.suspended_at))
        state, parts = look(held.state if held else None, shown, _us(facts.read_at or 0.0))
        record = held or AwakeRecord(endpoint.id, endpoint.project_id, endpoint.branch_id, state)
        limits = (str(endpoint.autoscaling_limit_min_cu), str(endpoint.autoscaling_limit_max_cu))
        return replace(
            record,
            state=state,
            plan=self._plan_of(record, plan),
            least_cu=limits[0],
            most_cu=limits[1],
            suspend_after=facts.suspend_after,
        ), parts

    def _plan_of(self, record: AwakeRecord, plan: str) -> str:
        """By which plan its usage is billed: the ledger says so; what an organisation calls its plan may be another."""
        return self._plans.get(record.project_id) or self._only_plan or record.plan or plan

    def _priced(self, record: AwakeRecord, added: int, now: float) -> AwakeRecord:
        """Price what our own part grew by; what has no price waits for one."""
        price = self.price(record, now)
        if added <= record.added or price.rate is None:
            return record
        grown = pico(usd(added - record.added, price.cu, price.rate))
        return replace(record, added=added, added_pico=record.added_pico + grown)

    def sample(self, compute: Compute, sightings: Collection[Sighting], at: float, now: float) -> Observation | None:
        """Take in what a visit found at ``at`` (unix seconds of the API's clock); the series that follow from it.

        Raises:
            StoreError: the disk is full or the file damaged; then nothing has changed.
        """
        record = self.records.get(compute.endpoint.id)
        if record is None or _opt(compute.facts.started_at) != record.state.life:
            return None
        state, parts = sample(record.state, sightings, _us(at))
        if state == record.state:
            return None
        self._commit({record.endpoint_id: (replace(record, state=state), parts)}, self.looked_at)
        return self._observe(compute.target, now)

    def _commit(self, found: Mapping[str, tuple[AwakeRecord, list[Part]]], at: int) -> Collection[str]:
        """Write what changed; the ids of those."""
        changed = {key: (record, self._named(key, parts)) for key, (record, parts) in found.items()
                   if parts or self.records.get(key) != record}  # fmt: skip
        oldest = at // HOUR * 3600 - (DAY_HOURS + 1) * 3600
        with self._store.transaction() as cursor:
            for key, (record, parts) in changed.items():
                awake_store.save(cursor, record, parts)
                if self.on_parts is not None:
                    self.on_parts(cursor, (record.project_id, record.branch_id), found[key][1])
            if at // HOUR != self.looked_at // HOUR:
                awake_store.forget_hours(cursor, oldest)
            awake_store.save_look(cursor, at)
        self.looked_at = at
        for key, (record, parts) in changed.items():
            self.records[key] = record
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
        """Awake time by holder since first sight, in microseconds."""
        return self._totals.get(endpoint_id, {})

    def window(self, endpoint_id: str) -> AwakeWindow:
        """The last day of a compute up to the last look, or since its first sight."""
        return awake_store.window(self.records[endpoint_id].state, self._hours.get(endpoint_id, {}), self.looked_at)

    def price(self, record: AwakeRecord, now: float) -> Price:
        """With what the awake time of a compute is priced."""
        least, most = Fraction(record.least_cu), Fraction(record.most_cu)
        metered, awake = self._metered.get((record.project_id, record.branch_id), (0, 0))
        mean = mean_cu(metered, awake, least, max(least, most))
        rate = None
        if self._card is not None:
            org = self._orgs.get(record.project_id, "")
            plan = self._plan or self._card.plan_of(record.plan, org, record.project_id, int(now))
            rate = self._card.rate(plan, Component.COMPUTE, int(now))
        return Price(mean or least, LEDGER if mean else AUTOSCALING_MIN, rate.amount if rate else None)

    def meter(self, now: float) -> None:
        """The mean size of each branch's computes, from the full hours of the last day that were metered and watched.

        The ledger knows branches: all computes of one share its mean.
        """
        if self._ledger is None:
            return
        through = min(self._ledger.through().orgs.values(), default=0)
        if through == self._through or (self._plans and is_recent(self._metered_at, now, _REFRESH)):
            return
        self._through, self._metered_at = through, now
        # The last quarter of an hour may still wait for a visit.
        end = min(through, int(now) - 1800) // 3600 * 3600
        first = end - DAY_HOURS * 3600
        watched: dict[tuple[str, str], int] = {}
        for record in self.records.values():
            branch = (record.project_id, record.branch_id)
            watched[branch] = max(first, -(-record.state.since // HOUR) * 3600, watched.get(branch, 0))
        awake = dict.fromkeys(watched, 0)
        for record in self.records.values():
            branch = (record.project_id, record.branch_id)
            hours = self._hours.get(record.endpoint_id, {})
            awake[branch] += sum(sum(parts.values()) for hour, parts in hours.items() if watched[branch] <= hour < end)
        metered = dict.fromkeys(watched, 0)
        for fact in self._ledger.hours(Component.COMPUTE.spec.metric, first, int(now) + 3600):
            self._plans[fact.project_id], self._orgs[fact.project_id] = fact.plan, fact.org_id
            branch = (fact.project_id, fact.branch_id)
            if watched.get(branch, end) <= fact.start < end:
                metered[branch] += fact.value
        self._metered = {branch: (metered[branch], awake[branch]) for branch in watched}
        plans = set(self._plans.values())
        self._only_plan = plans.pop() if len(plans) == 1 else ""

    def added_usd(self) -> Fraction:
        """What our own part cost at all computes ever watched, in USD."""
        return Fraction(sum(record.added_pico for record in self.records.values()), PICO)

    def _observe(self, target: Target, now: float) -> Observation:
        key = target.labels[-1]
        self._observed_at[key] = now
        return Observation(series.COLLECTOR, target, Status.OK, now, families=self.families(key, now))

    def families(self, endpoint_id: str, now: float) -> Families:
        """The series of one compute that has a record."""
        record, totals = self.records[endpoint_id], self._totals.get(endpoint_id, {})
        return series.families(record, totals, self.window(endpoint_id), self.price(record, now))


def _us(seconds: float) -> int:
    return round(seconds * MICRO)


def _opt(seconds: float | None) -> int | None:
    return None if seconds is None else _us(seconds)
