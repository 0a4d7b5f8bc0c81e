"""What the demo says: a line a second of what the agent sees, and the tables at the end. All read from the agent."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from exporter.http_client import ask
from exporter.table import seconds, table

Series = dict[str, list[tuple[dict[str, str], float]]]


class Scene:
    """One running agent, as a person would look at it."""

    def __init__(self, url: str, config: Path) -> None:
        self._url = url
        self._config = config

    def _metrics(self) -> Series:
        found: Series = {}
        for family in text_string_to_metric_families(ask(f"{self._url}/metrics")[1]):
            for sample in family.samples:
                found.setdefault(sample.name, []).append((sample.labels, sample.value))
        return found

    def _targets(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = json.loads(ask(f"{self._url}/targets?format=json")[1])
        return [row for row in rows if row["kind"] == "endpoint"]

    def line(self, elapsed: float) -> str:
        """What the agent sees now, in one line."""
        try:
            metrics, targets = self._metrics(), self._targets()
        except OSError as problem:
            return f"{elapsed:4.0f}s  the agent does not answer: {problem}"
        states = " ".join(f"{row['project']}/{row['name']}={row['state']}" for row in targets)
        calls = _by(metrics, "neon_tenant_calls_total", "tenant")
        tenants = " ".join(f"{name}:{value:.0f}" for name, value in sorted(calls.items()) if name[0] != "_")
        visits = sum(value for labels, value in metrics.get("neonmeter_visits_total", []) if labels["status"] == "ok")
        cost = sum(value for _, value in metrics.get("neon_cost_month_to_date_usd", []))
        return (
            f"{elapsed:4.0f}s  {states}  visits {visits:.0f}  calls {tenants or '-'}  cost ${cost:.6f}  "
            f"awake because of us {_sum(metrics, 'neonmeter_added_awake_seconds_total'):.1f}s"
        )

    def ending(self) -> str:
        """Tenants with their costs, branches with their state, and what watching cost."""
        metrics, targets = self._metrics(), self._targets()
        told = subprocess.run(
            [sys.executable, "-m", "exporter", "cost", "--config", str(self._config)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        rows = [
            (f"{row['project']}/{row['name']}", row["state"], row["status"], row["rule"] or "visited", row["why"])
            for row in targets
        ]
        added = _sum(metrics, "neonmeter_added_awake_seconds_total")
        wakes = _sum(metrics, "neonmeter_endpoint_caused_wakes_total")
        spent = _sum(metrics, "neonmeter_visit_seconds_total")
        return "\n".join((
            "", told.stdout or told.stderr,
            table(("branch", "compute", "figures", "rule", "why"), rows),
            f"neonmeter itself: {spent:.2f}s of sessions, at most {seconds(added)} of awake time added, "
            f"{wakes:.0f} computes woken.",
        ))  # fmt: skip


def _by(metrics: Series, name: str, label: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for labels, value in metrics.get(name, []):
        found[labels[label]] = found.get(labels[label], 0.0) + value
    return found


def _sum(metrics: Series, name: str) -> float:
    return sum(value for _, value in metrics.get(name, []))
