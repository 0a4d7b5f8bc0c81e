"""The agent's own metrics: what it does, what that costs, and how fresh what it says is.

prometheus-client keeps the values (thread-safe, and it reads the process); the catalogue here stays the truth about
names, help and labels, and the values leave as :class:`Families` with everything else. What is told per target does not
live in the registry: :func:`collector_families` makes it when that target changes, so publishing follows what changed.
"""

from __future__ import annotations

import gc
import platform
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction

from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector
from prometheus_client.metrics import MetricWrapperBase

from collectors.base import Status, Target
from collectors.metric import Families, Kind, Labels, Metric, Scope, Unit
from exporter.version import __version__

AGENT = Target(Scope.AGENT, (), "neonmeter")
"""The agent itself."""


def _counter(
    name: str, text: str, *labels: str, unit: Unit = Unit.NONE, worse: str = "", max_series: int = 100
) -> Metric:
    return Metric(name, Kind.COUNTER, unit, Scope.AGENT, text, labels, worse=worse, max_series=max_series)


def _gauge(
    name: str, text: str, *labels: str, unit: Unit = Unit.NONE, worse: str = "", max_series: int = 100
) -> Metric:
    return Metric(name, Kind.GAUGE, unit, Scope.AGENT, text, labels, worse=worse, max_series=max_series)


BUILD_INFO = _gauge("neonmeter_build_info", "Version of the agent and of its Python; always 1.", "version", "python")
START = _gauge("neonmeter_process_start_timestamp_seconds", "When the agent's process started.", unit=Unit.TIMESTAMP)
CPU = _counter(
    "neonmeter_process_cpu_seconds_total", "CPU time of the agent, user and system.", unit=Unit.SECONDS, worse="up"
)
RESIDENT = _gauge(
    "neonmeter_process_resident_memory_bytes", "Resident memory of the agent.", unit=Unit.BYTES, worse="up"
)
OPEN_FDS = _gauge("neonmeter_process_open_fds", "File descriptors that the agent has open.", worse="up")
MAX_FDS = _gauge("neonmeter_process_max_fds", "Maximum file descriptors that the agent may have open.")
THREADS = _gauge("neonmeter_process_threads", "Threads of the agent, one of them per connected HTTP client.")
GC_COLLECTIONS = _counter(
    "neonmeter_gc_collections_total", "Garbage collections of Python by generation.", "generation"
)
LOOP_LAG = _gauge(
    "neonmeter_event_loop_lag_seconds",
    "Maximum delay of the event loop since the last publish.",
    unit=Unit.SECONDS,
    worse="up",
)
HEARTBEAT = _gauge(
    "neonmeter_heartbeat_timestamp_seconds", "Last heartbeat of the collecting loop.", unit=Unit.TIMESTAMP
)
LOOP_TURNS = _counter(
    "neonmeter_loop_turns_total",
    "Heartbeats of the collecting loop; it stands still when the loop does, whatever any clock says.",
)
CLOCK_STEPS = _counter(
    "neonmeter_clock_steps_total",
    "Steps of the system clock while the agent ran, a second or more each, by direction (forward, backward).",
    "direction",
    worse="up",
)
CLOCK_OFF = _gauge(
    "neonmeter_clock_step_seconds",
    "How far the system clock is ahead of where it would be without steps that the Neon API's clock did not confirm.",
    unit=Unit.SECONDS,
    worse="up",
)

SCRAPES = _counter("neonmeter_scrapes_total", "Responses on /metrics by content encoding.", "encoding")
SCRAPE_BYTES = _counter(
    "neonmeter_scrape_sent_bytes_total",
    "Bytes of responses on /metrics by content encoding.",
    "encoding",
    unit=Unit.BYTES,
)
TASKS = _gauge("neonmeter_event_loop_tasks", "Tasks of the event loop at the last publish.", worse="up")
CONNECTIONS = _gauge("neonmeter_http_connections", "HTTP clients that are connected.")

PUBLISHES = _counter("neonmeter_publishes_total", "Snapshots published.")
PUBLISH_SECONDS = _counter(
    "neonmeter_publish_seconds_total", "Time spent rendering and publishing snapshots.", unit=Unit.SECONDS, worse="up"
)
PUBLISH_LAST = _gauge(
    "neonmeter_publish_last_timestamp_seconds", "When the current snapshot was published.", unit=Unit.TIMESTAMP
)
GENERATION = _gauge("neonmeter_publish_generation", "Generation of the current snapshot; also in a header of /metrics.")
SERIES = _gauge("neonmeter_series", "Series in the snapshot that this one replaced.", worse="up")
SERIES_TRUNCATED = _gauge(
    "neonmeter_series_truncated",
    "Series left out because a target had more than the metric's max_series, by metric.",
    "metric",
    worse="up",
    max_series=500,
)

TARGETS = _gauge("neonmeter_targets", "Targets by scope and state.", "scope", "state")
API_REQUESTS = _counter(
    "neonmeter_api_requests_total",
    "Requests to the Neon API by route and HTTP status (none: no answer).",
    "route",
    "code",
)
API_SECONDS = _counter(
    "neonmeter_api_request_seconds_total", "Time spent waiting for the Neon API by route.", "route", unit=Unit.SECONDS
)
INVENTORY_LAST = _gauge(
    "neonmeter_inventory_last_success_timestamp_seconds", "When the inventory was last complete.", unit=Unit.TIMESTAMP
)
SHARD_INFO = _gauge("neonmeter_shard_info", "Which shard of how many this agent is; always 1.", "shard", "total")
SHARD_PROJECTS = _gauge("neonmeter_shard_projects", "Projects that this agent reads.")
LISTED_PROJECTS = _gauge("neonmeter_listed_projects", "Projects that the settings select, of all shards together.")
REREAD = _gauge(
    "neonmeter_inventory_reread_seconds",
    "Age at which a project is read again although nothing in its list row moved; follows from the request budget.",
    unit=Unit.SECONDS,
    worse="up",
)
ACTIVE = _gauge(
    "neonmeter_active", "Whether this agent works (1) or stands by for the one that does (0).", worse="down"
)
STANDBY_READY = _gauge(
    "neonmeter_standby_ready", "Whether this agent stands by and could take over now; 0 while it works.", worse="down"
)
CLOCK_SKEW = _gauge(
    "neonmeter_clock_skew_seconds",
    "How far the Neon API's clock is ahead of the system clock.",
    unit=Unit.SECONDS,
    worse="up",
)
CONSUMPTION_LAST = _gauge(
    "neonmeter_consumption_last_success_timestamp_seconds",
    "When the consumption was last read and committed.",
    unit=Unit.TIMESTAMP,
)
CONSUMPTION_PLANNED = _gauge(
    "neonmeter_consumption_requests_planned", "Requests that the present reading of usage takes in all."
)
CONSUMPTION_DONE = _gauge(
    "neonmeter_consumption_requests_done", "Requests of the present reading of usage that are done."
)
LEDGER_BYTES = _gauge("neonmeter_ledger_size_bytes", "Size of the ledger's file.", unit=Unit.BYTES)

VISITS = _counter(
    "neonmeter_visits_total",
    "Decisions whether to visit a compute, by the rule of the wake policy that refused (none: visited), and status.",
    "rule",
    "status",
)
VISIT_SECONDS = _counter("neonmeter_visit_seconds_total", "Time that our sessions were open.", unit=Unit.SECONDS)
VISIT_ROWS = _counter("neonmeter_visit_rows_total", "Rows that computes sent to us.")
ADDED_AWAKE = _counter(
    "neonmeter_added_awake_seconds_total",
    "Upper bound of the time that computes stayed awake because of our visits.",
    unit=Unit.SECONDS,
    worse="up",
)
ADDED_AWAKE_USD = _counter(
    "neonmeter_added_awake_usd_total",
    "Upper bound of the cost of the awake time that our visits added, at the rates then in force.",
    unit=Unit.USD,
    worse="up",
)
ADDED_AWAKE_BY_ENDPOINT = Metric(
    "neonmeter_endpoint_added_awake_seconds_total",
    Kind.COUNTER,
    Unit.SECONDS,
    Scope.ENDPOINT,
    "Upper bound of the time that this compute stayed awake because of our visits.",
    worse="up",
)
BREAKERS = _gauge("neonmeter_breakers_open", "Targets whose breaker is open after repeated failures.", worse="up")
ROUNDS = _counter(
    "neonmeter_rounds_total",
    "Runs of each job of the schedule, and of each step of a round (step/...), by outcome.",
    "job",
    "status",
    max_series=500,
)
ROUNDS_MISSED = _counter(
    "neonmeter_rounds_missed_total",
    "Rounds skipped because the one before was still running, by job.",
    "job",
    worse="up",
)
RELOADS = _counter("neonmeter_config_reloads_total", "Attempts to reload the settings by outcome.", "status")
CONFIG_LAST = _gauge(
    "neonmeter_config_last_success_timestamp_seconds", "When the settings in force were read.", unit=Unit.TIMESTAMP
)

COLLECTOR_LAST = _gauge(
    "neonmeter_collector_last_success_timestamp_seconds",
    "When a collector last succeeded at a target.",
    "collector",
    "target",
    unit=Unit.TIMESTAMP,
    max_series=500,
)
COLLECTOR_STATUS = _gauge(
    "neonmeter_collector_status",
    "Status of the last attempt of a collector at a target: 1 for the current one, the others are absent.",
    "collector",
    "target",
    "status",
    max_series=500,
)
COLLECTOR_SECONDS = _gauge(
    "neonmeter_collector_duration_seconds",
    "How long the last attempt of a collector at a target took.",
    "collector",
    "target",
    unit=Unit.SECONDS,
    worse="up",
    max_series=500,
)
COLLECTOR_ROWS = _gauge(
    "neonmeter_collector_rows",
    "Rows that a collector's last success at a target read.",
    "collector",
    "target",
    max_series=500,
)

_REGISTERED = (
    LOOP_LAG, HEARTBEAT, LOOP_TURNS, CLOCK_STEPS, CLOCK_OFF,
    SCRAPES, SCRAPE_BYTES, CONNECTIONS, PUBLISHES, PUBLISH_SECONDS, PUBLISH_LAST, GENERATION,
    SERIES, SERIES_TRUNCATED, TARGETS, API_REQUESTS, API_SECONDS, INVENTORY_LAST, SHARD_INFO, SHARD_PROJECTS,
    LISTED_PROJECTS, REREAD, ACTIVE,
    STANDBY_READY, CLOCK_SKEW, CONSUMPTION_LAST, CONSUMPTION_PLANNED,
    CONSUMPTION_DONE,
    LEDGER_BYTES, VISITS, VISIT_SECONDS, VISIT_ROWS, ADDED_AWAKE, ADDED_AWAKE_USD, BREAKERS, ROUNDS, ROUNDS_MISSED,
    RELOADS, CONFIG_LAST, TASKS,
)  # fmt: skip
_PROCESS = {
    "process_start_time_seconds": START,
    "process_cpu_seconds_total": CPU,
    "process_resident_memory_bytes": RESIDENT,
    "process_open_fds": OPEN_FDS,
    "process_max_fds": MAX_FDS,
}
METRICS: tuple[Metric, ...] = (
    BUILD_INFO, *_PROCESS.values(), THREADS, GC_COLLECTIONS, *_REGISTERED, ADDED_AWAKE_BY_ENDPOINT,
    COLLECTOR_LAST, COLLECTOR_STATUS, COLLECTOR_SECONDS, COLLECTOR_ROWS,
)  # fmt: skip


class SelfMetrics:
    """Holds the agent-wide values. Every method may be called from any thread."""

    def __init__(self) -> None:
        """Start with every unlabelled value at 0."""
        registry = CollectorRegistry()
        self._held: dict[Metric, MetricWrapperBase] = {}
        self._totals: dict[Metric, dict[Labels, float]] = {}
        """Counters that are accumulated elsewhere, as they were set last."""
        self._totals_lock = threading.Lock()
        for metric in _REGISTERED:
            kind = Counter if metric.kind is Kind.COUNTER else Gauge
            self._held[metric] = kind(metric.name, metric.help, metric.labels, registry=registry)
        self._process = ProcessCollector(registry=None)

    def _child(self, metric: Metric, labels: Labels) -> MetricWrapperBase:
        held = self._held[metric]
        return held.labels(*labels) if labels else held

    def inc(self, metric: Metric, labels: Labels = (), amount: float = 1.0) -> None:
        """Raise a counter.

        Raises:
            KeyError: the metric is not one of the agent-wide ones.
            TypeError: it is a gauge.
            ValueError: the labels do not fit, or the amount is negative.
        """
        child = self._child(metric, labels)
        if not isinstance(child, Counter):
            raise TypeError(f"{metric.name} is a gauge; set() it")
        child.inc(amount)

    def set(self, metric: Metric, value: float | Fraction, labels: Labels = ()) -> None:
        """Set a gauge, or bring a counter that is accumulated elsewhere up to its total.

        The total is exact where it is accumulated (an integer, a fraction) and becomes a float here, once: what grows
        there never goes back here by rounding.

        Raises:
            KeyError: the metric is not one of the agent-wide ones.
            ValueError: the labels do not fit, or a counter would go back.
        """
        child = self._child(metric, labels)
        if isinstance(child, Gauge):
            child.set(float(value))
            return
        with self._totals_lock:
            totals = self._totals.setdefault(metric, {})
            if float(value) < totals.get(labels, 0.0):
                raise ValueError(f"{metric.name}: counters only grow, and {float(value)!r} is less than before")
            totals[labels] = float(value)

    def replace(self, metric: Metric, series: Mapping[Labels, float]) -> None:
        """Set all series of a gauge at once; those that are not named vanish."""
        held = self._held[metric]
        held.clear()
        for labels, value in series.items():
            self.set(metric, value, labels)

    def observe(self, total: Metric, seconds: float, labels: Labels = ()) -> None:
        """Add a duration to a counter of seconds."""
        self.inc(total, labels, max(0.0, seconds))

    def families(self) -> Families:
        """Everything agent-wide as series of the catalogue, to be put as target :data:`AGENT`."""
        families = Families()
        families.set(BUILD_INFO, (__version__, platform.python_version()), 1)
        for family in self._process.collect():
            for sample in family.samples:
                if sample.name in _PROCESS:
                    families.set(_PROCESS[sample.name], (), sample.value)
        families.set(THREADS, (), threading.active_count())
        for generation, stats in enumerate(gc.get_stats()):
            families.set(GC_COLLECTIONS, (str(generation),), stats["collections"])
        with self._totals_lock:
            totals = {metric: dict(series) for metric, series in self._totals.items()}
        for metric, held in self._held.items():
            for family in held.collect():
                for sample in family.samples:
                    # An instant that never was is absent: 1970 would page somebody.
                    if sample.name == metric.name and (sample.value or metric.unit is not Unit.TIMESTAMP):
                        labels = tuple(sample.labels[label] for label in metric.labels)
                        families.set(metric, labels, totals.get(metric, {}).get(labels, sample.value))
        return families


@dataclass(frozen=True, slots=True)
class CollectorHealth:
    """How one collector does at one target. ``last_success`` in unix seconds, None before the first."""

    collector: str
    status: Status
    last_success: float | None
    seconds: float
    rows: int


def collector_families(target_key: str, states: Iterable[CollectorHealth]) -> Families:
    """The freshness of all collectors at one target; put it as ``(f"health:{target_key}", AGENT, ...)``."""
    families = Families()
    for state in states:
        who = (state.collector, target_key)
        if state.last_success is not None:
            families.set(COLLECTOR_LAST, who, state.last_success)
            families.set(COLLECTOR_ROWS, who, state.rows)
        families.set(COLLECTOR_STATUS, (*who, state.status.value), 1)
        families.set(COLLECTOR_SECONDS, who, state.seconds)
    return families
