"""PromQL that the dashboards share: what the variables select, ids to names, ratios that survive an idle fleet.

Every helper takes and gives text. Names come by joins, because hot series carry ids only.
"""

from __future__ import annotations

from dataclasses import dataclass

PROJECT = 'project_id=~"$project_id"'
BRANCH = f'{PROJECT}, branch_id=~"$branch_id"'
ENDPOINT = f'{BRANCH}, endpoint_id=~"$endpoint_id"'

PROJECT_NAMES = 'max by (project_id, project) (neon_project_info{project_id=~"$project_id", region_id=~"$region"})'
BRANCH_NAMES = f"max by (project_id, branch_id, branch) (neon_branch_info{{{BRANCH}}})"
ENDPOINT_NAMES = f"max by (project_id, endpoint_id, endpoint, type) (neon_endpoint_info{{{ENDPOINT}}})"
ACTIVE = f'max by (project_id, branch_id, endpoint_id) (neon_endpoint_state{{state="active", {ENDPOINT}}} == 1)'


@dataclass(frozen=True, slots=True)
class Query:
    """One target of a panel. ``table`` asks for rows instead of a line, at one instant."""

    expr: str
    legend: str = ""
    table: bool = False
    instant: bool = False


def project_named(expr: str) -> str:
    """The series with their project's name; what lies outside the chosen regions falls away."""
    return f"({expr}) * on (project_id) group_left (project) {PROJECT_NAMES}"


def branch_named(expr: str) -> str:
    """The series with the names of project and branch."""
    return f"{project_named(expr)} * on (project_id, branch_id) group_left (branch) {BRANCH_NAMES}"


def endpoint_named(expr: str) -> str:
    """The series with the names of project, branch and endpoint."""
    return f"{branch_named(expr)} * on (project_id, endpoint_id) group_left (endpoint, type) {ENDPOINT_NAMES}"


def paid_named(expr: str, *, of: str = "branch") -> str:
    """As ``branch_named`` (or ``project_named``), but nothing is lost: what is gone is shown by its id."""
    keys, named = ("project_id", project_named(expr)) if of == "project" else (
        "project_id, branch_id", branch_named(expr)
    )  # fmt: skip
    gone = f'label_replace({expr}, "{of}", "$1", "{of}_id", "(.*)")'
    return f"{named} or on ({keys}) {gone}"


def ratio(part: str, whole: str) -> str:
    """Part over whole, absent where the whole is 0: one idle compute would make the fleet's figure NaN."""
    return f"({part}) / (({whole}) > 0)"


def per_second(counter: str, matchers: str = "") -> str:
    """The rate of a counter, over a window that fits the picture."""
    return f"rate({counter}{{{matchers}}}[$__rate_interval])"


def or_zero(expr: str) -> str:
    """A count of nothing is 0, not a gap."""
    return f"({expr}) or vector(0)"
