"""What can be known to be wrong with the settings before anything is contacted: one line each, with its path."""

from __future__ import annotations

from exporter.app.settings import Settings
from exporter.cost.problems import problems_of_cost
from exporter.posture.settings import problems_of_posture
from exporter.settings.preflight import core_problems
from exporter.tenancy.domain.rules import check_rules
from exporter.tenancy.rules import tenant_rules


def problems_of(settings: Settings) -> list[str]:
    """Every problem that needs no network to be seen; empty when there is none."""
    return [
        *core_problems(settings),
        *check_rules(tenant_rules(settings.tenants)),
        *problems_of_cost(settings.cost),
        *problems_of_posture(settings.posture),
    ]
