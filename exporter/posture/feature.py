"""Security posture as a feature: reads what is due, evaluates when something moved, shows series, pages and notes.

Evaluating is pure and runs in a thread. It is done again when facts moved, when the inventory did, and every ten
minutes, because keys, passwords and waivers grow old by themselves.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import ClassVar

from collectors.base import Observation, Status, Target, Unread
from collectors.metric import Families, Scope
from collectors.neon.domain.security import BranchFacts, services_in_use
from collectors.neon.inventory import Inventory
from exporter.core.api_pages import ApiPage, ApiPages
from exporter.core.clock import is_recent
from exporter.core.command_line import Commands
from exporter.core.state import Batch, State
from exporter.feature.feature import Feature, FeatureRun, Job, MetricGroup, Schemas
from exporter.feature.ports import OffsiteCopies, RestoreDrills
from exporter.feature.services import Services
from exporter.feature.workspace import UNMETERED
from exporter.posture import pages, series
from exporter.posture.catalogue import CatalogueError
from exporter.posture.commands import add_commands
from exporter.posture.domain.evaluate import Score
from exporter.posture.evaluation import Evaluator, PostureEvaluation, registry_of
from exporter.posture.fact_cache import CachedFacts, FactCache
from exporter.posture.outside import sources_of
from exporter.posture.publish import POSTURE_POSTGRES, PosturePublisher, owns
from exporter.posture.scanner import PostureScanner
from exporter.posture.settings import PostureTree
from exporter.posture.sources import PostureSources, forget_gone
from exporter.posture.store import POSTURE_SCHEMA, PostureStore
from exporter.posture.waivers import FindingState
from exporter.sampling.domain.sharding import ALONE, Shard
from exporter.sampling.user_databases import DatabaseScanner
from exporter.storage.ledger.ledger import Ledger
from exporter.storage.store import StoreError
from exporter.storage.tables import KeyValueStore
from exporter.storage.writer import WriterThread

NAME = "posture"
EXCESS = "posture_agent"
INTERVAL = 600.0
AGAIN_SECONDS = 600.0
LOOK_SECONDS = 10.0
"""Whether a source is due is asked this often; each has its own pace (posture.pace)."""
_AGENT = Target(Scope.AGENT, (), "posture")
_log = logging.getLogger("neonmeter.posture")


@dataclass(frozen=True, slots=True)
class _Inputs:
    """What an evaluation is made from, as it was at one moment."""

    inventory: Inventory
    cached_facts: CachedFacts
    since: Mapping[str, float]
    """When each failure was first seen, by cache key."""
    ups: Mapping[str, bool]
    """Whether the last look at each source succeeded."""
    now: float


@dataclass(slots=True)
class _Made:
    """What an evaluation leads to; of the findings themselves only open failures stay."""

    at: float
    batch: Batch = field(default_factory=lambda: Batch.of((), interval=INTERVAL, forever=True))
    pages: dict[str, ApiPage] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    copies: Mapping[str, float] = field(default_factory=dict)
    """When the newest off-site copy of each project was taken."""
    excess: dict[str, list[str]] = field(default_factory=dict)
    """What our own role has too much, by ``project/branch``."""
    since: dict[str, float] = field(default_factory=dict)
    """When each failure was first seen, by cache key."""
    new: dict[str, float] = field(default_factory=dict)
    """The part of it that was not there before."""
    gone: Set[str] = frozenset()
    """What is there no more."""
    today: dict[str, tuple[str, str, str]] = field(default_factory=dict)
    """The open failures: control, object and evidence by cache key."""

    def remember(self, states: Iterable[FindingState], before: Mapping[str, float]) -> None:
        """Take in the failures among these findings; ``before`` is when each known one was first seen."""
        for state in states:
            if state.since is None:
                continue
            key, finding = state.finding.cache_key, state.finding
            self.since[key] = before.get(key, self.at)
            if key not in before:
                self.new[key] = self.at
            if state.open:
                self.today[key] = (finding.control, finding.object_id, finding.evidence)


class PostureRun(FeatureRun):
    """Lives on the event loop; what it knows of facts is the fact cache's, and so outlives it."""

    def __init__(
        self,
        evaluator: Evaluator,
        sources: PostureSources,
        *,
        store: PostureStore,
        writer: WriterThread,
        state: State,
        pages: ApiPages,
        scanner: PostureScanner | None = None,
        publisher: PosturePublisher | None = None,
        key_values: KeyValueStore | None = None,
        shard: Shard = ALONE,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._evaluator = evaluator
        self._sources = sources
        self._fact_cache = sources.fact_cache
        self._store = store
        self._writer = writer
        self._state = state
        self._pages = pages
        self._scanner = scanner
        self._publisher = publisher
        self._key_values = key_values
        self._services_at = -1
        self._in_use: Mapping[str, int] | None = None
        self._shard = shard
        self._clock = clock
        self._inventory: Inventory | None = None
        self._mark: object = None
        self._at = 0.0
        self._since: Mapping[str, float] | None = None
        self._tenants_shown: dict[str, series.TenantSeverities] = {}
        self._excess: tuple[str, ...] = ()
        self._trouble: tuple[str, ...] = ()
        self._copies: Mapping[str, float] = {}

    @property
    def jobs(self) -> Sequence[Job]:
        """The sources beside the databases."""
        return (Job("posture", LOOK_SECONDS, self.read_sources, first_in=LOOK_SECONDS),)

    @property
    def scanners(self) -> Sequence[DatabaseScanner]:
        """The scan of the catalogues."""
        return () if self._scanner is None else (self._scanner,)

    async def before_visits(self, inventory: Inventory) -> None:
        """Remember what there is, for the sources."""
        if inventory.complete:
            self._inventory = inventory

    async def read_sources(self) -> None:
        """Read the sources whose time has come.

        Raises:
            StoreError: the disk is full or the file damaged.
        """
        if self._inventory is not None:
            await self._sources.look(self._inventory)
            await self._note_services()

    async def _note_services(self) -> None:
        """Write down which services are in use that Neon's consumption API has no metric for."""
        if self._key_values is None or self._services_at == self._fact_cache.revision:
            return
        self._services_at = self._fact_cache.revision
        facts = [fact for _, fact in (await self._fact_cache.load()).values()]
        services = await asyncio.to_thread(lambda: services_in_use(f for f in facts if isinstance(f, BranchFacts)))
        if services != self._in_use:
            key_values = self._key_values
            await self._writer.run(lambda: key_values.write(*UNMETERED, services))
            self._in_use = services

    async def on_inventory(self, inventory: Inventory) -> None:
        """Evaluate what moved, and show it.

        Raises:
            StoreError: the disk is full or the file damaged.
        """
        self._inventory = inventory
        await forget_gone(inventory, self._fact_cache)
        cached_facts, now = dict(await self._fact_cache.load()), self._clock()
        mark = (self._fact_cache.revision, await asyncio.to_thread(_moved, inventory))
        if mark == self._mark and is_recent(self._at, now, AGAIN_SECONDS):
            return
        if self._since is None:
            self._since = await self._writer.run(self._store.since)
        ups = {name: outcome.status is Status.OK for name, outcome in self._sources.outcomes().items()}
        inputs = _Inputs(inventory, cached_facts, self._since, ups, now)
        try:
            made = await asyncio.to_thread(self._make, inputs)
        except (CatalogueError, OSError) as problem:
            self._complain(problem)
            return
        self._mark, self._at, self._trouble = mark, now, ()
        await self._remember(made)
        self._copies, self._excess = made.copies, made.notes
        self._state.show_batch(NAME, made.batch)
        if self._publisher is not None and self._publisher.due(now):
            try:
                await asyncio.to_thread(self._publish, self._publisher, replace(inputs, since=made.since))
            except StoreError as problem:  # the views grow old; what is served here does not
                self._complain(problem)

    def _publish(self, publisher: PosturePublisher, inputs: _Inputs) -> None:
        """The views need all findings at once; without a PostgreSQL ledger those are never there together."""
        evaluation = self._evaluator.evaluate(inputs.inventory, inputs.cached_facts, inputs.since, inputs.now)
        publisher.publish(evaluation, self._evaluator.catalogue)

    def _make(self, inputs: _Inputs) -> _Made:
        """Everything that an evaluation leads to; in a worker thread, because all of it grows with the fleet."""
        made = _Made(inputs.now)
        parts = self._evaluator.slices(inputs.inventory, inputs.cached_facts, inputs.since, inputs.now)
        batch = Batch.of(self._take_all(parts, inputs, made), interval=INTERVAL, forever=True)
        made.batch, made.gone = batch, inputs.since.keys() - made.since.keys()
        made.notes = self._noted(made)
        self._pages.replace(NAME, made.pages)
        return made

    def _take_all(self, parts: Iterable[PostureEvaluation], inputs: _Inputs, made: _Made) -> Iterator[Observation]:
        """Take what stays of each part of the evaluation before the next one is made; its series are answered."""
        tenants: dict[str, dict[str, int]] = {}
        scores: dict[str, Score] = {}
        account: PostureEvaluation | None = None
        for part in parts:
            projects = sorted(project for project in part.by_project if owns(self._shard, project))
            excess = series.excess(part)
            made.excess |= {part.path("/".join(place)): found for place, found in excess.items() if found}
            made.remember(part.verdict.states, inputs.since)
            pages.count_by_tenant(part.verdict.states, tenants)
            scores |= {project: part.by_project[project] for project in projects}
            for project in projects:
                made.pages |= self._project_pages(part, project)
            yield from self._observations(part, projects, excess)
            account = part  # what is of no project is the last
        if account is None:
            return
        made.copies = _newest_copies(account)
        made.pages["tenants"] = ApiPage.of(pages.tenants_page(tenants))
        made.pages[""] = ApiPage.of(pages.index_page(replace(account, by_project=scores), sorted(scores)))
        if self._shard.owns_account:
            families = series.account_series(account, self._evaluator.registry, inputs.ups)
            yield Observation(NAME, _AGENT, Status.OK, account.at, families=families)

    def newest_copies(self) -> Mapping[str, float]:
        """When the newest off-site copy was taken (unix seconds), by project id; absent where none is known."""
        return self._copies

    def notes(self) -> Iterable[str]:
        """For the index page: what we may do too much, and which source does not answer."""
        return (*self._excess, *self._trouble, *self._sources.notes())

    def _complain(self, problem: Exception) -> None:
        lines = tuple(f"posture: {line}" for line in str(problem).splitlines()[:5])
        if lines != self._trouble:
            _log.error("%s", "; ".join(lines))
        self._trouble = lines

    async def _remember(self, made: _Made) -> None:
        """Since when each failure is there, and how it stands today."""
        if made.new or made.gone:
            self._since = made.since
            await self._writer.run(lambda: self._store.mark(made.new, made.gone))
        await self._writer.run(lambda: self._store.save_day(made.at, made.today))

    def _observations(
        self, part: PostureEvaluation, projects: Sequence[str], excess: Mapping[tuple[str, str], list[str]]
    ) -> Iterator[Observation]:
        def observation(name: str, target: Target, families: Families) -> Observation:
            return Observation(name, target, Status.OK, part.at, families=families)

        for project in projects:
            target = Target(Scope.PROJECT, (project,), part.gathered.names.get(project, project))
            shown = self._tenants_shown.setdefault(project, set())
            yield observation(NAME, target, series.project_series(part, project, shown))
        for (project, branch), evidence in sorted(excess.items()):
            families = Families()
            families.set(series.EXCESS, (), int(bool(evidence)))
            yield observation(
                EXCESS, Target(Scope.BRANCH, (project, branch), part.path(f"{project}/{branch}")), families
            )

    def _noted(self, made: _Made) -> tuple[str, ...]:
        """An agent that may do too much says so wherever somebody looks."""
        notes = tuple(
            f"neonmeter's own role has excess privileges in {path}: {evidence[0]}"
            f"{f' (and {len(evidence) - 1} more)' if len(evidence) > 1 else ''}; make its role by docs/permissions.sql"
            for path, evidence in sorted(made.excess.items())
        )
        for note in notes:
            if note not in self._excess:
                _log.warning("%s", note)
        return notes if len(notes) <= 3 else (*notes[:3], f"and so in {len(notes) - 3} more branches")

    def _project_pages(self, part: PostureEvaluation, project: str) -> dict[str, ApiPage]:
        catalogue = self._evaluator.catalogue
        return {
            project: ApiPage.of(pages.project_page(part, project, catalogue)),
            f"{project}.md": ApiPage.of(pages.project_markdown(part, project, catalogue)),
        }


def _newest_copies(evaluation: PostureEvaluation) -> dict[str, float]:
    """When the newest off-site copy of each project was taken (unix seconds)."""
    taken: dict[str, float] = {}
    for fact in evaluation.gathered.facts.buckets:
        if fact.project_id and not isinstance(fact.newest, Unread) and fact.newest:
            taken[fact.project_id] = max(fact.newest[0].at, taken.get(fact.project_id, 0.0))
    return taken


def _moved(inventory: Inventory) -> object:
    """What an inventory is remembered by: the same as long as nothing that is evaluated moved."""
    return (
        tuple((key, holding.project.marks, holding.branches_at) for key, holding in sorted(inventory.holdings.items())),
        frozenset(inventory.branches),
        frozenset(inventory.endpoints),
    )  # fmt: skip


class PostureFeature(Feature[PostureTree]):
    """Declares what posture brings."""

    name = NAME
    schemas: ClassVar[Schemas] = {"posture": POSTURE_SCHEMA}
    ledger_schemas: ClassVar[Schemas] = {"posture": POSTURE_POSTGRES}
    metrics = (
        MetricGroup(
            "Posture",
            "the controls of docs/posture.md, over catalogues, Neon's API, key stores, buckets and handshakes",
            series.METRICS,
        ),
    )

    def add_commands(self, commands: Commands) -> None:
        """Declare `posture`."""
        add_commands(commands)

    def start(self, services: Services, settings: PostureTree) -> PostureRun | None:
        """Begin a generation; opens no connection and reads no file."""
        if not settings.posture.enabled:
            return None
        store = PostureStore(services.store)
        fact_cache = FactCache(store, services.writer)
        sources = sources_of(
            settings, services.client, lambda: services.find(RestoreDrills), account=services.shard.owns_account
        )
        run = PostureRun(
            Evaluator(settings, services.rules),
            PostureSources(sources, fact_cache, services.clock),
            store=store,
            writer=services.writer,
            state=services.state,
            pages=services.pages,
            scanner=PostureScanner(
                settings.posture, registry_of(settings, services.rules), fact_cache, clock=services.clock
            ),
            publisher=_publisher(services.ledger, services.shard),
            key_values=KeyValueStore(services.store),
            shard=services.shard,
            clock=services.clock,
        )
        services.provide(OffsiteCopies, run)
        return run


def _publisher(ledger: Ledger, shard: Shard) -> PosturePublisher | None:
    """Only a PostgreSQL ledger has readers with SQL."""
    return None if ledger.link is None else PosturePublisher(ledger.link, shard)
