"""Instants and months as a reader wants them, always in UTC and always the same, whatever the locale."""

from __future__ import annotations

from datetime import UTC, datetime

MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip


def month_name(at: int) -> str:
    """``October 2026``."""
    moment = datetime.fromtimestamp(at, UTC)
    return f"{MONTHS[moment.month - 1]} {moment.year}"


def month_short(at: int) -> str:
    """``Oct 2026``: for a chart's axis."""
    moment = datetime.fromtimestamp(at, UTC)
    return f"{MONTHS[moment.month - 1][:3]} {moment.year}"


def instant(at: int) -> str:
    """``2026-10-31 17:00 UTC``."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")


def zulu(at: int) -> str:
    """``2026-10-31T17:00:00Z``, as FOCUS wants it."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
