"""What needs attention now, as one query: every shared limit that is passed, with its name, the worst first.

The same limits colour the tiles and stand in the alerts, so this table is empty exactly when nothing is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dashboards import thresholds as limits
from dashboards.queries import ACTIVE, BRANCH, ENDPOINT, branch_named, project_named, ratio
from dashboards.thresholds import Limit

_BY = "max by (project_id, branch_id, endpoint_id)"


@dataclass(frozen=True, slots=True)
class Problem:
    """A limit that can be passed: what people call it, and an expression with ids as its only labels."""

    name: str
    expr: str
    limit: Limit


ON_ENDPOINTS = (
    Problem("Does not answer although it is active",
            f"({ACTIVE}) and on (project_id, branch_id, endpoint_id) ({_BY} (pg_up{{{ENDPOINT}}}) == 0)",
            limits.COMPUTES_SILENT),
    Problem("A transaction is open for too long",
            f"{_BY} (pg_stat_activity_longest_transaction_seconds{{{ENDPOINT}}})", limits.TRANSACTION_AGE),
    Problem("A session idles in its transaction",
            f"{_BY} (pg_stat_activity_oldest_idle_in_transaction_seconds{{{ENDPOINT}}})", limits.IDLE_IN_TRANSACTION),
    Problem("Sessions wait for a lock", f"{_BY} (pg_locks_longest_wait_seconds{{{ENDPOINT}}})", limits.LOCK_WAIT),
    Problem("A replication slot is lost", f"{_BY} (pg_replication_slots_invalidated{{{ENDPOINT}}})", limits.SLOTS_LOST),
    Problem("A replication slot keeps too much WAL",
            f"{_BY} (pg_replication_slots_retained_bytes{{{ENDPOINT}}})", limits.SLOT_RETAINED),
    Problem("Nobody reads a replication slot",
            f"{_BY} (time() - pg_replication_slots_inactive_since_timestamp_seconds{{{ENDPOINT}}})",
            limits.SLOT_UNREAD),
    Problem("Transaction ids run out", f"{_BY} (pg_database_xid_age{{{ENDPOINT}}})", limits.XID_AGE),
)  # fmt: skip
ON_BRANCHES = (
    Problem("A schema drifted from its baseline",
            f"count by (project_id, branch_id) (neon_schema_drift_detected{{{BRANCH}}} == 1)",
            limits.DRIFTED_DATABASES),
    Problem("A migration failed",
            f"sum by (project_id, branch_id) (neon_migrations_failed{{{BRANCH}}})", limits.MIGRATIONS_FAILED),
)  # fmt: skip
ON_PROJECTS = (
    Problem("Cost is unusual",
            'sum by (project_id) (neon_cost_anomaly_impact_usd{project_id=~"$project_id"})', limits.ANOMALY_USD),
    Problem("A critical control fails",
            'sum by (project_id) (neon_posture_findings{severity="critical", status="fail", '
            'project_id=~"$project_id"})', limits.POSTURE_FINDINGS),
)  # fmt: skip
ON_BUDGETS = (
    Problem("A budget will be exceeded",
            "max by (budget) (" + ratio("neon_budget_forecast_usd", "neon_budget_usd") + ")", limits.BUDGET_FORECAST),
)  # fmt: skip


def _number(value: float) -> str:
    return f"{value:g}" if value < 1e6 else f"{value:.0f}"


def _severity(problem: Problem) -> str:
    over = f"({problem.expr}) >= {_number(problem.limit.warning)}"
    return f"1 + (({over}) >= bool {_number(problem.limit.critical)})"


def _times(problem: Problem) -> str:
    # A limit below one stands for "any at all", and one of them is once that limit.
    least = max(1.0, problem.limit.warning)
    return f"(({problem.expr}) >= {_number(problem.limit.warning)}) / {_number(least)}"


def _all(problems: Sequence[Problem], *, times: bool) -> str:
    made = _times if times else _severity
    return " or ".join(f'label_replace({made(problem)}, "problem", "{problem.name}", "", "")' for problem in problems)


def attention(*, times: bool = False) -> str:
    """Every passed limit: 1 a warning, 2 critical; with ``times`` how many times its warning it is.

    What is of a whole branch or project carries Grafana's word for all in place of the narrower ids, so that its link
    leads somewhere.
    """
    endpoints = branch_named(_all(ON_ENDPOINTS, times=times))
    budgets = f'label_replace({_all(ON_BUDGETS, times=times)}, "project", "budget $1", "budget", "(.*)")'
    return " or ".join(
        (
            f'label_replace({endpoints}, "compute", "$1", "endpoint_id", "(.*)")',
            _of_all(branch_named(_all(ON_BRANCHES, times=times)), "endpoint_id"),
            _of_all(project_named(_all(ON_PROJECTS, times=times)), "branch_id", "endpoint_id"),
            _of_all(budgets, "project_id", "branch_id", "endpoint_id"),
        )
    )


def _of_all(expr: str, *labels: str) -> str:
    for label in labels:
        expr = f'label_replace({expr}, "{label}", "$$__all", "", "")'
    return expr
