"""The list of features: the only place of the agent that names them."""

from __future__ import annotations

from typing import Any, Final

from exporter.awake.feature import AwakeFeature
from exporter.cost.feature import CostFeature
from exporter.drift.feature import DriftFeature
from exporter.feature.feature import Feature
from exporter.feature.workspace import SHARED_SCHEMAS
from exporter.posture.feature import PostureFeature
from exporter.recovery.feature import RecoveryFeature
from exporter.storage.ledger.replica import REPLICA_SCHEMA
from exporter.storage.store import Schemas

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
    "replica": REPLICA_SCHEMA,
    **{name: migrations for feature in FEATURES for name, migrations in feature.schemas.items()},
}
"""Every table of the store."""
LEDGER_SCHEMAS: Final[Schemas] = {
    name: migrations for feature in FEATURES for name, migrations in feature.ledger_schemas.items()
}
"""The tables of features in the PostgreSQL ledger."""
