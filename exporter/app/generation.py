"""What depends on the settings, built as a whole: a reload builds a new generation and swaps it, or keeps the old.

The store, the state, the served snapshot and the features outlive a reload; clients, rules, policies, runs of features
and the schedule do not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from collectors.neon.client import NeonClient
from collectors.neon.domain.pace import MAX_AGE_SECONDS
from collectors.postgres.cluster.sizes import DatabaseSizes
from exporter.app.features import FEATURES, LEDGER_SCHEMAS, SCHEMAS
from exporter.app.settings import Settings
from exporter.core.api_pages import ApiPages
from exporter.core.clock import AgentClock
from exporter.core.parts import Parts, Turns
from exporter.core.selfmetrics import SelfMetrics
from exporter.core.state import State
from exporter.feature.feature import Feature, FeatureRun
from exporter.feature.ports import SchemaRoles, SnapshotList
from exporter.feature.services import Services
from exporter.feature.workspace import ledger_of, neon_client
from exporter.sampling.control_plane import ControlPlanePoller
from exporter.sampling.counters.statements import DurableCounters
from exporter.sampling.domain.sharding import Shard
from exporter.sampling.inventory_store import InventoryStore
from exporter.sampling.poolers import Poolers
from exporter.sampling.readings import OnFacts, Readings
from exporter.sampling.schema_sizes import SchemaSizes
from exporter.sampling.shards import shard_of
from exporter.sampling.tenant_readings import TenantReadings
from exporter.sampling.user_databases import UserDatabases
from exporter.sampling.visits import Visitor, policy_of
from exporter.sampling.wake_states import WakeStates
from exporter.settings.dsn import EndpointRef, conninfo
from exporter.storage.ledger.ledger import Ledger
from exporter.storage.store import Store
from exporter.storage.tables import KeyValueStore
from exporter.storage.writer import WriterThread
from exporter.tenancy.rules import rules_of
from exporter.tenancy.store import Tenancy


@dataclass(slots=True)
class Resources:
    """What outlives a reload."""

    store: Store
    writer: WriterThread
    ledger: Ledger
    ledger_writer: WriterThread
    state: State
    pages: ApiPages
    metrics: SelfMetrics
    counters: DurableCounters
    tenancy: Tenancy
    wake_states: WakeStates
    features: Sequence[Feature[Any]]
    shard: Shard
    clock: AgentClock
    parts: Parts

    @classmethod
    def open(
        cls,
        settings: Settings,
        state: State,
        metrics: SelfMetrics,
        pages: ApiPages,
        parts: Parts,
        *,
        clock: AgentClock,
        on_store: Callable[[Store], None] = lambda _: None,
    ) -> Resources:
        """Open the store and everything that lives in it; ``on_store`` is called before anything is written.

        Raises:
            StoreError: the file or the ledger's database cannot be used.
        """
        store = Store.open(settings.storage.path, SCHEMAS)
        try:
            on_store(store)
        except BaseException:
            store.close()
            raise
        writer = WriterThread(store)
        rules = rules_of(settings)
        return cls(
            store=store,
            writer=writer,
            ledger=ledger_of(settings, store, LEDGER_SCHEMAS),
            ledger_writer=writer if settings.ledger.url is None else WriterThread(),
            state=state,
            pages=pages,
            metrics=metrics,
            counters=DurableCounters(store, rules, settings.sampling.top_statements),
            tenancy=Tenancy(store, rules),
            wake_states=WakeStates(store, writer),
            features=[feature() for feature in FEATURES],
            shard=shard_of(settings),
            clock=clock,
            parts=parts,
        )

    def close(self) -> None:
        """Finish what is being written, then close the file."""
        self.ledger_writer.close()
        self.writer.close()
        self.ledger.close()
        self.store.close()


@dataclass(frozen=True, slots=True)
class Generation:
    """Everything that depends on one set of settings."""

    settings: Settings
    resources: Resources
    client: NeonClient
    control_plane: ControlPlanePoller
    tenants: TenantReadings
    visitor: Visitor
    poolers: Poolers
    runs: Mapping[str, FeatureRun]
    """The features that the settings switch on, by name."""

    def notes(self) -> Iterable[str]:
        """Sentences for the index page."""
        yield from self._notes_of_shard()
        for run in self.runs.values():
            yield from run.notes()
        yield from self.control_plane.notes()

    def _notes_of_shard(self) -> Iterable[str]:
        shard, found = self.resources.shard, self.control_plane.known.inventory
        if not shard.alone:
            count = f"{len(found.projects):,} of {len(found.listed):,} projects are read here" if found else "starting"
            account = "" if shard.owns_account else "; cost, budgets and the account's posture are on shard 0"
            yield f"{shard}: {count}{account}"
        if found is not None and found.reread_seconds > MAX_AGE_SECONDS:
            yield (
                f"at {self.settings.neon.requests_per_minute} requests a minute a project that does not move is read "
                f"again after about {found.reread_seconds / 60:.0f} minutes (neon.requests_per_minute, sharding.total)"
            )

    async def close(self) -> None:
        """Close the runs of the features and the connections to Neon."""
        for run in self.runs.values():
            await run.close()
        await self.client.aclose()


def start_generation(settings: Settings, resources: Resources) -> Generation:
    """Build a generation. Opens no connection.

    Raises:
        NeonmeterError: a file that the settings name cannot be used, or a tenant rule cannot work.
    """
    services = _services(settings, resources)
    key_values = KeyValueStore(resources.store)
    tenants = TenantReadings(resources.tenancy, resources.writer, services.client)
    sizes = SchemaSizes(
        durable=resources.counters,
        key_values=key_values,
        state=resources.state,
        disk=resources.writer,
        on_reading=[tenants.schemas],
        clock=resources.clock,
    )
    services.provide(SnapshotList, tenants)
    services.provide(SchemaRoles, sizes)
    runs = {
        feature.name: run for feature in resources.features if (run := feature.start(services, settings)) is not None
    }
    visitor = _visitor(settings, resources, runs, sizes, tenants)
    resources.tenancy.use(services.rules)
    resources.counters.use(services.rules, settings.sampling.top_statements)
    control_plane = ControlPlanePoller(
        settings,
        client=services.client,
        state=resources.state,
        key_values=key_values,
        inventories=InventoryStore(resources.store, settings.neon.api_url),
        metrics=resources.metrics,
        disk=resources.writer,
        shard=resources.shard,
        clock=resources.clock,
    )
    poolers = Poolers(
        settings.pgbouncer,
        resources.state,
        deadline_seconds=settings.sampling.session_seconds,
        clock=resources.clock,
    )
    return Generation(settings, resources, services.client, control_plane, tenants, visitor, poolers, runs)


def _services(settings: Settings, resources: Resources) -> Services:
    return Services(
        store=resources.store,
        writer=resources.writer,
        ledger=resources.ledger,
        ledger_writer=resources.ledger_writer,
        state=resources.state,
        pages=resources.pages,
        metrics=resources.metrics,
        counters=resources.counters,
        tenancy=resources.tenancy,
        wake_states=resources.wake_states,
        client=neon_client(settings, resources.metrics, resources.clock),
        rules=rules_of(settings),
        shard=resources.shard,
        parts=resources.parts,
        clock=resources.clock,
    )


def _visitor(
    settings: Settings,
    resources: Resources,
    runs: Mapping[str, FeatureRun],
    sizes: SchemaSizes,
    tenants: TenantReadings,
) -> Visitor:
    """The visitor, with what the features want read and want to know."""
    subscriptions: dict[type, list[OnFacts]] = {DatabaseSizes: [tenants.databases]}
    for run in runs.values():
        for kind, subscriber in run.subscriptions.items():
            subscriptions.setdefault(kind, []).append(subscriber)
    turns = Turns(resources.parts)
    scanners = [sizes, *(scanner for run in runs.values() for scanner in run.scanners)]

    def reach(place: EndpointRef) -> str | None:
        return conninfo(settings.postgres, place)

    return Visitor(
        settings.sampling,
        conninfo=reach,
        readings=Readings(
            settings.sampling,
            resources.counters,
            resources.state,
            resources.writer,
            subscriptions=subscriptions,
            wanted_settings=[name for run in runs.values() for name in run.wanted_settings],
            turns=turns,
        ),
        users=UserDatabases(policy_of(settings.sampling), scanners, turns=turns, clock=resources.clock),
        states=resources.wake_states,
        metrics=resources.metrics,
        on_evidence={**{name: run.on_evidence for name, run in runs.items()}, "tenants": tenants.sample},
        clock=resources.clock,
        turns=turns,
    )
