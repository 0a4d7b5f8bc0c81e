"""Waste for a person: figures in words, and the commands that end it, quoted so that a paste does what it says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from fractions import Fraction

from exporter.pricing.domain.calendar import DAY, HOUR
from exporter.pricing.domain.rates import to_decimal


def number(value: Fraction | int, places: int = 1) -> str:
    """A rounded figure without zeros that say nothing."""
    text = f"{to_decimal(Fraction(value)):.{places}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def dollars(usd: Fraction) -> str:
    """Cents, or more digits where cents show nothing."""
    return number(usd, 2) if usd >= Fraction(1, 100) else number(usd, 6)


def percent(value: Fraction) -> str:
    """A part of a whole: 83 %."""
    return (
        "under 0.1 %"
        if 0 < value < Fraction(1, 1000)
        else f"{number(value * 100, 0 if value >= Fraction(1, 10) else 1)} %"
    )


def size(value: Fraction | int) -> str:
    """Bytes in the decimal units that Neon bills."""
    amount = Fraction(value)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{number(amount)} {unit}"
        amount /= 1000
    return f"{number(amount)} TB"


def span(seconds: Fraction | int) -> str:
    """A duration: 9 days, 3 hours, 40 s."""
    for length, unit in ((DAY, "day"), (HOUR, "hour"), (60, "minute")):
        if seconds >= 2 * length or (seconds >= length and not seconds % length):
            count = number(Fraction(seconds) / length)
            return f"{count} {unit}{'' if count == '1' else 's'}"
    return f"{number(Fraction(seconds))} s"


def instant(at: int) -> str:
    """RFC 3339 to the second."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def identifier(name: str) -> str:
    """A quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A quoted SQL string."""
    return "'" + text.replace("'", "''") + "'"


def neonctl(*words: str, project_id: str) -> str:
    """A command of Neon's CLI. Ids hold letters, digits, dashes and underscores only: nothing to quote."""
    return " ".join(("neonctl", *words, "--project-id", project_id))


def call(method: str, url: str, body: Mapping[str, object] | None = None) -> str:
    """A call of the API by curl, with the key from the environment."""
    text = f'curl -X {method} "{url}" -H "Authorization: Bearer $NEON_API_KEY"'
    return text if body is None else f"{text} -H 'Content-Type: application/json' -d '{json.dumps(body)}'"
