"""Rides into the user databases on the back of an allowed visit (rule R9), and what is remembered of them.

Once per life of a compute, and once an hour in a long one, each user database is read in a short session of its own,
all of them within the time that one visit may take. Our sessions there are accounted for, so that the next visit does
not take them for somebody else's.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from psycopg.conninfo import make_conninfo

from collectors.base import Observation, SqlCollector, Status
from collectors.metric import Families, Series
from collectors.schemas import NAME, SchemaFacts, SchemasCollector, UserDatabaseNames
from collectors.session import Deadlines, Visit, visit
from collectors.wake import WakePolicy, WakeState, after_user_visits, may_enter_user_databases
from exporter.collecting.places import Compute
from exporter.durable.statements import Durable
from exporter.state import State
from exporter.storage.disk import Disk
from exporter.storage.notebook import Notebook

MOST_DATABASES = 10
"""Databases entered on one ride; the others have their turn on the next."""
LEAST_SECONDS = 0.5
"""With less than this left of the visit's time, no further session is opened."""
INTERVAL = 3600.0
_LISTER = UserDatabaseNames()


@dataclass(slots=True)
class _Inside:
    """What is known of one compute's databases."""

    families: dict[str, Families] = field(default_factory=dict)
    schemas: dict[str, dict[str, tuple[str, ...]]] = field(default_factory=dict)
    """Database -> role -> schemas."""
    turn: deque[str] = field(default_factory=deque)


class UserDatabases:
    """Reads the databases of all computes. Lives on the event loop."""

    def __init__(
        self,
        policy: WakePolicy,
        *,
        durable: Durable,
        notebook: Notebook,
        state: State,
        disk: Disk,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._policy = policy
        self._durable = durable
        self._notebook = notebook
        self._state = state
        self._disk = disk
        self._clock = clock
        self._known: dict[str, _Inside] = {}

    async def prepare(self, compute: Compute) -> list[SqlCollector]:
        """Before a visit: remember the roles of earlier ones; returns what the visit is to read for us."""
        endpoint_id = compute.endpoint.id
        if endpoint_id not in self._known:
            page = await self._disk.run(lambda: self._notebook.read(NAME, endpoint_id)) or {}
            known = self._known[endpoint_id] = _Inside()
            for datname, roles in page.items():
                if isinstance(roles, Mapping):
                    known.schemas[datname] = {str(role): tuple(names) for role, names in roles.items()}
            self._tell(endpoint_id, known)
        return [_LISTER]

    async def ride(
        self, compute: Compute, conninfo: str, made: Visit, state: WakeState, deadlines: Deadlines, *, offset: float
    ) -> WakeState:
        """After a visit: enter the databases if the rules allow it; returns the wake state to keep."""
        results = made.results.get(_LISTER.name, {})
        if made.status is not Status.OK or made.epoch is None or not results:
            return state
        names = _LISTER.read(results, made.epoch).facts
        decision = may_enter_user_databases(self._policy, compute.facts, state, self._clock() + offset)
        if not decision.allow or not isinstance(names, tuple):
            return state
        known = self._known[compute.endpoint.id]
        _forget(known, names)
        began, sessions, status, error = time.monotonic(), 0, Status.OK, ""
        for datname in [known.turn[index] for index in range(min(MOST_DATABASES, len(known.turn)))]:
            left = deadlines.session - made.seconds - (time.monotonic() - began)
            if left < LEAST_SECONDS:
                break
            inside = await visit(
                make_conninfo(conninfo, dbname=datname),
                [SchemasCollector(datname)],
                endpoint_id=compute.endpoint.id,
                deadlines=replace(deadlines, connect=min(deadlines.connect, left), session=left),
            )
            sessions += inside.evidence is not None
            known.turn.rotate(-1)
            if not self._take(known, datname, inside):
                status, error = inside.status, f"database {datname}: {inside.error}"
        now = self._clock()
        seconds = time.monotonic() - began
        await self._keep(compute, known)
        observation = Observation(
            NAME, compute.target, status, now, seconds, _merged(known), len(known.families), error
        )  # fmt: skip
        self._state.put(observation, interval=INTERVAL)
        return after_user_visits(state, compute.facts, sessions=sessions, seconds=seconds, now=now + offset)

    def _take(self, known: _Inside, datname: str, inside: Visit) -> bool:
        """Keep what one database told; False when it told nothing, and what it told before stays."""
        results = inside.results.get(NAME, {})
        if inside.epoch is None or not results:
            return False
        reading = SchemasCollector(datname).read(results, inside.epoch)
        known.families[datname] = reading.families
        if isinstance(reading.facts, SchemaFacts):
            known.schemas[datname] = dict(reading.facts.schemas)
        return True

    async def _keep(self, compute: Compute, known: _Inside) -> None:
        page = {
            datname: {role: list(names) for role, names in roles.items()} for datname, roles in known.schemas.items()
        }
        await self._disk.run(lambda: self._notebook.write(NAME, compute.endpoint.id, page))
        self._tell(compute.endpoint.id, known)

    def _tell(self, endpoint_id: str, known: _Inside) -> None:
        """So that tenant rules over schemas can match the statements of a role."""
        roles = {
            (datname, role): schemas
            for datname, by_role in known.schemas.items()
            for role, schemas in by_role.items()
        }  # fmt: skip
        if roles:
            self._durable.set_role_schemas(endpoint_id, roles)


def _forget(known: _Inside, names: tuple[str, ...]) -> None:
    """Databases that are gone leave, new ones join at the end of the queue."""
    for gone in {*known.families, *known.schemas} - set(names):
        known.families.pop(gone, None)
        known.schemas.pop(gone, None)
    kept = [name for name in known.turn if name in names]
    known.turn = deque([*kept, *(name for name in names if name not in kept)])


def _merged(known: _Inside) -> Families:
    whole = Families()
    series: dict[object, Series] = {}
    for families in known.families.values():
        for metric, part in families.items():
            series.setdefault(metric, {}).update(part)
            whole.put(metric, series[metric])
    return whole
