"""What it costs: a week of cost by branch and tenant, a budget that is too small, a forecast, waste, key figures."""

from __future__ import annotations

from tests.dashboards.seeded.exposition import END, Exposition, daily
from tests.dashboards.seeded.places import BRANCHES, HOUR, ORG, PROJECTS, Place

MONTH_BEGAN = 1_785_542_400  # 2026-08-01
USD_PER_HOUR = {"compute": 0.16, "root_storage": 0.02, "child_storage": 0.01, "instant_restore": 0.015,
                "public_transfer": 0.004}  # fmt: skip
RUNAWAY_SINCE = END - 30 * HOUR
REPRICED_AT = END - 2 * HOUR


def _pace(place: Place, component: str, now: int) -> float:
    """USD an hour."""
    own = {"root_storage": place.branch == "main", "child_storage": place.branch != "main"}.get(component, True)
    if not own:
        return 0.0
    usd = USD_PER_HOUR[component] * (place.cu * 4) * (1 if place.branch == "main" else 0.3)
    if component != "compute":
        return usd
    runaway = 3.4 if place.project == "analytics" and place.branch == "main" and now > RUNAWAY_SINCE else 1.0
    return usd * daily(1.0)(now) * runaway


def put_money(out: Exposition) -> None:
    for place in BRANCHES:
        for component in USD_PER_HOUR:
            if _pace(place, component, END):
                _put_cost(out, place, component)
        out.put("neon_cost_hourly_run_rate_usd", lambda now, place=place: sum(
            _pace(place, component, now) for component in USD_PER_HOUR), place.of_branch, long=True)  # fmt: skip
        out.put("neon_cost_coverage_ratio", 0.8 - 0.05 * place.number, place.of_branch)
        for confidence, share in (("exact", 0.7), ("measured", 0.2), ("sampled", 0.06), ("estimated", 0.04)):
            out.put("neon_cost_confidence_ratio", share, {**place.of_branch, "confidence": confidence})
    _put_budgets(out)
    _put_outlook(out)
    _put_waste(out)
    _put_figures(out)


def _put_cost(out: Exposition, place: Place, component: str) -> None:
    labels = {**place.of_branch, "component": component}
    monthly = lambda now: _pace(place, component, END - 5 * 86400) * (now - MONTH_BEGAN) / HOUR  # noqa: E731
    extra = lambda now: max(0, now - RUNAWAY_SINCE) / HOUR * (  # noqa: E731
        _pace(place, component, END) - _pace(place, component, END - 5 * 86400))  # fmt: skip
    month = lambda now: max(0.01, monthly(now) + extra(now))  # noqa: E731
    out.put("neon_cost_usd_total", lambda now: _pace(place, component, now) / HOUR, labels, long=True)
    out.put("neon_cost_adjustments_usd_total", 0, {**labels, "direction": "down"})
    out.put("neon_cost_month_to_date_usd", month, labels, long=True)
    shares = [*((tenant, 0.6 / len(place.tenants)) for tenant in place.tenants), ("__idle__", 0.3), ("__shared__", 0.1)]
    for tenant, share in shares:
        whose = {**labels, "tenant": tenant}
        out.put("neon_tenant_cost_month_to_date_usd", lambda now, share=share: share * month(now), whose)
        out.put("neon_tenant_cost_usd_total", lambda now, share=share: share * _pace(place, component, now) / HOUR,
                whose)  # fmt: skip


def _put_budgets(out: Exposition) -> None:
    for budget, scope, source, usd, spent, forecast in (
        ("analytics", "project", "settings", 1500.0, 1290.0, 2310.0),
        ("bookshop", "project", "settings", 1100.0, 630.0, 990.0),
        ("whole organisation", "org", "neon", 4500.0, 2373.0, 4150.0),
    ):
        labels = {"budget": budget}
        so_far = lambda now, spent=spent: spent * (now - MONTH_BEGAN) / (END - MONTH_BEGAN)  # noqa: E731
        even = lambda now, usd=usd: usd * (now - MONTH_BEGAN) / (31 * 86400)  # noqa: E731
        out.put("neon_budget_info", 1, {**labels, "scope": scope, "source": source}, long=True)
        out.put("neon_budget_usd", usd, labels, long=True)
        out.put("neon_budget_spent_usd", so_far, labels)
        out.put("neon_budget_expected_usd", even, labels)
        out.put("neon_budget_forecast_usd", forecast, labels)
        for window, rate in (("1h", 2.9), ("6h", 2.6), ("1d", 2.4), ("3d", 1.4)):
            out.put("neon_budget_burn_rate_ratio", rate if budget == "analytics" else 0.9,
                    {**labels, "window": window})  # fmt: skip
    out.put("neon_budget_exhaustion_timestamp_seconds", END + 47 * HOUR, {"budget": "analytics"})


def _put_outlook(out: Exposition) -> None:
    for percentile, usd in (("10", 3700.0), ("50", 4150.0), ("90", 4720.0)):
        out.put("neon_cost_forecast_usd", usd, {"org_id": ORG, "percentile": percentile}, long=True)
        for place in PROJECTS:
            part = {**place.of_project, "percentile": percentile}
            out.put("neon_project_cost_forecast_usd", usd * place.cu / 4, part)
    out.put("neon_cost_forecast_error_ratio", 0.09, {"org_id": ORG})
    out.put("neon_cost_forecast_coverage_ratio", 0.82, {"org_id": ORG})
    out.put("neon_cost_forecast_low_confidence", 0, {"org_id": ORG})
    for place in PROJECTS:
        unusual = place.project == "analytics"
        labels = {**place.of_project, "kind": "step", "component": "compute"}
        active = lambda now, unusual=unusual: float(unusual and now > RUNAWAY_SINCE)  # noqa: E731
        out.put("neon_cost_anomaly_active", active, labels)
        out.put("neon_cost_anomaly_impact_usd", lambda now, unusual=unusual: unusual * max(0.0, (now - RUNAWAY_SINCE)
                / HOUR * 2.1), labels)  # fmt: skip


def _put_waste(out: Exposition) -> None:
    found = {"never_suspended": 96.0, "slot_keeps_awake": 61.0, "idle_branch": 22.5, "history_window": 18.0,
             "autoscale_minimum": 12.0, "no_expiry": 6.4, "diverged_child": 3.1}  # fmt: skip
    for number, (rule, usd) in enumerate(found.items()):
        place = BRANCHES[number % len(BRANCHES)]
        out.put("neon_waste_usd", usd, {**place.of_branch, "rule": rule})
        out.put("neon_waste_findings", 1 + number % 3, {"rule": rule})
        out.put("neon_waste_unknown", float(number == 2), {"rule": rule})


def _put_figures(out: Exposition) -> None:
    for name, value in {
        "neon_finops_allocated_ratio": 0.91, "neon_finops_unallocated_ratio": 0.09, "neon_finops_idle_ratio": 0.3,
        "neon_finops_tag_compliance_ratio": 0.96, "neon_finops_forecast_accuracy_ratio": 0.9,
        "neon_finops_anomaly_cost_ratio": 0.048, "neon_finops_waste_ratio": 0.12,
        "neon_finops_agent_cost_ratio": 0.0004, "neon_billing_data_through_timestamp_seconds": END - 2.5 * HOUR,
    }.items():  # fmt: skip
        out.put(name, value, {"org_id": ORG}, long=True)
    for per, usd in {"tenant": 188.0, "thousand_queries": 0.0021, "stored_gb_month": 0.42, "active_hour": 0.31}.items():
        out.put("neon_unit_cost_usd", usd, {"org_id": ORG, "per": per})
    for number, place in enumerate(PROJECTS):
        out.put("neon_transfer_allowance_left_bytes", 500e9 - 120e9 * number, place.of_project)
        out.put("neon_transfer_next_gigabyte_usd", 0, place.of_project)
        out.put("neon_branch_allowance_left", 24 - 3 * number, place.of_project)
        out.put("neon_history_day_usd", 0.4 + number, place.of_project)
    out.put("neon_cost_closed_month_timestamp_seconds", MONTH_BEGAN)
    for component, usd in (("compute", 0.0), ("root_storage", -0.02), ("public_transfer", 1.1)):
        out.put("neon_cost_reconciliation_variance_usd", usd, {"org_id": ORG, "component": component})
    for valid_from, old in (("2026-03-20", True), ("2026-08-20", False)):
        labels = {"plan": "scale_v3", "valid_from": valid_from, "source": "pricing page"}
        out.put("neon_rate_card_info", lambda now, old=old: 1 if (now < REPRICED_AT) is old else None, labels)
    out.put("neon_rate_card_age_seconds", 21 * 86400, {"plan": "scale_v3"})
