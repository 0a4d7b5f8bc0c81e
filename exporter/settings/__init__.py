"""The settings tree, its secrets, and what is derived from it."""

from exporter.settings.sections import NeonSettings, PoolerSettings, PostgresSettings, SamplingSettings
from exporter.settings.tree import PREFIX, Settings, SettingsError, load

__all__ = [
    "PREFIX",
    "NeonSettings",
    "PoolerSettings",
    "PostgresSettings",
    "SamplingSettings",
    "Settings",
    "SettingsError",
    "load",
]
