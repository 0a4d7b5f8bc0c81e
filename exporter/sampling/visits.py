"""Who is visited when: the wake decision for every compute, then the visit.

The order is the promise: decide on fresh facts, write down that we go, go, write down what we did, and only then show
anything. A crash at any point leaves a state in which we stay away rather than come too often. Only the first of these
writes is waited for with a place for a session in hand; all others are flushed with those of other computes.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from collectors.base import Server, SqlCollector, Status
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
from exporter.sampling.wake_states import WakeStates
from exporter.settings import SamplingSettings
from exporter.settings.dsn import DsnError, EndpointRef
from exporter.settings.secret import SecretError
from exporter.storage.store import StoreError

AHEAD = 4
"""So many visits are announced on the disk for each one under way, so that they share a flush."""
ANNOUNCED_SECONDS = 0.9
"""A visit begins this soon after its announcement, which allows for a second more than the session may take."""
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


UNREAD: Final = Plan("", "Neon has not shown it since the start of neonmeter")
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


@dataclass(frozen=True, slots=True)
class _Visited:
    """A visit that was made. ``after`` is the wake state right after it, ``state`` the one after the scans as well."""

    made: Visit
    collectors: Sequence[SqlCollector]
    before: WakeState
    after: WakeState
    state: WakeState
    at: float
    """When it ended, unix seconds by our clock."""


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
        self._announced = asyncio.Semaphore(settings.concurrency * AHEAD)
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
        todo = []
        for compute in known:
            if compute.place.project_id in inventory.unread_project_ids:
                self.plans[compute.endpoint.id] = UNREAD  # What is from before our start justifies nothing.
            elif not only_pinned or compute.facts.suspend_after is None:
                todo.append(compute)
        if not only_pinned and inventory.complete:
            for gone in self.plans.keys() - inventory.endpoints.keys():
                self.plans.pop(gone, None)
                self._known.pop(gone, None)
            await self._readings.forget_all_but(inventory.endpoints.keys())
        if self._global.is_open(self._monotonic()):
            why = f"most visits failed in the same way ({self._global.cause.value}): all wait"
            until = self._unix(self._global.open_until)
            self.plans.update((compute.endpoint.id, Plan("", why, until)) for compute in todo)
            return
        await self.recall(todo)
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

    async def recall(self, known: Sequence[Compute]) -> None:
        """Once after a start: show the totals on the disk of the computes that SQL is configured for.

        Nothing is decided: this may be called for computes of which nothing fresh is known.

        Raises:
            StoreError: the file is damaged.
        """
        if {compute.endpoint.id for compute in known} <= self._readings.recalled:
            return

        def find() -> list[Compute]:
            recalled = self._readings.recalled
            return [compute for compute in known if compute.endpoint.id not in recalled and self._reachable(compute)]

        new = await asyncio.to_thread(find)
        await self._readings.recall(new, self._clock())
        for compute in new:
            if (state := self._states.get(compute.endpoint.id)) is not None:
                self._readings.own_use(compute.target, state, self._clock())

    def _reachable(self, compute: Compute) -> bool:
        try:
            return self._conninfo(compute.place) is not None
        except (DsnError, SecretError):
            return False

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
        decision = self._decide(compute, known, offset)
        await self._save(compute, decision.state)
        if not decision.allow:
            self._metrics.inc(selfmetrics.VISITS, (decision.rule, "kept_away"))
            if compute.asleep:
                self._readings.note(compute.target, Status.ASLEEP, "", self._clock())
            return None
        if known.breaker.is_open(self._monotonic()):
            why = f"not visited for a while after it failed: {known.breaker.cause.value}: {known.error}"
            self._readings.note(compute.target, Status.BREAKER_OPEN, why, self._clock())
            return None
        async with self._announced:
            # Waiting for a place may have taken a while: what was fresh evidence then may be none now.
            decision = self._decide(compute, known, offset)
            at = self._clock() + offset
            state = before_visit(self._policy, decision.state, at) if decision.allow else decision.state
            await self._save(compute, state, at_once=True)
            if not decision.allow:
                return None
            async with self._gate:
                going = await self._still(compute, known, decision, at, offset)
                visited = await self._visit(compute, known, conninfo, going, offset=offset) if going.allow else None
        if visited is None:
            return None
        await self._write_down(compute, visited)
        return visited.made.status

    async def _still(self, compute: Compute, known: _Known, announced: Decision, at: float, offset: float) -> Decision:
        """With a place in hand, whether the visit that was announced at ``at`` may still be made.

        A crash in it must find about when it began and by when it ends: what was announced too long ago is announced
        again, or taken back.
        """
        now = self._clock() + offset
        if now - at <= ANNOUNCED_SECONDS:
            return announced
        decision = self._decide(compute, known, offset, announced.state)
        state = before_visit(self._policy, decision.state, now) if decision.allow else decision.state
        await self._save(compute, state, at_once=True)
        return decision

    def _decide(self, compute: Compute, known: _Known, offset: float, state: WakeState | None = None) -> Decision:
        """Decide by a state, or by the one that is stored."""
        held = state or self._states.get(compute.endpoint.id)
        decision = decide(self._policy, compute.facts, held, self._clock() + offset)
        self._readings.own_use(compute.target, decision.state, self._clock())
        due = decision.due_again - offset if decision.due_again is not None else None
        is_open = known.breaker.is_open(self._monotonic())
        open_until = self._unix(known.breaker.open_until) if is_open else None
        self.plans[compute.endpoint.id] = Plan("" if decision.allow else decision.rule, decision.why, due, open_until)
        return decision

    async def _visit(
        self, compute: Compute, known: _Known, conninfo: str, decision: Decision, *, offset: float
    ) -> _Visited:
        """Make a visit that is announced, and scan user databases where that is due."""
        now = self._clock()
        collectors = self._readings.due(compute, now)
        scanners = await self._users.prepare(compute)
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
        at = self._clock()
        after = after_visit(self._policy, before, compute.facts, made.evidence, at + offset)
        state = await self._users.scan(compute, conninfo, made, after, self._deadlines(), offset=offset)
        return _Visited(made, collectors, before, after, state, at)

    async def _write_down(self, compute: Compute, visited: _Visited) -> None:
        """Store what a visit led to, in this order and with few flushes; then show it."""
        made, before, after = visited.made, visited.before, visited.after
        self._count(compute, made)
        steps: list[Awaitable[None]] = [self._save(compute, visited.state, visited=True)]
        if made.evidence is not None and not made.woke_it:
            at = visited.at + self._skew
            steps += [
                self._tell(name, take(compute, made.evidence, before, after, at))
                for name, take in self._on_evidence.items()
            ]
        steps.append(self._readings.take(compute, visited.collectors, made))
        for outcome in await asyncio.gather(*steps, return_exceptions=True):
            if isinstance(outcome, StoreError):  # what the visit read is shown all the same
                self._store_problem = outcome
            elif isinstance(outcome, BaseException):
                raise outcome

    async def _tell(self, name: str, told: Awaitable[None]) -> None:
        """What one of them raises costs the others nothing."""
        with self._turns.guard(f"{STEP}evidence/{name}"):
            await told

    async def _save(self, compute: Compute, state: WakeState, *, visited: bool = False, at_once: bool = False) -> None:
        """Write a wake state down. Without a disk only computes that never suspend are visited: nothing wakes them.

        ``visited``: it is of a visit that is over, and what is on the disk since before keeps us away at least as long.

        Raises:
            StoreError: it could not be written, and so the compute may not be visited.
        """
        try:
            await self._states.save(state, at_once=at_once)
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
