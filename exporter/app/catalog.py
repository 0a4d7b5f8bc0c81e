"""The whole catalogue: every metric of every room, joined explicitly, so that nothing is declared twice."""

from __future__ import annotations

from collectors.metric import Metric, catalogue
from collectors.neon import inventory, operations
from collectors.pgbouncer import console as pgbouncer
from collectors.postgres.database import migrations, schemas
from collectors.registry import ALL, SQL_METRICS
from exporter.awake import metrics as awake_metrics
from exporter.core import selfmetrics
from exporter.cost.allocation import costs
from exporter.cost.closing import budget_collector as ledger_writer
from exporter.cost.outlook import metrics as outlook_metrics
from exporter.cost.savings import kpis, waste
from exporter.drift import metrics as drift_metrics
from exporter.posture import metrics as posture_metrics
from exporter.recovery import metrics as recovery_metrics
from exporter.sampling import readings
from exporter.sampling.counters import statements as durable

GROUPS: tuple[tuple[str, tuple[Metric, ...]], ...] = (
    ("Neon inventory", inventory.METRICS),
    ("Neon operations", operations.METRICS),
    ("Cost", costs.METRICS),
    ("Budgets and closed months", ledger_writer.METRICS),
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
