"""The catalogue of every metric, and what is generated from it: docs/metrics.md and the README's table of sources.

Nothing is listed twice: a SQL collector's title, source and metrics stand in its class, those of a feature in its
`exporter.feature.feature.Feature.metrics`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Final

from collectors.base import SqlCollector
from collectors.metric import Metric, catalogue
from collectors.neon import inventory, operations
from collectors.pgbouncer import console as pgbouncer
from collectors.postgres.database.schemas import SchemasCollector
from collectors.registry import COLLECTORS
from exporter.awake.feature import AwakeFeature
from exporter.core import selfmetrics
from exporter.cost.feature import CostFeature
from exporter.drift.feature import DriftFeature
from exporter.feature.feature import MetricGroup
from exporter.posture.feature import PostureFeature
from exporter.recovery.feature import RecoveryFeature
from exporter.sampling import readings
from exporter.sampling.counters import statements as counters


def _of_collectors(collectors: Iterable[type[SqlCollector]]) -> Iterable[MetricGroup]:
    return (MetricGroup(collector.title, collector.source, collector.metrics) for collector in collectors)


GROUPS: Final[tuple[MetricGroup, ...]] = (
    MetricGroup("Neon inventory", "Neon API: projects, branches, endpoints", inventory.METRICS),
    MetricGroup("Neon operations", "Neon API: operations (start and suspend)", operations.METRICS),
    *CostFeature.metrics,
    MetricGroup("Visits", "our own visits", readings.METRICS),
    *AwakeFeature.metrics,
    *_of_collectors([*COLLECTORS, SchemasCollector]),
    *DriftFeature.metrics,
    *PostureFeature.metrics,
    *RecoveryFeature.metrics,
    MetricGroup("Statements, coverage", "pg_stat_statements", counters.METRICS),
    MetricGroup("PgBouncer", "SHOW STATS, POOLS, DATABASES, LISTS, CONFIG, VERSION", pgbouncer.METRICS),
    MetricGroup("The agent itself", "this program", selfmetrics.METRICS),
)
"""All metrics by heading, in the order of the documentation."""

CATALOG: Final = catalogue(*(group.metrics for group in GROUPS))
"""Every metric by name."""


def as_markdown() -> str:
    """docs/metrics.md: a table of metrics under each heading."""
    lines = [
        "# Metrics",
        "",
        f"Generated from the catalogue by `make docs`: {len(CATALOG)} families. A name's prefix gives its source:",
        "`pg_` Postgres, `pgbouncer_` a self-run PgBouncer, `neon_` Neon's control plane and what we compute,",
        "`neonmeter_` this program. *Durable* counters are our own monotone totals: they survive suspends.",
        "*Most* limits the series per target; series over it are counted in `neonmeter_series_truncated`.",
    ]
    for group in GROUPS:
        lines += ["", f"## {group.title}", "", f"Source: {group.source}.", ""]
        lines += ["| metric | kind | labels | most | meaning |", "|---|---|---|---|---|"]
        lines += [_row(metric) for metric in group.metrics]
    return "\n".join(lines) + "\n"


def _row(metric: Metric) -> str:
    kind = f"durable {metric.kind.value}" if metric.durable else metric.kind.value
    labels = ", ".join(f"`{label}`" for label in metric.all_labels) or "-"
    return f"| `{metric.name}` | {kind} | {labels} | {metric.max_series} | {metric.help} |"


def as_json() -> str:
    """The catalogue as data, for `neonmeter metrics --format json`."""
    plain = [
        {
            "name": metric.name,
            "kind": metric.kind.value,
            "unit": metric.unit.value,
            "scope": metric.scope.name.lower(),
            "labels": list(metric.all_labels),
            "help": metric.help,
            "stability": metric.stability,
            "worse": metric.worse,
            "max_series": metric.max_series,
            "durable": metric.durable,
        }
        for metric in CATALOG.values()
    ]
    return json.dumps(plain, indent=2) + "\n"


def sources_table() -> str:
    """The README's table: what is read from where, and the number of metric families for it."""
    lines = ["| what | read from | families |", "|---|---|---|"]
    lines += [f"| {group.title} | {group.source} | {len(group.metrics)} |" for group in GROUPS]
    return "\n".join(lines) + "\n"
