"""What becomes of a visit: rows to series, what must survive to the disk, and only then to the state."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from collectors.base import Epoch, NoDataError, Observation, Options, Reading, SqlCollector, Status, Target
from collectors.metric import Families, Kind, Metric, Scope, Unit
from collectors.postgres.cluster.statements import StatementSample
from collectors.postgres.domain.settings import SettingsFacts
from collectors.postgres.session import Visit
from collectors.registry import ALL
from collectors.wake.policy import WakeState
from exporter.core.selfmetrics import ADDED_AWAKE_BY_ENDPOINT
from exporter.core.state import State
from exporter.sampling.computes import Compute
from exporter.sampling.counters.statements import Durable
from exporter.settings import SamplingSettings
from exporter.settings.dsn import EndpointRef, matches
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
    "Times that our own connect woke this compute (rule R8); it must stay 0, and each one keeps us away for 24 h.",
    worse="up", max_series=1,
)  # fmt: skip
METRICS = (UP, LAST_VISIT, CAUSED_WAKES)
BLIND = "the role lacks pg_monitor, so what others do is hidden from it: GRANT pg_monitor TO it (docs/permissions.sql)"
HIDDEN_FROM_US = frozenset({"statements", "activity"})
"""Collectors that would take a half for the whole; a statement that comes back later would count twice."""

RECALLED = "known from before the last start of neonmeter; it was not read since"

OnSizes = Callable[[Compute, Families, float], None]
"""Takes the sizes of databases read at a time (unix seconds); called on the disk's thread."""
OnSettings = Callable[[Compute, SettingsFacts, float], None]
"""The same with the settings of a server."""

_log = logging.getLogger("neonmeter.visits")


class Readings:
    """Takes visits in. Lives on the event loop; commits go to the disk's own thread."""

    def __init__(self, settings: SamplingSettings, durable: Durable, state: State, disk: WriterThread) -> None:
        self._settings = settings
        self._durable = durable
        self._state = state
        self._disk = disk
        self._recalled: set[str] = set()
        self._own: dict[str, tuple[float, int]] = {}
        self._lives: dict[tuple[str, str], float | None] = {}
        """By collector and target: when the compute was started that was last read."""
        self.on_sizes: OnSizes | None = None
        self.on_settings: OnSettings | None = None
        self.wanted_settings: tuple[str, ...] = ()
        """Settings that somebody holds against a desired state."""
        self._intervals = {name: self._interval(name) for name in ALL}

    def _interval(self, name: str) -> float:
        chosen = self._settings.collectors.get(name)
        return (chosen.interval_seconds if chosen else None) or ALL[name].interval

    def due(self, compute: Compute, now: float) -> list[SqlCollector]:
        """The collectors that are to read now: visits are rare, so what is past half of its interval rides along.

        All of them in a new life of the compute: it forgot its statistics, and may be gone before the interval is over.
        The statements always, since each visit may be the last before a suspend loses what the tenants' shares rest on.
        """
        options = Options(self._slots(compute.place), self._settings.top_statements, self.wanted_settings)
        due = []
        for name, collector in ALL.items():
            chosen = self._settings.collectors.get(name)
            entry = self._state.get(name, compute.target)
            recent = entry is not None and entry.good_at is not None and now - entry.good_at < self._intervals[name] / 2
            same_life = self._lives.get((name, compute.target.key)) == compute.facts.started_at
            last_chance = name == "statements" and compute.facts.suspend_after is not None
            if not (recent and same_life and not last_chance) and (chosen is None or chosen.enabled):
                due.append(collector.build(options))
        return due

    def _slots(self, place: EndpointRef) -> tuple[str, ...]:
        return tuple(
            slot.slot
            for slot in self._settings.expected_slots
            if matches(slot.project, place.project_id, place.project_name)
            and matches(slot.branch, place.branch_id, place.branch_name)
        )

    async def take(self, compute: Compute, collectors: Sequence[SqlCollector], made: Visit) -> None:
        """Turn a visit into observations; a failed one leaves its status on every collector that was to read."""
        at, target = made.opened_at, compute.target
        families = Families()
        families.set(UP, (), int(made.status is Status.OK))
        if made.status is Status.OK:
            families.set(LAST_VISIT, (), at)
        blind = made.evidence is not None and not made.evidence.privileged
        status, error = (
            (Status.NO_PRIVILEGE, BLIND) if blind and made.status is Status.OK else (made.status, made.error)
        )
        self._put(Observation(NAME, target, status, at, made.seconds, families, error=error))
        for collector in collectors:
            if made.status is not Status.OK or made.epoch is None or (blind and collector.name in HIDDEN_FROM_US):
                self._put(Observation(collector.name, target, status, at, made.seconds, error=error))
            else:
                observation = await self._read(compute, collector, made, made.epoch)
                if observation.status in (Status.OK, Status.NO_DATA):
                    self._lives[collector.name, target.key] = compute.facts.started_at
                self._put(observation)

    async def _read(self, compute: Compute, collector: SqlCollector, made: Visit, epoch: Epoch) -> Observation:
        results = made.results.get(collector.name, {})
        failed = [why for (name, _), why in made.failures.items() if name == collector.name]
        status, error = failed[0] if failed else (Status.OK, "")
        blank = Observation(collector.name, compute.target, status, made.opened_at, made.seconds, error=error)
        if not results:
            why = error or "this server has nothing that it could read"
            return replace(blank, status=status if failed else Status.UNSUPPORTED, error=why)
        try:
            reading = collector.read(results, epoch)
            families = await self._disk.run(self._absorber(compute, epoch, reading))
            if collector.name == "sizes" and self.on_sizes is not None:
                await self._disk.run(partial(self.on_sizes, compute, families, made.opened_at))
            if isinstance(reading.facts, SettingsFacts) and self.on_settings is not None:
                await self._disk.run(partial(self.on_settings, compute, reading.facts, made.opened_at))
        except NoDataError as nothing:
            # Nothing to tell because a query failed is that failure, not "no data".
            return blank if failed else replace(blank, status=Status.NO_DATA, error=str(nothing))
        except Exception as problem:
            # One collector's bug must not cost the others their reading; it is logged whole and shown as ours.
            _log.exception("collector %s failed at %s; this is a bug in neonmeter", collector.name, compute.target.key)
            return replace(blank, status=Status.BUG, error=f"{type(problem).__name__}: see the log")
        return replace(blank, families=families, rows=reading.rows)

    def _absorber(self, compute: Compute, epoch: Epoch, reading: Reading) -> Callable[[], Families]:
        """Commit what must survive; give back what may be shown once it is on the disk."""

        def absorb() -> Families:
            # pg_stat_statements has a life of its own; its eviction count belongs to that.
            own = reading.facts.stats_reset if isinstance(reading.facts, StatementSample) else epoch.statistics_since
            families = self._durable.absorb_counters(
                compute.target.key, epoch, reading.families, statistics_since=own
            )  # fmt: skip
            if isinstance(reading.facts, StatementSample):
                place = compute.place
                ids = (place.project_id, place.branch_id, place.endpoint_id)
                self._durable.absorb(ids, (place.project_name, place.branch_name), reading.facts)
                for metric, series in self._durable.families(epoch.endpoint_id).items():
                    families.put(metric, series)
            return families

        return absorb

    def note(self, target: Target, status: Status, error: str, now: float) -> None:
        """A status without a visit (asleep, breaker open): for the visit, and each collector that was ever there."""
        for name in (NAME, *ALL):
            entry = self._state.get(name, target)
            if entry is None and name != NAME:
                continue
            # Asleep is not down. What fails, or is left alone because it did, is, for as long as that lasts.
            down = name == NAME and status is not Status.ASLEEP
            if down or entry is None or (entry.last.status, entry.last.error) != (status, error):
                families = Families()
                if name == NAME:
                    families.put(UP, {(): 0} if down else {})
                self._put(Observation(name, target, status, now, families=families, error=error))

    async def recall(self, compute: Compute, now: float) -> None:
        """Once after a start: show the totals that are on the disk, also of computes that sleep and are not read."""
        if compute.target.key in self._recalled:
            return
        self._recalled.add(compute.target.key)
        stored = await self._disk.run(lambda: self._stored(compute))
        for name, families in stored.items():
            if len(families):
                old = Observation(name, compute.target, Status.NO_DATA, now, families=families, error=RECALLED)
                self._state.restore(old, interval=self._intervals[name])

    def _stored(self, compute: Compute) -> dict[str, Families]:
        found = {
            name: self._durable.stored_counters(compute.target.key, collector.metrics)
            for name, collector in ALL.items()
        }  # fmt: skip
        for metric, series in self._durable.families(compute.endpoint.id).items():
            found["statements"].put(metric, series)
        return found

    def own_use(self, target: Target, wake: WakeState, now: float) -> None:
        """What our visits cost this compute; told anew when it changed."""
        figures = (wake.added_seconds, wake.wakes)
        if self._own.get(target.key) != figures:
            self._own[target.key] = figures
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
            said = f": {observation.error}" if observation.error else ""
            _log.log(level, "%s (%s) is %s, was %s%s", observation.target.name, observation.target.key,
                     observation.status.value, before.value, said)  # fmt: skip
