"""Posture of everything that is watched: judges when something moved, and makes series, pages and warnings of it.

Judging is pure and runs in a thread. It is done again when facts moved, when the inventory did, and every ten minutes,
because keys, passwords and waivers grow old by themselves.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import Protocol

from collectors.base import Observation, Status, Target, Unread
from collectors.metric import Families, Scope
from collectors.neon.inventory import Inventory
from exporter.core.api_pages import ApiPages
from exporter.core.state import State
from exporter.posture import metrics, pages
from exporter.posture.catalogue import Catalogue, CatalogueError
from exporter.posture.evaluation import Evaluator, PostureEvaluation
from exporter.posture.registry import ACCOUNT
from exporter.posture.series import Seen, account_series, excess, project_series
from exporter.posture.sources import PostureSources, forget_gone
from exporter.posture.store import PostureStore
from exporter.storage.store import StoreError
from exporter.storage.writer import WriterThread

NAME = "posture"
EXCESS = "posture_agent"
INTERVAL = 600.0
AGAIN_SECONDS = 600.0
_AGENT = Target(Scope.AGENT, (), "posture")
_log = logging.getLogger("neonmeter.posture")


class Publisher(Protocol):
    """Writes a judgement where people with SQL read it."""

    def publish(self, evaluation: PostureEvaluation, catalogue: Catalogue) -> None:
        """At most so often as it wants; in a thread.

        Raises:
            StoreError: the database cannot be used.
        """


class PostureService:
    """Lives on the event loop; `look` is called after every round, `read` by a job of its own."""

    def __init__(
        self,
        judge: Evaluator,
        sources: PostureSources,
        *,
        book: PostureStore,
        disk: WriterThread,
        state: State,
        details: ApiPages,
        publisher: Publisher | None = None,
        enabled: bool = True,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._judge = judge
        self._sources = sources
        self._fact_cache = sources.fact_cache
        self._book = book
        self._disk = disk
        self._state = state
        self._details = details
        self._publisher = publisher
        self._enabled = enabled
        self._clock = clock
        self._mark: object = None
        self._at = 0.0
        self._since: dict[str, float] | None = None
        self._seen: dict[str, Seen] = {}
        self._shown: set[tuple[str, Target]] = set()
        self._excess: tuple[str, ...] = ()
        self._trouble: tuple[str, ...] = ()
        self.evaluation: PostureEvaluation | None = None

    async def read(self, inventory: Inventory | None) -> None:
        """Look at the sources whose time has come."""
        if self._enabled and inventory is not None:
            await self._sources.look(inventory)

    async def look(self, inventory: Inventory) -> None:
        """Judge what moved, and show it.

        Raises:
            StoreError: the file cannot be used.
        """
        if not self._enabled:
            return
        await forget_gone(inventory, self._fact_cache)
        cached_facts, now = dict(await self._fact_cache.load()), self._clock()
        mark = (self._fact_cache.revision, _moved(inventory))
        if mark == self._mark and now - self._at < AGAIN_SECONDS:
            return
        if self._since is None:
            self._since = await self._disk.run(self._book.since)
        since = dict(self._since)
        try:
            evaluation = await asyncio.to_thread(self._judge.judge, inventory, cached_facts, since, now)
        except (CatalogueError, OSError) as problem:
            self._complain(problem)
            return
        self._mark, self._at, self._trouble = mark, now, ()
        await self._remember(evaluation)
        self.evaluation = evaluation
        self._show(evaluation)
        if self._publisher is not None:
            try:
                await asyncio.to_thread(self._publisher.publish, evaluation, self._judge.catalogue)
            except StoreError as problem:  # the views grow old; what is served here does not
                self._complain(problem)

    def offsite(self) -> Mapping[str, float]:
        """When the newest off-site copy of each project was taken, as far as it is known."""
        facts = self.evaluation.gathered.facts.buckets if self.evaluation is not None else ()
        taken: dict[str, float] = {}
        for fact in facts:
            if fact.project_id and not isinstance(fact.newest, Unread) and fact.newest:
                taken[fact.project_id] = max(fact.newest[0].at, taken.get(fact.project_id, 0.0))
        return taken

    def notes(self) -> tuple[str, ...]:
        """For the index page: what we may do too much, and which source does not answer."""
        return (*self._excess, *self._trouble, *self._sources.notes())

    def _complain(self, problem: Exception) -> None:
        told = tuple(f"posture: {line}" for line in str(problem).splitlines()[:5])
        if told != self._trouble:
            _log.error("%s", "; ".join(told))
        self._trouble = told

    async def _remember(self, evaluation: PostureEvaluation) -> None:
        """Since when each failure is there, and how it stands today."""
        failures = {
            evaluated.finding.cache_key: evaluated
            for evaluated in evaluation.verdict.judged
            if evaluated.since is not None
        }
        known = self._since or {}
        new = dict.fromkeys(failures.keys() - known.keys(), evaluation.at)
        gone = known.keys() - failures.keys()
        if new or gone:
            self._since = {key: at for key, at in (known | new).items() if key not in gone}
            await self._disk.run(lambda: self._book.mark(new, gone))
        today = {
            key: (evaluated.finding.control, evaluated.finding.object_id, evaluated.finding.evidence)
            for key, evaluated in failures.items()
            if evaluated.open
        }
        await self._disk.run(lambda: self._book.save_day(evaluation.at, today))

    def _show(self, evaluation: PostureEvaluation) -> None:
        now, shown = evaluation.at, set[tuple[str, Target]]()
        projects = sorted({*evaluation.projects, ACCOUNT})

        def put(name: str, target: Target, families: Families) -> None:
            shown.add((name, target))
            self._state.put(
                Observation(name, target, Status.OK, now, families=families), interval=INTERVAL, forever=True
            )

        for project in projects:
            name = evaluation.gathered.names.get(project, project)
            seen = self._seen.setdefault(project, set())
            put(NAME, Target(Scope.PROJECT, (project,), name), project_series(evaluation, project, seen))
        too_much = excess(evaluation)
        for (project, branch), told in sorted(too_much.items()):
            families = Families()
            families.set(metrics.EXCESS, (), int(bool(told)))
            put(EXCESS, Target(Scope.BRANCH, (project, branch), evaluation.path(f"{project}/{branch}")), families)
        ups = {name: outcome.status is Status.OK for name, outcome in self._sources.outcomes().items()}
        put(NAME, _AGENT, account_series(evaluation, self._judge.registry, ups))
        for name, target in self._shown - shown:
            self._state.put(Observation(name, target, Status.OK, now), interval=INTERVAL, forever=True)
        self._shown = shown
        self._warn(evaluation, too_much)
        self._tell(evaluation, projects)

    def _warn(self, evaluation: PostureEvaluation, too_much: Mapping[tuple[str, str], list[str]]) -> None:
        """An agent that may do too much says so wherever somebody looks."""
        notes = tuple(
            f"neonmeter itself has too much privilege in {evaluation.path('/'.join(place))}: {told[0]}"
            f"{f' (and {len(told) - 1} more)' if len(told) > 1 else ''}; make its role by docs/permissions.sql"
            for place, told in sorted(too_much.items())
            if told
        )
        for note in notes:
            if note not in self._excess:
                _log.warning("%s", note)
        self._excess = notes if len(notes) <= 3 else (*notes[:3], f"and so in {len(notes) - 3} more branches")

    def _tell(self, evaluation: PostureEvaluation, projects: list[str]) -> None:
        catalogue = self._judge.catalogue
        told: dict[str, object] = {
            "": pages.index_page(evaluation, projects),
            "tenants": pages.tenants_page(evaluation),
        }
        for project in projects:
            told[project] = pages.project_page(evaluation, project, catalogue)
            told[f"{project}.md"] = pages.project_markdown(evaluation, project, catalogue)
        self._details.replace(NAME, told)


def _moved(inventory: Inventory) -> object:
    """What an inventory is remembered by: the same as long as nothing that we judge moved."""
    return (
        tuple((key, holding.project.marks, holding.branches_at) for key, holding in sorted(inventory.holdings.items())),
        frozenset(inventory.branches),
        frozenset(inventory.endpoints),
    )  # fmt: skip
