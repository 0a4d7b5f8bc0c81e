"""The tables behind who keeps computes awake: a page per compute, totals by keeper, and the last day by the hour.

`exporter.awake.awake` decides; this is every statement of SQL. Amounts are integer microseconds, hours unix seconds.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from typing import Any, Final, Self

from exporter.sampling.domain.awake_shares import AwakeHolder, AwakeState

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
"""The room ``awake`` of the store. Each entry is one released migration."""

_ADD_TOTAL: Final = """INSERT INTO awake_total VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT DO UPDATE SET amount = amount + excluded.amount"""
_ADD_HOUR: Final = """INSERT INTO awake_hour VALUES (?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT DO UPDATE SET amount = amount + excluded.amount"""

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


def load(cursor: sqlite3.Cursor) -> tuple[dict[str, Page], dict[str, Totals], dict[str, Hours]]:
    """Pages, totals and hours by endpoint id."""
    pages = {
        endpoint: Page.from_json(text) for endpoint, text in cursor.execute("SELECT endpoint_id, page FROM awake_page")
    }
    totals: dict[str, Totals] = {}
    for endpoint, *names, amount in cursor.execute("SELECT * FROM awake_total"):
        totals.setdefault(endpoint, {})[AwakeHolder(*names)] = amount
    hours: dict[str, Hours] = {}
    for hour, endpoint, *names, amount in cursor.execute("SELECT * FROM awake_hour"):
        hours.setdefault(endpoint, {}).setdefault(hour, {})[AwakeHolder(*names)] = amount
    return pages, totals, hours


def save(cursor: sqlite3.Cursor, page: Page, parts: Iterable[tuple[int, AwakeHolder, int]]) -> None:
    """Write a page and add parts (hour, keeper, amount) to totals and hours."""
    rows = list(parts)
    cursor.execute("INSERT OR REPLACE INTO awake_page VALUES (?, ?)", (page.endpoint_id, page.as_json()))
    cursor.executemany(_ADD_TOTAL, [(page.endpoint_id, *holder, amount) for _, holder, amount in rows])
    cursor.executemany(_ADD_HOUR, [(hour, page.endpoint_id, *holder, amount) for hour, holder, amount in rows])


def looked_at(cursor: sqlite3.Cursor) -> int:
    """When the control plane was last looked at, microseconds; 0 never."""
    row = cursor.execute("SELECT at FROM awake_look").fetchone()
    return int(row[0]) if row else 0


def save_look(cursor: sqlite3.Cursor, at: int) -> None:
    """Remember when it was looked at."""
    cursor.execute("INSERT OR REPLACE INTO awake_look VALUES (1, ?)", (at,))


def forget_hours(cursor: sqlite3.Cursor, before: int) -> None:
    """Drop hours older than ``before`` (unix seconds); the totals stay."""
    cursor.execute("DELETE FROM awake_hour WHERE hour < ?", (before,))
