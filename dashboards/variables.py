"""The variables: the datasource, then tenant, region, project, branch, endpoint, each narrowed by those before it.

They are multi-valued, and "All" is the regular expression ``.+``. Names are shown, ids are what they hold.
"""

from __future__ import annotations

from dataclasses import dataclass

_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_HAS_TENANT = (
    'and on ({keys}) (neon_tenant_cost_month_to_date_usd{{tenant=~"$tenant"}} '
    'or neon_tenant_calls_total{{tenant=~"$tenant"}} or {info}{{project_id=~"$tenant"}})'
)
"""With one tenant chosen: what it uses. With all (``.+``) the last term lets all pass, also what has none."""


@dataclass(frozen=True, slots=True)
class Variable:
    """A query variable; ``shows`` is the label that people read, where it is not the one held."""

    name: str
    title: str
    query: str
    holds: str
    shows: str = ""

    def regex(self) -> str:
        """How text and value are taken out of an answer; labels stand there in the order of the alphabet."""
        if not self.shows:
            return ""
        return f'/[{{,]{self.shows}="(?<text>[^"]+)".*[{{,]{self.holds}="(?<value>[^"]+)"/'


def _info(metric: str, matchers: str, keys: str = "") -> str:
    tenant = " " + _HAS_TENANT.format(keys=keys, info=metric) if keys else ""
    return f"query_result({metric}{{{matchers}}}{tenant})"


_PROJECT = 'project_id=~"$project_id"'
QUERIES = {
    variable.name: variable
    for variable in (
        Variable("tenant", "Tenant", "label_values(neon_tenant_cost_month_to_date_usd, tenant)", "tenant"),
        Variable("region", "Region", "label_values(neon_project_info, region_id)", "region_id"),
        Variable("project_id", "Project", _info("neon_project_info", 'region_id=~"$region"', "project_id"),
                 "project_id", "project"),
        Variable("branch_id", "Branch", _info("neon_branch_info", _PROJECT, "project_id, branch_id"),
                 "branch_id", "branch"),
        Variable("endpoint_id", "Endpoint", f'label_values(neon_endpoint_info{{{_PROJECT}, branch_id=~"$branch_id"}}, '
                 "endpoint_id)", "endpoint_id"),  # Few endpoints have a name.
        Variable("pooler", "Pooler", "label_values(pgbouncer_version_info, pooler)", "pooler"),
        Variable("instance", "Agent", "label_values(neonmeter_build_info, instance)", "instance"),
    )
}  # fmt: skip


def variable_json(name: str) -> dict[str, object]:
    """The variable as the dashboard's JSON has it.

    Raises:
        KeyError: there is no variable of this name.
    """
    if name == "datasource":
        return {
            "name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus",
            "refresh": 1, "hide": 0, "includeAll": False, "multi": False, "options": [], "regex": "",
        }  # fmt: skip
    variable = QUERIES[name]
    return {
        "name": name, "label": variable.title, "type": "query", "datasource": _SOURCE,
        "query": {"query": variable.query, "refId": name, "qryType": 3 if variable.shows else 1},
        "definition": variable.query, "regex": variable.regex(), "refresh": 2, "sort": 5, "hide": 0,
        "includeAll": True, "multi": True, "allValue": ".+", "options": [],
        "current": {"text": ["All"], "value": ["$__all"]},
    }  # fmt: skip
