"""The billing calendar: hours, days and calendar months, all in UTC and all as unix seconds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

HOUR = 3600
DAY = 86400


def month_start(at: int) -> int:
    """00:00 UTC on the first of the calendar month that holds an instant (unix seconds)."""
    moment = datetime.fromtimestamp(at, UTC)
    return int(datetime(moment.year, moment.month, 1, tzinfo=UTC).timestamp())


def next_month(at: int) -> int:
    """00:00 UTC on the first of the month after the one that holds an instant."""
    first = datetime.fromtimestamp(month_start(at), UTC)
    return month_start(int((first + timedelta(days=32)).timestamp()))


def day_text(at: int) -> str:
    """The UTC day of an instant as YYYY-MM-DD."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d")


def day_seconds(text: str) -> int:
    """Unix seconds of 00:00 UTC of a day written YYYY-MM-DD.

    Raises:
        ValueError: the text is no such day.
    """
    return int(datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).timestamp())
