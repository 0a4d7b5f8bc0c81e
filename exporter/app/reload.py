"""Reloading the settings by SIGHUP or POST /-/reload: swapped whole, or the old ones kept and the reason said."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from exporter.app import log
from exporter.app.generation import start_generation
from exporter.app.rounds import Rounds
from exporter.app.settings import Settings, load, problems_of
from exporter.app.signals import Signals
from exporter.core import selfmetrics
from exporter.core.parts import JOB
from exporter.serving.publisher import Publisher
from exporter.settings import SettingsError

ANSWER_SECONDS = 60.0
FIXED = ("http", "storage", "ledger", "sharding", "telemetry")
"""Sections that are bound at start: a change of those needs a restart."""
_log = logging.getLogger("neonmeter.reload")


class Reloader:
    """Owns the settings in force."""

    def __init__(self, config: Path | None, rounds: Rounds, publisher: Publisher) -> None:
        self._config = config
        self._rounds = rounds
        self._publisher = publisher
        self._metrics = rounds.generation.resources.metrics
        self._parts = rounds.generation.resources.parts
        self._clock = rounds.generation.resources.clock
        self._one_at_a_time = asyncio.Lock()
        self._closed = False
        self._tasks: set[asyncio.Task[tuple[bool, str]]] = set()
        self._metrics.set(selfmetrics.CONFIG_LAST, self._clock())

    def listen(self, loop: asyncio.AbstractEventLoop, signals: Signals) -> None:
        """Reload on SIGHUP and when the HTTP server is asked to."""

        def hang_up() -> None:
            if self._closed or len(self._tasks) > 1:
                return  # Stopping; or a reload waits already, and will read what is new.
            task = loop.create_task(self.reload())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        def from_http() -> tuple[bool, str]:
            return asyncio.run_coroutine_threadsafe(self.reload(), loop).result(ANSWER_SECONDS)

        signals.on_hang_up(hang_up)
        self._publisher.on_reload = from_http

    async def reload(self) -> tuple[bool, str]:
        """Read the settings again; whether they are in force now, and one text for a person."""
        done, text = False, "a bug in neonmeter: the settings were not reloaded; the log has its traceback"
        async with self._one_at_a_time:
            with self._parts.guard(f"{JOB}reload") as failures:
                done, text = await self._reload()
        self._metrics.inc(selfmetrics.RELOADS, ("bug" if failures else "ok" if done else "refused",))
        (_log.info if done else _log.error)("%s", text)
        return done, text

    async def _reload(self) -> tuple[bool, str]:
        try:
            settings = load(self._config)
        except SettingsError as error:
            return False, _refused(error.problems)
        problems = [*problems_of(settings), *_fixed(self._rounds.generation.settings, settings)]
        if problems:
            return False, _refused(problems)
        await self._rounds.swap(start_generation(settings, self._rounds.generation.resources))
        self._publisher.use(settings)
        log.set_up(settings.log.level, settings.log.format)
        self._metrics.set(selfmetrics.CONFIG_LAST, self._clock())
        return True, "the settings were read again and are in force"

    async def close(self) -> None:
        """Wait for a reload that is under way; take no more."""
        self._closed = True
        self._publisher.on_reload = lambda: (False, "stopping")
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _refused(problems: list[str]) -> str:
    return "the old settings stay in force:\n" + "\n".join(f"  {problem}" for problem in problems)


def _fixed(old: Settings, new: Settings) -> list[str]:
    return [
        f"{section}: cannot change while running; restart neonmeter"
        for section in FIXED
        if getattr(old, section) != getattr(new, section)
    ]
