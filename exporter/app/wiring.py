"""What depends on the settings, built as a whole: a reload builds a new one and swaps it, or keeps the old.

The store, the state and the served snapshot outlive a reload; clients, rules, policies and the schedule do not.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from collectors.neon.client import NeonClient
from collectors.postgres.cluster.sizes import DatabaseSizes
from exporter.app.settings import Settings
from exporter.awake.feature import AwakeFeature, AwakeRun
from exporter.core.api_pages import ApiPages
from exporter.core.selfmetrics import SelfMetrics
from exporter.core.state import State
from exporter.cost.feature import CostFeature, CostRun
from exporter.drift.feature import DriftFeature, DriftRun
from exporter.feature.ports import SchemaRoles, SnapshotList
from exporter.feature.services import Services
from exporter.feature.workspace import ledger_of, neon_client
from exporter.posture.feature import PostureFeature, PostureRun
from exporter.recovery.feature import RecoveryFeature, RecoveryRun
from exporter.sampling.control_plane import ControlPlanePoller
from exporter.sampling.counters.statements import SCHEMAS as DURABLE_ROOMS
from exporter.sampling.counters.statements import DurableCounters
from exporter.sampling.poolers import Poolers
from exporter.sampling.readings import OnFacts, Readings
from exporter.sampling.schema_sizes import SchemaSizes
from exporter.sampling.tenant_readings import TenantReadings
from exporter.sampling.user_databases import DatabaseScanner, UserDatabases
from exporter.sampling.visits import WAKE_SCHEMA, Visitor, WakeStates, policy_of
from exporter.settings.dsn import EndpointRef, conninfo
from exporter.storage.ledger.ledger import DurableLedger
from exporter.storage.ledger.sqlite_sql import LEDGER_SCHEMA
from exporter.storage.store import Store
from exporter.storage.tables import KEY_VALUE_SCHEMA, KeyValueStore
from exporter.storage.writer import WriterThread
from exporter.tenancy.domain.rules import TenantRules
from exporter.tenancy.rules import rules_of
from exporter.tenancy.store import SCHEMAS as TENANCY_ROOMS
from exporter.tenancy.store import Tenancy

SCHEMAS = {
    "wake": WAKE_SCHEMA,
    **DURABLE_ROOMS,
    **TENANCY_ROOMS,
    **AwakeFeature.schemas,
    **CostFeature.schemas,
    "ledger": LEDGER_SCHEMA,
    "notebook": KEY_VALUE_SCHEMA,
    **DriftFeature.schemas,
    **PostureFeature.schemas,
}
"""Every room of the store."""
LEDGER_SCHEMAS = {**CostFeature.ledger_schemas, **PostureFeature.ledger_schemas}
"""The tables of features in the PostgreSQL ledger."""


@dataclass(slots=True)
class AppContext:
    """What outlives a reload."""

    store: Store
    disk: WriterThread
    state: State
    metrics: SelfMetrics
    durable: DurableCounters
    tenancy: Tenancy
    ledger: DurableLedger
    ledger_writer: WriterThread
    """Where the ledger's work is done: a database that is away holds up nobody else's."""
    wake_states: WakeStates
    awake: AwakeFeature
    details: ApiPages
    clock: Callable[[], float] = time.time

    @classmethod
    def open(
        cls, settings: Settings, state: State, metrics: SelfMetrics, details: ApiPages | None = None
    ) -> AppContext:
        """Open the store and everything that lives in it.

        Raises:
            StoreError: the ledger's file cannot be used.
        """
        store = Store.open(settings.storage.path, SCHEMAS)
        disk = WriterThread()
        rules = rules_of(settings)
        durable, tenancy = DurableCounters(store, rules, settings.sampling.top_statements), Tenancy(store, rules)
        wake_states, awake = WakeStates(store, disk), AwakeFeature()
        ledger = ledger_of(settings, store, LEDGER_SCHEMAS)
        ledger_writer = disk if settings.ledger.url is None else WriterThread()
        details = details or ApiPages()
        return cls(store, disk, state, metrics, durable, tenancy, ledger, ledger_writer, wake_states, awake, details)

    def close(self) -> None:
        """Finish what is being written, then close the file."""
        self.ledger_writer.close()
        self.disk.close()
        self.ledger.close()
        self.store.close()


@dataclass(slots=True)
class Wiring:
    """One generation of everything that depends on the settings."""

    settings: Settings
    client: NeonClient
    control_plane: ControlPlanePoller
    visitor: Visitor
    awake: AwakeRun
    tenants: TenantReadings
    drift: DriftRun | None
    posture: PostureRun | None
    kept: AppContext
    recovery: RecoveryRun | None
    cost: CostRun
    poolers: Poolers

    async def close(self) -> None:
        """Close the connections to Neon."""
        await self.client.aclose()


def wire(settings: Settings, kept: AppContext) -> Wiring:
    """Build a generation. Opens no connection.

    Raises:
        RateCardError: the rate card cannot be used.
        TenantRulesError: a tenant rule cannot work.
    """
    rules = rules_of(settings)
    client = neon_client(settings, kept.metrics)
    services = _services(kept, client, rules)
    control_plane = _control_plane(settings, kept, client)

    def reach(place: EndpointRef) -> str | None:
        return conninfo(settings.postgres, place)

    tenants = TenantReadings(kept.tenancy, kept.disk, client)
    services.provide(SnapshotList, tenants)
    sizes = _schema_sizes(kept, tenants)
    services.provide(SchemaRoles, sizes)
    drift = DriftFeature().start(services, settings)
    readings = _readings(settings, kept, tenants, drift)
    posture = PostureFeature().start(services, settings)
    scanners: list[DatabaseScanner] = [sizes]
    for run in (drift, posture):
        scanners += run.scanners if run is not None else []
    users = UserDatabases(policy_of(settings.sampling), scanners, clock=kept.clock)
    awake = kept.awake.start(services, settings)
    visitor = Visitor(
        settings.sampling,
        conninfo=reach,
        readings=readings,
        users=users,
        states=kept.wake_states,
        metrics=kept.metrics,
        on_evidence=[awake.on_evidence, tenants.sample],
        clock=kept.clock,
    )
    kept.tenancy.use(rules)
    kept.durable.use(rules, settings.sampling.top_statements)
    recovery = RecoveryFeature().start(services, settings)
    cost = CostFeature().start(services, settings)
    poolers = Poolers(settings.pgbouncer, kept.state, deadline_seconds=settings.sampling.session_seconds)
    return Wiring(
        settings, client, control_plane, visitor, awake, tenants, drift, posture, kept, recovery, cost, poolers
    )  # fmt: skip


def _schema_sizes(kept: AppContext, tenants: TenantReadings) -> SchemaSizes:
    return SchemaSizes(
        durable=kept.durable,
        key_values=KeyValueStore(kept.store),
        state=kept.state,
        disk=kept.disk,
        on_reading=[tenants.schemas],
        clock=kept.clock,
    )


def _readings(settings: Settings, kept: AppContext, tenants: TenantReadings, drift: DriftRun | None) -> Readings:
    subscriptions: dict[type, list[OnFacts]] = {DatabaseSizes: [tenants.databases]}
    for facts, take in drift.subscriptions.items() if drift is not None else ():
        subscriptions.setdefault(facts, []).append(take)
    wanted = drift.wanted_settings if drift is not None else ()
    return Readings(
        settings.sampling, kept.durable, kept.state, kept.disk, subscriptions=subscriptions, wanted_settings=wanted
    )  # fmt: skip


def _services(kept: AppContext, client: NeonClient, rules: TenantRules) -> Services:
    return Services(
        store=kept.store,
        writer=kept.disk,
        ledger=kept.ledger,
        ledger_writer=kept.ledger_writer,
        state=kept.state,
        pages=kept.details,
        metrics=kept.metrics,
        counters=kept.durable,
        tenancy=kept.tenancy,
        wake_states=kept.wake_states,
        client=client,
        rules=rules,
        clock=kept.clock,
    )


def _control_plane(settings: Settings, kept: AppContext, client: NeonClient) -> ControlPlanePoller:
    return ControlPlanePoller(
        settings,
        client=client,
        state=kept.state,
        key_values=KeyValueStore(kept.store),
        metrics=kept.metrics,
        disk=kept.disk,
        clock=kept.clock,
    )
