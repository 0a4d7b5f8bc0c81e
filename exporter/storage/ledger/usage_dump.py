"""Reads a dump of usage, as CSV or JSON lines, into facts. It is taken whole or not at all.

A dump is written by hand, by a spreadsheet or by a script over the API, so everything that could make a price wrong
without being seen is refused with the line it is on: a bucket that begins at an odd minute, a figure with a fraction,
two figures for one bucket.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from itertools import chain
from typing import Any

from collectors.errors import UsageError
from exporter.pricing.domain.calendar import DAY, HOUR, day_seconds, month_start
from exporter.pricing.domain.components import METRIC_COMPONENTS
from exporter.pricing.domain.units import SCALE, STORED_METRICS
from exporter.pricing.domain.usage import DAILY, HOURLY, MONTHLY, UsageFact, bucket_hours

FIELDS = ("org_id", "project_id", "branch_id", "start", "granularity", "plan", "metric", "value", "observed_at", "unit")
NEEDED = ("project_id", "start", "granularity", "metric", "value")
_TEXTS = ("org_id", "project_id", "branch_id", "granularity", "plan", "metric")
_LARGEST = 2**63
_TIMES = 4096
"""A dump has the same few hours again and again."""


class DumpError(UsageError):
    """The dump cannot be priced: on which line, what is wrong, and what to do."""


@dataclass(frozen=True, slots=True)
class Dump:
    """The facts of a dump, each bucket once, and what was left out of it on purpose (a sentence each)."""

    facts: tuple[UsageFact, ...]
    notes: tuple[str, ...]


def read_dump(lines: Iterable[str], *, plan: str | None = None) -> Dump:
    """Read every line. CSV has a header that names the columns; a dump that begins with ``{`` is JSON lines.

    Of equal buckets one is counted; where a series is there by the hour and by the day too, the hours count.

    Raises:
        DumpError: at the first line that cannot be used; without ``plan``, also where the dump names none.
    """
    facts: dict[tuple[object, ...], UsageFact] = {}
    seen: dict[tuple[object, ...], int] = {}
    repeated = 0
    for number, row in _rows(lines):
        fact = _fact(number, row, plan)
        bucket = fact[:7]
        held = facts.get(bucket)
        if held is not None:
            repeated += 1
            if held.value != fact.value and held.observed_at == fact.observed_at:
                raise DumpError(
                    f"line {number}: {fact.metric} is {fact.value} here and {held.value} on line {seen[bucket]} "
                    "for the same bucket; keep one, or give each its observed_at (the later one counts)"
                )
            if fact.observed_at < held.observed_at:
                continue
        facts[bucket], seen[bucket] = fact, number
    if not facts:
        raise DumpError("it has no usage; write a header and at least one row, or one JSON object a line")
    finest = _finest(facts.values())
    notes = []
    if repeated:
        notes.append(f"{repeated} repeated {'bucket was' if repeated == 1 else 'buckets were'} counted once")
    if len(finest) < len(facts):
        notes.append(f"{len(facts) - len(finest)} coarser buckets were left out: there are finer ones of the same time")
    if any(not fact.unit and fact.metric in STORED_METRICS and _doubtful(fact) for fact in finest):
        notes.append(
            "between 2026-05-28 and 2026-07-31 Neon went from byte-hours to byte-months: stored bytes of then are "
            "taken as byte-hours before 2026-07-01, as byte-months from then; the column unit says otherwise"
        )
    return Dump(tuple(finest), tuple(notes))


def _doubtful(fact: UsageFact) -> bool:
    first, last = day_seconds("2026-05-28"), day_seconds("2026-07-31")
    return fact.start < last and fact.start + HOUR * bucket_hours(fact.start, fact.granularity) > first


def _rows(lines: Iterable[str]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    source = iter(lines)
    for skipped, line in enumerate(source):
        text = line.removeprefix("\ufeff")
        if text.strip():
            whole = chain([text], source)
            return _json_rows(whole, skipped) if text.lstrip()[0] in "{[" else _csv_rows(whole, skipped)
    return iter(())


def _json_rows(lines: Iterable[str], skipped: int) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for number, line in enumerate(lines, skipped + 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line, parse_float=Decimal)
        except ValueError as problem:
            raise DumpError(f"line {number}: not valid JSON ({problem}); write one whole object a line") from problem
        if not isinstance(row, dict):
            raise DumpError(f"line {number}: must be one JSON object a line; of an array, `jq -c '.[]'` makes lines")
        _known(number, [key for key in NEEDED if key not in row])
        yield number, row


def _csv_rows(lines: Iterable[str], skipped: int) -> Iterator[tuple[int, Mapping[str, Any]]]:
    reader = csv.reader(lines, strict=True)
    header: Sequence[str] = ()
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as problem:
            raise DumpError(f"line {skipped + reader.line_num}: not valid CSV ({problem}); correct it") from problem
        number = skipped + reader.line_num
        if cells is None:
            return
        if not header:
            header = [cell.strip() for cell in cells]
            if len(set(header)) < len(header):
                raise DumpError(f"line {number}: a column is named twice in the header; drop one")
            _known(number, [key for key in NEEDED if key not in header])
        elif cells:
            if len(cells) != len(header):
                raise DumpError(f"line {number}: {len(cells)} cells under {len(header)} columns; quote what has commas")
            yield number, dict(zip(header, cells, strict=True))


def _known(number: int, missing: Sequence[str]) -> None:
    if missing:
        raise DumpError(f"line {number}: {', '.join(missing)} is missing; the fields are {', '.join(FIELDS)}")


def _fact(number: int, row: Mapping[str, Any], plan: str | None) -> UsageFact:
    said = [row.get(name) or "" for name in _TEXTS]
    for name, value in zip(_TEXTS, said, strict=True):
        if not isinstance(value, str):
            raise DumpError(f"line {number}: {name} is {value!r}; write it as text")
    org, project, branch, granularity, of_plan, metric = (value.strip() for value in said)
    if not project:
        raise DumpError(f"line {number}: project_id is empty; every row needs one")
    if granularity not in (HOURLY, DAILY, MONTHLY):
        raise DumpError(f"line {number}: granularity is {granularity!r}; write hourly, daily or monthly")
    if metric not in METRIC_COMPONENTS:
        raise DumpError(f"line {number}: metric {metric!r} has no price; use one of {', '.join(METRIC_COMPONENTS)}")
    if not plan and not of_plan:
        raise DumpError(f"line {number}: plan is empty; write the subscription type (scale_v3), or use --plan")
    start = _instant(number, "start", row.get("start"))
    begin = _begin(start, granularity)
    if start != begin:
        raise DumpError(
            f"line {number}: start {row.get('start')} is not the start of a bucket ({granularity}); "
            f"in UTC it begins at {datetime.fromtimestamp(begin, UTC):%Y-%m-%dT%H:%M:%SZ}"
        )
    observed = row.get("observed_at")
    read = 0 if observed is None or observed == "" else _instant(number, "observed_at", observed)
    value = _value(number, metric, row.get("value"))
    unit = str(row.get("unit") or "").strip()
    if unit not in SCALE or (unit and metric not in STORED_METRICS):
        raise DumpError(
            f"line {number}: unit is {unit!r}; write byte-hour or byte-month for stored bytes, else nothing"
        )
    return UsageFact(org, project, branch, start, granularity, of_plan, metric, value, read, unit)


@lru_cache(_TIMES)
def _begin(start: int, granularity: str) -> int:
    if granularity == HOURLY:
        return start // HOUR * HOUR
    return start // DAY * DAY if granularity == DAILY else month_start(start)


def _instant(number: int, name: str, value: Any) -> int:
    try:
        seconds = _seconds(value)
    except (TypeError, ValueError, OverflowError, InvalidOperation):
        seconds = None
    if seconds is None:
        raise DumpError(f"line {number}: {name} is {value!r}; write unix seconds, or UTC as 2026-07-01T00:00:00Z")
    return seconds


@lru_cache(_TIMES, typed=True)
def _seconds(value: Any) -> int | None:
    text = str(value).strip()
    if isinstance(value, int | Decimal) or text.isdigit():
        amount = None if isinstance(value, bool) else Decimal(text)
    else:
        moment = datetime.fromisoformat(text)
        amount = Decimal(str((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()))
    return _whole(amount, 10**11)


def _value(number: int, metric: str, value: Any) -> int:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 19:
        return int(value)
    try:
        amount = Decimal(str(value).strip()) if not isinstance(value, bool) else None
    except InvalidOperation:
        amount = None
    whole = _whole(amount, _LARGEST)
    if whole is None:
        raise DumpError(
            f"line {number}: value is {value!r}; write the raw figure of {metric} as the API gives it, "
            "a whole number of at least 0"
        )
    return whole


def _whole(amount: Decimal | None, limit: int) -> int | None:
    """The same number as an integer; None where it is none, below 0 or beyond reason."""
    if amount is None or not amount.is_finite() or not 0 <= amount < limit or amount != int(amount):
        return None
    return int(amount)


def _finest(facts: Iterable[UsageFact]) -> list[UsageFact]:
    """Drop a bucket over which the same series has finer ones: its usage is in them already."""
    by_series: dict[tuple[str, str, str, str], dict[str, list[UsageFact]]] = {}
    for fact in facts:
        series = (fact.org_id, fact.project_id, fact.branch_id, fact.metric)
        by_series.setdefault(series, {}).setdefault(fact.granularity, []).append(fact)
    finest: list[UsageFact] = []
    for sizes in by_series.values():
        hours = {fact.start for fact in sizes.get(HOURLY, ())}
        days = [fact for fact in sizes.get(DAILY, ()) if not hours or not _any(hours, fact, HOUR)]
        covered = {fact.start // DAY * DAY for fact in chain(sizes.get(HOURLY, ()), sizes.get(DAILY, ()))}
        months = [fact for fact in sizes.get(MONTHLY, ()) if not covered or not _any(covered, fact, DAY)]
        finest += [*sizes.get(HOURLY, ()), *days, *months]
    return finest


def _any(starts: set[int], fact: UsageFact, step: int) -> bool:
    end = fact.start + bucket_hours(fact.start, fact.granularity) * HOUR
    return any(start in starts for start in range(fact.start, end, step))
