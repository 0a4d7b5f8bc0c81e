"""What a feature is given: the shared parts of the running agent."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar, cast

from collectors.neon.client import NeonClient
from exporter.core.api_pages import ApiPages
from exporter.core.parts import Parts
from exporter.core.selfmetrics import SelfMetrics
from exporter.core.state import State
from exporter.sampling.counters.statements import DurableCounters
from exporter.sampling.domain.sharding import ALONE, Shard
from exporter.sampling.wake_states import WakeStates
from exporter.storage.ledger.ledger import Ledger
from exporter.storage.store import Store
from exporter.storage.writer import WriterThread
from exporter.tenancy.domain.rules import TenantRules
from exporter.tenancy.store import Tenancy

Port = TypeVar("Port")


@dataclass(slots=True)
class Services:
    """One generation's view of what all features share. The first block outlives a reload, the second does not."""

    store: Store
    writer: WriterThread
    """The one thread that writes the store."""
    ledger: Ledger
    ledger_writer: WriterThread
    """Where the ledger's work is done: a database that is away holds up nobody else."""
    state: State
    pages: ApiPages
    metrics: SelfMetrics
    counters: DurableCounters
    tenancy: Tenancy
    wake_states: WakeStates

    client: NeonClient
    rules: TenantRules
    parts: Parts
    """Where a feature guards steps of its own, so that one costs the others nothing."""
    shard: Shard = ALONE
    """Which part of the account is read here, and whether what is the whole account's is done here."""
    clock: Callable[[], float] = time.time
    """Unix seconds, for what is stored and shown; a step of the system's clock does not move it."""
    ports: dict[type, object] = field(default_factory=dict)

    def provide(self, port: type[Port], answer: Port) -> None:
        """Answer a port of `exporter.feature.ports` from now on."""
        self.ports[port] = answer

    def find(self, port: type[Port]) -> Port | None:
        """Who answers a port; None where no feature does. Ask when the answer is needed, not while starting."""
        return cast("Port | None", self.ports.get(port))
