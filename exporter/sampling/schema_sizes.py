"""Scans user databases for the sizes of schemas, and for which role works in which schema.

The roles are stored, because tenant rules over schemas need them for the first statements after a restart.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from collectors.base import Observation, Reading, SqlCollector, Status
from collectors.metric import Families, merged
from collectors.postgres.database.schemas import NAME, SchemaFacts, SchemasCollector
from exporter.core.state import State
from exporter.sampling.computes import Compute
from exporter.sampling.counters.statements import DurableCounters
from exporter.storage.tables import KeyValueStore
from exporter.storage.writer import WriterThread

INTERVAL = 3600.0
OnReading = Callable[[Compute, str, Reading, float], Awaitable[None]]
"""Takes what was read in one database, and when (unix seconds)."""


@dataclass(slots=True)
class _ComputeSchemas:
    """The schemas of one compute, by database."""

    families: dict[str, Families] = field(default_factory=dict)
    schemas: dict[str, dict[str, tuple[str, ...]]] = field(default_factory=dict)
    """Database -> role -> schemas."""


class SchemaSizes:
    """Scans for schemas (a `exporter.sampling.user_databases.DatabaseScanner`)."""

    def __init__(
        self,
        *,
        durable: DurableCounters,
        key_values: KeyValueStore,
        state: State,
        disk: WriterThread,
        on_reading: Sequence[OnReading] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._durable = durable
        self._key_values = key_values
        self._state = state
        self._disk = disk
        self._clock = clock
        self._on_reading = tuple(on_reading)
        self._known: dict[str, _ComputeSchemas] = {}
        """By endpoint id."""

    async def recall(self, compute: Compute) -> None:
        """Load the roles that an earlier run of the agent stored."""
        endpoint_id = compute.endpoint.id
        if endpoint_id in self._known:
            return
        stored = await self._disk.run(lambda: self._key_values.read(NAME, endpoint_id)) or {}
        known = self._known[endpoint_id] = _ComputeSchemas()
        for datname, roles in stored.items():
            if isinstance(roles, Mapping):
                known.schemas[datname] = {str(role): tuple(names) for role, names in roles.items()}
        self._set_role_schemas(endpoint_id, known)

    def wants(self, compute: Compute, datname: str, now: float) -> Sequence[SqlCollector]:
        """Every time: it is little."""
        del compute, now
        return (SchemasCollector(datname),)

    async def take(
        self, compute: Compute, datname: str, readings: dict[str, Reading], failures: dict[str, tuple[Status, str]]
    ) -> None:
        """Take the sizes and roles of one database; the earlier ones stay when they could not be read."""
        del failures
        reading = readings.get(NAME)
        if reading is None:
            return
        for take in self._on_reading:
            await take(compute, datname, reading, self._clock())
        known = self._known[compute.endpoint.id]
        known.families[datname] = reading.families
        if isinstance(reading.facts, SchemaFacts):
            known.schemas[datname] = dict(reading.facts.schemas)

    async def finish(self, compute: Compute, names: Sequence[str], status: Status, error: str, seconds: float) -> None:
        """Show the series of all databases together and store the roles."""
        known = self._known[compute.endpoint.id]
        for gone in {*known.families, *known.schemas} - set(names):
            known.families.pop(gone, None)
            known.schemas.pop(gone, None)
        stored = {
            datname: {role: list(schemas) for role, schemas in roles.items()}
            for datname, roles in known.schemas.items()
        }
        await self._disk.run(lambda: self._key_values.write(NAME, compute.endpoint.id, stored))
        self._set_role_schemas(compute.endpoint.id, known)
        whole, count = merged(known.families.values()), len(known.families)
        observation = Observation(NAME, compute.target, status, self._clock(), seconds, whole, count, error)
        self._state.put(observation, interval=INTERVAL)

    def own_roles(self, compute: Compute, datname: str) -> dict[str, str]:
        """The role of each schema in which exactly one role works that works nowhere else."""
        known = self._known.get(compute.endpoint.id)
        found: dict[str, str] = {}
        for role, schemas in sorted((known.schemas.get(datname, {}) if known else {}).items(), reverse=True):
            if len(schemas) == 1:
                found[schemas[0]] = role
        return found

    def _set_role_schemas(self, endpoint_id: str, known: _ComputeSchemas) -> None:
        """Let tenant rules over schemas match the statements of a role."""
        roles = {
            (datname, role): schemas
            for datname, by_role in known.schemas.items()
            for role, schemas in by_role.items()
        }  # fmt: skip
        if roles:
            self._durable.set_role_schemas(endpoint_id, roles)
