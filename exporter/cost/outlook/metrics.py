"""The metrics of what a month will cost and of what is unusual: names, units and help, for the catalogue.

``exporter.cost.outlook.outlook`` fills them. The label is ``percentile``, since ``quantile`` belongs to summaries.
"""

from __future__ import annotations

from collectors.metric import Kind, Metric, Scope, Unit

FORECAST = Metric(
    "neon_cost_forecast_usd",
    Kind.GAUGE,
    Unit.USD,
    Scope.ORG,
    "Forecast of the cost of this calendar month (UTC): 8 of 10 outcomes lie between 10 and 90.",
    ("percentile",),
    worse="up",
    max_series=3,
)
PROJECT_FORECAST = Metric(
    "neon_project_cost_forecast_usd",
    Kind.GAUGE,
    Unit.USD,
    Scope.PROJECT,
    "As neon_cost_forecast_usd, for the most expensive projects; over all projects P50 sums to the organisation's.",
    ("percentile",),
    worse="up",
    max_series=3,
)
ERROR = Metric(
    "neon_cost_forecast_error_ratio",
    Kind.GAUGE,
    Unit.RATIO,
    Scope.ORG,
    "Error of past forecasts over as many days, relative to the outcome (WAPE); absent before one could be tested.",
    worse="up",
    max_series=1,
)
COVERAGE = Metric(
    "neon_cost_forecast_coverage_ratio",
    Kind.GAUGE,
    Unit.RATIO,
    Scope.ORG,
    "How often the outcome lay between the percentiles 10 and 90 of a past forecast; 0.8 is right.",
    max_series=1,
)
LOW_CONFIDENCE = Metric(
    "neon_cost_forecast_low_confidence",
    Kind.GAUGE,
    Unit.NONE,
    Scope.ORG,
    "1 while there are under 14 days of usage: the forecast is the run-rate.",
    worse="up",
    max_series=1,
)
ACTIVE = Metric(
    "neon_cost_anomaly_active",
    Kind.GAUGE,
    Unit.NONE,
    Scope.PROJECT,
    "Branches whose cost is unusual now, by kind (spike, step, slow_leak, stuck_awake) and component.",
    ("kind", "component"),
    worse="up",
    max_series=32,
)
IMPACT = Metric(
    "neon_cost_anomaly_impact_usd",
    Kind.GAUGE,
    Unit.USD,
    Scope.PROJECT,
    "Cost above the usual of the anomalies that are ongoing.",
    ("kind", "component"),
    worse="up",
    max_series=32,
)
METRICS: tuple[Metric, ...] = (FORECAST, PROJECT_FORECAST, ERROR, COVERAGE, LOW_CONFIDENCE, ACTIVE, IMPACT)
