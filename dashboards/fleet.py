"""Fleet overview: is anything wrong, what is it, and where. It is the first page, for whoever knows nothing yet."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as model

from dashboards import looks, marks, thresholds
from dashboards.attention import attention
from dashboards.board import Board, Row
from dashboards.panels import About, Say, Style, bars_panel, lines_panel, named, stat_panel
from dashboards.queries import (
    ACTIVE,
    ENDPOINT,
    PROJECT,
    PROJECT_NAMES,
    Query,
    endpoint_named,
    or_zero,
    paid_named,
    per_second,
    project_named,
    ratio,
)
from dashboards.tables import Column, table_panel

_IDS = "project_id, branch_id, endpoint_id"
_BY = f"max by ({_IDS})"
_USED = ratio(
    f"{_BY} (pg_connections_used{{{ENDPOINT}}})",
    f"{_BY} (pg_connections_limit{{{ENDPOINT}}})",
)
TO_ENDPOINT = looks.link(
    "Open this endpoint",
    "neonmeter-endpoint",
    {"project_id": "project_id", "branch_id": "branch_id", "endpoint_id": "endpoint_id"},
)


def chosen(expr: str) -> str:
    """Only what lies in the chosen regions."""
    return f"({expr}) and on (project_id) {PROJECT_NAMES}"


def _tiles() -> Row:
    silent = f"({ACTIVE}) and on ({_IDS}) ({_BY} (pg_up{{{ENDPOINT}}}) == 0)"
    budget = ratio("neon_budget_forecast_usd", "neon_budget_usd")
    none = looks.words({"0": ("none", None)})
    tiles = (
        stat_panel(
            Say(1, "Not answering", About(
                "Computes that Neon says are active, but that did not answer our last visit. A suspended compute is "
                "not among them: it is asleep, not down.",
                "none.", "Sort the table of computes by 'Answers' and open the endpoint.")),
            Query(or_zero(f"count({chosen(silent)})")),
            Style(looks.COUNT, thresholds.COMPUTES_SILENT, 0, (none,))),
        stat_panel(
            Say(2, "Longest open transaction", About(
                "The oldest transaction that is open anywhere in the fleet. It keeps its locks, holds back vacuum and "
                "keeps its compute awake.",
                "under 15 minutes.", "Find its endpoint in 'What needs attention now', and end the session there.")),
            Query(or_zero(f"max({chosen(f'pg_stat_activity_longest_transaction_seconds{{{ENDPOINT}}}')})")),
            Style(looks.SECONDS, thresholds.TRANSACTION_AGE, 1, (none,))),
        stat_panel(
            Say(3, "WAL kept for a slot", About(
                "WAL that the replication slot which is furthest behind keeps from being removed. When it only grows, "
                "its consumer is gone or too slow.",
                "under 5 GB.", "Open the endpoint and look at its replication slots; restart the consumer or drop the "
                "slot."), empty="no slots"),
            Query(f"max({chosen(f'pg_replication_slots_retained_bytes{{{ENDPOINT}}}')})"),
            Style(looks.BYTES, thresholds.SLOT_RETAINED, 1)),
        stat_panel(
            Say(4, "Forecast to budget", About(
                "What the month is expected to cost at its end, against its budget; the worst budget counts. It is "
                "estimated from usage at list prices: the invoice may differ.",
                "under 100 %.", "Open FinOps and look for what grew: unusual cost, waste, the dearest branches."),
                empty="no budget"),
            Query(f"max({budget})"), Style(looks.RATIO, thresholds.BUDGET_FORECAST, 0)),
        stat_panel(
            Say(5, "Databases that drifted", About(
                "Databases whose schema differs from their baseline (parent branch, git or what was approved).",
                "none.", "Open Drift and posture; approve the change or revert it.")),
            Query(or_zero(f'count({chosen("neon_schema_drift_detected == 1")})')),
            Style(looks.COUNT, thresholds.DRIFTED_DATABASES, 0, (none,))),
        stat_panel(
            Say(6, "Age of what is shown", About(
                "Time since the inventory was last read whole from Neon. When it grows, everything on this page is "
                "old, also what is green.",
                "under 15 minutes.", "Open neonmeter itself: is the agent up, does Neon's API answer?"),
                empty="no agent"),
            Query("max(time() - neonmeter_inventory_last_success_timestamp_seconds)"),
            Style(looks.SECONDS, thresholds.INVENTORY_AGE, 0)),
    )  # fmt: skip
    return Row(4, [(tile, 4) for tile in tiles])


def _attention() -> Row:
    severity = looks.words({"2": ("critical", looks.RED), "1": ("warning", looks.AMBER)})
    say = Say(10, "What needs attention now", About(
        "Every limit that is passed at this moment, with the same numbers that the alerts use. 'Times its limit' is "
        "the value over the limit at which it became a warning.",
        "empty.", "Begin with the first row: its name leads to the endpoint."), "nothing needs attention")  # fmt: skip
    columns = (
        Column("problem", "Problem", width=330),
        Column("Value #A", "Severity", looks.COUNT, width=110, words=(severity,), fill=True),
        Column("project", "Project", width=200),
        Column("branch", "Branch", width=180),
        Column("compute", "Endpoint"),
        Column("Value #B", "Times its limit", looks.COUNT, width=140, decimals=1),
    )
    queries = (Query(attention(), table=True), Query(attention(times=True), table=True))
    fields = {"project_id": "project_id", "branch_id": "branch_id", "endpoint_id": "endpoint_id"}
    made = table_panel(say, queries, columns, sort="Severity", hidden=("project_id", "branch_id", "endpoint_id"),
                       links=(looks.link("Open the endpoint", "neonmeter-endpoint", fields),))  # fmt: skip
    return Row(8, [(made, 24)])


def _computes() -> Row:
    state = looks.words({"0": looks.STATES["idle"], "1": looks.STATES["init"], "2": looks.STATES["active"]})
    answers = looks.words({"1": ("yes", looks.GREEN), "0": ("NO", looks.RED)})
    number = (
        f'sum by ({_IDS}) (neon_endpoint_state{{state="active", {ENDPOINT}}} * 2) '
        f'+ sum by ({_IDS}) (neon_endpoint_state{{state="init", {ENDPOINT}}})'
    )
    branch_cost = "sum by (project_id, branch_id) (neon_cost_month_to_date_usd)"
    queries = (
        endpoint_named(number),
        f"{_BY} (pg_up{{{ENDPOINT}}})",
        f"{_BY} (time() - neonmeter_endpoint_last_visit_timestamp_seconds{{{ENDPOINT}}})",
        _USED,
        f"{_BY} (pg_stat_activity_longest_transaction_seconds{{{ENDPOINT}}})",
        f"{_BY} (pg_locks_longest_wait_seconds{{{ENDPOINT}}})",
        f"{_BY} (pg_replication_slots_retained_bytes{{{ENDPOINT}}})",
        f"{_BY} (neon_endpoint_info{{{ENDPOINT}}}) * on (project_id, branch_id) group_left () {branch_cost}",
    )
    columns = (
        Column("project", "Project", width=150),
        Column("branch", "Branch", width=150),
        Column("type", "Type", width=100),
        Column("Value #A", "State", looks.COUNT, width=110, words=(state,), fill=True),
        Column("Value #B", "Answers", looks.COUNT, width=90, words=(answers,)),
        Column("Value #C", "Last visit ago", looks.SECONDS, width=120, decimals=0),
        Column("Value #D", "Connections used", looks.RATIO, thresholds.CONNECTIONS_USED, width=140, decimals=0),
        Column("Value #E", "Open transaction", looks.SECONDS, thresholds.TRANSACTION_AGE, width=150, decimals=1),
        Column("Value #F", "Lock wait", looks.SECONDS, thresholds.LOCK_WAIT, width=100, decimals=0),
        Column("Value #G", "WAL kept for slots", looks.BYTES, thresholds.SLOT_RETAINED, width=150, decimals=1),
        Column("Value #H", "This month (estimated)", looks.USD, decimals=2),
    )
    say = Say(11, "Computes", About(
        "Every compute endpoint with its worst figures. A suspended compute has no figures from inside: it sleeps, and "
        "is not visited. The cost is that of its branch, this calendar month, estimated at list prices.",
        "no coloured figure; a state of active or suspended.",
        "A row's name opens the endpoint in full."), empty="no computes")  # fmt: skip
    made = table_panel(say, [Query(query, table=True) for query in queries], columns, sort="Open transaction",
                       hidden=("project_id", "branch_id", "endpoint_id"), links=(TO_ENDPOINT,))  # fmt: skip
    return Row(9, [(made, 24)])


def _trends() -> tuple[Row, ...]:
    return (Row(8, [(panel, 8) for panel in _lives()], "Trends"), Row(8, [(panel, 8) for panel in _figures()]))


def _lives() -> tuple[model.Panel, ...]:
    colors = [named(text, color={"mode": "fixed", "fixedColor": color}) for text, color in looks.STATES.values()]
    expressions = {state: f'neon_endpoint_state{{state="{state}", {ENDPOINT}}}' for state in looks.STATES}
    states = [Query(f"sum({chosen(expressions[state])})", text) for state, (text, _) in looks.STATES.items()]
    wakes = project_named(f"sum by (project_id) ({per_second('neon_endpoint_wakes_total', ENDPOINT)})")
    calls = chosen(per_second("neon_tenant_calls_total", f'tenant=~"$tenant", {ENDPOINT}'))
    return (
        lines_panel(
            Say(20, "Computes by state", About(
                "How many computes are active, suspended or starting. Suspended time is normal: it costs no compute.",
                "it follows the working day.", "If nothing is ever suspended, ask FinOps who keeps them awake.")),
            states, Style(looks.COUNT, decimals=0), state_band=True, stack=True, overrides=colors),
        lines_panel(
            Say(21, "Wakes per hour", About(
                "How often Neon started computes, by project. Each wake is a cold start for somebody.",
                "steady.", "Many short lives: raise the suspend timeout, or find the job that comes too often.")),
            [Query(f"topk(10, 3600 * sum by (project) ({wakes}))", "{{project}}")],
            Style(looks.COUNT, decimals=1), stack=True, bars=True),
        lines_panel(
            Say(22, "Statements per second by tenant", About(
                "Statements that the ten busiest tenants execute, kept across suspends.",
                "it follows the tenants' days.", "A tenant that drops to 0 while others work: look at its endpoint.")),
            [Query(f"topk(10, sum by (tenant) ({calls}))", "{{tenant}}")], Style(looks.PER_SECOND)),
    )  # fmt: skip


def _figures() -> tuple[model.Panel, ...]:
    cost = paid_named(f"sum by (project_id) (neon_cost_month_to_date_usd{{{PROJECT}}})", of="project")
    started = ratio(
        f"sum by (project_id) ({per_second('neon_endpoint_wake_duration_seconds_total', ENDPOINT)})",
        f"sum by (project_id) ({per_second('neon_endpoint_wakes_total', ENDPOINT)})",
    )
    return (
        bars_panel(
            Say(23, "Dearest projects this month (estimated)", About(
                "List cost of the ten dearest projects in this calendar month (UTC), estimated up to the newest usage "
                "that Neon has published; the invoice may differ.",
                "in line with the budget.", "Open FinOps, choose the project, look for waste and unusual cost."),
                empty="nothing spent yet"),
            Query(f"sort_desc(topk(10, sum by (project) ({cost})))", "{{project}}"), Style(looks.USD, decimals=2)),
        lines_panel(
            Say(24, "Connections used, the fullest five", About(
                "Sessions over max_connections, of the five fullest computes.",
                "under 80 %.", "Open the endpoint: who holds them? Put a pooler in front, or close idle ones.")),
            [Query(f"topk(5, {endpoint_named(_USED)})", "{{project}} / {{branch}}")],
            Style(looks.RATIO, thresholds.CONNECTIONS_USED, 0), most=1),
        lines_panel(
            Say(25, "Mean cold start", About(
                "How long Neon took to start a compute, on average over the window, by project.",
                "under 3 s.", "Starts that become slower are Neon's to explain: check its status page."),
                empty="nothing woke up"),
            [Query(f"sum by (project) ({project_named(started)})", "{{project}}")],
            Style(looks.SECONDS, thresholds.COLD_START, 1), bars=True),
    )  # fmt: skip


def board() -> Board:
    """The dashboard."""
    return Board(
        "neonmeter-fleet", "neonmeter / Fleet overview",
        "Is anything wrong with our Neon computes, their cost or their schemas, and where?",
        ("datasource", "tenant", "region", "project_id", "branch_id", "endpoint_id"),
        (marks.WAKE, marks.PLAN, marks.PRICE, marks.RESTART, marks.APPROVED),
        (_tiles(), _attention(), _computes(), *_trends()),
    )  # fmt: skip
