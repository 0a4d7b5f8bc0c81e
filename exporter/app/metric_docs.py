"""The catalogue told to people and programs: docs/metrics.md, `neonmeter metrics`, the README's table of collectors."""

from __future__ import annotations

import json

from collectors.metric import Metric
from exporter.app.catalog import CATALOG, GROUPS

_SOURCES = {
    "Neon inventory": "Neon API: projects, branches, endpoints",
    "Neon operations": "Neon API: operations (start and suspend)",
    "Cost": "Neon API: consumption v2, the dated rate card, statements for the tenants' shares",
    "Outlook": "the days of the ledger: forecasts and anomalies of cost",
    "Budgets and closed months": "the settings, Neon's spending limit, the ledger and the book of closed months",
    "Waste": "the rules of docs/waste.md, over inventory, ledger and visits",
    "Key figures": "the shares of the month, the ledger, the inventory",
    "Visits": "our own visits",
    "Who keeps a compute awake": "Neon API: endpoints (how long); the evidence of our visits (who)",
    "Statements": "pg_stat_statements, pg_stat_statements_info",
    "Statements, coverage": "pg_stat_statements",
    "Replication": "pg_replication_slots, pg_stat_replication, pg_stat_replication_slots",
    "Databases": "pg_stat_database, pg_database",
    "Sizes": "pg_database_size(), rarely: it is the dearest question",
    "Activity": "pg_stat_activity, pg_locks, pg_stat_replication, pg_stat_subscription",
    "Settings": "pg_settings",
    "Schemas": "pg_class, pg_namespace of the user databases, rarely (rule R9)",
    "Migrations": "the history tables of thirteen tools in the user databases, pg_locks (rule R9)",
    "Drift": "the system catalogues of the user databases (rule R9), against parent, branch, git or approval",
    "Posture": "the controls of docs/posture.md, over catalogues, Neon's API, key stores, buckets and handshakes",
    "Recovery": "Neon API: projects, branches, snapshots; the drills' ledger (`neonmeter drill`); the settings",
    "PgBouncer": "SHOW STATS, POOLS, DATABASES, LISTS, CONFIG, VERSION",
    "The agent itself": "this program",
}


def as_markdown() -> str:
    """docs/metrics.md."""
    lines = [
        "# Metrics",
        "",
        f"Generated from the catalogue by `make docs`: {len(CATALOG)} families. A name's prefix tells its source:",
        "`pg_` Postgres, `pgbouncer_` a self-run PgBouncer, `neon_` Neon's control plane and what we compute,",
        "`neonmeter_` this program. *Durable* counters are our own monotone totals: they go on where Neon forgets.",
        "*Most* bounds the series per target; what is over it is counted in `neonmeter_series_truncated`.",
    ]
    for heading, metrics in GROUPS:
        lines += ["", f"## {heading}", "", f"Source: {_SOURCES[heading]}.", ""]
        lines += ["| metric | kind | labels | most | meaning |", "|---|---|---|---|---|"]
        lines += [_row(metric) for metric in metrics]
    return "\n".join(lines) + "\n"


def _row(metric: Metric) -> str:
    kind = f"durable {metric.kind.value}" if metric.durable else metric.kind.value
    labels = ", ".join(f"`{label}`" for label in metric.all_labels) or "-"
    return f"| `{metric.name}` | {kind} | {labels} | {metric.max_series} | {metric.help} |"


def as_json() -> str:
    """The catalogue as data."""
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


def collectors_table() -> str:
    """The README's table: what is read from where, and how many families come of it."""
    lines = ["| what | read from | families |", "|---|---|---|"]
    lines += [f"| {heading} | {_SOURCES[heading]} | {len(metrics)} |" for heading, metrics in GROUPS]
    return "\n".join(lines) + "\n"
