"""What happened, drawn over every line: wakes, suspends, changes of plan or price, restarts, approved drift.

Where a metric is the instant itself, Grafana takes its value as the time (``useValueForTime``): the mark then
stands where the event was, not where it was scraped.
"""

from __future__ import annotations

from dataclasses import dataclass

from dashboards import looks
from dashboards.queries import BRANCH, ENDPOINT

_BEFORE = "offset 10m"


@dataclass(frozen=True, slots=True)
class Annotation:
    """A kind of mark; ``instant`` says that the value is the time, in milliseconds."""

    name: str
    expr: str
    title: str
    color: str
    instant: bool = False
    shown: bool = True


WAKE = Annotation(
    "Wakes", f"neon_endpoint_last_wake_timestamp_seconds{{{ENDPOINT}}} * 1000",
    "{{endpoint_id}} woke up", looks.BLUE, instant=True,
)  # fmt: skip
SUSPEND = Annotation(
    "Suspends", f"neon_endpoint_suspended_timestamp_seconds{{{ENDPOINT}}} * 1000",
    "{{endpoint_id}} was suspended", looks.ASLEEP, instant=True,
)  # fmt: skip
PLAN = Annotation(
    "Change of plan", f"(neon_org_info unless on (org_id, plan) (neon_org_info {_BEFORE})) "
    f"and on (org_id) (neon_org_info {_BEFORE})",
    "{{org}} is on the plan {{plan}} now", "purple",
)  # fmt: skip
PRICE = Annotation(
    "Change of price", f"(neon_rate_card_info unless on (plan, valid_from) (neon_rate_card_info {_BEFORE})) "
    f"and on (plan) (neon_rate_card_info {_BEFORE})",
    "Rates of {{plan}} in force since {{valid_from}}", "purple",
)  # fmt: skip
RESTART = Annotation(
    "Restarts of neonmeter", "neonmeter_process_start_timestamp_seconds * 1000",
    "neonmeter started on {{instance}}", looks.AMBER, instant=True,
)  # fmt: skip
APPROVED = Annotation(
    "Drift approved",
    f"((neon_schema_drift_detected{{{BRANCH}}} == 0) "
    f"and on (project_id, branch_id, datname) (neon_schema_drift_detected {_BEFORE} == 1)) "
    f"and on (project_id, branch_id, datname) "
    f"(neon_schema_fingerprint_info and (neon_schema_fingerprint_info {_BEFORE}))",
    "Drift of {{branch_id}} / {{datname}} approved: the schema stayed, its baseline moved", looks.GREEN,
)  # fmt: skip


def annotation_json(made: Annotation) -> dict[str, object]:
    """The annotation as the dashboard's JSON has it."""
    return {
        "name": made.name, "datasource": {"type": "prometheus", "uid": "${datasource}"}, "enable": made.shown,
        "hide": False, "iconColor": made.color, "expr": made.expr, "step": "60s", "titleFormat": made.title,
        "textFormat": "", "tagKeys": "", "useValueForTime": made.instant,
        "target": {"expr": made.expr, "refId": "Anno", "interval": "60s", "legendFormat": made.title},
    }  # fmt: skip
