"""Rides along into the user databases for the sizes of schemas, and for which role works in which schema.

The roles are kept on the disk, because tenant rules over schemas need them for the first statements after a restart.
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
from exporter.sampling.counters.statements import Durable
from exporter.storage.tables import KeyValueStore
from exporter.storage.writer import WriterThread

INTERVAL = 3600.0
OnReading = Callable[[Compute, str, Reading, float], Awaitable[None]]
"""Takes what one database told, and when (unix seconds)."""


@dataclass(slots=True)
class _Inside:
    """What is known of one compute's databases."""

    families: dict[str, Families] = field(default_factory=dict)
    schemas: dict[str, dict[str, tuple[str, ...]]] = field(default_factory=dict)
    """Database -> role -> schemas."""


class SchemaSizes:
    """A rider (`collecting.riders`)."""

    def __init__(
        self,
        *,
        durable: Durable,
        key_values: KeyValueStore,
        state: State,
        disk: WriterThread,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._durable = durable
        self._key_values = key_values
        self._state = state
        self._disk = disk
        self._clock = clock
        self._known: dict[str, _Inside] = {}
        self.on_reading: OnReading | None = None

    async def recall(self, compute: Compute) -> None:
        """The roles of earlier rides."""
        endpoint_id = compute.endpoint.id
        if endpoint_id in self._known:
            return
        page = await self._disk.run(lambda: self._key_values.read(NAME, endpoint_id)) or {}
        known = self._known[endpoint_id] = _Inside()
        for datname, roles in page.items():
            if isinstance(roles, Mapping):
                known.schemas[datname] = {str(role): tuple(names) for role, names in roles.items()}
        self._tell(endpoint_id, known)

    def wants(self, compute: Compute, datname: str, now: float) -> Sequence[SqlCollector]:
        """Always: it is small."""
        del compute, now
        return (SchemasCollector(datname),)

    async def take(
        self, compute: Compute, datname: str, readings: dict[str, Reading], failures: dict[str, tuple[Status, str]]
    ) -> None:
        """Keep the sizes and roles of one database; what it told before stays when it told nothing."""
        del failures
        reading = readings.get(NAME)
        if reading is None:
            return
        if self.on_reading is not None:
            await self.on_reading(compute, datname, reading, self._clock())
        known = self._known[compute.endpoint.id]
        known.families[datname] = reading.families
        if isinstance(reading.facts, SchemaFacts):
            known.schemas[datname] = dict(reading.facts.schemas)

    async def finish(self, compute: Compute, names: Sequence[str], status: Status, error: str, seconds: float) -> None:
        """Show the series of all databases together and keep the roles."""
        known = self._known[compute.endpoint.id]
        for gone in {*known.families, *known.schemas} - set(names):
            known.families.pop(gone, None)
            known.schemas.pop(gone, None)
        page = {
            datname: {role: list(schemas) for role, schemas in roles.items()}
            for datname, roles in known.schemas.items()
        }
        await self._disk.run(lambda: self._key_values.write(NAME, compute.endpoint.id, page))
        self._tell(compute.endpoint.id, known)
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

    def _tell(self, endpoint_id: str, known: _Inside) -> None:
        """So that tenant rules over schemas can match the statements of a role."""
        roles = {
            (datname, role): schemas
            for datname, by_role in known.schemas.items()
            for role, schemas in by_role.items()
        }  # fmt: skip
        if roles:
            self._durable.set_role_schemas(endpoint_id, roles)
