"""Who is visited when: the wake decision for every compute, then the visit.

The order is the promise: decide on fresh facts, write down that we go, go, write down what we did, and only then show
anything. A crash at any point leaves a state in which we stay away rather than come too often.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from collectors.base import Server, Status
from collectors.errors import NeonmeterError
from collectors.neon.inventory import Inventory
from collectors.postgres.evidence import Evidence
from collectors.postgres.session import Deadlines, Visit, visit
from collectors.slices import in_slices
from collectors.wake.policy import Decision, WakePolicy, WakeState, after_visit, before_visit, decide
from exporter.core import selfmetrics, tracing
from exporter.core.parts import STEP, Turns
from exporter.sampling.breaker import Breaker, GlobalBreaker
from exporter.sampling.computes import Compute, computes, policy_offset
from exporter.sampling.readings import Readings
from exporter.sampling.user_databases import UserDatabases
from exporter.settings import SamplingSettings
from exporter.settings.dsn import DsnError, EndpointRef
from exporter.settings.secret import SecretError
from exporter.storage.store import Store, StoreError
from exporter.storage.tables import Table
from exporter.storage.writer import WriterThread

_log = logging.getLogger("neonmeter.visits")

Conninfo = Callable[[EndpointRef], str | None]
"""From an endpoint to a connection string; None where SQL is not configured (`exporter.settings.dsn.conninfo`)."""

OnEvidence = Callable[[Compute, Evidence, WakeState, WakeState, float], Awaitable[None]]
"""Takes who else was there at a visit, the wake states before and after it, and when it was (unix seconds of the API's
clock)."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The last decision about a compute, for a person: by which rule, why, and when it is considered again."""

    rule: str
    why: str
    due: float | None = None
    breaker_until: float | None = None


NO_SQL: Final = Plan("", "SQL is not configured here (postgres.dsn)")


@dataclass(slots=True)
class _Known:
    """One compute between visits, in memory only: losing it costs one more probe."""

    breaker: Breaker = field(default_factory=Breaker)
    server: Server | None = None
    probed_start: float = 0.0
    busy: bool = False
    error: str = ""
    """What the last visit failed with."""


WAKE_SCHEMA: Final[tuple[str, ...]] = (
    "CREATE TABLE wake_state (endpoint_id TEXT PRIMARY KEY, state TEXT NOT NULL) STRICT, WITHOUT ROWID",
)
"""The part ``wake`` of the store. Each entry is one released migration."""
WAKE_STATES: Final[Table[str, Mapping[str, object]]] = Table(
    "wake_state", ("endpoint_id",), ("state",), lambda state: (json.dumps(dict(state), sort_keys=True),),
    lambda _, state: json.loads(state), str,
)  # fmt: skip
"""Wake states as JSON (`WakeState.as_dict`), by endpoint id."""


class WakeStates:
    """The wake states, in memory and on the disk."""

    def __init__(self, store: Store, disk: WriterThread) -> None:
        self._store = store
        self._disk = disk
        self._states = {key: WakeState.from_dict(value) for key, value in WAKE_STATES.items(store)}
        self._unsaved: set[str] = set()
        self.copy: Callable[[], Awaitable[None]] | None = None
        """Where another agent stands by: lets it know what is on the disk, before a compute is connected to."""

    def get(self, endpoint_id: str) -> WakeState | None:
        """The state of one compute; None before it was first considered."""
        return self._states.get(endpoint_id)

    def all(self) -> list[WakeState]:
        """The states of all computes, also of those that are gone."""
        return list(self._states.values())

    async def save(self, state: WakeState) -> None:
        """Store a state; it is on the disk when this returns.

        Raises:
            StoreError: it is not on the disk; the next call tries again.
        """
        key = state.endpoint_id
        if self._states.get(key) != state or key in self._unsaved:
            self._states[key] = state
            self._unsaved.add(key)
            await self._disk.run(lambda: WAKE_STATES.put(self._store, [(key, state.as_dict())]))
            self._unsaved.discard(key)
        if state.in_flight and self.copy is not None:
            await self.copy()


def policy_of(settings: SamplingSettings) -> WakePolicy:
    """The wake policy that the settings ask for."""
    return WakePolicy(evidence=settings.evidence, tick=settings.tick_seconds, session=settings.session_seconds)


class Visitor:
    """Makes rounds over the computes of an inventory. Lives on the event loop."""

    def __init__(
        self,
        settings: SamplingSettings,
        *,
        conninfo: Conninfo,
        readings: Readings,
        users: UserDatabases,
        states: WakeStates,
        metrics: selfmetrics.SelfMetrics,
        turns: Turns,
        on_evidence: Mapping[str, OnEvidence] | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """``on_evidence`` are told, by name and in this order, of each visit that did not itself wake the compute.

        ``clock`` (unix seconds) is for the wake policy and for what is shown; breakers go by ``monotonic``.
        """
        self._settings = settings
        self._conninfo = conninfo
        self._readings = readings
        self._users = users
        self._states = states
        self._metrics = metrics
        self._turns = turns
        self._clock = clock
        self._monotonic = monotonic
        self._policy = policy_of(settings)
        self._known: dict[str, _Known] = {}
        self._gate = asyncio.Semaphore(settings.concurrency)
        self._global = GlobalBreaker()
        self._skew = 0.0
        self._on_evidence = dict(on_evidence or {})
        self._store_problem: StoreError | None = None
        self.plans: dict[str, Plan] = {}

    async def round(self, inventory: Inventory, *, only_pinned: bool = False) -> None:
        """Consider every compute once and visit those that may be visited, a bounded number at a time.

        ``only_pinned``: a round between two looks at the API, for computes that never suspend; nothing fresh is known
        of the others.

        Raises:
            StoreError: something could not be written, after all had their turn.
        """
        known = computes(inventory)
        todo = [compute for compute in known if not only_pinned or compute.facts.suspend_after is None]
        if not only_pinned:
            for gone in self.plans.keys() - inventory.endpoints.keys():
                self.plans.pop(gone, None)
                self._known.pop(gone, None)
            await self._readings.forget_all_but(inventory.endpoints.keys())
        if self._global.is_open(self._monotonic()):
            why = f"most visits failed in the same way ({self._global.cause.value}): all wait"
            until = self._unix(self._global.open_until)
            self.plans.update((compute.endpoint.id, Plan("", why, until)) for compute in todo)
            return
        offset = policy_offset(inventory)
        self._skew = inventory.skew
        outcomes = await in_slices(todo, lambda compute: self._consider(compute, offset))
        self._turns.report()
        self._global.record_round([outcome for outcome in outcomes if outcome is not None], self._monotonic())
        is_open = [known.breaker.is_open(self._monotonic()) for known in self._known.values()]
        self._metrics.set(selfmetrics.BREAKERS, sum(is_open))
        problem, self._store_problem = self._store_problem, None
        if problem is not None:
            raise problem

    def _unix(self, monotonic: float) -> float:
        """An instant of the monotonic clock, for a person."""
        return self._clock() + monotonic - self._monotonic()

    async def _consider(self, compute: Compute, offset: float) -> Status | None:
        """What one compute raises costs no other compute its turn."""
        known = self._known.get(compute.endpoint.id)
        if known is None:
            known = self._known[compute.endpoint.id] = _Known()
        if known.busy:
            return None
        known.busy = True
        with self._turns.guard(f"{STEP}visit") as failures:
            return await self._reach(compute, known, offset)
        if not isinstance(failures[0], NeonmeterError):
            why = f"a bug in neonmeter ({type(failures[0]).__name__}); the log has its traceback"
            self.plans[compute.endpoint.id] = Plan("", why)
            self._readings.note(compute.target, Status.BUG, why, self._clock())
        return None

    async def _reach(self, compute: Compute, known: _Known, offset: float) -> Status | None:
        try:
            conninfo = self._conninfo(compute.place)
            if conninfo is None:
                self.plans[compute.endpoint.id] = NO_SQL
                return None
            await self._readings.recall(compute, self._clock())
            return await self._visit_if_allowed(compute, known, conninfo, offset)
        except (DsnError, SecretError) as problem:
            self.plans[compute.endpoint.id] = Plan("", str(problem))
            self._readings.note(compute.target, Status.AUTH, str(problem), self._clock())
            return None
        except StoreError as problem:
            self._store_problem = problem
            why = f"not visited, because that we go could not be written down: {problem}"
            self.plans[compute.endpoint.id] = Plan("", why)
            self._readings.note(compute.target, Status.STORE_ERROR, why, self._clock())
            return None
        finally:
            known.busy = False

    async def _visit_if_allowed(self, compute: Compute, known: _Known, conninfo: str, offset: float) -> Status | None:
        decision = await self._decide(compute, known, offset)
        if not decision.allow:
            self._metrics.inc(selfmetrics.VISITS, (decision.rule, "kept_away"))
            if compute.asleep:
                self._readings.note(compute.target, Status.ASLEEP, "", self._clock())
            return None
        if known.breaker.is_open(self._monotonic()):
            why = f"not visited for a while after it failed: {known.breaker.cause.value}: {known.error}"
            self._readings.note(compute.target, Status.BREAKER_OPEN, why, self._clock())
            return None
        async with self._gate:
            # Waiting for a place may have taken a while: what was fresh evidence then may be none now.
            decision = await self._decide(compute, known, offset)
            if decision.allow:
                return await self._visit(compute, known, conninfo, decision, offset=offset)
        return None

    async def _decide(self, compute: Compute, known: _Known, offset: float) -> Decision:
        decision = decide(
            self._policy, compute.facts, self._states.get(compute.endpoint.id), self._clock() + offset
        )  # fmt: skip
        await self._save(compute, decision.state)
        self._readings.own_use(compute.target, decision.state, self._clock())
        due = decision.due_again - offset if decision.due_again is not None else None
        is_open = known.breaker.is_open(self._monotonic())
        open_until = self._unix(known.breaker.open_until) if is_open else None
        self.plans[compute.endpoint.id] = Plan("" if decision.allow else decision.rule, decision.why, due, open_until)
        return decision

    async def _visit(
        self, compute: Compute, known: _Known, conninfo: str, decision: Decision, *, offset: float
    ) -> Status:
        now = self._clock()
        collectors = self._readings.due(compute, now)
        scanners = await self._users.prepare(compute)
        await self._save(compute, before_visit(self._policy, decision.state, now + offset))
        with tracing.span("visit", endpoint=compute.endpoint.id, collectors=len(collectors)) as span:
            made = await visit(
                conninfo,
                [*collectors, *scanners],
                endpoint_id=compute.endpoint.id,
                deadlines=self._deadlines(None if decision.end_by is None else decision.end_by - now - offset),
                probe=known.server,
                probed_start=known.probed_start,
            )
            span.set(status=made.status.value, seconds=made.seconds)
        made.opened_at = now
        known.server = made.server
        known.probed_start = made.evidence.postmaster_start if made.evidence else 0.0
        known.breaker.record(made.status, self._monotonic())
        known.error = made.error
        before = self._states.get(compute.endpoint.id) or decision.state
        state = after_visit(self._policy, before, compute.facts, made.evidence, self._clock() + offset)
        await self._save(compute, state, visited=True)
        # Whatever these raise, what the visit read is shown all the same.
        if made.evidence is not None and not made.woke_it:
            for name, take in self._on_evidence.items():
                with self._turns.guard(f"{STEP}evidence/{name}"):
                    await take(compute, made.evidence, before, state, self._clock() + self._skew)
        state = await self._users.scan(compute, conninfo, made, state, self._deadlines(), offset=offset)
        await self._save(compute, state, visited=True)
        self._count(compute, made)
        await self._readings.take(compute, collectors, made)
        return made.status

    async def _save(self, compute: Compute, state: WakeState, *, visited: bool = False) -> None:
        """Write a wake state down. Without a disk only computes that never suspend are visited: nothing wakes them.

        ``visited``: it is of a visit that is over, and what is on the disk since before keeps us away at least as long.

        Raises:
            StoreError: it could not be written, and so the compute may not be visited.
        """
        try:
            await self._states.save(state)
        except StoreError as problem:
            if not visited and compute.facts.suspend_after is not None:
                raise
            self._store_problem = problem

    def _deadlines(self, left: float | None = None) -> Deadlines:
        """``left``: seconds after which the policy wants the session to be over, when that is less than usual."""
        settings = self._settings
        session = settings.session_seconds if left is None else max(1.0, min(left, settings.session_seconds))
        return Deadlines(
            connect=min(settings.connect_timeout_seconds, session),
            session=session,
            statement=settings.statement_timeout_seconds,
            lock=settings.lock_timeout_ms / 1000,
        )

    def _count(self, compute: Compute, made: Visit) -> None:
        self._metrics.inc(selfmetrics.VISITS, ("none", made.status.value))
        self._metrics.observe(selfmetrics.VISIT_SECONDS, made.seconds)
        rows = sum(len(result.rows) for results in made.results.values() for result in results.values())
        self._metrics.inc(selfmetrics.VISIT_ROWS, (), rows)
        if made.woke_it:
            _log.error("our connect woke %s; no SQL there for 24 h (rule R8)", compute.target.name)
