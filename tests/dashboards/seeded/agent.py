"""The agent itself and a pooler: a restart an hour ago, an API that answers 429 now and then, a pool that waits."""

from __future__ import annotations

from tests.dashboards.seeded.exposition import END, Exposition, wave
from tests.dashboards.seeded.places import PLACES

RESTARTED = END - 64 * 60


def put_agent(out: Exposition) -> None:
    out.put("neonmeter_build_info", 1, {"version": "0.9.0", "python": "3.11.2"}, long=True)
    out.put("neonmeter_process_start_timestamp_seconds", lambda now: RESTARTED if now >= RESTARTED else END - 9 * 86400)
    out.put("neonmeter_process_cpu_seconds_total", wave(0.02, 0.5))
    out.put("neonmeter_process_resident_memory_bytes", wave(96e6, 0.04))
    out.put("neonmeter_process_open_fds", 41)
    out.put("neonmeter_process_max_fds", 1024)
    out.put("neonmeter_process_threads", 9)
    out.put("neonmeter_event_loop_lag_seconds", wave(0.006, 0.9))
    out.put("neonmeter_heartbeat_timestamp_seconds", lambda now: now - 2)
    out.put("neonmeter_publish_last_timestamp_seconds", lambda now: now - 6)
    out.put("neonmeter_loop_turns_total", 4)
    out.put("neonmeter_publishes_total", 1 / 15)
    out.put("neonmeter_publish_seconds_total", wave(0.0011, 0.4))
    out.put("neonmeter_series", wave(2400, 0.02))
    out.put("neonmeter_series_truncated", 14, {"metric": "pg_stat_activity_sessions"})
    out.put("neonmeter_inventory_last_success_timestamp_seconds", lambda now: now - 40)
    out.put("neonmeter_consumption_last_success_timestamp_seconds", lambda now: now - 700)
    out.put("neonmeter_clock_skew_seconds", 0.4)
    out.put("neonmeter_clock_step_seconds", 0.002)
    for direction in ("forward", "backward"):
        out.put("neonmeter_clock_steps_total", 0, {"direction": direction})
    out.put("neonmeter_ledger_size_bytes", lambda now: 48e6 + (now - END) * 9)
    out.put("neonmeter_http_connections", 3)
    out.put("neonmeter_config_last_success_timestamp_seconds", RESTARTED)
    out.put("neonmeter_ledger_corrections_total", 0.00002)
    out.put("neonmeter_breakers_open", lambda now: float(now > END - 20 * 60))
    out.put("neonmeter_added_awake_seconds_total", wave(0.004))
    out.put("neonmeter_added_awake_usd_total", wave(2e-7))
    out.put("neonmeter_visit_seconds_total", wave(0.02))
    out.put("neonmeter_visit_rows_total", wave(30))
    for encoding in ("gzip", "identity"):
        out.put("neonmeter_scrapes_total", 1 / 60, {"encoding": encoding})
        out.put("neonmeter_scrape_sent_bytes_total", 900, {"encoding": encoding})
    for scope, state, count in (("endpoint", "active", 5), ("endpoint", "asleep", 4), ("pooler", "active", 1)):
        out.put("neonmeter_targets", count, {"scope": scope, "state": state})
    _put_work(out)
    _put_collectors(out)
    _put_pooler(out)


def _put_work(out: Exposition) -> None:
    for route, rate in (("projects", 0.02), ("branches", 0.05), ("operations", 0.03), ("consumption", 0.002)):
        out.put("neonmeter_api_requests_total", rate, {"route": route, "code": "200"})
        out.put("neonmeter_api_request_seconds_total", wave(rate * 0.18), {"route": route})
    out.put("neonmeter_api_requests_total", lambda now: 0.0015 * (END - 4000 < now < END - 2500),
            {"route": "branches", "code": "429"})  # fmt: skip
    for rule, status, rate in (("none", "ok", 0.03), ("none", "timeout", 0.0008), ("R3", "kept_away", 0.04),
                               ("R1", "kept_away", 0.06)):  # fmt: skip
        out.put("neonmeter_visits_total", wave(rate, 0.2), {"rule": rule, "status": status})
    for job, rate in (("inventory", 1 / 60), ("visits", 1 / 15), ("consumption", 1 / 900), ("publish", 1 / 15)):
        out.put("neonmeter_rounds_total", rate, {"job": job, "status": "ok"})
        out.put("neonmeter_rounds_total", wave(0.00008), {"job": job, "status": "store_error"})
        out.put("neonmeter_rounds_missed_total", 0, {"job": job})
    out.put("neonmeter_config_reloads_total", 0, {"status": "ok"})


def _put_collectors(out: Exposition) -> None:
    for place in PLACES:
        silent = place.project == "payments" and place.branch == "main"
        target = f"{place.project}/{place.branch}"
        for collector, seconds in (("statements", 0.04), ("activity", 0.01), ("databases", 0.02)):
            if place.type == "read_only":
                continue
            labels = {"collector": collector, "target": target}
            status = "timeout" if silent else "ok" if place.asleep == 0 else "asleep"
            out.put("neonmeter_collector_status", 1, {**labels, "status": status})
            out.put("neonmeter_collector_last_success_timestamp_seconds",
                    lambda now, silent=silent: now - (25 * 60 if silent else 20), labels)  # fmt: skip
            out.put("neonmeter_collector_duration_seconds", wave(seconds * (40 if silent else 1)), labels)
            out.put("neonmeter_collector_rows", 120, labels)
    out.put("neonmeter_collector_status", 1, {"collector": "api", "target": "inventory", "status": "ok"})
    out.put("neonmeter_collector_last_success_timestamp_seconds", lambda now: now - 40,
            {"collector": "api", "target": "inventory"})  # fmt: skip


def _put_pooler(out: Exposition) -> None:
    waits = lambda now: 4.0 if now > END - 900 else 0.0  # noqa: E731
    out.put("pgbouncer_version_info", 1, {"pooler": "pooler-eu", "version": "1.24.1"})
    pool = {"pooler": "pooler-eu", "database": "app", "user": "app"}
    for name, value in (("client_active", 38), ("client_waiting", waits), ("server_active", 19), ("server_idle", 1)):
        out.put(f"pgbouncer_pools_{name}_connections", value, pool)
    out.put("pgbouncer_pools_client_maxwait_seconds", lambda now: 3.2 if waits(now) else 0.0, pool)
    base = {"pooler": "pooler-eu", "database": "app"}
    for name, rate in (("sql_transactions_pooled", 110.0), ("queries_pooled", 300.0), ("client_wait_seconds", 0.02),
                       ("queries_duration_seconds", 1.1), ("received_bytes", 9e4), ("sent_bytes", 4e5)):  # fmt: skip
        out.put(f"pgbouncer_stats_totals_{name}_total", wave(rate), base)
    where = {"pooler": "pooler-eu", "name": "app", "host": "db", "port": "5432", "database": "app",
             "force_user": "", "pool_mode": "transaction"}  # fmt: skip
    out.put("pgbouncer_databases_pool_size", 20, where)
    out.put("pgbouncer_databases_current_connections", 20, where)
    out.put("pgbouncer_config_max_client_connections", 1000, {"pooler": "pooler-eu"})
    out.put("pgbouncer_used_clients", 42, {"pooler": "pooler-eu"})
