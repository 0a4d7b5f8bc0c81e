"""Endpoint detail: why is this compute slow, awake or behind? States, sessions, statements, replication, pooler."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as model

from dashboards import looks, marks, thresholds
from dashboards.board import Board, Row
from dashboards.panels import About, Say, Style, bars_panel, lines_panel, named, stat_panel
from dashboards.queries import ENDPOINT, Query, per_second, ratio
from dashboards.tables import Column, table_panel

ASLEEP = "suspended: no compute"
_WHO = f'tenant=~"$tenant", {ENDPOINT}'
_POOL = 'pooler=~"$pooler"'


def _of(metric: str, more: str = "") -> str:
    return f"{metric}{{{more}{ENDPOINT}}}"


def _state(state: str) -> str:
    return _of("neon_endpoint_state", f'state="{state}", ')


def _tiles() -> Row:
    number = f"2 * max({_state('active')}) + max({_state('init')})"
    state = looks.words({"0": looks.STATES["idle"], "1": looks.STATES["init"], "2": looks.STATES["active"]})
    none = looks.words({"0": ("none", None)})
    used = ratio(_of("pg_connections_used"), _of("pg_connections_limit"))
    tiles = (
        stat_panel(
            Say(1, "State", About(
                "What Neon says the compute is doing. With several endpoints chosen, active if any is.",
                "active while people work, suspended when they do not.",
                "If it is never suspended, see 'Who keeps it awake' below.")),
            Query(number), Style(looks.COUNT, None, 0, (state,))),
        stat_panel(
            Say(2, "Connections used", About(
                "Sessions over max_connections, of the fullest endpoint chosen.",
                "under 80 %.", "See who holds them below; put a pooler in front, or end idle ones."), empty=ASLEEP),
            Query(f"max({used})"), Style(looks.RATIO, thresholds.CONNECTIONS_USED, 0)),
        stat_panel(
            Say(3, "Open transaction", About(
                "Age of the oldest open transaction: it keeps locks and holds back vacuum.",
                "under 15 minutes.", "End the session: SELECT pg_terminate_backend(pid)."), empty=ASLEEP),
            Query(f"max({_of('pg_stat_activity_longest_transaction_seconds')}) or 0 * max({_of('pg_up')} == 1)"),
            Style(looks.SECONDS, thresholds.TRANSACTION_AGE, 1, (none,))),
        stat_panel(
            Say(4, "Lock wait", About(
                "How long the first session of a lock queue has waited.",
                "nobody waits.", "End the session that others wait for (pg_blocking_pids)."), empty=ASLEEP),
            Query(f"max({_of('pg_locks_longest_wait_seconds')}) or max({_of('pg_locks_waiting')})"),
            Style(looks.SECONDS, thresholds.LOCK_WAIT, 1, (none,))),
        stat_panel(
            Say(5, "WAL kept for slots", About(
                "WAL that the replication slot furthest behind keeps from being removed.",
                "under 5 GB and not growing.", "Restart the slot's consumer, or drop the slot."), empty="no slots"),
            Query(f"max({_of('pg_replication_slots_retained_bytes')})"),
            Style(looks.BYTES, thresholds.SLOT_RETAINED, 1)),
        stat_panel(
            Say(6, "Last visit", About(
                "Time since neonmeter last read this compute from inside. A suspended compute is not visited: a visit "
                "would wake it.",
                "under an hour while it is active.", "See the agent's own dashboard: visits by rule and status."),
                empty="never visited"),
            Query(f"min(time() - {_of('neonmeter_endpoint_last_visit_timestamp_seconds')})"),
            Style(looks.SECONDS, thresholds.VISIT_AGE, 0)),
    )  # fmt: skip
    return Row(4, [(tile, 4) for tile in tiles])


def _life() -> Row:
    colors = [named(text, color={"mode": "fixed", "fixedColor": color}) for text, color in looks.STATES.values()]
    states = [Query(f"avg({_state(state)})", text) for state, (text, _) in looks.STATES.items()]
    kept = f"topk(8, sum by (reason, user, application_name) ({_of('neon_endpoint_kept_awake_usd_per_day')}))"
    return Row(6, [
        (lines_panel(
            Say(10, "State over time", About(
                "Active, suspended and starting as bands. With several endpoints chosen, the parts of them.",
                "it follows the working day.", "Short lives one after the other: something comes too often.")),
            states, Style(looks.RATIO, decimals=0), state_band=True, stack=True, overrides=colors, most=1), 14),
        (bars_panel(
            Say(11, "Who keeps it awake, USD a day (estimated)", About(
                "What each reason, user and application cost in the last day by holding the compute awake, estimated "
                "at list prices.",
                "your applications; nobody (the suspend timeout) at least as small.",
                "An idle transaction or a forgotten consumer: end it; `neonmeter awake` says how."),
                empty="nothing kept it awake"),
            Query(f"sort_desc({kept})", "{{reason}} {{user}} {{application_name}}"),
            Style(looks.USD, decimals=2)), 10),
    ])  # fmt: skip


def _sessions() -> Row:
    states = f"sum by (state) ({_of('pg_stat_activity_sessions')})"
    waits = f"sum by (wait_event_type) ({_of('pg_stat_activity_waits')})"
    oldest = {"transaction": "longest_transaction", "query": "longest_query", "idle in transaction":
              "oldest_idle_in_transaction"}  # fmt: skip
    ages = [Query(f"max({_of(f'pg_stat_activity_{name}_seconds')})", text) for text, name in oldest.items()]
    ages.append(Query(f"max({_of('pg_locks_longest_wait_seconds')})", "lock wait"))
    return Row(7, [
        (lines_panel(
            Say(20, "Sessions by state", About(
                "Client sessions by what they do. Time in which the compute was suspended is shaded.",
                "few are 'idle in transaction'.", "Idle in transaction: give the role a timeout."), ASLEEP),
            [Query(states, "{{state}}")], Style(looks.COUNT, decimals=0), stack=True, asleep=True), 8),
        (lines_panel(
            Say(21, "What running statements wait for", About(
                "Sessions that execute a statement, by what they wait for; 'none' runs on a processor.",
                "mostly none and IO.", "Lock: see the ages beside. IO: look for statements that read too much."),
                ASLEEP),
            [Query(waits, "{{wait_event_type}}")], Style(looks.COUNT, decimals=0), stack=True, asleep=True), 8),
        (lines_panel(
            Say(22, "Oldest of each kind", About(
                "Ages of the oldest transaction, statement, idle transaction and lock wait.",
                "seconds.", "What grows in a straight line is stuck: end its session."), ASLEEP),
            ages, Style(looks.SECONDS, thresholds.TRANSACTION_AGE), asleep=True), 8),
    ], "Sessions and locks")  # fmt: skip


def _statements() -> tuple[Row, ...]:
    by = "sum by (tenant)"
    calls, seconds = per_second("neon_tenant_calls_total", _WHO), per_second("neon_tenant_exec_seconds_total", _WHO)
    hit, read = (per_second(f"neon_tenant_shared_blocks_{name}_total", _WHO) for name in ("hit", "read"))
    found = ratio(f"{by} ({hit})", f"{by} ({hit}) + {by} ({read})")
    return (
        Row(7, [
            (lines_panel(
                Say(30, "Statements per second by tenant", About(
                    "Statements that each tenant executes, kept across suspends.",
                    "it follows the tenants' days.", "A sudden change: look at the table of statements.")),
                [Query(f"topk(10, {by} ({calls}))", "{{tenant}}")], Style(looks.PER_SECOND), asleep=True), 8),
            (lines_panel(
                Say(31, "Execution time by tenant", About(
                    "Seconds of execution in each second, by tenant: 1 is one session busy all the time.",
                    "under the number of compute units.", "The widest band is who to look at in the table below.")),
                [Query(f"topk(10, {by} ({seconds}))", "{{tenant}}")], Style(looks.COUNT, decimals=2), stack=True,
                asleep=True), 8),
            (lines_panel(
                Say(32, "Blocks found in shared buffers", About(
                    "Part of the blocks that statements needed and found in shared buffers, by tenant.",
                    "above 90 % once warm; low after each wake.", "Long low: a missing index or too small a compute.")),
                [Query(found, "{{tenant}}")], Style(looks.RATIO, decimals=0), asleep=True, most=1), 8),
        ], "Statements"),
        Row(9, [(_statement_table(), 24)]),
    )  # fmt: skip


def _statement_table() -> model.Panel:
    keys = "tenant, datname, user, queryid"

    def grew(name: str) -> str:
        return f"sum by ({keys}) (increase(pg_stat_statements_{name}_total{{{_WHO}}}[$__range]))"

    queries = (
        f"topk(25, {grew('seconds')} > 0)", f"{grew('calls')} > 0", ratio(grew("seconds"), grew("calls")),
        ratio(grew("rows"), grew("calls")), f"{grew('shared_blocks_read')} > 0", f"{grew('wal_bytes')} > 0",
    )  # fmt: skip
    top = f" and on ({keys}) {queries[0]}"
    columns = (
        Column("queryid", "queryid", width=200),
        Column("tenant", "Tenant", width=140),
        Column("datname", "Database", width=120),
        Column("user", "Role", width=140),
        Column("Value #A", "Time in all", looks.SECONDS, decimals=1),
        Column("Value #B", "Calls", looks.COUNT, decimals=1),
        Column("Value #C", "Mean", looks.SECONDS, thresholds.STATEMENT_MEAN, decimals=2),
        Column("Value #D", "Rows a call", looks.COUNT, decimals=1),
        Column("Value #E", "Blocks read", looks.COUNT, decimals=1),
        Column("Value #F", "WAL", looks.BYTES, decimals=1),
    )
    say = Say(33, "Dearest statements of the time shown", About(
        "The 25 statements with the most execution time in the chosen time. Texts stay in the database: find one by "
        "its queryid in pg_stat_statements. 'other' is the rest of a tenant.",
        "the mean of what users wait for is under 100 ms.",
        "SELECT query FROM pg_stat_statements WHERE queryid = ...; then EXPLAIN it."), "no statements ran")  # fmt: skip
    made = [Query(queries[0], table=True), *(Query(f"({query}){top}", table=True) for query in queries[1:])]
    return table_panel(say, made, columns, sort="Time in all")


def _databases() -> Row:
    size = f"sum by (datname) ({_of('pg_database_size_bytes')})"
    commits = f"sum({per_second('pg_stat_database_xact_commit_total', ENDPOINT)})"
    rollbacks = f"sum({per_second('pg_stat_database_xact_rollback_total', ENDPOINT)})"
    age = f"max by (datname) ({_of('pg_database_xid_age')})"
    return Row(7, [
        (lines_panel(
            Say(40, "Transactions per second", About(
                "Commits and roll-backs of all databases of the endpoint.",
                "few roll-backs.", "Many roll-backs: look into the application's errors.")),
            [Query(commits, "committed"), Query(rollbacks, "rolled back")], Style(looks.PER_SECOND), asleep=True), 8),
        (lines_panel(
            Say(41, "Size of databases", About(
                "Size of each database: with its siblings it is what storage is billed on.",
                "it grows as the business does.", "A jump: look for a new table, or for bloat after a mass update."),
                ASLEEP),
            [Query(size, "{{datname}}")], Style(looks.BYTES), stack=True, asleep=True), 8),
        (lines_panel(
            Say(42, "Age of transaction ids", About(
                "Transactions since the oldest unfrozen one; at 2 billion writes stop.",
                "under 500 million.", "Find what holds back vacuum: an old transaction or slot; then VACUUM."), ASLEEP),
            [Query(age, "{{datname}}")], Style(looks.COUNT, thresholds.XID_AGE), asleep=True), 8),
    ], "Databases")  # fmt: skip


def _replication() -> Row:
    words = looks.words({"1": ("read", looks.GREEN), "0": ("NOBODY", looks.RED)})
    by = "max by (endpoint_id, slot_name)"
    columns = (
        Column("slot_name", "Slot", width=190),
        Column("Value #A", "Consumer", looks.COUNT, width=110, words=(words,), fill=True),
        Column("Value #B", "WAL kept", looks.BYTES, thresholds.SLOT_RETAINED, decimals=1),
        Column("Value #C", "Unread for", looks.SECONDS, thresholds.SLOT_UNREAD, decimals=1),
    )
    unread = f"time() - {_of('pg_replication_slots_inactive_since_timestamp_seconds')}"
    queries = (_of("pg_replication_slots_active"), _of("pg_replication_slots_retained_bytes"), unread)
    slots = table_panel(
        Say(50, "Replication slots", About(
            "Each slot, whether anybody reads it, and the WAL that it keeps. Neon drops a logical slot after about 40 "
            "hours without a consumer.",
            "each slot is read and keeps under 5 GB.", "Start the consumer, or drop the slot."), "no slots"),
        [Query(f"{by} ({query})", table=True) for query in queries], columns, sort="WAL kept",
        hidden=("endpoint_id",))  # fmt: skip
    replayed = _of("pg_stat_replication_lag_seconds", 'stage="replay", ')
    lag = f"max by (application_name) ({replayed})"
    kept = f"max by (slot_name) ({_of('pg_replication_slots_retained_bytes')})"
    return Row(7, [
        (slots, 8),
        (lines_panel(
            Say(51, "WAL kept by slot", About(
                "WAL that each slot keeps from being removed.",
                "flat or a saw.", "A straight rise: its consumer is gone."), "no slots"),
            [Query(kept, "{{slot_name}}")], Style(looks.BYTES, thresholds.SLOT_RETAINED), asleep=True), 8),
        (lines_panel(
            Say(52, "Consumers behind", About(
                "How long ago the WAL was written that each consumer has just replayed.",
                "under 30 s.", "Look at the consumer's own log; its network; a long transaction."), "no consumers"),
            [Query(lag, "{{application_name}}")], Style(looks.SECONDS, thresholds.REPLICA_LAG), asleep=True), 8),
    ], "Replication")  # fmt: skip


def _pooler() -> Row:
    waiting = f"sum by (pooler, database) (pgbouncer_pools_client_waiting_connections{{{_POOL}}})"
    active = f"sum by (pooler, database) (pgbouncer_pools_client_active_connections{{{_POOL}}})"
    longest = f"max by (pooler, database) (pgbouncer_pools_client_maxwait_seconds{{{_POOL}}})"
    queries = f"sum by (pooler, database) ({per_second('pgbouncer_stats_totals_queries_pooled_total', _POOL)})"
    return Row(7, [
        (lines_panel(
            Say(60, "Clients of the pooler", About(
                "Clients that are linked to a server, and clients that wait for one, by pool.",
                "nobody waits.", "Raise pool_size or shorten transactions."), "no pooler"),
            [Query(active, "{{database}} active"), Query(waiting, "{{database}} waiting")],
            Style(looks.COUNT, decimals=0)), 8),
        (lines_panel(
            Say(61, "Longest wait for a server", About(
                "How long the client that waits longest has waited, by pool.",
                "under 1 s.", "Who holds the servers? See sessions by state above."), "no pooler"),
            [Query(longest, "{{pooler}} {{database}}")], Style(looks.SECONDS, thresholds.POOL_WAIT)), 8),
        (lines_panel(
            Say(62, "Queries through the pooler", About(
                "Queries per second that passed the pooler, by database.",
                "it follows the application.", "A drop while clients wait: the pool is full."), "no pooler"),
            [Query(queries, "{{pooler}} {{database}}")], Style(looks.PER_SECOND)), 8),
    ], "Pooler")  # fmt: skip


def board() -> Board:
    """The dashboard."""
    return Board(
        "neonmeter-endpoint", "neonmeter / Endpoint detail",
        "Why is this compute slow, awake or behind? States, sessions, statements, replication and pooler.",
        ("datasource", "tenant", "region", "project_id", "branch_id", "endpoint_id", "pooler"),
        (marks.WAKE, marks.SUSPEND, marks.RESTART),
        (_tiles(), _life(), _sessions(), *_statements(), _databases(), _replication(), _pooler()),
    )  # fmt: skip
