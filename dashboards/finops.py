"""FinOps: what does it cost, will the month stay within its budgets, what is unusual, and what is wasted?"""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as model

from dashboards import looks, marks, thresholds
from dashboards.board import Board, Row
from dashboards.panels import About, Say, Style, bars_panel, lines_panel, named, stat_panel
from dashboards.queries import BRANCH, PROJECT, Query, or_zero, paid_named, ratio
from dashboards.tables import Column, table_panel

_TENANT = f'tenant=~"$tenant", {BRANCH}'
SMALL = "list prices, up to the newest usage that Neon has published; the invoice may differ"


def _tiles() -> Row:
    anomaly = f"sum(neon_cost_anomaly_impact_usd{{{PROJECT}}})"
    none = looks.words({"0": ("none", None)})
    tiles = (
        stat_panel(
            Say(1, "This month (estimated)", About(
                f"List cost of what is chosen in this calendar month (UTC), estimated: {SMALL}.",
                "in line with the budgets.", "See the budgets and the dearest branches below."),
                empty="nothing spent yet"),
            Query(f"sum(neon_cost_month_to_date_usd{{{BRANCH}}})"), Style(looks.USD, None, 2)),
        stat_panel(
            Say(2, "Forecast to budget", About(
                "What the month is expected to cost at its end against its budget; the worst budget counts. Estimated.",
                "under 100 %.", "Find the budget in the table; then what is unusual, then waste."), empty="no budget"),
            Query(f"max({ratio('neon_budget_forecast_usd', 'neon_budget_usd')})"),
            Style(looks.RATIO, thresholds.BUDGET_FORECAST, 0)),
        stat_panel(
            Say(3, "Unusual cost (estimated)", About(
                "What the unusual cost that goes on now has come to beyond the usual; estimated.",
                "none.", "See 'Unusual cost' below: its kind and component say where to look; `neonmeter anomalies`.")),
            Query(or_zero(anomaly)), Style(looks.USD, thresholds.ANOMALY_USD, 2, (none,))),
        stat_panel(
            Say(4, "Waste", About(
                "What is paid for and of no use, over cost, both a month at the present pace.",
                "under 10 %.", "Take the first line of 'Waste by rule'; `neonmeter waste` says how to end each.")),
            Query("max(neon_finops_waste_ratio)"), Style(looks.RATIO, thresholds.WASTE_RATIO, 1)),
        stat_panel(
            Say(5, "Not allocated", About(
                "Part of the month's cost that is shared by all, or whose cause was not observed.",
                "under 10 %.", "Add tenant rules; look at coverage by branch; `neonmeter cost --explain`.")),
            Query("max(neon_finops_unallocated_ratio)"), Style(looks.RATIO, thresholds.UNALLOCATED_RATIO, 1)),
        stat_panel(
            Say(6, "Age of usage", About(
                "Time since the end of the newest usage that was read; Neon publishes it by the hour, with a delay. "
                "Everything later is not in any cost here.",
                "under 6 hours.", "See the agent: does it read the consumption API?"), empty="no usage yet"),
            Query("max(time() - neon_billing_data_through_timestamp_seconds)"),
            Style(looks.SECONDS, thresholds.BILLING_AGE, 1)),
    )  # fmt: skip
    return Row(4, [(tile, 4) for tile in tiles])


def _budgets() -> Row:
    by = "max by (budget)"
    info = "* on (budget) group_left (scope, source) max by (budget, scope, source) (neon_budget_info)"
    queries = (
        f"{by} ({ratio('neon_budget_forecast_usd', 'neon_budget_usd')}) {info}", f"{by} (neon_budget_usd)",
        f"{by} (neon_budget_spent_usd)", f"{by} (neon_budget_forecast_usd)",
        f'{by} (neon_budget_burn_rate_ratio{{window="1d"}})',
        f"{by} (neon_budget_exhaustion_timestamp_seconds - time())",
    )  # fmt: skip
    columns = (
        Column("budget", "Budget", width=160),
        Column("scope", "For", width=75),
        Column("Value #A", "Forecast / limit", looks.RATIO, thresholds.BUDGET_FORECAST, width=140, decimals=0,
               fill=True),
        Column("Value #B", "Limit", looks.USD, width=90, decimals=2),
        Column("Value #C", "Spent", looks.USD, width=90, decimals=2),
        Column("Value #D", "Forecast", looks.USD, width=90, decimals=2),
        Column("Value #E", "Pace of a day", looks.RATIO, thresholds.BUDGET_BURN, width=120, decimals=0),
        Column("Value #F", "Used up in", looks.SECONDS, empty="lasts", decimals=0),
    )  # fmt: skip
    budgets = table_panel(
        Say(10, "Budgets (estimated)", About(
            "Each budget of this calendar month (UTC): what is spent, what the forecast says, and the pace of the last "
            f"day (100 % is exactly the budget). Estimated: {SMALL}.",
            "a forecast under 100 %.", "Over 120 %: find the cause below today; money spent does not come back."),
            "no budgets"),
        [Query(query, table=True) for query in queries], columns, sort="Forecast / limit")  # fmt: skip
    band = [
        Query(f'sum(neon_cost_forecast_usd{{percentile="{number}"}})', text)
        for number, text in (("10", "low (P10)"), ("50", "expected (P50)"), ("90", "high (P90)"))
    ]
    spent = Query("sum(neon_cost_month_to_date_usd)", "spent so far")
    limit = Query('max(neon_budget_usd * on (budget) group_left () max by (budget) (neon_budget_info{scope="org"}))',
                  "budget")  # fmt: skip
    forecast = lines_panel(
        Say(11, "Month so far and its forecast (estimated)", About(
            "What the organisation has spent this month, and what the month will have cost at its end: 8 of 10 "
            f"outcomes lie between low and high. Estimated: {SMALL}.",
            "high is below the budget.", "Expected above the budget: see what grew in the last days."),
            "no forecast yet"),
        [*band, spent, limit], Style(looks.USD, None, 2),
        overrides=[named("budget", color={"mode": "fixed", "fixedColor": looks.RED},
                         custom__lineStyle={"fill": "dash", "dash": [10, 6]}, custom__fillOpacity=0),
                   named("spent so far", color={"mode": "fixed", "fixedColor": "purple"}, custom__lineWidth=3)],
    )  # fmt: skip
    return Row(8, [(budgets, 14), (forecast, 10)], "Budgets and forecast")


def _spending() -> tuple[Row, ...]:
    hourly = f"sum by (component) (increase(neon_cost_usd_total{{{BRANCH}}}[1d]))"
    project = paid_named(f"sum by (project_id) (neon_cost_hourly_run_rate_usd{{{BRANCH}}})", of="project")
    tenants = f"topk(9, sum by (tenant) (neon_tenant_cost_month_to_date_usd{{{_TENANT}}}))"
    return (
        Row(8, [
            (lines_panel(
                Say(20, "Cost of the last 24 hours by component (estimated)", About(
                    f"What the 24 hours before each point cost, by line of the invoice. Estimated: {SMALL}.",
                    "flat, or growing as the business does.", "The band that grew says where to look."),
                    "no usage yet"),
                [Query(hourly, "{{component}}")], Style(looks.USD, None, 2), stack=True), 12),
            (lines_panel(
                Say(21, "Run-rate by project, USD an hour (estimated)", About(
                    "USD an hour over the newest 24 hours of usage, by project, without public transfer; estimated.",
                    "flat, or growing as the business does.", "A step: see 'Unusual cost', then the project's "
                    "branches."), "no usage yet"),
                [Query(f"sum by (project) ({project})", "{{project}}")], Style(looks.USD, None, 2), stack=True), 12),
        ], "Where it goes"),
        Row(9, [
            (_branches(), 14),
            (bars_panel(
                Say(23, "Tenants this month (estimated)", About(
                    "Cost by tenant in this calendar month; __idle__ is awake and unused, __shared__ is everybody's, "
                    f"__unattributed__ was not observed. They sum to the branches. Estimated: {SMALL}.",
                    "__idle__ is not the largest.", "Large __idle__: see waste. `neonmeter cost --explain` shows how."),
                    "no tenants"),
                Query(f"sort_desc({tenants})", "{{tenant}}"), Style(looks.USD, None, 2)), 10),
        ]),
    )  # fmt: skip


def _branches() -> model.Panel:
    by = "sum by (project_id, branch_id)"
    month = f"{by} (neon_cost_month_to_date_usd{{{BRANCH}}})"
    queries = (
        f"topk(20, {paid_named(month)})",
        f"{by} (neon_cost_hourly_run_rate_usd{{{BRANCH}}}) * 24",
        f"max by (project_id, branch_id) (neon_cost_coverage_ratio{{{BRANCH}}})",
        f'{by} (neon_waste_usd{{{BRANCH}}})',
    )  # fmt: skip
    columns = (
        Column("branch", "Branch", width=150),
        Column("project", "Project", width=130),
        Column("Value #A", "This month", looks.USD, decimals=2),
        Column("Value #B", "A day now", looks.USD, decimals=2),
        Column("Value #C", "Cause known", looks.RATIO, decimals=0),
        Column("Value #D", "Waste a month", looks.USD, thresholds.ANOMALY_USD, decimals=2),
    )
    say = Say(22, "Dearest branches (estimated)", About(
        "The 20 dearest branches of this calendar month, what they cost a day at the present pace, how much of their "
        f"compute has a known cause, and what could be saved. Estimated: {SMALL}.",
        "the dearest are production.", "A row opens the branch's computes."), "nothing spent yet")  # fmt: skip
    link = looks.link("Open its computes", "neonmeter-endpoint",
                      {"project_id": "project_id", "branch_id": "branch_id"})  # fmt: skip
    return table_panel(say, [Query(query, table=True) for query in queries], columns, sort="This month",
                       hidden=("project_id", "branch_id"), links=(link,))  # fmt: skip


def _better() -> Row:
    unusual = f"sum by (project_id, kind, component) (neon_cost_anomaly_impact_usd{{{PROJECT}}} > 0)"
    waste = f"sort_desc(sum by (rule) (neon_waste_usd{{{BRANCH}}}))"
    columns = (
        Column("project", "Project", width=150),
        Column("kind", "Kind", width=110),
        Column("component", "Component", width=130),
        Column("Value", "Beyond the usual", looks.USD, thresholds.ANOMALY_USD, decimals=2, fill=True),
    )
    return Row(8, [
        (table_panel(
            Say(30, "Unusual cost (estimated)", About(
                "Cost that is unusual now and what it has come to: spike, step, slow_leak or stuck_awake. Estimated.",
                "empty.", "`neonmeter anomalies` names branch and tenant."), "nothing unusual"),
            [Query(paid_named(unusual, of="project"), table=True)], columns, sort="Beyond the usual",
            hidden=("project_id",)), 10),
        (bars_panel(
            Say(31, "Waste by rule, USD a month (estimated)", About(
                "USD a month that ending each kind of waste saves at the present pace; no dollar is in two rules. "
                "Estimated.",
                "empty.", "`neonmeter waste` shows the finding, its evidence and the command."), "no waste found"),
            Query(waste, "{{rule}}"), Style(looks.USD, None, 2)), 8),
        (bars_panel(
            Say(32, "Unit costs, USD (estimated)", About(
                "The month's whole cost so far per tenant, thousand queries, GB-month stored and active hour. "
                "Estimated.",
                "falling while the business grows.", "Rising: compare with the month before in `neonmeter report`."),
                "not known yet"),
            Query("max by (per) (neon_unit_cost_usd)", "{{per}}"), Style(looks.USD, None, 4)), 6),
    ], "What could be better")  # fmt: skip


def _trust() -> Row:
    key = "neon_finops_{}_ratio".format
    figures = [Query(f"max({key(name)})", text) for name, text in (
        ("idle", "awake, nobody worked"), ("waste", "waste"), ("unallocated", "not allocated"),
        ("anomaly_cost", "unusual"))]  # fmt: skip
    left = "min by (project) (neon_transfer_allowance_left_bytes * on (project_id) group_left (project) {})"
    names = f'max by (project_id, project) (neon_project_info{{{PROJECT}, region_id=~"$region"}})'
    sure = "avg by (confidence) (neon_cost_confidence_ratio)"
    return Row(7, [
        (lines_panel(
            Say(40, "Key figures", About(
                "Parts of the month's cost: awake while nobody worked, waste, not allocated, unusual.",
                "waste and not allocated under 10 %.", "docs/waste.md and docs/tenancy.md say how to lower each."),
                "not known yet"),
            figures, Style(looks.RATIO, None, 1)), 8),
        (bars_panel(
            Say(41, "Free transfer left", About(
                "Public transfer of this month that is still free, by project; after it each GB is charged.",
                "enough for the days left.", "Little left: read less, or use private networking."), "not known yet"),
            Query(f"sort({left.format(names)})", "{{project}}"), Style(looks.BYTES, None, 0)), 5),
        (bars_panel(
            Say(42, "How the split is known", About(
                "Share of the month's cost that is split to tenants exactly, by measure, by sample, or estimated.",
                "mostly exact and measured.", "Much that is estimated: is pg_stat_statements on?"), "no cost yet"),
            Query(f"sort_desc({sure})", "{{confidence}}"), Style(looks.RATIO, None, 0), most=1), 5),
        (bars_panel(
            Say(43, "Forecast error", About(
                "By how much past forecasts missed (WAPE).",
                "under 12 %.", "Over 25 %: plan with the P90, not with the P50."), "not tested yet"),
            Query("max by (org_id) (neon_cost_forecast_error_ratio)", "forecast error"),
            Style(looks.RATIO, thresholds.FORECAST_ERROR, 0), most=0.5), 6),
    ], "How far to trust it")  # fmt: skip


def board() -> Board:
    """The dashboard."""
    return Board(
        "neonmeter-finops", "neonmeter / FinOps",
        "What does it cost, will the month stay within its budgets, what is unusual, what is wasted? All estimated at "
        "list prices.",
        ("datasource", "tenant", "region", "project_id", "branch_id"),
        (marks.PLAN, marks.PRICE, marks.RESTART),
        (_tiles(), _budgets(), *_spending(), _better(), _trust()),
        since="now-7d", refresh="5m",
    )  # fmt: skip
