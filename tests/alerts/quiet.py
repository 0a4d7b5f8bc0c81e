"""A month of a fleet that is well, as promtool's input: scale to zero, working days, nights, restarts, a new budget.

A model, not a recording: what matters is everything that is normal on Neon and that other alert packs page on. Computes
suspend and wake all day (their gauges vanish with them), counters stand still for nights, the agent is restarted, the
API answers 429 now and then, migrations run, usage is an hour late, budgets begin anew on the first.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

STEP = 300
DAYS = 30
STEPS = DAYS * 86400 // STEP
_JOB = 'job="neonmeter",instance="a:9719"'
Series = dict[str, list[float | None]]


@dataclass(frozen=True)
class Use:
    """One kind of compute: whether it is used in a step of five minutes."""

    name: str
    region: str
    used: Callable[[random.Random, int], bool]


def _hour(step: int) -> int:
    return step * STEP % 86400 // 3600


def _workday(step: int) -> bool:
    return (step * STEP // 86400 + 4) % 7 < 5  # 1970-01-01 was a Thursday.


USES = (
    Use("production", "aws-eu-central-1", lambda rng, step: True),
    Use("shop", "aws-eu-central-1", lambda rng, step: 6 <= _hour(step) < 23 or rng.random() < 0.2),
    Use("backoffice", "aws-us-east-2", lambda rng, step: _workday(step) and 8 <= _hour(step) < 17),
    Use("nightly", "azure-gwc", lambda rng, step: _hour(step) == 2),
    Use("dev", "aws-eu-central-1", lambda rng, step: _workday(step) and rng.random() < 0.08),
    Use("forgotten", "aws-us-east-2", lambda rng, step: rng.random() < 0.0005),
)


def _compute(use: Use, rng: random.Random) -> Series:
    ids = f'{_JOB},project_id="{use.name}"'
    branch = f'{ids},branch_id="br-{use.name}"'
    endpoint = f'{branch},endpoint_id="ep-{use.name}"'
    awake = [use.used(rng, step) for step in range(STEPS)]
    made: Series = {
        f'neon_project_info{{{ids},project="{use.name}",region_id="{use.region}"}}': [1.0] * STEPS,
        f'neon_branch_info{{{branch},branch="main",role="default"}}': [1.0] * STEPS,
        f'neon_endpoint_info{{{endpoint},endpoint="{use.name}"}}': [1.0] * STEPS,
        f"neon_endpoint_suspend_timeout_seconds{{{endpoint}}}": [300.0] * STEPS,
        f"neon_project_history_retention_seconds{{{ids}}}": [604800.0] * STEPS,
    }

    def gauge(name: str, value: Callable[[], float], extra: str = "") -> None:
        made[f"{name}{{{endpoint}{extra}}}"] = [value() if on else None for on in awake]

    def counter(name: str, rate: Callable[[], float], extra: str = "", *, always: bool = False) -> None:
        total, points = 0.0, []
        for on in awake:
            total += rate() if on or always else 0.0
            points.append(total)
        made[f"{name}{{{endpoint}{extra}}}"] = list(points)

    made[f'neon_endpoint_state{{{endpoint},state="active"}}'] = [1.0 if on else None for on in awake]
    made[f'neon_endpoint_state{{{endpoint},state="idle"}}'] = [None if on else 1.0 for on in awake]
    gauge("pg_up", lambda: 0.0 if rng.random() < 0.002 else 1.0)
    gauge("pg_connections_used", lambda: float(rng.randint(3, 70)))
    gauge("pg_connections_limit", lambda: 112.0)
    gauge("pg_connections_reserved", lambda: 7.0)
    gauge("pg_locks_longest_wait_seconds", lambda: rng.expovariate(2))
    gauge("pg_locks_waiting", lambda: float(rng.randint(0, 3)))
    gauge("pg_stat_activity_longest_transaction_seconds", lambda: min(rng.expovariate(0.02), 1200))
    gauge("pg_stat_activity_oldest_idle_in_transaction_seconds", lambda: rng.expovariate(0.5))
    gauge("pg_stat_activity_oldest_xmin_age", lambda: float(rng.randint(0, 5000)))
    gauge("pg_database_xid_age", lambda: 150e6, ',datname="app"')
    gauge("pg_replication_slots_used", lambda: 2.0)
    gauge("pg_replication_slots_limit", lambda: 10.0)
    if use.name == "production":
        slot = ',slot_name="debezium"'
        gauge("pg_replication_slots_active", lambda: 0.0 if rng.random() < 0.01 else 1.0, slot)
        gauge("pg_replication_slots_confirmed_lag_bytes", lambda: rng.expovariate(1e-6), slot)
        gauge("pg_replication_slots_retained_bytes", lambda: rng.expovariate(1e-7), slot)
        gauge("neon_expected_slot_present", lambda: 1.0, slot)
    _statistics(counter, rng)
    made |= _wakes(endpoint, awake, rng)
    made[f"neon_cost_hourly_run_rate_usd{{{branch}}}"] = [rng.uniform(0.9, 1.3) * 0.2 for _ in awake]
    drift = [1.0 if step % 2000 in (700, 701, 702) else 0.0 for step in range(STEPS)]  # while a migration runs
    made[f'neon_schema_drift_detected{{{branch},datname="app",baseline="approved"}}'] = list(drift)
    return made


def _statistics(counter: Callable[..., None], rng: random.Random) -> None:
    """Counters of a database that works while its compute is awake."""
    database = ',datname="app"'
    counter("pg_stat_database_xact_commit_total", lambda: rng.uniform(10, 9000), database)
    counter("pg_stat_database_xact_rollback_total", lambda: rng.uniform(0, 60), database)
    counter("pg_stat_database_blks_hit_total", lambda: rng.uniform(1e4, 1e6), database)
    counter("pg_stat_database_blks_read_total", lambda: rng.uniform(0, 3e4), database)
    counter("pg_stat_database_deadlocks_total", lambda: float(rng.random() < 0.001), database)
    counter("pg_stat_database_temp_bytes_total", lambda: rng.expovariate(1e-6), database)
    counter("neon_endpoint_awake_seconds_total", lambda: float(STEP))
    counter("neonmeter_endpoint_added_awake_seconds_total", lambda: 0.3)
    counter("neonmeter_endpoint_caused_wakes_total", lambda: 0.0)


def _wakes(endpoint: str, awake: list[bool], rng: random.Random) -> Series:
    """Starts, and what they took."""
    wakes = [on and not before for before, on in zip([False, *awake], awake, strict=False)]
    total = seconds = 0.0
    counts, times = [], []
    for wake in wakes:
        total, seconds = total + wake, seconds + wake * rng.uniform(0.2, 0.9)
        counts.append(total)
        times.append(seconds)
    return {
        f"neon_endpoint_wakes_total{{{endpoint}}}": list(counts),
        f"neon_endpoint_wake_duration_seconds_total{{{endpoint}}}": list(times),
    }


def _agent(rng: random.Random) -> Series:
    down = {step for first in (2000, 5555) for step in (first,)}  # restarts
    here = [step not in down for step in range(STEPS)]
    now = [float(step * STEP) for step in range(STEPS)]

    def when(value: Callable[[int], float]) -> list[float | None]:
        return [value(step) if here[step] else None for step in range(STEPS)]

    month = [at % (30 * 86400) / (30 * 86400) for at in now]
    requests = [0.0, 0.0]
    good: list[float | None] = []
    bad: list[float | None] = []
    for step in range(STEPS):
        requests[0] += 40
        requests[1] += rng.random() < 0.02
        good.append(requests[0] if here[step] else None)
        bad.append(requests[1] if here[step] else None)
    budget = f'{_JOB},budget="all"'
    return {
        f"up{{{_JOB}}}": [float(on) for on in here],
        f"neonmeter_loop_turns_total{{{_JOB}}}": when(lambda step: 240.0 * step),
        f"neonmeter_publish_generation{{{_JOB}}}": when(lambda step: 4.0 * step),
        f'neonmeter_clock_steps_total{{{_JOB},direction="backward"}}': when(lambda step: 0.0),
        f"neonmeter_clock_step_seconds{{{_JOB}}}": when(lambda step: rng.uniform(-0.01, 0.01)),
        f"neonmeter_inventory_last_success_timestamp_seconds{{{_JOB}}}": when(lambda step: now[step] - 60),
        f'neonmeter_api_requests_total{{{_JOB},route="projects",code="200"}}': good,
        f'neonmeter_api_requests_total{{{_JOB},route="projects",code="429"}}': bad,
        f'neonmeter_visits_total{{{_JOB},rule="none",status="ok"}}': good,
        f'neonmeter_visits_total{{{_JOB},rule="R3",status="kept_away"}}': [7 * (number or 0) for number in good],
        f"neonmeter_event_loop_lag_seconds{{{_JOB}}}": when(lambda step: rng.expovariate(100)),
        f"neonmeter_clock_skew_seconds{{{_JOB}}}": when(lambda step: rng.uniform(-1, 1)),
        f"neonmeter_breakers_open{{{_JOB}}}": when(lambda step: float(step % 900 in (3, 4))),
        f"neonmeter_process_open_fds{{{_JOB}}}": when(lambda step: 60.0),
        f"neonmeter_process_max_fds{{{_JOB}}}": when(lambda step: 1024.0),
        f'neon_billing_data_through_timestamp_seconds{{{_JOB},org_id="o1"}}': when(
            lambda step: now[step] - 3600 - rng.uniform(0, 1800)
        ),
        f"neon_budget_usd{{{budget}}}": [1000.0] * STEPS,
        f"neon_budget_spent_usd{{{budget}}}": [900 * part for part in month],
        f"neon_budget_forecast_usd{{{budget}}}": [rng.uniform(870, 930) for _ in month],
        f'neon_budget_burn_rate_ratio{{{budget},window="6h"}}': [rng.uniform(0.3, 2.5) for _ in month],
        f'neon_budget_burn_rate_ratio{{{budget},window="3d"}}': [rng.uniform(0.8, 1.0) for _ in month],
        f'neon_finops_unallocated_ratio{{{_JOB},org_id="o1"}}': [0.04] * STEPS,
    }


def month(seed: int = 1) -> Series:
    """All series of the month, a value (None: a gap) for each step of five minutes."""
    rng = random.Random(seed)
    made = _agent(rng)
    for use in USES:
        made |= _compute(use, rng)
    return made


def notation(points: list[float | None]) -> str:
    """promtool's notation, runs of one value joined."""

    def runs() -> Iterator[tuple[str, int]]:
        last, count = "", 0
        for point in points:
            text = "_" if point is None else f"{point:.6g}" if point < 1e6 else f"{point:.3f}"
            if text == last:
                count += 1
                continue
            if last:
                yield last, count
            last, count = text, 1
        yield last, count

    # A gap begins with a staleness marker, as when a scrape no longer has the series.
    return " ".join(
        f"stale _x{count - 1}" if text == "_" else text if count == 1 else f"{text}x{count - 1}"
        for text, count in runs()
    ).replace(" _x0", "")
