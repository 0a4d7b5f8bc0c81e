"""The whole catalogue: every metric of every room, joined explicitly, so that nothing is declared twice."""

from __future__ import annotations

from collectors import ALL, SQL_METRICS, migrations, pgbouncer, schemas
from collectors.metric import Metric, catalogue
from collectors.neon import inventory, operations
from exporter import selfmetrics
from exporter.awake import metrics as awake_metrics
from exporter.collecting import readings
from exporter.drift import metrics as drift_metrics
from exporter.durable import statements as durable
from exporter.finops.close import books
from exporter.finops.costs import costs
from exporter.finops.outlook import metrics as outlook_metrics
from exporter.finops.savings import kpis, waste
from exporter.posture import metrics as posture_metrics
from exporter.recovery import metrics as recovery_metrics

GROUPS: tuple[tuple[str, tuple[Metric, ...]], ...] = (
    ("Neon inventory", inventory.METRICS),
    ("Neon operations", operations.METRICS),
    ("Cost", costs.METRICS),
    ("Budgets and closed months", books.METRICS),
    ("Outlook", outlook_metrics.METRICS),
    ("Waste", waste.METRICS),
    ("Key figures", kpis.METRICS),
    ("Visits", readings.METRICS),
    ("Who keeps a compute awake", awake_metrics.METRICS),
    *((name.capitalize(), metrics) for name, metrics in zip(ALL, SQL_METRICS, strict=True)),
    ("Schemas", schemas.METRICS),
    ("Migrations", migrations.METRICS),
    ("Drift", drift_metrics.METRICS),
    ("Posture", posture_metrics.METRICS),
    ("Recovery", recovery_metrics.METRICS),
    ("Statements, coverage", durable.METRICS),
    ("PgBouncer", pgbouncer.METRICS),
    ("The agent itself", selfmetrics.METRICS),
)
"""Metrics by heading, in the order of the documentation."""

CATALOG = catalogue(*(metrics for _, metrics in GROUPS))
"""Every metric by name."""
