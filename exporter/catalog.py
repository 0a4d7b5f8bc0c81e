"""The whole catalogue: every metric of every room, joined explicitly, so that nothing is declared twice."""

from __future__ import annotations

from collectors import SQL_METRICS, pgbouncer
from collectors.metric import Metric, catalogue
from collectors.neon import inventory, operations
from exporter import costs, durable, readings, selfmetrics

GROUPS: tuple[tuple[str, tuple[Metric, ...]], ...] = (
    ("Neon inventory", inventory.METRICS),
    ("Neon operations", operations.METRICS),
    ("Cost", costs.METRICS),
    ("Visits", readings.METRICS),
    ("Statements", SQL_METRICS[0]),
    ("Statements, coverage", durable.METRICS),
    ("Replication", SQL_METRICS[1]),
    ("Databases", SQL_METRICS[2]),
    ("Activity", SQL_METRICS[3]),
    ("Settings", SQL_METRICS[4]),
    ("PgBouncer", pgbouncer.METRICS),
    ("The agent itself", selfmetrics.METRICS),
)
"""Metrics by heading, in the order of the documentation."""

CATALOG = catalogue(*(metrics for _, metrics in GROUPS))
"""Every metric by name."""
