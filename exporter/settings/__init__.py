"""The settings tree, its secrets, and what is derived from it."""

from exporter.settings.sections import NeonSettings, PoolerSettings, PostgresSettings, SamplingSettings
from exporter.settings.tree import PREFIX, CoreSettings, SettingsError, load

__all__ = [
    "PREFIX",
    "CoreSettings",
    "NeonSettings",
    "PoolerSettings",
    "PostgresSettings",
    "SamplingSettings",
    "SettingsError",
    "load",
]
