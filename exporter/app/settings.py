"""The whole settings tree: the shared sections and those of every feature."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from exporter.cost.settings import AnomalySettings, Budgets, CostSettings, CostTree, WasteSettings, problems_of_cost
from exporter.drift.settings import DriftSettings, DriftTree
from exporter.posture.settings import PostureSettings, PostureTree, problems_of_posture
from exporter.sampling.shards import problems_of_sharding
from exporter.settings.preflight import core_problems
from exporter.settings.tree import load as load_tree
from exporter.tenancy.domain.rules import check_rules
from exporter.tenancy.rules import tenant_rules

ORDER = (
    "neon", "sharding", "postgres", "sampling", "pgbouncer", "tenants", "cost", "budgets", "storage", "ledger",
    "anomalies", "waste", "report", "drift", "recovery", "posture", "intervals", "http", "telemetry", "log",
)  # fmt: skip
"""The sections in the order of the documentation."""


class Settings(CostTree, DriftTree, PostureTree):
    """The whole tree."""

    cost: CostSettings = CostSettings()
    budgets: Budgets = []  # noqa: RUF012  # pydantic copies it
    anomalies: AnomalySettings = AnomalySettings()
    waste: WasteSettings = WasteSettings()
    drift: DriftSettings = DriftSettings()
    posture: PostureSettings = PostureSettings()

    def masked(self) -> dict[str, Any]:
        """The tree as plain data in the order of the documentation, with every secret masked."""
        plain = super().masked()
        return {name: plain[name] for name in ORDER}


def load(path: Path | None) -> Settings:
    """Read the file (if any) and the environment.

    Raises:
        SettingsError: with all problems at once.
    """
    return load_tree(Settings, path)


def problems_of(settings: Settings) -> list[str]:
    """Every problem of the settings that needs no network to be seen, one line each with its path."""
    return [
        *core_problems(settings),
        *problems_of_sharding(settings),
        *check_rules(tenant_rules(settings.tenants)),
        *problems_of_cost(settings.cost),
        *problems_of_posture(settings.posture),
    ]
