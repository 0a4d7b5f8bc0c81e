"""The whole settings tree: the shared sections and those of every feature."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from exporter.cost.settings import AnomalySettings, Budgets, CostSettings, CostTree, WasteSettings
from exporter.drift.settings import DriftSettings, DriftTree
from exporter.posture.settings import PostureSettings, PostureTree
from exporter.settings.tree import load as load_tree

ORDER = (
    "neon", "postgres", "sampling", "pgbouncer", "tenants", "cost", "budgets", "storage", "ledger", "anomalies",
    "waste", "report", "drift", "recovery", "posture", "intervals", "http", "telemetry", "log",
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
