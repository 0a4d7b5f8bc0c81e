"""Drift as a feature: what differs from its baseline, of schemas, tenants, migrations and settings, and since when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from collectors.neon.inventory import Inventory
from collectors.postgres.database.migrations import MigrationsCollector
from collectors.postgres.domain.settings import SettingsFacts
from exporter.core.command_line import Commands
from exporter.drift import commands as command_line
from exporter.drift import metrics
from exporter.drift.baselines import approvals_of
from exporter.drift.evaluation import Evaluator
from exporter.drift.scanner import DriftScanner
from exporter.drift.service import NAME, DriftService
from exporter.drift.settings import DriftTree
from exporter.drift.store import HistoryStore, SettingsStore
from exporter.feature.feature import Feature, FeatureRun, MetricGroup, Schemas
from exporter.feature.ports import SchemaRoles
from exporter.feature.services import Services
from exporter.sampling.computes import Compute
from exporter.sampling.fingerprint_store import DRIFT_SCHEMA, FingerprintStore
from exporter.sampling.readings import OnFacts
from exporter.sampling.user_databases import DatabaseScanner


class DriftRun(FeatureRun):
    """One generation: reads user databases, remembers settings, and shows what differs after every round."""

    def __init__(self, services: Services, settings: DriftTree) -> None:
        self._services = services
        fingerprints = FingerprintStore(services.store)
        self._evaluator = Evaluator(settings.drift, fingerprints, approvals_of(settings), services.rules)
        self._settings = SettingsStore(services.store)
        self._scanner = DriftScanner(
            fingerprints,
            HistoryStore(services.store),
            services.writer,
            services.state,
            own_roles=self._own_roles,
            column_order=settings.drift.column_order,
            clock=services.clock,
        )
        self._service = DriftService(
            self._evaluator,
            fingerprints=fingerprints,
            settings=self._settings,
            scanner=self._scanner,
            state=services.state,
            api_pages=services.pages,
            clock=services.clock,
        )

    @property
    def scanners(self) -> Sequence[DatabaseScanner]:
        """Fingerprints and migration histories."""
        return (self._scanner,)

    @property
    def wanted_settings(self) -> Sequence[str]:
        """The settings that the desired state names."""
        desired = self._evaluator.desired.desired
        return desired.names if desired else ()

    @property
    def subscriptions(self) -> Mapping[type, OnFacts]:
        """The settings of a server, for comparisons while it sleeps."""
        return {SettingsFacts: self._settings.take}

    async def recall(self, inventory: Inventory) -> None:
        """Evaluate by what was last read.

        Raises:
            StoreError: the file is damaged.
        """
        await self._service.look(inventory)

    async def on_inventory(self, inventory: Inventory) -> None:
        """Evaluate every branch, and show it.

        Raises:
            StoreError: the disk is full or the file damaged.
        """
        await self._service.look(inventory)

    def _own_roles(self, compute: Compute, datname: str) -> Mapping[str, str]:
        roles = self._services.find(SchemaRoles)
        return roles.own_roles(compute, datname) if roles is not None else {}


class DriftFeature(Feature[DriftTree]):
    """Declares what drift brings: its tables, metrics, commands and its run."""

    name = NAME
    schemas: ClassVar[Schemas] = {"drift": DRIFT_SCHEMA}
    metrics = (
        MetricGroup(MigrationsCollector.title, MigrationsCollector.source, MigrationsCollector.metrics),
        MetricGroup(
            "Drift",
            "the system catalogues of the user databases (rule R9), against parent, branch, git or approval",
            metrics.METRICS,
        ),
    )

    def add_commands(self, commands: Commands) -> None:
        """`fingerprint` and `drift`."""
        command_line.add_commands(commands)

    def start(self, services: Services, settings: DriftTree) -> DriftRun | None:
        """Begin a generation; None where ``drift.enabled`` is false."""
        return DriftRun(services, settings) if settings.drift.enabled else None
