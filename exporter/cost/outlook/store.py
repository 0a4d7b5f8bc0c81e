"""Forecasts as they were made: the first of each month is kept, so that a review can hold it against the outcome."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

from exporter.cost.domain.outlook.forecast import Forecast
from exporter.storage.store import Store

OUTLOOK_SCHEMA: tuple[str, ...] = (
    """
    CREATE TABLE outlook_forecast (
        month INTEGER NOT NULL, scope TEXT NOT NULL, made_at INTEGER NOT NULL, through INTEGER NOT NULL,
        p10 TEXT NOT NULL, p50 TEXT NOT NULL, p90 TEXT NOT NULL, confidence TEXT NOT NULL,
        PRIMARY KEY (month, scope)
    ) STRICT, WITHOUT ROWID;
    """,
)
"""The room ``outlook`` of the store. Each entry is one released migration."""


@dataclass(frozen=True, slots=True)
class StoredForecast:
    """The first forecast of a month; USD, exact. Instants in unix seconds."""

    month: int
    scope: str
    """An organisation's id, or ``org/project``."""
    made_at: int
    through: int
    p10: Fraction
    p50: Fraction
    p90: Fraction
    confidence: str


class ForecastStore(Protocol):
    """Keeps the first forecast of each month and scope."""

    def keep(self, month: int, made: Mapping[str, Forecast], *, made_at: int, through: int) -> None:
        """Write down forecasts by scope; a scope that has one of this month keeps it."""
        ...

    def first(self, month: int) -> dict[str, StoredForecast]:
        """The first forecasts of a month (its first instant) by scope."""
        ...


class SqliteForecastStore:
    """The book in the agent's store (room ``outlook``)."""

    def __init__(self, store: Store) -> None:
        """Use a store that was opened with the room ``outlook``."""
        self._store = store

    def keep(self, month: int, made: Mapping[str, Forecast], *, made_at: int, through: int) -> None:
        """See :meth:`ForecastBook.keep`.

        Raises:
            StoreError: the disk is full or the file damaged.
        """
        rows = [
            (
                month,
                scope,
                made_at,
                through,
                str(forecast.p10),
                str(forecast.p50),
                str(forecast.p90),
                forecast.confidence,
            )
            for scope, forecast in made.items()
        ]
        if not rows:
            return
        with self._store.transaction() as cursor:
            cursor.executemany("INSERT OR IGNORE INTO outlook_forecast VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)

    def first(self, month: int) -> dict[str, StoredForecast]:
        """See :meth:`ForecastBook.first`.

        Raises:
            StoreError: the file is damaged.
        """
        query = "SELECT scope, made_at, through, p10, p50, p90, confidence FROM outlook_forecast WHERE month = ?"
        with self._store.snapshot() as cursor:
            rows = cursor.execute(query, (month,)).fetchall()
        return {
            scope: StoredForecast(
                month, scope, made_at, through, Fraction(p10), Fraction(p50), Fraction(p90), confidence
            )
            for scope, made_at, through, p10, p50, p90, confidence in rows
        }
