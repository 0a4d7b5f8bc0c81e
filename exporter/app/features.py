"""The list of features, and what they add up to: tables, and what is known to be wrong with the settings."""

from __future__ import annotations

from typing import Any, Final

from exporter.app.settings import Settings
from exporter.awake.feature import AwakeFeature
from exporter.cost.feature import CostFeature
from exporter.drift.feature import DriftFeature
from exporter.feature.feature import Feature
from exporter.feature.workspace import SHARED_SCHEMAS
from exporter.posture.feature import PostureFeature
from exporter.recovery.feature import RecoveryFeature
from exporter.settings.preflight import core_problems
from exporter.storage.store import Schemas
from exporter.tenancy.domain.rules import check_rules
from exporter.tenancy.rules import tenant_rules

FEATURES: Final[tuple[type[Feature[Any]], ...]] = (
    AwakeFeature,
    DriftFeature,
    RecoveryFeature,
    PostureFeature,
    CostFeature,
)
"""In the order in which each is told of an inventory. Cost is last: its first round waits for Neon's consumption."""

SCHEMAS: Final[Schemas] = {
    **SHARED_SCHEMAS,
    **{name: migrations for feature in FEATURES for name, migrations in feature.schemas.items()},
}
"""Every table of the store."""
LEDGER_SCHEMAS: Final[Schemas] = {
    name: migrations for feature in FEATURES for name, migrations in feature.ledger_schemas.items()
}
"""The tables of features in the PostgreSQL ledger."""


def problems_of(settings: Settings) -> list[str]:
    """Every problem of the settings that needs no network to be seen, one line each with its path."""
    return [
        *core_problems(settings),
        *check_rules(tenant_rules(settings.tenants)),
        *(problem for feature in FEATURES for problem in feature().problems(settings)),
    ]
