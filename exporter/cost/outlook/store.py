"""Forecasts as they were made: the first of each month stays, so that a review can compare it with the outcome."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from exporter.cost.domain.outlook.forecast import Forecast
from exporter.storage.store import Store
from exporter.storage.tables import Table

OUTLOOK_SCHEMA: tuple[str, ...] = (
    """
    CREATE TABLE outlook_forecast (
        month INTEGER NOT NULL, scope TEXT NOT NULL, made_at INTEGER NOT NULL, through INTEGER NOT NULL,
        p10 TEXT NOT NULL, p50 TEXT NOT NULL, p90 TEXT NOT NULL, confidence TEXT NOT NULL,
        PRIMARY KEY (month, scope)
    ) STRICT, WITHOUT ROWID;
    """,
)
"""The part ``outlook`` of the store. Each entry is one released migration."""


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


_FORECASTS: Final[Table[tuple[int, str], StoredForecast]] = Table(
    "outlook_forecast",
    ("month", "scope"),
    ("made_at", "through", "p10", "p50", "p90", "confidence"),
    lambda made: (made.made_at, made.through, str(made.p10), str(made.p50), str(made.p90), made.confidence),
    lambda key, made_at, through, p10, p50, p90, confidence: StoredForecast(
        key[0], key[1], made_at, through, Fraction(p10), Fraction(p50), Fraction(p90), confidence
    ),
    lambda month, scope: (month, scope),
)


class ForecastStore:
    """The first forecast of each month and scope, in the agent's store (part ``outlook``)."""

    def __init__(self, store: Store) -> None:
        """Use a store that was opened with the part ``outlook``."""
        self._store = store

    def add(self, month: int, made: Mapping[str, Forecast], *, made_at: int, through: int) -> None:
        """Write down forecasts by scope; a scope that has one of this month keeps that.

        Raises:
            StoreError: the disk is full or the file damaged.
        """
        _FORECASTS.add(
            self._store,
            (
                ((month, scope), StoredForecast(month, scope, made_at, through, *_amounts(forecast)))
                for scope, forecast in made.items()
            ),
        )

    def first(self, month: int) -> dict[str, StoredForecast]:
        """The first forecasts of a month (its first instant) by scope.

        Raises:
            StoreError: the file is damaged.
        """
        return {forecast.scope: forecast for forecast in _FORECASTS.all(self._store, month).values()}


def _amounts(forecast: Forecast) -> tuple[Fraction, Fraction, Fraction, str]:
    return forecast.p10, forecast.p50, forecast.p90, forecast.confidence
