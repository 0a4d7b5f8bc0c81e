"""Declared money of the settings as the computations take it: extra lines."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from fractions import Fraction

from exporter.compute.extra import Base, Category, ExtraLine, Split
from exporter.compute.rates import day_seconds
from exporter.settings.budgets import ExtraLineSettings


def extra_lines(lines: Iterable[ExtraLineSettings]) -> tuple[ExtraLine, ...]:
    """The declared lines, in their order."""
    return tuple(
        ExtraLine(
            name=line.name,
            category=Category(line.category),
            amount=None if line.amount is None else Fraction(line.amount),
            percent=None if line.percent is None else Fraction(line.percent),
            base=Base(line.of),
            org_id=line.org or "",
            project_id=line.project or "",
            first=_seconds(line.from_),
            last=None if line.to is None else _seconds(line.to),
            monthly=line.monthly,
            split=Split(line.split),
        )
        for line in lines
    )


def _seconds(day: date) -> int:
    return day_seconds(day.isoformat())
