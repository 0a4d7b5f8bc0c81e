"""One request to the control plane: its key's reach, its parameters checked as the OpenAPI document limits them."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

Item = TypeVar("Item")


class ApiError(Exception):
    """An answer in Neon's error shape."""

    def __init__(self, status: int, message: str, code: str = "") -> None:
        """Answer with ``status``; ``code`` is Neon's, often empty."""
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code


@dataclass(frozen=True, slots=True)
class Key:
    """What a key opens: ``personal``, ``org``, or ``project`` (then only ``project_id``); reading unless ``writes``."""

    kind: str
    project_id: str = ""
    name: str = ""
    writes: bool = False


@dataclass(frozen=True, slots=True)
class Request:
    """A request under /api/v2, its path without that prefix."""

    path: str
    query: dict[str, list[str]] = field(default_factory=dict)
    key: Key = field(default_factory=lambda: Key("org"))

    @classmethod
    def parse(cls, target: str, key: Key) -> Request:
        """Split a request target."""
        parts = urlsplit(target)
        return cls(parts.path, parse_qs(parts.query, keep_blank_values=True), key)

    def text(self, name: str, default: str = "") -> str:
        """The last value of a parameter."""
        return self.query.get(name, [default])[-1]

    def number(self, name: str, default: int, low: int, high: int) -> int:
        """A whole number within limits.

        Raises:
            ApiError: 400 when it is none, or outside.
        """
        text = self.text(name)
        if not text:
            return default
        try:
            value = int(text)
        except ValueError:
            raise ApiError(400, f"parameter {name!r} in query has an error: {text!r} is not an integer") from None
        if not low <= value <= high:
            raise ApiError(400, f"parameter {name!r} in query has an error: number must be {low} to {high}")
        return value

    def choice(self, name: str, default: str, allowed: Sequence[str]) -> str:
        """One of ``allowed``.

        Raises:
            ApiError: 400 when it is something else.
        """
        value = self.text(name, default)
        if value not in allowed:
            raise ApiError(400, f"parameter {name!r} in query has an error: must be one of {', '.join(allowed)}")
        return value

    def many(self, name: str) -> list[str]:
        """Repeated or comma-separated values, in order and once each."""
        return list(dict.fromkeys(part for value in self.query.get(name, ()) for part in value.split(",") if part))

    def instant(self, name: str) -> float:
        """A required RFC 3339 instant in unix seconds.

        Raises:
            ApiError: 400 when it is absent or malformed.
        """
        text = self.text(name)
        if not text:
            raise ApiError(400, f"parameter {name!r} in query has an error: value is required but missing")
        try:
            value = datetime.fromisoformat(text)
        except ValueError:
            raise ApiError(400, f"parameter {name!r} in query has an error: {text!r} is not a date-time") from None
        if value.tzinfo is None:
            raise ApiError(400, f"parameter {name!r} in query has an error: {text!r} has no time zone")
        return value.astimezone(UTC).timestamp()


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list. ``cursor`` marks its last item; empty when the page is. ``more`` says whether others follow."""

    items: list[Any]
    cursor: str
    more: bool


def page(items: Sequence[Item], request: Request, limit: int, key: Callable[[Item], Any]) -> Page:
    """The ``limit`` items after the cursor of the request; ``items`` are sorted by ``key`` (a JSON value).

    Raises:
        ApiError: 400 on a cursor that is not one of ours.
    """
    start = 0
    cursor = request.text("cursor")
    if cursor:
        after = _decode(cursor)
        try:
            start = sum(1 for item in items if key(item) <= after)
        except TypeError:
            raise ApiError(400, "invalid cursor") from None
    chosen = list(items[start : start + limit])
    return Page(chosen, _encode(key(chosen[-1])) if chosen else "", start + limit < len(items))


def _encode(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value, separators=(",", ":")).encode()).decode()


def _decode(cursor: str) -> Any:
    try:
        return json.loads(base64.urlsafe_b64decode(cursor.encode("ascii")))
    except (ValueError, binascii.Error):
        raise ApiError(400, "invalid cursor") from None
