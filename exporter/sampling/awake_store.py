"""Awake time of computes in the store: a record per compute, totals by holder, and the last day by the hour.

`exporter.awake` writes it; it and the rules of waste read it. This is every statement of SQL, and the window of the
last day. Amounts are integer microseconds, hours unix seconds.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Final, NamedTuple, Self

from exporter.sampling.domain.awake_shares import HOUR, MICRO, AwakeHolder, AwakeState
from exporter.storage.store import Schemas, Store
from exporter.storage.tables import Table

DAY_HOURS: Final = 24
SCHEMAS: Final[Schemas] = {
    "awake": [
        """
    CREATE TABLE awake_look (id INTEGER PRIMARY KEY CHECK (id = 1), at INTEGER NOT NULL) STRICT;
    CREATE TABLE awake_page (endpoint_id TEXT PRIMARY KEY, page TEXT NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE awake_total (
        endpoint_id TEXT NOT NULL, reason TEXT NOT NULL, role TEXT NOT NULL, application TEXT NOT NULL,
        slot TEXT NOT NULL, amount INTEGER NOT NULL,
        PRIMARY KEY (endpoint_id, reason, role, application, slot)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE awake_hour (
        hour INTEGER NOT NULL, endpoint_id TEXT NOT NULL, reason TEXT NOT NULL, role TEXT NOT NULL,
        application TEXT NOT NULL, slot TEXT NOT NULL, amount INTEGER NOT NULL,
        PRIMARY KEY (hour, endpoint_id, reason, role, application, slot)
    ) STRICT, WITHOUT ROWID;
    """,
    ]
}
"""Each entry is one released migration."""

Totals = dict[AwakeHolder, int]
Hours = dict[int, Totals]


@dataclass(frozen=True, slots=True)
class AwakeRecord:
    """One compute beside the shares of its awake time: how far it is accounted for, and what pricing needs.

    CU are decimal strings. ``added`` is our own part of the awake time that was priced so far (microseconds), and
    ``added_pico`` its price in 10^-12 USD: a later rate does not change what was counted at an earlier one.
    """

    endpoint_id: str
    project_id: str
    branch_id: str
    state: AwakeState
    plan: str = ""
    least_cu: str = "0"
    most_cu: str = "0"
    suspend_after: float | None = None
    added: int = 0
    added_pico: int = 0

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The inverse of `as_json`; what a newer version added is dropped."""
        values: dict[str, Any] = json.loads(text)
        known = {field.name for field in fields(AwakeState)}
        state = AwakeState(**{name: value for name, value in values["book"].items() if name in known})
        own = {field.name for field in fields(cls)} - {"state"}
        return cls(state=state, **{name: value for name, value in values.items() if name in own})

    def as_json(self) -> str:
        """Everything, as text. The state is called ``book`` in files that exist."""
        values = asdict(self)
        values["book"] = values.pop("state")
        return json.dumps(values, sort_keys=True)


@dataclass(frozen=True, slots=True)
class AwakeWindow:
    """The last day of one compute, or since first sight: amounts and length in microseconds."""

    length: int
    awake: int
    by_holder: Mapping[AwakeHolder, int]

    @property
    def pending(self) -> int:
        """Awake time of the last minutes, which the next visit will speak for."""
        return self.awake - sum(self.by_holder.values())


_HOLDER: Final = ("reason", "role", "application", "slot")
_RECORDS: Final[Table[str, AwakeRecord]] = Table(
    "awake_page", ("endpoint_id",), ("page",), lambda record: (record.as_json(),),
    lambda _, text: AwakeRecord.from_json(text), str,
)  # fmt: skip
_TOTALS: Final[Table[tuple[str, AwakeHolder], int]] = Table(
    "awake_total", ("endpoint_id", *_HOLDER), ("amount",), lambda amount: (amount,), lambda _, amount: amount,
    lambda endpoint_id, *holder: (endpoint_id, AwakeHolder(*holder)),
)  # fmt: skip
_HOURS: Final[Table[tuple[int, str, AwakeHolder], int]] = Table(
    "awake_hour", ("hour", "endpoint_id", *_HOLDER), ("amount",), lambda amount: (amount,), lambda _, amount: amount,
    lambda hour, endpoint_id, *holder: (hour, endpoint_id, AwakeHolder(*holder)),
)  # fmt: skip
_LOOK: Final[Table[int, int]] = Table("awake_look", ("id",), ("at",), lambda at: (at,), lambda _, at: at, int)


class AwakeTimes(NamedTuple):
    """All that the store holds, by endpoint id, and when the control plane was last looked at (microseconds)."""

    records: dict[str, AwakeRecord]
    totals: dict[str, Totals]
    hours: dict[str, Hours]
    looked_at: int


def load(store: Store) -> AwakeTimes:
    """Everything, read at one instant.

    Raises:
        StoreError: the file cannot be read.
    """
    with store.snapshot() as cursor:
        totals: dict[str, Totals] = {}
        for (endpoint_id, holder), amount in _TOTALS.items(cursor):
            totals.setdefault(endpoint_id, {})[holder] = amount
        hours: dict[str, Hours] = {}
        for (hour, endpoint_id, holder), amount in _HOURS.items(cursor):
            hours.setdefault(endpoint_id, {}).setdefault(hour, {})[holder] = amount
        return AwakeTimes(_RECORDS.all(cursor), totals, hours, _LOOK.get(cursor, 1) or 0)


def read_windows(store: Store) -> dict[str, AwakeWindow]:
    """The last day of every compute ever seen, by endpoint id.

    Raises:
        StoreError: the file cannot be read.
    """
    records, _, hours, looked_at = load(store)
    return {name: window(record.state, hours.get(name, {}), looked_at) for name, record in records.items()}


def window(state: AwakeState, hours: Hours, looked_at: int) -> AwakeWindow:
    """The last day of a compute up to the last look, or since its first sight."""
    start = (looked_at // HOUR - DAY_HOURS + 1) * 3600
    by_holder: Totals = {}
    for hour, parts in hours.items():
        if hour >= start:
            for holder, amount in parts.items():
                by_holder[holder] = by_holder.get(holder, 0) + amount
    end = max(looked_at, state.seen)
    return AwakeWindow(end - max(start * MICRO, state.since), sum(by_holder.values()) + state.pending, by_holder)


def save(cursor: sqlite3.Cursor, record: AwakeRecord, parts: Iterable[tuple[int, AwakeHolder, int]]) -> None:
    """Write a record and add parts (hour, holder, microseconds) to totals and hours."""
    rows = list(parts)
    _RECORDS.put(cursor, [(record.endpoint_id, record)])
    _TOTALS.increase(cursor, [((record.endpoint_id, holder), amount) for _, holder, amount in rows])
    _HOURS.increase(cursor, [((hour, record.endpoint_id, holder), amount) for hour, holder, amount in rows])


def save_look(cursor: sqlite3.Cursor, at: int) -> None:
    """Remember when the control plane was looked at, in microseconds."""
    _LOOK.put(cursor, [(1, at)])


def forget_hours(cursor: sqlite3.Cursor, before: int) -> None:
    """Drop hours older than ``before`` (unix seconds); the totals stay."""
    _HOURS.prune(cursor, "hour", before)
