"""Cost counters that never go down: what Prometheus needs, kept beside the facts they come from.

Costs are worked out anew for a month each time its usage moves, and may fall: a bucket is corrected, a later reading
moves usage from ``__unattributed__`` to its branch. So for each series and month we keep the cost last worked out. A
rise is added to the counter, a fall to the adjustments; counter minus adjustments is always the cost worked out last,
over all months. Both only rise, across restarts and kills too, because they are committed before they are published.

The unit is whole picodollars (1e-12 USD), so that sums of any length stay integers; exact fractions stay in the report.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from fractions import Fraction
from typing import NamedTuple

PICO = 10**12

COST_SCHEMA = """
    CREATE TABLE cost_series (
        id INTEGER PRIMARY KEY,
        project_id TEXT NOT NULL, branch_id TEXT NOT NULL, component TEXT NOT NULL, tenant TEXT NOT NULL,
        counted INTEGER NOT NULL, adjusted INTEGER NOT NULL,
        UNIQUE (project_id, branch_id, component, tenant)
    ) STRICT;
    CREATE TABLE cost_priced (
        month INTEGER NOT NULL, series INTEGER NOT NULL REFERENCES cost_series (id), cost INTEGER NOT NULL,
        PRIMARY KEY (month, series)
    ) STRICT, WITHOUT ROWID;
"""


class CounterKey(NamedTuple):
    """One counter series; ``tenant`` is empty for the cost of the branch as a whole."""

    project_id: str
    branch_id: str
    component: str
    tenant: str = ""


class Counted(NamedTuple):
    """Picodollars: all rises, and all falls, since the first fact."""

    counted: int
    adjusted: int
    series: int = 0
    """Rises with the order in which series were first counted; never changes."""


def pico(cost: Fraction) -> int:
    """Whole picodollars of an exact cost, rounded down."""
    return cost.numerator * PICO // cost.denominator


def advance(cursor: sqlite3.Cursor, month: int, priced: Mapping[CounterKey, int]) -> dict[CounterKey, Counted]:
    """Bring the counters to the costs of one month (picodollars); a series not given costs nothing in it now.

    ``month`` is its first instant. Answers the counters of every series that the month has, or had.
    """
    query = "SELECT s.*, p.cost FROM cost_series s LEFT JOIN cost_priced p ON p.series = s.id AND p.month = ?"
    found = {CounterKey(*row[1:5]): row for row in cursor.execute(query, (month,))}
    counters: dict[CounterKey, Counted] = {}
    moved: list[tuple[int, int, int]] = []
    costs: list[tuple[int, int, int]] = []
    for key, cost in priced.items():
        row = found.pop(key, None)
        if row is None:
            insert = (
                "INSERT INTO cost_series (project_id, branch_id, component, tenant, counted, adjusted)"
                " VALUES (?, ?, ?, ?, 0, 0) RETURNING id"
            )
            ((series,),) = cursor.execute(insert, key).fetchall()
            row = (series, *key, 0, 0, None)
        counters[key] = settle(row, cost, moved, costs, month)
    for key, row in found.items():
        if row[7] is not None:
            counters[key] = settle(row, 0, moved, costs, month)
    cursor.executemany("UPDATE cost_series SET counted = ?, adjusted = ? WHERE id = ?", moved)
    cursor.executemany(
        "INSERT INTO cost_priced VALUES (?, ?, ?) ON CONFLICT (month, series) DO UPDATE SET cost = excluded.cost", costs
    )
    return counters


def settle(
    row: tuple[int, str, str, str, str, int, int, int | None],
    cost: int,
    moved: list[tuple[int, int, int]],
    costs: list[tuple[int, int, int]],
    month: int,
) -> Counted:
    """The counter after one cost (``row`` ends in counted, adjusted, last cost); what must be written is appended."""
    series, counted, adjusted, last = row[0], row[5], row[6], row[7]
    if last != cost:
        rise = cost - (last or 0)
        counted, adjusted = counted + max(0, rise), adjusted + max(0, -rise)
        costs.append((month, series, cost))
        if rise:
            moved.append((counted, adjusted, series))
    return Counted(counted, adjusted, series)
