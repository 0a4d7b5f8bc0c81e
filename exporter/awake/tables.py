"""The tables behind what keeps computes awake: a page per compute, totals by holder, and the last day by the hour.

`exporter.awake.awake` decides; this is every statement of SQL. Amounts are integer microseconds, hours unix seconds.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from typing import Any, Final, Self

from exporter.sampling.domain.awake_shares import AwakeHolder, AwakeState
from exporter.storage.tables import Table

AWAKE_SCHEMA: Final = (
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
)
"""The part ``awake`` of the store. Each entry is one released migration."""

Totals = dict[AwakeHolder, int]
Hours = dict[int, Totals]


@dataclass(frozen=True, slots=True)
class Page:
    """What is kept of one compute beside the shares: how far it is accounted for, and what pricing needs.

    CU are decimal strings. ``added`` is our own part of the awake time that was priced so far (microseconds), and
    ``added_pico`` its price in 10^-12 USD: a later rate does not change what was counted at an earlier one.
    """

    endpoint_id: str
    project_id: str
    branch_id: str
    book: AwakeState
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
        book = AwakeState(**{name: value for name, value in values["book"].items() if name in known})
        mine = {field.name for field in fields(cls)} - {"book"}
        return cls(book=book, **{name: value for name, value in values.items() if name in mine})

    def as_json(self) -> str:
        """Everything, as text."""
        return json.dumps(asdict(self), sort_keys=True)


_HOLDER: Final = ("reason", "role", "application", "slot")
_PAGES: Final[Table[str, Page]] = Table(
    "awake_page", ("endpoint_id",), ("page",), lambda page: (page.as_json(),), lambda _, text: Page.from_json(text), str
)
_TOTALS: Final[Table[tuple[str, AwakeHolder], int]] = Table(
    "awake_total", ("endpoint_id", *_HOLDER), ("amount",), lambda amount: (amount,), lambda _, amount: amount,
    lambda endpoint_id, *holder: (endpoint_id, AwakeHolder(*holder)),
)  # fmt: skip
_HOURS: Final[Table[tuple[int, str, AwakeHolder], int]] = Table(
    "awake_hour", ("hour", "endpoint_id", *_HOLDER), ("amount",), lambda amount: (amount,), lambda _, amount: amount,
    lambda hour, endpoint_id, *holder: (hour, endpoint_id, AwakeHolder(*holder)),
)  # fmt: skip
_LOOK: Final[Table[int, int]] = Table("awake_look", ("id",), ("at",), lambda at: (at,), lambda _, at: at, int)


def load(cursor: sqlite3.Cursor) -> tuple[dict[str, Page], dict[str, Totals], dict[str, Hours]]:
    """Pages, totals and hours by endpoint id."""
    totals: dict[str, Totals] = {}
    for (endpoint_id, holder), amount in _TOTALS.items(cursor):
        totals.setdefault(endpoint_id, {})[holder] = amount
    hours: dict[str, Hours] = {}
    for (hour, endpoint_id, holder), amount in _HOURS.items(cursor):
        hours.setdefault(endpoint_id, {}).setdefault(hour, {})[holder] = amount
    return _PAGES.all(cursor), totals, hours


def save(cursor: sqlite3.Cursor, page: Page, parts: Iterable[tuple[int, AwakeHolder, int]]) -> None:
    """Write a page and add parts (hour, holder, microseconds) to totals and hours."""
    rows = list(parts)
    _PAGES.put(cursor, [(page.endpoint_id, page)])
    _TOTALS.increase(cursor, [((page.endpoint_id, holder), amount) for _, holder, amount in rows])
    _HOURS.increase(cursor, [((hour, page.endpoint_id, holder), amount) for hour, holder, amount in rows])


def looked_at(cursor: sqlite3.Cursor) -> int:
    """When the control plane was last looked at, microseconds; 0 never."""
    return _LOOK.get(cursor, 1) or 0


def save_look(cursor: sqlite3.Cursor, at: int) -> None:
    """Remember when it was looked at, in microseconds."""
    _LOOK.put(cursor, [(1, at)])


def forget_hours(cursor: sqlite3.Cursor, before: int) -> None:
    """Drop hours older than ``before`` (unix seconds); the totals stay."""
    _HOURS.prune(cursor, "hour", before)
