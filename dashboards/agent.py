"""neonmeter itself: is what it says fresh, does it cost anything, and does it ever disturb a compute?"""

from __future__ import annotations

from dashboards import looks, marks, thresholds
from dashboards.board import Board, Row
from dashboards.panels import About, Say, Style, bars_panel, lines_panel, stat_panel
from dashboards.queries import Query, or_zero, per_second, ratio
from dashboards.tables import Column, table_panel

_AT = 'instance=~"$instance"'
_NOT_WELL = 'status!="ok", '
_NOT_OK = 'code!~"2..", '


def _own(metric: str, more: str = "") -> str:
    return f"{metric}{{{more}{_AT}}}"


def _rate(metric: str, more: str = "") -> str:
    return per_second(metric, f"{more}{_AT}")


def _age(metric: str) -> str:
    return f"max(time() - {_own(metric)})"


def _tiles() -> Row:
    none = looks.words({"0": ("none", None)})
    errors = ratio(
        or_zero(f"sum({_rate('neonmeter_api_requests_total', _NOT_OK)})"),
        f"sum({_rate('neonmeter_api_requests_total')})",
    )
    tiles = (
        stat_panel(
            Say(1, "Heartbeat", About(
                "Time since the collecting loop last turned, in the worst agent.",
                "a few seconds.", "Look at /healthz and the log; restart it when it hangs."), empty="no agent"),
            Query(_age("neonmeter_heartbeat_timestamp_seconds")),
            Style(looks.SECONDS, thresholds.HEARTBEAT_AGE, 0)),
        stat_panel(
            Say(2, "Age of the inventory", About(
                "Time since Neon's inventory was last read whole: everything else follows from it.",
                "under 15 minutes.", "See the requests to Neon's API below: 401 is the key, 429 is too often."),
                empty="never read"),
            Query(_age("neonmeter_inventory_last_success_timestamp_seconds")),
            Style(looks.SECONDS, thresholds.INVENTORY_AGE, 0)),
        stat_panel(
            Say(3, "Wakes that we caused", About(
                "Times that neonmeter itself woke a compute in the time shown. It must be none, ever.",
                "none.", "Report it: rule R8 has already kept the agent away from that compute for a day.")),
            Query(or_zero("sum(increase(neonmeter_endpoint_caused_wakes_total{" + _AT + "}[$__range]))")),
            Style(looks.COUNT, thresholds.CAUSED_WAKES, 0, (none,))),
        stat_panel(
            Say(4, "API errors", About(
                "Part of the requests to Neon's API that were not answered with 2xx, in the last minutes.",
                "under 1 %.", "The panel of requests names the code: 401, 403 the key; 429 the pace; 5xx Neon."),
                empty="no requests"),
            Query(errors), Style(looks.RATIO, thresholds.API_ERROR_RATIO, 2)),
        stat_panel(
            Say(5, "Targets left alone", About(
                "Computes and poolers that are not asked for a while after repeated failures (open breakers).",
                "none.", "The table below names them by status: timeout, auth, unreachable.")),
            Query(f"sum({_own('neonmeter_breakers_open')})"),
            Style(looks.COUNT, thresholds.BREAKERS_OPEN, 0, (none,))),
        stat_panel(
            Say(6, "Series left out", About(
                "Series that were cut because a family had more than its bound.",
                "none.", "Raise the bound or narrow what is exported; the metric names itself in the table."),
                empty="none"),
            Query(or_zero(f"sum({_own('neonmeter_series_truncated')})")),
            Style(looks.COUNT, thresholds.SERIES_TRUNCATED, 0, (none,))),
    )  # fmt: skip
    return Row(4, [(tile, 4) for tile in tiles])


def _freshness() -> Row:
    columns = (
        Column("target", "Target", width=220),
        Column("collector", "Collector", width=140),
        Column("status", "Status", width=130),
        Column("Value #B", "Last success ago", looks.SECONDS, thresholds.VISIT_AGE, decimals=0),
        Column("Value #C", "Took", looks.SECONDS, decimals=2),
    )
    bad = _own("neonmeter_collector_status", 'status!~"ok|asleep|no_data", ')
    keys = "collector, target"
    wanted = f"and on ({keys}) {bad}"
    ages = f"max by ({keys}) (time() - {_own('neonmeter_collector_last_success_timestamp_seconds')}) {wanted}"
    took = f"max by ({keys}) ({_own('neonmeter_collector_duration_seconds')}) {wanted}"
    table = table_panel(
        Say(10, "Collectors that do not succeed", About(
            "Each collector whose last attempt did not succeed, at which target, why, and since when. Suspended "
            "computes are not among them.",
            "empty.", "timeout: the compute is overloaded; auth and no_privilege: see docs/permissions.sql."),
            "every collector succeeds"),
        [Query(f"max by ({keys}, status) ({bad})", table=True), Query(ages, table=True), Query(took, table=True)],
        columns, sort="Last success ago")  # fmt: skip
    stamps = {"inventory": "inventory_last_success", "consumption": "consumption_last_success",
              "snapshot": "publish_last"}  # fmt: skip
    ages_of = [Query(_age(f"neonmeter_{name}_timestamp_seconds"), text) for text, name in stamps.items()]
    return Row(8, [
        (table, 14),
        (lines_panel(
            Say(11, "Age of what is shown", About(
                "Time since inventory, consumption and snapshot were last made.",
                "inventory under 15 minutes, consumption under an hour, the snapshot under a minute.",
                "What grows in a straight line has stopped: see rounds below."), "no agent"),
            ages_of, Style(looks.SECONDS, thresholds.INVENTORY_AGE)), 10),
    ], "Is it fresh?")  # fmt: skip


def _neon() -> Row:
    requests = f"sum by (code) ({_rate('neonmeter_api_requests_total')})"
    mean = ratio(f"sum by (route) ({_rate('neonmeter_api_request_seconds_total')})",
                 f"sum by (route) ({_rate('neonmeter_api_requests_total')})")  # fmt: skip
    visits = f"sum by (rule, status) ({_rate('neonmeter_visits_total')})"
    return Row(8, [
        (lines_panel(
            Say(20, "Requests to Neon's API by answer", About(
                "Requests per second by HTTP status; 'none' was never answered.",
                "200 only.", "401, 403: the key. 429: another client uses the same limit, or the pace is too high."),
                "no requests"),
            [Query(requests, "{{code}}")], Style(looks.PER_SECOND), stack=True), 8),
        (lines_panel(
            Say(21, "Mean time of a request by route", About(
                "How long Neon's API took to answer, by route.",
                "under a second.", "Slow answers delay the inventory: see its age above."), "no requests"),
            [Query(mean, "{{route}}")], Style(looks.SECONDS)), 8),
        (lines_panel(
            Say(22, "Visits, and why there was none", About(
                "Decisions on visits per second: visited (rule none) by status, and kept away by rule R1 to R10.",
                "most are kept away; visits end ok.", "Many timeouts: see the collectors above."), "no decisions"),
            [Query(visits, "{{rule}} {{status}}")], Style(looks.PER_SECOND), stack=True), 8),
    ], "Towards Neon")  # fmt: skip


def _work() -> Row:
    rounds = f"sum by (exported_job, status) ({_rate('neonmeter_rounds_total', _NOT_WELL)})"
    missed = f"sum by (exported_job) ({_rate('neonmeter_rounds_missed_total')})"
    targets = f"sum by (scope, state) ({_own('neonmeter_targets')})"
    return Row(8, [
        (lines_panel(
            Say(30, "Rounds that failed or were missed", About(
                "Rounds per hour of each job that did not end ok, and those that were missed because one was still "
                "running.",
                "none.", "failed: the log says why. missed: the round takes longer than its interval."),
                "every round ends ok"),
            [Query(f"3600 * {rounds}", "{{exported_job}} {{status}}"),
             Query(f"3600 * {missed}", "{{exported_job}} missed")],
            Style(looks.COUNT, decimals=1)), 8),
        (lines_panel(
            Say(31, "Lag of the event loop", About(
                "How late the loop woke up at its worst since the last publish.",
                "under 0.1 s.", "Seconds: the machine is too small, or something blocks; take a profile."), "no agent"),
            [Query(f"max by (instance) ({_own('neonmeter_event_loop_lag_seconds')})", "{{instance}}")],
            Style(looks.SECONDS, thresholds.LOOP_LAG)), 8),
        (bars_panel(
            Say(32, "Targets by state", About(
                "What is watched, by kind and state.",
                "what you expect to have; asleep is fine.", "Missing ones: is the key limited to some projects?"),
                "no targets"),
            Query(f"sort_desc({targets})", "{{scope}} {{state}}"), Style(looks.COUNT, decimals=0)), 8),
    ], "Its work")  # fmt: skip


def _price() -> Row:
    awake = f"sum({_rate('neonmeter_added_awake_seconds_total')})"
    usd = f"sum(increase({_own('neonmeter_added_awake_usd_total')}[$__range]))"
    cpu = f"sum by (instance) ({_rate('neonmeter_process_cpu_seconds_total')})"
    return Row(8, [
        (stat_panel(
            Say(40, "Cost (estimated)", About(
                "What watching cost in the time shown: at most the awake time that visits added, estimated at list "
                "prices.",
                "cents.", "See docs/observer-effect.md: the bound, and how to visit less."), empty="nothing"),
            Query(usd), Style(looks.USD, None, 4)), 4),
        (lines_panel(
            Say(41, "Awake time that visits added", About(
                "Upper bound of the seconds in each second that computes stayed awake because of visits.",
                "under 0.02 a compute.", "Raise the interval of the sampling, or see docs/observer-effect.md."),
                "nothing added"),
            [Query(awake, "added")], Style(looks.RATIO, decimals=2)), 5),
        (lines_panel(
            Say(42, "Processor", About(
                "CPU seconds per second that the agent used.",
                "under 0.2 for a hundred computes.", "More: fewer series, longer intervals, or shards."), "no agent"),
            [Query(cpu, "{{instance}}")], Style(looks.COUNT, decimals=2)), 5),
        (lines_panel(
            Say(43, "Memory", About(
                "Resident memory of the agent.",
                "flat after an hour.", "Growing for days: report it with /debug figures."), "no agent"),
            [Query(f"max by (instance) ({_own('neonmeter_process_resident_memory_bytes')})", "{{instance}}")],
            Style(looks.BYTES)), 5),
        (lines_panel(
            Say(44, "Series", About(
                "Series in the snapshot.",
                "flat while the fleet is.", "A jump: which family? topk(10, count by (__name__) ({__name__=~'.+'}))"),
                "no agent"),
            [Query(f"sum by (instance) ({_own('neonmeter_series')})", "{{instance}}")],
            Style(looks.COUNT, decimals=1)), 5),
    ], "What it costs")  # fmt: skip


def board() -> Board:
    """The dashboard."""
    return Board(
        "neonmeter-self", "neonmeter / neonmeter itself",
        "Is what neonmeter says fresh, what does watching cost, and does it ever disturb a compute?",
        ("datasource", "instance"),
        (marks.RESTART,),
        (_tiles(), _freshness(), _neon(), _work(), _price()),
    )  # fmt: skip
