"""Inside the computes: sessions, locks, statements, slots. Of one that sleeps there is nothing but its counters."""

from __future__ import annotations

from collections.abc import Callable

from tests.dashboards.seeded.exposition import END, Exposition, Value, wave
from tests.dashboards.seeded.places import HOUR, PLACES, Place

SILENT_SINCE = END - 25 * 60
STUCK_SINCE = END - 74 * 60
LOCKED_SINCE = END - 6 * 60
UNREAD_SINCE = END - 31 * HOUR


def put_insides(out: Exposition) -> None:
    for place in PLACES:
        put = _Awake(out, place)
        _put_sessions(put, place)
        _put_databases(put, place)
        _put_statements(put, place)
        _put_settings(put, place)
        _put_keepers(put, place)
        if place.project == "analytics" and place.branch == "main":
            _put_slots(put, ("warehouse", 1, wave(3e8)), ("search_index", 0, _unread))
            put("pg_replication_slots_inactive_since_timestamp_seconds", UNREAD_SINCE, slot_name="search_index")
        if place.project == "bookshop" and place.branch == "main" and place.type == "read_write":
            _put_slots(put, ("order_events", 1, wave(4e8, 0.8)))
        if place.type == "read_only":
            _put_replica(put)


class _Awake:
    """Puts series that exist while the compute is awake and answers; counters go on, but do not grow."""

    def __init__(self, out: Exposition, place: Place) -> None:
        self._out, self._place = out, place

    def answers(self, now: int) -> bool:
        silent = self._place.project == "payments" and self._place.branch == "main" and now >= SILENT_SINCE
        return self._place.is_awake(now) and not silent

    def __call__(self, name: str, value: Value, /, **labels: str) -> None:
        def at(now: int) -> float | None:
            if not self.answers(now):
                return 0.0 if name.endswith("_total") else None
            return value(now) if callable(value) else value

        self._out.put(name, at, {**self._place.labels, **labels})

    def always(self, name: str, value: Value, /, **labels: str) -> None:
        self._out.put(name, value, {**self._place.labels, **labels})


def _put_sessions(put: _Awake, place: Place) -> None:
    stuck = place.project == "bookshop" and place.branch == "main" and place.type == "read_write"
    put.always("pg_up", lambda now: float(put.answers(now)) if place.is_awake(now) else None)
    put.always("neonmeter_endpoint_last_visit_timestamp_seconds", _last_visit(put))
    put.always("neonmeter_endpoint_caused_wakes_total", 0)
    put.always("neonmeter_endpoint_added_awake_seconds_total", 0.002)
    busy = max(1.0, place.calls / 10)
    for index, (state, user, application, share) in enumerate((
        ("active", "app", "api", 0.3), ("idle", "app", "api", 1.0), ("idle in transaction", "batch", "nightly", 0.1),
        ("idle", "reporting", "metabase", 0.4),
    )):  # fmt: skip
        many = wave(busy * share * 3, phase=index)
        put("pg_stat_activity_sessions", lambda now, many=many: round(many(now)),
            state=state, user=user, application_name=application)  # fmt: skip
    for event, share in (("none", 0.5), ("IO", 0.3), ("Lock", 0.1), ("Client", 0.2)):
        put("pg_stat_activity_waits", lambda now, share=share: round(wave(busy * share)(now)), wait_event_type=event)
    put("pg_connections_used", lambda now: round(wave(104.0 if stuck else 4 * busy, 0.05)(now)))
    put("pg_connections_limit", 112.0 if stuck else 450.0)
    put("pg_connections_reserved", 7)
    put("pg_stat_activity_longest_transaction_seconds", _since(STUCK_SINCE if stuck else 0, 3.0))
    put("pg_stat_activity_oldest_idle_in_transaction_seconds", _since(STUCK_SINCE if stuck else 0, 1.0))
    put("pg_stat_activity_longest_query_seconds", wave(2.0, 0.8))
    put("pg_stat_activity_oldest_xmin_age", wave(4000))
    put("pg_locks_waiting", lambda now: 7.0 if stuck and now >= LOCKED_SINCE else 0.0)
    put("pg_locks_blocking", lambda now: 1.0 if stuck and now >= LOCKED_SINCE else 0.0)
    put("pg_locks_longest_wait_seconds", _since(LOCKED_SINCE if stuck else 0, None))


def _last_visit(put: _Awake) -> Callable[[int], float]:
    seen = {"at": float(END - 8 * HOUR)}

    def at(now: int) -> float:
        if put.answers(now):
            seen["at"] = now - 15.0
        return seen["at"]

    return at


def _since(begin: int, otherwise: float | None) -> Callable[[int], float | None]:
    return lambda now: float(now - begin) if begin and now >= begin else otherwise


def _put_databases(put: _Awake, place: Place) -> None:
    labels = {"datname": "app"}
    put("pg_stat_database_numbackends", lambda now: round(wave(4 + place.calls / 4)(now)), **labels)
    put("pg_database_size_bytes", lambda now: 4e9 + 1e9 * place.number + (now - END) * 3e3, **labels)
    put("pg_database_xid_age", lambda now: 90e6 + (now - END) * place.calls, **labels)
    put("pg_database_multixact_age", 1000, **labels)
    for name, per_call in {
        "xact_commit": 0.9, "xact_rollback": 0.01, "blks_hit": 40.0, "blks_read": 2.0, "tup_returned": 30.0,
        "tup_fetched": 12.0, "tup_inserted": 0.8, "tup_updated": 0.5, "tup_deleted": 0.1, "temp_bytes": 900.0,
        "deadlocks": 0.00005, "sessions": 0.02,
    }.items():  # fmt: skip
        put(f"pg_stat_database_{name}_total", wave(per_call * place.calls, hours=2.0), **labels)


def _put_statements(put: _Awake, place: Place) -> None:
    for index, tenant in enumerate(place.tenants):
        calls = place.calls / (index + 1)
        for name, per_call in {
            "calls": 1.0, "exec_seconds": 0.004, "plan_seconds": 0.0002, "rows": 9.0, "shared_blocks_hit": 40.0,
            "shared_blocks_read": 2.0, "temp_blocks_written": 0.1, "block_read_seconds": 0.0006,
            "block_write_seconds": 0.0001, "wal_bytes": 700.0,
        }.items():  # fmt: skip
            put(f"neon_tenant_{name}_total", wave(per_call * calls, hours=1.5, phase=index / 3), tenant=tenant)
        for number, (queryid, share, cost) in enumerate((
            ("8231147766412", 0.5, 0.002), ("-441920077183", 0.3, 0.004), ("190022874410", 0.02, 0.11),
            ("other", 0.18, 0.002),
        )):  # fmt: skip
            for name, value in {
                "calls": 1.0, "seconds": cost, "rows": 7.0, "wal_bytes": 500.0, "block_read_seconds": cost / 6,
                "block_write_seconds": cost / 40, "shared_blocks_read": 3.0,
            }.items():  # fmt: skip
                put(f"pg_stat_statements_{name}_total", wave(calls * share * value, hours=1.0, phase=number / 4),
                    tenant=tenant, datname="app", user=f"{tenant}_app", queryid=queryid)  # fmt: skip
    put("pg_stat_statements_tracked", 3100)
    put("pg_stat_statements_max", 5000)
    put("pg_stat_statements_evictions_total", 0)
    put("pg_stat_statements_uncertain_total", 0.0001)


def _put_settings(put: _Awake, place: Place) -> None:
    for name, value in {"max_connections": 112, "work_mem": 4194304, "shared_buffers": 134217728}.items():
        put("pg_settings_value", value, name=name)
    put("pg_settings_changed", 14)
    put("pg_settings_pending_restart", 0)


def _put_keepers(put: _Awake, place: Place) -> None:
    holders = [("nobody", "", "", 0.3, 0.02), ("active", "app", "api", 0.6, 0.06)]
    if place.project == "bookshop" and place.type == "read_write":
        holders.append(("idle_in_transaction", "batch", "nightly", 0.4, 2.1))
    if place.project == "analytics":
        holders.append(("walsender", "cdc", "warehouse", 0.9, 5.3))
    for reason, user, application, share, usd in holders:
        labels = {"reason": reason, "user": user, "application_name": application}
        put("neon_endpoint_kept_awake_seconds_total", share, **labels)
        put.always("neon_endpoint_kept_awake_usd_per_day", usd * place.cu, **labels)
        if reason not in ("nobody", "active"):
            put("neon_endpoint_kept_awake", 1, **labels)
    put("neon_endpoint_uncovered_awake_seconds_total", 0.05)


def _unread(now: int) -> float:
    return max(2e8, 23e9 + (now - END) * 8e5)


def _put_slots(put: _Awake, *slots: tuple[str, int, Callable[[int], float]]) -> None:
    for slot, active, retained in slots:
        labels = {"slot_name": slot}
        put("pg_replication_slots_info", 1, slot_type="logical", plugin="pgoutput", datname="app", failover="false",
            two_phase="false", invalidation_reason="", **labels)  # fmt: skip
        put("pg_replication_slots_active", active, **labels)
        put("pg_replication_slots_retained_bytes", retained, **labels)
        put("pg_replication_slots_confirmed_lag_bytes", lambda now, retained=retained: 0.9 * retained(now), **labels)
        put("pg_replication_slots_invalidated", 0, **labels)
        put("pg_replication_slots_safe_wal_size_bytes", lambda now, retained=retained: 40e9 - retained(now), **labels)
        for status in ("reserved", "extended", "unreserved", "lost"):
            is_it = status == ("reserved" if active else "extended")
            put("pg_replication_slots_wal_status", float(is_it), wal_status=status, **labels)
        put("pg_stat_replication_slots_bytes_total", 9e4 * active, **labels)
        put("pg_stat_replication_slots_spill_bytes_total", 2e3 * active, **labels)
    put("pg_replication_slots_used", 4)
    put("pg_replication_slots_limit", 10)
    put("pg_stat_replication_used", 3)
    put("pg_stat_replication_limit", 10)
    _put_senders(put, slots[0][0], slots[0][0])


def _put_replica(put: _Awake) -> None:
    _put_senders(put, "walreceiver", "")


def _put_senders(put: _Awake, application: str, slot: str) -> None:
    labels = {"application_name": application, "slot_name": slot}
    put("pg_stat_replication_senders", 1, user="cdc", state="streaming", **labels)
    for stage, times in (("sent", 0.2), ("write", 0.5), ("flush", 0.6), ("replay", 1.0)):
        put("pg_stat_replication_lag_bytes", wave(4e6 * times, 0.7), stage=stage, **labels)
        put("pg_stat_replication_lag_seconds", wave(1.8 * times, 0.7), stage=stage, **labels)
