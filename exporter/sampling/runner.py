"""Runs collectors over what a session read: one mapping from rows and failures to a reading or a status.

Visits, scans of user databases and single fingerprints all go through here, so a collector with a bug has the same
status and the same traceback in the log wherever it runs, and never costs another collector its reading.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from collectors.base import NoDataError, Reading, SqlCollector, Status
from collectors.postgres.session import Visit
from exporter.core.parts import place_of

NOTHING_TO_READ = "this server has nothing that it reads"
_log = logging.getLogger("neonmeter.collectors")
_logged: set[tuple[str, type[Exception], tuple[str, int]]] = set()
"""The bugs that are in the log with their traceback: as many as there are, not as there are computes."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one collector fared in one session.

    A ``reading`` beside a status that is not OK lacks what the failed queries would have brought. ``error`` is one
    line for a person; ``no_data`` is what the collector itself said when it had nothing to show.
    """

    status: Status
    error: str = ""
    reading: Reading | None = None
    no_data: NoDataError | None = None

    @property
    def failed(self) -> bool:
        """Whether anything is missing."""
        return self.status is not Status.OK


def run(collector: SqlCollector, session: Visit, where: str) -> Outcome:
    """What a collector makes of a session. Never raises; ``where`` names the target or the database in the log.

    The status is, in this order: BUG when the collector failed by itself, the failure of one of its queries, NO_DATA
    when it says so, the failure of the session when nothing was read, UNSUPPORTED when the server has nothing for it.
    """
    results = session.results.get(collector.name, {})
    failed = next((failure for (name, _), failure in session.failures.items() if name == collector.name), None)
    if session.epoch is None or not results:
        cut = (session.status, session.error) if session.status is not Status.OK else None
        return Outcome(*(failed or cut or (Status.UNSUPPORTED, NOTHING_TO_READ)))
    try:
        reading = collector.read(results, session.epoch)
    except NoDataError as nothing:
        # Nothing to show because a query failed is that failure, not "no data".
        return Outcome(*(failed or (Status.NO_DATA, str(nothing))), no_data=nothing)
    except Exception as problem:
        return bug(collector, where, problem)
    return Outcome(*(failed or (Status.OK, "")), reading=reading)


def bug(collector: SqlCollector, where: str, problem: Exception) -> Outcome:
    """The outcome of a collector that raised ``problem``. To be called while it is handled.

    The traceback is logged once for a collector and a place in the code, not at every compute and every turn.
    """
    mark = (collector.name, type(problem), place_of(problem))
    if mark not in _logged:
        _logged.add(mark)
        _log.exception("collector %s failed at %s; this is a bug in neonmeter", collector.name, where)
    return Outcome(Status.BUG, f"{type(problem).__name__}: see the log")
