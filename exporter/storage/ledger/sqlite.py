"""The ledger in the agent's own file: facts and what derives from them in one transaction, safe from a kill."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

from exporter.pricing.domain.calendar import DAY
from exporter.pricing.domain.usage import UsageFact
from exporter.storage.ledger import sqlite_sql as sql
from exporter.storage.ledger.cost_counters import Counted, CounterKey, advance
from exporter.storage.ledger.finest import DaySum, plan_day
from exporter.storage.ledger.ledger import Answer, Changes, Ledger, Select, checked, newest_ends
from exporter.storage.store import Store

_Name = tuple[str, str, str, str, str, str, str]
"""Project, branch, metric, granularity, organisation, plan, unit."""


class SqliteLedger(Ledger):
    """The ledger in the store's schema ``ledger``. Safe to share between threads, as the store is."""

    queries = sql.QUERIES
    link = None

    def __init__(self, store: Store) -> None:
        """Use a store that was opened with the schema ``ledger``."""
        self._store = store
        self.where = str(store.path)
        self._ids: dict[_Name, int] = {}
        self._rivals: dict[int, list[int]] | None = None
        store.mirrored(self._forget_series)

    def put(self, facts: Iterable[UsageFact], *, read_through: Mapping[str, int] | None = None) -> Changes:
        """See :meth:`Ledger.put`."""
        batch = checked(facts)
        with self._writing() as cursor:
            return self._put(cursor, batch, read_through or {})

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Cursor]:
        try:
            with self._store.transaction() as cursor:
                yield cursor
        except BaseException:
            self._forget_series()
            raise

    def _forget_series(self) -> None:
        """Series that a rolled back transaction made are not there."""
        self._ids.clear()
        self._rivals = None

    def _put(self, cursor: sqlite3.Cursor, batch: list[UsageFact], read_through: Mapping[str, int]) -> Changes:
        cursor.execute(sql.STAGE)
        cursor.execute("DELETE FROM ledger_staged")
        cursor.executemany(sql.STAGE_ROW, list(self._staged(cursor, batch)))
        cursor.execute(sql.DROP_OLD)
        moved = self._drop_rivals(cursor)
        new, grown, shrunk = cursor.execute(sql.COUNT).fetchone()
        cursor.execute(sql.REVISE)
        cursor.execute(sql.ADD_DAYS)
        cursor.execute(sql.UPSERT)
        newest = newest_ends(batch, read_through)
        cursor.executemany(sql.THROUGH, [(*owner, end) for owner, end in newest.items()])
        cursor.executemany(sql.TALLY, [("facts", new), ("corrections", shrunk + moved)])
        return Changes(new, grown, shrunk, moved)

    def _staged(self, cursor: sqlite3.Cursor, batch: list[UsageFact]) -> Iterator[tuple[int, int, int, int]]:
        for org, project, branch, start, granularity, plan, metric, value, observed_at, unit in batch:
            yield (
                start,
                self._series(cursor, (project, branch, metric, granularity, org, plan, unit)),
                value,
                observed_at,
            )

    def _series(self, cursor: sqlite3.Cursor, name: _Name) -> int:
        if not self._ids:
            self._ids = {row[:7]: row[7] for row in cursor.execute(sql.SERIES)}
        series = self._ids.get(name)
        if series is None:
            ((series,),) = cursor.execute(sql.NEW_SERIES, name).fetchall()
            self._ids[name] = series
            self._rivals = None
        return series

    def _drop_rivals(self, cursor: sqlite3.Cursor) -> int:
        if self._rivals is None:
            self._rivals = {}
            for series, rival in cursor.execute(sql.RIVALS):
                self._rivals.setdefault(series, []).append(rival)
        if not self._rivals:
            return 0
        cursor.execute(sql.STAGE_INDEX)
        staged = {series for (series,) in cursor.execute(sql.STAGED_SERIES)}
        moved = 0
        for series in sorted(staged & self._rivals.keys()):
            for rival in self._rivals[series]:
                cursor.execute(sql.OUTRUN, (series, rival))
                stale = cursor.execute(sql.STALE, (series, rival)).fetchall()
                for start, value in stale:
                    day = start // DAY * DAY
                    cursor.execute(
                        "UPDATE ledger_day SET value = value - ? WHERE day = ? AND series = ?", (value, day, rival)
                    )
                    cursor.execute("UPDATE ledger_revision SET revision = revision + 1 WHERE day = ?", (day,))
                    cursor.execute("DELETE FROM ledger_usage WHERE start = ? AND series = ?", (start, rival))
                moved += len(stale)
        return moved

    def advance(self, month: int, priced: Mapping[CounterKey, int]) -> dict[CounterKey, Counted]:
        """See :meth:`Ledger.advance`."""
        with self._store.transaction() as cursor:
            return advance(cursor, month, priced)

    def settle_unit(self, org_id: str, granularity: str, start: int, end: int, unit: str) -> int:
        """See :meth:`Ledger.settle_unit`."""
        moved = 0
        with self._writing() as cursor:
            for old, *name in cursor.execute(sql.UNDECIDED_SERIES, (org_id, granularity)).fetchall():
                span = (old, start, end)
                days = [day for (day,) in cursor.execute(sql.DAYS_OF, span)]
                if not days:
                    continue
                project, branch, metric, size, org, plan = name
                new = self._series(cursor, (project, branch, metric, size, org, plan, unit))
                moved += cursor.execute(sql.MOVE_UNIT, (new, *span)).rowcount
                cursor.execute(sql.DROP_MOVED, span)
                for day in days:
                    for series in (old, new):
                        cursor.execute(sql.DROP_SUM, (day, series))
                        cursor.execute(sql.SUM_AGAIN, (day, day + DAY, series))
                cursor.executemany(sql.REVISE_DAY, [(day,) for day in days])
        return moved

    def close(self) -> None:
        """See :meth:`Ledger.close`: the store is closed by who opened it."""

    def _read(self, act: Callable[[Select], Answer]) -> Answer:
        with self._store.snapshot() as cursor:
            return act(lambda query, *parameters: cursor.execute(query, parameters).fetchall())

    def _damage(self, select: Select) -> tuple[str, ...]:
        found = tuple(str(row[0]) for row in select("PRAGMA integrity_check(20)"))
        return () if found == ("ok",) else found

    def _sum_up(self, day: int, metrics: tuple[str, ...]) -> int:
        """See :meth:`Ledger._sum_up`; one transaction, and values stay, so no revision moves."""
        with self._writing() as cursor:
            held = {row[0]: row[1:] for row in cursor.execute(sql.OF_DAY, (day, day + DAY))}
            found = map(DaySum._make, cursor.execute(self.queries.sums, (day, day + DAY)).fetchall())
            # A series whose every bucket moved to another plan has a sum of 0 left, and nothing behind it.
            sums = [row for row in found if row.series in held]
            plan = plan_day(sums, day, metrics)
            if not plan.hourly:
                return 0
            gone = (day, day + DAY, json.dumps(sorted(plan.replaced)))
            cursor.execute(sql.DROP_DAY, gone)
            cursor.execute(sql.DROP_SUMS, gone)
            rows = [
                (day, self._series(cursor, name), value, max(held[series][1] for series in plan.sources[name]))
                for name, value in sorted(plan.values.items())
            ]
            cursor.executemany("INSERT INTO ledger_usage VALUES (?, ?, ?, ?)", rows)
            cursor.executemany("INSERT INTO ledger_day VALUES (?, ?, ?)", [row[:3] for row in rows])
            return int(sum(held[series][0] for series in plan.hourly))
