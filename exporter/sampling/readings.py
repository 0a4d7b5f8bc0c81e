"""From what a visit read to what is shown: rows to series, durable counters to the disk, and only then to the state."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import replace
from typing import Any

from collectors.base import Epoch, Observation, Options, Reading, SqlCollector, Status, Target
from collectors.metric import Families, Kind, Metric, Scope, Unit
from collectors.postgres.cluster.statements import StatementSample, StatementsCollector
from collectors.postgres.session import Visit
from collectors.registry import ALL
from collectors.wake.policy import WakeState
from exporter.core.clock import is_recent
from exporter.core.parts import STEP, Turns
from exporter.core.selfmetrics import ADDED_AWAKE_BY_ENDPOINT
from exporter.core.state import State
from exporter.sampling.computes import Compute
from exporter.sampling.counters.statements import DurableCounters
from exporter.sampling.runner import Outcome, bug, run
from exporter.settings import SamplingSettings
from exporter.settings.dsn import EndpointRef, matches
from exporter.storage.store import StoreError
from exporter.storage.writer import WriterThread

NAME = "visit"
WAKE = "wake"
UP = Metric(
    "pg_up", Kind.GAUGE, Unit.NONE, Scope.ENDPOINT,
    "Whether our last visit could read the compute (1) or failed (0); absent while it is asleep or was never visited.",
    worse="down", max_series=1,
)  # fmt: skip
LAST_VISIT = Metric(
    "neonmeter_endpoint_last_visit_timestamp_seconds", Kind.GAUGE, Unit.TIMESTAMP, Scope.ENDPOINT,
    "When we last read this compute by SQL; between visits nothing inside it is known.", max_series=1,
)  # fmt: skip
CAUSED_WAKES = Metric(
    "neonmeter_endpoint_caused_wakes_total", Kind.COUNTER, Unit.NONE, Scope.ENDPOINT,
    "Wakes of this compute by our own connect (rule R8); it must stay 0, and each one stops our visits for 24 h.",
    worse="up", max_series=1,
)  # fmt: skip
METRICS = (UP, LAST_VISIT, CAUSED_WAKES)
UNPRIVILEGED = (
    "the role lacks pg_monitor, so other users' work is hidden from it: GRANT pg_monitor TO it (docs/permissions.sql)"
)
AT_ONCE = 200
"""Observations that are taken in before the event loop may do something else."""
RECALLED_ONE_BY_ONE = 20
"""The counters of more computes than this are read from the disk as a whole."""
RECALLED = "known from before the last start of neonmeter; it was not read since"

OnFacts = Callable[[Compute, Any, float], None]
"""Takes the facts that a collector read at a compute, and when (unix seconds). Called on the writer thread."""

_log = logging.getLogger("neonmeter.visits")


class Readings:
    """Turns what a visit read into observations. Lives on the event loop; the store is written on its own thread."""

    def __init__(
        self,
        settings: SamplingSettings,
        counters: DurableCounters,
        state: State,
        writer: WriterThread,
        *,
        subscriptions: Mapping[type, Sequence[OnFacts]] | None = None,
        wanted_settings: Sequence[str] = (),
        turns: Turns | None = None,
    ) -> None:
        """``subscriptions`` say, by the type of a collector's facts, who else takes them.

        ``wanted_settings`` are names of server settings that are read even where they have their default. ``turns`` is
        where a subscriber that raises is reported.
        """
        self._turns = turns or Turns()
        self._settings = settings
        self._counters = counters
        self._state = state
        self._writer = writer
        self._subscriptions = subscriptions or {}
        self._wanted_settings = tuple(wanted_settings)
        self._existing: frozenset[str] | None = None
        """Ids of the computes of the last round; None before the first, when anything may be gone."""
        self.recalled: set[str] = set()
        """Ids of the computes whose stored totals were shown since the start."""
        self._own_use: dict[str, tuple[float, int]] = {}
        self._starts: dict[tuple[str, str], float | None] = {}
        """By collector and target: when the compute had been started that was last read."""
        self._intervals = {name: self._interval(name) for name in ALL}
        chosen = settings.collectors
        self._enabled = {name: ALL[name] for name in ALL if name not in chosen or chosen[name].enabled}

    def _interval(self, name: str) -> float:
        chosen = self._settings.collectors.get(name)
        return (chosen.interval_seconds if chosen else None) or ALL[name].interval

    def due(self, compute: Compute, now: float) -> list[SqlCollector]:
        """The collectors to run in a visit at ``now`` (unix seconds).

        Visits are rare, so a collector is due after half of its interval. All are due when the compute was started
        since: it lost its statistics, and may be gone before an interval is over.
        """
        options = Options(self._slots(compute.place), self._settings.top_statements, self._wanted_settings)
        due = []
        for name, collector in self._enabled.items():
            entry = self._state.get(name, compute.target)
            good_at = entry.good_at if entry is not None else None
            recent = good_at is not None and is_recent(good_at, now, self._intervals[name] / 2)
            same_start = self._starts.get((name, compute.target.key)) == compute.facts.started_at
            last_chance = collector.loses_on_suspend and compute.facts.suspend_after is not None
            if not (recent and same_start) or last_chance:
                due.append(collector.build(options))
        return due

    def _slots(self, place: EndpointRef) -> tuple[str, ...]:
        return tuple(
            slot.slot
            for slot in self._settings.expected_slots
            if matches(slot.project, place.project_id, place.project_name)
            and matches(slot.branch, place.branch_id, place.branch_name)
        )

    async def take(self, compute: Compute, collectors: Sequence[SqlCollector], session: Visit) -> None:
        """Show what a visit read; when it failed as a whole, each collector that was to run has its status."""
        at, target = session.opened_at, compute.target
        families = Families()
        families.set(UP, (), int(session.status is Status.OK))
        if session.status is Status.OK:
            families.set(LAST_VISIT, (), at)
        status, error = session.status, session.error
        unprivileged = session.evidence is not None and not session.evidence.privileged
        if unprivileged and status is Status.OK:
            status, error = Status.NO_PRIVILEGE, UNPRIVILEGED
        self._put(Observation(NAME, target, status, at, session.seconds, families, error=error))
        able = []
        for collector in collectors:
            if session.status is not Status.OK or (unprivileged and collector.needs_pg_monitor):
                self._put(Observation(collector.name, target, status, at, session.seconds, error=error))
            else:
                able.append((collector, run(collector, session, target.key)))
        stored = await self._stored_outcomes(compute, session, able)
        for (collector, _), (outcome, families) in zip(able, stored, strict=True):
            if outcome.status in (Status.OK, Status.NO_DATA):
                self._starts[collector.name, target.key] = compute.facts.started_at
            rows = outcome.reading.rows if outcome.reading is not None else 0
            self._put(
                Observation(collector.name, target, outcome.status, at, session.seconds, families, rows, outcome.error)
            )

    async def _stored_outcomes(
        self, compute: Compute, session: Visit, outcomes: Sequence[tuple[SqlCollector, Outcome]]
    ) -> list[tuple[Outcome, Families]]:
        """What may be shown of each outcome, once it is on the disk."""

        def store_all() -> list[tuple[Outcome, Families]]:
            return [self._stored_outcome(compute, session, *pair) for pair in outcomes]

        try:
            return await self._writer.run(store_all, patient=True) if outcomes else []
        except StoreError as problem:
            return [_unstored(outcome, problem) for _, outcome in outcomes]

    def _stored_outcome(
        self, compute: Compute, session: Visit, collector: SqlCollector, outcome: Outcome
    ) -> tuple[Outcome, Families]:
        if outcome.reading is None or session.epoch is None:
            return outcome, Families()
        try:
            return outcome, self._commit(compute, session.epoch, outcome.reading, session.opened_at)
        except StoreError as problem:
            return _unstored(outcome, problem)
        except Exception as problem:
            # What was read is not shown: only what is on the disk survives a restart.
            return bug(collector, compute.target.key, problem), Families()

    def _commit(self, compute: Compute, epoch: Epoch, reading: Reading, at: float) -> Families:
        """Write what must survive and pass the facts on; returns what may be shown now that it is on the disk."""
        since = epoch.statistics_since if reading.statistics_since is None else reading.statistics_since
        families = self._counters.absorb_counters(
            compute.target.key, epoch, reading.families, statistics_since=since
        )  # fmt: skip
        if isinstance(reading.facts, StatementSample):
            place = compute.place
            ids = (place.project_id, place.branch_id, place.endpoint_id)
            self._counters.absorb(ids, (place.project_name, place.branch_name), reading.facts)
            for metric, series in self._counters.families(epoch.endpoint_id).items():
                families.put(metric, series)
        for take in self._subscriptions.get(type(reading.facts), ()):
            with self._turns.guard(f"{STEP}facts/{type(reading.facts).__name__}"):
                take(compute, reading.facts, at)
        return families

    def note(self, target: Target, status: Status, error: str, now: float) -> None:
        """Show a status without a visit (asleep, breaker open): for visits, and each collector that ever ran here."""
        for name in (NAME, *ALL):
            entry = self._state.get(name, target)
            if entry is None and name != NAME:
                continue
            # Asleep is not down, nor is what our disk keeps us from; what fails is, and what is left alone for it.
            down = name == NAME and status not in (Status.ASLEEP, Status.STORE_ERROR)
            if down or entry is None or (entry.last.status, entry.last.error) != (status, error):
                families = Families()
                if name == NAME:
                    families.put(UP, {(): 0} if down else {})
                self._put(Observation(name, target, status, now, families=families, error=error))

    async def recall(self, computes: Iterable[Compute], now: float) -> None:
        """Once after a start: show the totals that are on the disk, also those of computes that sleep."""
        new = [compute for compute in computes if compute.endpoint.id not in self.recalled]
        self.recalled.update(compute.endpoint.id for compute in new)
        stored = await self._writer.run(lambda: self._stored(new, now)) if new else []
        for number, observation in enumerate(stored, start=1):
            self._state.restore(observation, interval=self._intervals[observation.collector])
            if number % AT_ONCE == 0:
                await asyncio.sleep(0)

    def _stored(self, computes: Sequence[Compute], now: float) -> list[Observation]:
        """The stored totals of each collector at each compute."""
        found = []
        everything = len(computes) > RECALLED_ONE_BY_ONE
        if everything:
            self._counters.load_counters()
        for compute in computes:
            for name, collector in self._enabled.items():
                families = self._counters.stored_counters(compute.target.key, collector.metrics)
                if name == StatementsCollector.name:
                    for metric, series in self._counters.families(compute.endpoint.id).items():
                        families.put(metric, series)
                if len(families):
                    found.append(
                        Observation(name, compute.target, Status.NO_DATA, now, families=families, error=RECALLED)
                    )
        return found

    async def forget_all_but(self, existing: Set[str]) -> None:
        """Drop all about computes whose id is not among the ``existing``, and of collectors that are off."""
        left = None if self._existing is None else self._existing - existing
        self._existing = frozenset(existing)
        if left is not None and not left:
            return

        def gone(collector: str, target: Target) -> bool:
            off = collector in ALL and collector not in self._enabled
            return off or (target.scope is Scope.ENDPOINT and target.labels[-1] not in existing)

        await self._state.forget(gone)
        for endpoint_id in left or ():
            target_key = Target(Scope.ENDPOINT, (endpoint_id,)).key
            self.recalled.discard(endpoint_id)
            self._own_use.pop(target_key, None)
            for name in self._enabled:
                self._starts.pop((name, target_key), None)

    def own_use(self, target: Target, wake: WakeState, now: float) -> None:
        """Show what our visits cost this compute, whenever that changed."""
        figures = (wake.added_seconds, wake.wakes)
        if self._own_use.get(target.key) != figures:
            self._own_use[target.key] = figures
            families = Families()
            families.set(ADDED_AWAKE_BY_ENDPOINT, (), wake.added_seconds)
            families.set(CAUSED_WAKES, (), wake.wakes)
            observation = Observation(WAKE, target, Status.OK, now, families=families)
            self._state.put(observation, interval=self._settings.tick_seconds, forever=True)

    def _put(self, observation: Observation) -> None:
        interval = self._intervals.get(observation.collector, self._settings.tick_seconds)
        before = self._state.put(observation, interval=max(interval, self._settings.tick_seconds))
        if observation.collector == NAME and before is not None:
            level = logging.INFO if observation.status in (Status.OK, Status.ASLEEP) else logging.WARNING
            why = f": {observation.error}" if observation.error else ""
            _log.log(level, "%s (%s) is %s, was %s%s", observation.target.name, observation.target.key,
                     observation.status.value, before.value, why)  # fmt: skip


def _unstored(outcome: Outcome, problem: StoreError) -> tuple[Outcome, Families]:
    """Totals that are not on the disk could go back after a restart; gauges promise nothing."""
    if outcome.reading is None:
        return outcome, Families()
    return replace(outcome, status=Status.STORE_ERROR, error=str(problem)), _gauges(outcome.reading.families)


def _gauges(families: Families) -> Families:
    found = Families()
    for metric, series in families.items():
        if metric.kind is Kind.GAUGE:
            found.put(metric, series)
    return found
