"""What a recording answers to a question: the recorded answer of that page, and consumption of any window within it."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from exporter.pricing.domain.calendar import HOUR
from exporter.recording.files import Exchange

_INSTANT = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d{1,9})?(Z|[+-]\d\d:\d\d)")
_FIRST_YEAR, _LAST_YEAR = 2016, 2100
"""Outside of them an instant means "never", and is not moved."""
_CONSUMPTION = "/consumption_history/"
_INDIFFERENT = frozenset({"limit", "timeout"})
"""Parameters that do not change what a page holds."""
_LISTS_OF_USAGE = {"/consumption_history/v2/projects": 100, "/consumption_history/v2/branches": 1000}
_AFTER = "after-"
Query = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Reply:
    """Status, headers and JSON of an answer."""

    status: int
    body: Any
    headers: Mapping[str, str] = field(default_factory=dict)


class Replay:
    """Answers from a recording. ``shift`` seconds, whole hours, are added to every instant that it holds."""

    def __init__(self, exchanges: Iterable[Exchange], shift: int = 0) -> None:
        """``shift`` must be a multiple of an hour, so that buckets stay buckets."""
        if shift % HOUR:
            raise ValueError(f"a shift of {shift} s is no number of whole hours")
        self._shift = shift
        self._pages: dict[tuple[str, frozenset[tuple[str, str]]], Exchange] = {}
        self._by_cursor: dict[tuple[str, str], Exchange] = {}
        self._ends: dict[tuple[str, str], Exchange] = {}
        self._usage: dict[tuple[str, str, str], _Usage] = {}
        """By list, organisation and granularity."""
        self._refusals: dict[tuple[str, str], Exchange] = {}
        for exchange in exchanges:
            self._add(exchange)

    def answer(self, path: str, query: Query) -> Reply:
        """The answer to a GET of ``path`` (without /api/v2); 404 in Neon's form where nothing was recorded."""
        if path in _LISTS_OF_USAGE:
            return self._consumption(path, query)
        page = self._pages.get((path, _question(query))) or self._by_cursor.get((path, query.get("cursor", "")))
        if page is not None:
            return self._reply(page)
        end = self._ends.get((path, query.get("cursor", "")))
        if end is not None and isinstance(end.body, dict):
            rest = {name: value for name, value in end.body.items() if name != "pagination"}
            return Reply(200, {name: [] if isinstance(value, list) else value for name, value in rest.items()})
        return _error(404, "this was not asked when the recording was made")

    def _add(self, exchange: Exchange) -> None:
        path, query = exchange.path, dict(exchange.query)
        if path in _LISTS_OF_USAGE:
            if exchange.status == 200 and isinstance(exchange.body, dict):
                usage = self._usage.setdefault((path, query.get("org_id", ""), query.get("granularity", "")), _Usage())
                usage.add(exchange.body, moment(query.get("from")), moment(query.get("to")))
            elif exchange.status in (400, 403, 404):
                self._refusals[path, query.get("org_id", "")] = exchange
            return
        key = (path, _question(query))
        known = self._pages.get(key)
        if known is None or exchange.status == 200 or known.status != 200:
            self._pages[key] = exchange
            self._by_cursor[path, query.get("cursor", "")] = exchange
        cursor = _cursor(exchange.body)
        if cursor:
            self._ends[path, cursor] = exchange

    def _reply(self, exchange: Exchange) -> Reply:
        headers = {name: value for name, value in exchange.headers.items() if name == "retry-after"}
        if exchange.unread:
            return Reply(exchange.status, None, headers)
        return Reply(exchange.status, moved(exchange.body, self._shift), headers)

    def _consumption(self, path: str, query: Query) -> Reply:
        org = query.get("org_id", "")
        usage = self._usage.get((path, org, query.get("granularity", "")))
        begin, end = moment(query.get("from")), moment(query.get("to"))
        if begin is None or end is None or begin >= end:
            return _error(400, "'from' must be before 'to'")
        begin, end = begin - self._shift, end - self._shift
        if usage is None or end <= usage.begin or begin >= usage.end:
            if usage is None and (path, org) in self._refusals:
                return self._reply(self._refusals[path, org])
            return _error(406, "this range was not recorded")
        text = query.get("cursor", "").removeprefix(_AFTER)
        start = int(text) if text.isdigit() else 0
        limit = int(query["limit"]) if query.get("limit", "").isdigit() else _LISTS_OF_USAGE[path]
        found = usage.within(begin, end, _many(query, "metrics"), _many(query, "project_ids"))
        page = found[start : start + max(1, limit)]
        name = path.rpartition("/")[2]
        cursor = {"pagination": {"cursor": f"{_AFTER}{start + len(page)}"}} if page else {}
        return Reply(200, {name: moved(page, self._shift), **cursor})


class _Usage:
    """All recorded consumption of one list and granularity, merged: what was asked in windows is one history again."""

    def __init__(self) -> None:
        self.begin, self.end = float("inf"), float("-inf")
        self._items: dict[tuple[str, str], dict[str, Any]] = {}
        self._frames: dict[tuple[str, str, str], dict[str, dict[str, Any]]] = {}
        self._periods: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}

    def add(self, body: Mapping[str, Any], begin: float | None, end: float | None) -> None:
        """One recorded page, and the window that it answered."""
        if begin is not None and end is not None:
            self.begin, self.end = min(self.begin, begin), max(self.end, -(-end // HOUR) * HOUR)
        for item in [*_list(body, "projects"), *_list(body, "branches")]:
            owner = (str(item.get("project_id", "")), str(item.get("branch_id", "")))
            self._items.setdefault(owner, {name: value for name, value in item.items() if name != "periods"})
            for period in _list(item, "periods"):
                period_id = str(period.get("period_id", ""))
                rest = {name: value for name, value in period.items() if name != "consumption"}
                self._periods.setdefault(owner, {})[period_id] = rest
                frames = self._frames.setdefault((*owner, period_id), {})
                frames.update((str(frame.get("timeframe_start", "")), frame) for frame in _list(period, "consumption"))

    def within(self, begin: float, end: float, metrics: set[str], projects: set[str]) -> list[dict[str, Any]]:
        """The items with the buckets that begin in the window, and of those the metrics that are asked for."""
        found = []
        for owner, item in sorted(self._items.items()):
            if projects and owner[0] not in projects:
                continue
            periods = []
            for period_id, period in self._periods.get(owner, {}).items():
                frames = [
                    _only(frame, metrics)
                    for start, frame in sorted(self._frames[(*owner, period_id)].items())
                    if (at := moment(start)) is not None and begin <= at < end
                ]
                if frames:
                    periods.append({**period, "consumption": frames})
            if periods:
                found.append({**item, "periods": periods})
        return found


def moment(text: str | None) -> float | None:
    """Unix seconds of an RFC 3339 text; None when it is none."""
    try:
        return datetime.fromisoformat(text).timestamp() if text else None
    except ValueError:
        return None


def moved(tree: Any, shift: int) -> Any:
    """A JSON tree with its instants moved by so many seconds; what means "never" stays."""
    if not shift:
        return tree
    if isinstance(tree, dict):
        return {name: moved(value, shift) for name, value in tree.items()}
    if isinstance(tree, list):
        return [moved(value, shift) for value in tree]
    return _moved_text(tree, shift) if isinstance(tree, str) else tree


def _moved_text(text: str, shift: int) -> str:
    found = _INSTANT.fullmatch(text)
    if not found or not _FIRST_YEAR <= int(text[:4]) < _LAST_YEAR:
        return text
    try:
        at = datetime.fromisoformat(found[1] + found[3])
    except ValueError:
        return text
    later = datetime.fromtimestamp(at.timestamp() + shift, at.tzinfo)
    return f"{later:%Y-%m-%dT%H:%M:%S}{found[2] or ''}{found[3]}"


def _only(frame: Mapping[str, Any], metrics: set[str]) -> dict[str, Any]:
    chosen = copy.copy(dict(frame))
    if metrics and isinstance(frame.get("metrics"), list):
        chosen["metrics"] = [value for value in _list(frame, "metrics") if value.get("metric_name") in metrics]
    return chosen


def _list(tree: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    found = tree.get(name)
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def _many(query: Query, name: str) -> set[str]:
    return {part for part in query.get(name, "").split(",") if part}


def _question(query: Query) -> frozenset[tuple[str, str]]:
    return frozenset((name, value) for name, value in query.items() if name not in _INDIFFERENT)


def _cursor(body: Any) -> str:
    pagination = body.get("pagination") if isinstance(body, dict) else None
    if not isinstance(pagination, dict):
        return ""
    return str(pagination.get("cursor") or pagination.get("next") or "")


def _error(status: int, message: str) -> Reply:
    return Reply(status, {"request_id": "", "code": "", "message": message})
