"""The ledger in a PostgreSQL database, for replicas that share it and for people with SQL.

Writers take turns under one advisory lock of the transaction: what was there is read, what changes is worked out, and
buckets, sums, revisions and counters are written together. So two agents that read the same usage write it once, and
one that is killed in the middle leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Self

from psycopg.conninfo import conninfo_to_dict

from exporter.pricing.domain.calendar import DAY
from exporter.pricing.domain.units import STORED_METRICS
from exporter.pricing.domain.usage import UsageFact
from exporter.storage.ledger import postgres_sql as sql
from exporter.storage.ledger.cost_counters import Counted, CounterKey, settle
from exporter.storage.ledger.finest import DaySum, plan_day
from exporter.storage.ledger.ledger import Answer, Changes, Ledger, Select, checked, newest_ends
from exporter.storage.ledger.postgres_link import Cursor, PostgresConnection, parameters_of

_BATCH = 20_000
_Name = tuple[str, str, str, str, str, str, str]
"""Project, branch, metric, granularity, organisation, plan, unit."""
_Bucket = tuple[int, int]
"""Series and start."""
_Read = tuple[int, int]
"""Value and when it was read."""
_Rivals = Mapping[int, Sequence[int]]
"""Series -> those of the same project, branch, metric and bucket size under another plan or organisation."""


class PostgresLedger(Ledger):
    """The ledger in the schema ``neonmeter``. Safe to share between threads and between programs."""

    queries = sql.QUERIES
    link: PostgresConnection

    def __init__(self, link: PostgresConnection, where: str) -> None:
        """Use a connection whose schemas have the ledger's; nothing is contacted before the first question."""
        self.link = link
        self.where = where
        self._ids: dict[_Name, int] = {}
        self._meters: dict[tuple[str, str, str, str], list[int]] = {}

    @classmethod
    def of(
        cls,
        url: str,
        password: Callable[[], str | None],
        schemas: Mapping[str, Sequence[str]],
        *,
        read_only: bool = False,
    ) -> Self:
        """The ledger in the database of a URL, with the tables that features have in it.

        ``password`` is asked at every connect; it may raise OSError. ``schemas`` are migrations by part, as for
        :meth:`exporter.storage.store.Store.open`.
        """
        parameters = conninfo_to_dict(url)
        conninfo = parameters_of(url, password)
        host, port = parameters.get("host", "localhost"), parameters.get("port", "5432")
        return cls(
            PostgresConnection(conninfo, {"ledger": sql.POSTGRES_SCHEMA, **schemas}, read_only=read_only),
            f"postgresql://{host}:{port}/{parameters.get('dbname')}",
        )

    def put(self, facts: Iterable[UsageFact], *, read_through: Mapping[str, int] | None = None) -> Changes:
        """See :meth:`Ledger.put`."""
        batch = checked(facts)
        return self._writing(lambda cursor: self._put(cursor, batch, read_through or {}))

    def _writing(self, act: Callable[[Cursor], Answer]) -> Answer:
        try:
            return self.link.write(act)
        except BaseException:
            # Series that the rolled back transaction made are not there.
            self._ids.clear()
            self._meters.clear()
            raise

    def _put(self, cursor: Cursor, batch: list[UsageFact], read_through: Mapping[str, int]) -> Changes:
        self._learn(cursor, {_name(fact) for fact in batch})
        staged: dict[_Bucket, _Read] = {}
        rivals: dict[int, list[int]] = {}
        for fact in batch:
            _, project, branch, start, granularity, _, metric, value, observed, _ = fact
            series = self._ids[_name(fact)]
            known = staged.get((series, start))
            if known is None or observed >= known[1]:
                staged[series, start] = (value, observed)
            meter = self._meters[project, branch, metric, granularity]
            if len(meter) > 1 and series not in rivals:
                rivals[series] = [number for number in meter if number != series]
        asked = {*staged, *((rival, start) for series, start in staged for rival in rivals.get(series, ()))}
        held = self._held(cursor, sorted(asked))
        staged = {key: read for key, read in staged.items() if key not in held or held[key][1] <= read[1]}
        staged = {key: read for key, read in staged.items() if not _outrun(key, read[1], staged, held, rivals)}
        stale = {
            (rival, start)
            for (series, start), (_, observed) in staged.items()
            for rival in rivals.get(series, ())
            # A bucket that a change of plan cut in two is in the same reading twice, and both stay.
            if (rival, start) in held and (rival, start) not in staged and held[rival, start][1] < observed
        }
        return self._write(cursor, staged, held, stale, newest_ends(batch, read_through))

    def _learn(self, cursor: Cursor, names: set[_Name]) -> None:
        """Know the series of these names, and of all others that any writer made."""
        self._load(cursor)
        missing = sorted(names - self._ids.keys())
        if missing:
            cursor.execute(sql.NEW_SERIES, [list(column) for column in zip(*missing, strict=True)])
            self._load(cursor)

    def _load(self, cursor: Cursor) -> None:
        newest = max(self._ids.values(), default=0)
        for row in cursor.execute(sql.SERIES, (newest,)):
            self._ids[row[:7]] = row[7]
            self._meters.setdefault(row[:4], []).append(row[7])

    @staticmethod
    def _held(cursor: Cursor, keys: list[_Bucket]) -> dict[_Bucket, _Read]:
        found: dict[_Bucket, _Read] = {}
        for at in range(0, len(keys), _BATCH):
            part = keys[at : at + _BATCH]
            cursor.execute(sql.HELD, ([key[0] for key in part], [key[1] for key in part]))
            found.update({(series, start): (value, observed) for series, start, value, observed in cursor})
        return found

    @staticmethod
    def _write(
        cursor: Cursor,
        staged: Mapping[_Bucket, _Read],
        held: Mapping[_Bucket, _Read],
        stale: set[_Bucket],
        newest: Mapping[tuple[str, str], int],
    ) -> Changes:
        new = grown = shrunk = 0
        deltas: dict[tuple[int, int], int] = {}
        revised: dict[int, int] = {}
        for key in stale:
            day = key[1] // DAY * DAY
            deltas[day, key[0]] = deltas.get((day, key[0]), 0) - held[key][0]
            revised[day] = revised.get(day, 0) + 1
        moved_days = set()
        for key, (value, _) in staged.items():
            before = held[key][0] if key in held else None
            new += before is None
            grown += before is not None and value > before
            shrunk += before is not None and value < before
            if value != before:
                day = key[1] // DAY * DAY
                deltas[day, key[0]] = deltas.get((day, key[0]), 0) + value - (before or 0)
                moved_days.add(day)
        for day in moved_days:
            revised[day] = revised.get(day, 0) + 1
        rows = [(series, start, *staged[series, start]) for series, start in sorted(staged)]
        for at in range(0, len(rows), _BATCH):
            cursor.execute(sql.UPSERT, _columns(rows[at : at + _BATCH], 4))
        cursor.execute(sql.DROP, _columns(sorted(stale), 2))
        cursor.execute(sql.ADD_DAYS, _columns([(*key, delta) for key, delta in sorted(deltas.items())], 3))
        cursor.execute(sql.REVISE, _columns(sorted(revised.items()), 2))
        cursor.execute(sql.THROUGH, _columns([(*owner, end) for owner, end in sorted(newest.items())], 3))
        cursor.execute(sql.TALLY, ("facts", new, "corrections", shrunk + len(stale)))
        return Changes(new, grown, shrunk, len(stale))

    def advance(self, month: int, priced: Mapping[CounterKey, int]) -> dict[CounterKey, Counted]:
        """See :meth:`Ledger.advance`."""
        return self.link.write(lambda cursor: _advance(cursor, month, priced))

    def settle_unit(self, org_id: str, granularity: str, start: int, end: int, unit: str) -> int:
        """See :meth:`Ledger.settle_unit`."""
        return self._writing(lambda cursor: self._settle_unit(cursor, (org_id, granularity), (start, end), unit))

    def _settle_unit(self, cursor: Cursor, owner: tuple[str, str], span: tuple[int, int], unit: str) -> int:
        moved = 0
        for old, *name in cursor.execute(sql.UNDECIDED_SERIES, (*owner, sorted(STORED_METRICS))).fetchall():
            days = [day for (day,) in cursor.execute(sql.DAYS_OF, (old, *span))]
            if not days:
                continue
            project, branch, metric, size, org, plan = name
            settled = (project, branch, metric, size, org, plan, unit)
            self._learn(cursor, {settled})
            new = self._ids[settled]
            moved += cursor.execute(sql.MOVE_UNIT, (new, old, *span, new)).rowcount
            cursor.execute(sql.DROP_MOVED, (old, *span))
            for day in days:
                cursor.execute(sql.DROP_SUMS, (day, [old, new]))
                for series in (old, new):
                    cursor.execute(sql.SUM_AGAIN, (day, day + DAY, series))
            cursor.execute(sql.REVISE, _columns([(day, 1) for day in days], 2))
        return moved

    def close(self) -> None:
        """See :meth:`Ledger.close`."""
        self.link.close()

    def _read(self, act: Callable[[Select], Answer]) -> Answer:
        return self.link.read(lambda cursor: act(lambda query, *values: cursor.execute(query, values).fetchall()))

    def _sum_up(self, day: int, metrics: tuple[str, ...]) -> int:
        """See :meth:`Ledger._sum_up`; one transaction, and values stay, so no revision moves."""
        return self._writing(lambda cursor: self._sum_up_in(cursor, day, metrics))

    def _sum_up_in(self, cursor: Cursor, day: int, metrics: tuple[str, ...]) -> int:
        held = {row[0]: row[1:] for row in cursor.execute(sql.OF_DAY, (day, day + DAY))}
        found = map(DaySum._make, cursor.execute(self.queries.sums, (day, day + DAY)).fetchall())
        # A series whose every bucket moved to another plan has a sum of 0 left, and nothing behind it.
        sums = [row for row in found if row.series in held]
        plan = plan_day(sums, day, metrics)
        if not plan.hourly:
            return 0
        self._learn(cursor, set(plan.values))
        gone = sorted(plan.replaced)
        cursor.execute(sql.DROP_DAY, (day, day + DAY, gone))
        cursor.execute(sql.DROP_SUMS, (day, gone))
        rows = [
            (self._ids[name], day, value, max(held[series][1] for series in plan.sources[name]))
            for name, value in sorted(plan.values.items())
        ]
        cursor.execute(sql.UPSERT, _columns(rows, 4))
        cursor.execute(sql.ADD_DAYS, _columns([(start, series, value) for series, start, value, _ in rows], 3))
        return sum(held[series][0] for series in plan.hourly)


def _name(fact: UsageFact) -> _Name:
    return (fact.project_id, fact.branch_id, fact.metric, fact.granularity, fact.org_id, fact.plan, fact.unit)


def _outrun(
    key: _Bucket, observed: int, staged: Mapping[_Bucket, _Read], held: Mapping[_Bucket, _Read], rivals: _Rivals
) -> bool:
    """Whether a rival's bucket was read later, and is not in the same reading."""
    others = ((rival, key[1]) for rival in rivals.get(key[0], ()))
    return any(other in held and other not in staged and held[other][1] > observed for other in others)


def _columns(rows: Sequence[Sequence[object]], width: int) -> list[list[object]]:
    """Rows as one array per column, which is how unnest takes them."""
    return [[row[at] for row in rows] for at in range(width)]


def _advance(cursor: Cursor, month: int, priced: Mapping[CounterKey, int]) -> dict[CounterKey, Counted]:
    """As :func:`exporter.storage.ledger.cost_counters.advance`, and the same arithmetic."""
    found: dict[CounterKey, tuple[int, str, str, str, str, int, int, int | None]] = {}
    for row in cursor.execute(sql.COUNTERS, (month,)):
        last = None if row[7] is None else int(row[7])
        found[CounterKey(*row[1:5])] = (*row[:5], int(row[5]), int(row[6]), last)
    new = [key for key in priced if key not in found]
    if new:
        for row in cursor.execute(sql.NEW_COUNTERS, _columns(new, 4)):
            found[CounterKey(*row[1:5])] = (*row[:5], 0, 0, None)
    counters: dict[CounterKey, Counted] = {}
    moved: list[tuple[int, int, int]] = []
    costs: list[tuple[int, int, int]] = []
    for key, row in found.items():
        if key in priced or row[7] is not None:
            counters[key] = settle(row, priced.get(key, 0), moved, costs, month)
    cursor.execute(sql.MOVE_COUNTERS, _columns(moved, 3))
    cursor.execute(sql.PRICED, _columns(costs, 3))
    return counters
