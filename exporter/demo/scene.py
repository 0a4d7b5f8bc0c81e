"""What the demo says: a line a second of what the agent sees, and the tables at the end. All read from the agent."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from exporter.core.http_client import ask
from exporter.documents.terminal import seconds, table

Series = dict[str, list[tuple[dict[str, str], float]]]
LEGEND = (
    "A line a second of what neonmeter sees: computes awake; visits (one short SQL session each, only where somebody\n"
    "else is at work); calls by tenant; cost so far; awake seconds that its visits added, at most; what happened."
)
WIDTH = 120
_HEADING_EVERY = 30
_NEWS = {"asleep": "fell asleep", "active": "woke up"}


class Scene:
    """One running agent, as a person would look at it; ``tenants`` are the columns of calls."""

    def __init__(self, url: str, config: Path, tenants: Sequence[str]) -> None:
        self._url = url
        self._config = config
        self._tenants = tenants
        self._widths = [5, 8, 8, *(max(7, len(name) + 2) for name in tenants), 11, 7]
        self._lines = 0
        self._states: dict[str, str] = {}
        self._visits: dict[str, float] = {}
        self._drift: dict[str, float] = {}

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
        """What the agent sees now, in one line; the first, and one now and then, stands under headings."""
        try:
            metrics, targets = self._metrics(), self._targets()
        except OSError as problem:
            return f"{elapsed:4.0f}s  neonmeter does not answer: {problem}"
        calls = _by(metrics, "neon_tenant_calls_total", "tenant")
        cells = (
            f"{elapsed:.0f}s",
            f"{sum(row['state'] == 'active' for row in targets)} of {len(targets)}",
            f"{_visits(metrics):.0f}",
            *(f"{calls[name]:.0f}" if name in calls else "-" for name in self._tenants),
            f"${_sum(metrics, 'neon_cost_month_to_date_usd'):.6f}",
            f"{_sum(metrics, 'neonmeter_added_awake_seconds_total'):.1f}s",
        )
        line = f"{self._row(cells)}   {'; '.join(self._news(metrics, targets))}".rstrip()
        line = line if len(line) <= WIDTH else f"{line[: WIDTH - 3]}..."
        heading = self._row(("time", "awake", "visits", *self._tenants, "cost", "added"))
        self._lines += 1
        return f"{heading}\n{line}" if self._lines % _HEADING_EVERY == 1 else line

    def _row(self, cells: Sequence[str]) -> str:
        return "".join(cell.rjust(width) for cell, width in zip(cells, self._widths, strict=True))

    def _news(self, metrics: Series, targets: Sequence[dict[str, Any]]) -> Iterator[str]:
        """What happened since the line before: computes that woke or fell asleep, and those that were read."""
        names = {row["key"].partition(":")[2]: f"{row['project']}/{row['name']}" for row in targets}
        states = {names[row["key"].partition(":")[2]]: str(row["state"]) for row in targets}
        for name, state in states.items():
            if self._states.get(name, state) != state:
                yield f"{name} {_NEWS.get(state, f'is {state}')}"
        yield from self._drifted(metrics)
        visits = {
            names.get(labels["endpoint_id"], labels["endpoint_id"]): at
            for labels, at in metrics.get("neonmeter_endpoint_last_visit_timestamp_seconds", [])
        }
        read = [name for name, at in visits.items() if self._visits.get(name) != at]
        if read:
            yield f"read {', '.join(read)}"
        elif not visits and not self._states:
            yield "waiting for somebody's activity"
        self._states, self._visits = states, visits

    def _drifted(self, metrics: Series) -> Iterator[str]:
        """Branches whose schemas differ in more objects, or in fewer, than at the line before."""
        projects = {labels["project_id"]: labels["project"] for labels, _ in metrics.get("neon_project_info", [])}
        names = {
            labels["branch_id"]: f"{projects.get(labels['project_id'], labels['project_id'])}/{labels['branch']}"
            for labels, _ in metrics.get("neon_branch_info", [])
        }
        now = _by(metrics, "neon_schema_drift_objects", "branch_id")
        for branch_id, count in now.items():
            if self._drift.get(branch_id, 0.0) != count:
                yield f"{names.get(branch_id, branch_id)} differs from its parent in {count:.0f} objects"
        self._drift = now

    def ending(self) -> str:
        """Tenants with their costs, branches with their state, and what watching cost.

        Raises:
            OSError: the agent does not answer.
        """
        metrics, targets = self._metrics(), self._targets()
        rows = [
            (f"{row['project']}/{row['name']}", row["state"], row["status"], row["rule"] or "visited", row["why"])
            for row in targets
        ]
        added = _sum(metrics, "neonmeter_added_awake_seconds_total")
        wakes = _sum(metrics, "neonmeter_endpoint_caused_wakes_total")
        spent = _sum(metrics, "neonmeter_visit_seconds_total")
        return "\n".join((
            "", *self._asked("cost", "awake", "drift"),
            table(("branch", "compute", "reading", "rule", "why"), rows),
            f"neonmeter itself: {_visits(metrics):.0f} visits, {spent:.2f}s of SQL sessions in all; at most "
            f"{seconds(added)} of awake time added; {wakes:.0f} computes woken.",
        ))  # fmt: skip

    def _asked(self, *commands: str) -> list[str]:
        """What the commands print, all at the same time: each is a process of its own."""
        begun = [
            subprocess.Popen(
                [sys.executable, "-m", "exporter", command, "--config", str(self._config)],
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
            )
            for command in commands
        ]  # fmt: skip
        answers = [process.communicate() for process in begun]
        return [told or problem for told, problem in answers]


def _visits(metrics: Series) -> float:
    return sum(value for labels, value in metrics.get("neonmeter_visits_total", []) if labels["status"] == "ok")


def _by(metrics: Series, name: str, label: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for labels, value in metrics.get(name, []):
        found[labels[label]] = found.get(labels[label], 0.0) + value
    return found


def _sum(metrics: Series, name: str) -> float:
    return sum(value for _, value in metrics.get(name, []))
