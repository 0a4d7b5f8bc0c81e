"""A ledger as a file of JSON lines, one fact each: a backup to read with any tool, and the way to another database.

A line has the raw integers as they are kept, with the time they were read, so that importing is the same as having read
them then: what is newer in the ledger stays, and a second import changes nothing. Lines with ``through`` say up to when
an organisation was read completely.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from collectors.errors import UsageError
from exporter.pricing.domain.usage import UsageFact
from exporter.storage.ledger.ledger import Changes, Ledger, checked

BATCH = 10_000
"""Facts in one transaction of an import."""
FIELDS = UsageFact._fields
OPTIONAL: dict[str, object] = {"unit": ""}
"""What files of before it was known do not have."""
_LAST = 253402300800
"""The year 10000, in unix seconds."""
_TEXTS = frozenset({"org_id", "project_id", "branch_id", "granularity", "plan", "metric", "unit"})


class LineError(UsageError):
    """A line is no fact; the message says what is wrong with it, without its number."""


@dataclass(slots=True)
class Imported:
    """What an import did."""

    lines: int = 0
    facts: int = 0
    changes: Changes = field(default_factory=Changes)
    bad: int = 0


def lines(ledger: Ledger) -> Iterator[str]:
    """Every fact as it is kept, then up to when each organisation was read; without line ends."""
    for fact in ledger.stored():
        yield json.dumps(fact._asdict(), ensure_ascii=False, separators=(",", ":"))
    for org, through in sorted(ledger.through().orgs.items()):
        yield json.dumps({"org_id": org, "through": through}, ensure_ascii=False, separators=(",", ":"))


def read_line(text: str) -> UsageFact | tuple[str, int]:
    """One line: a fact, or an organisation and its instant.

    Raises:
        LineError: it is neither.
    """
    try:
        row = json.loads(text)
    except ValueError as problem:
        raise LineError(f"not JSON ({problem})") from None
    if not isinstance(row, dict):
        raise LineError(f"a {type(row).__name__} instead of an object")
    return _reading(row) if "through" in row else _fact(row)


def _reading(row: dict[str, object]) -> tuple[str, int]:
    org, through = row.get("org_id"), row["through"]
    if len(row) != 2 or not isinstance(org, str) or not _whole(through):
        raise LineError("an organisation's line has org_id (text) and through (unix seconds), nothing else")
    _check_text(org)
    return org, int(str(through))


def _fact(given: dict[str, object]) -> UsageFact:
    row = OPTIONAL | given
    for name in FIELDS:
        if name not in row:
            raise LineError(f"{name} is missing")
        if name in _TEXTS and not isinstance(row[name], str):
            raise LineError(f"{name} must be a text, not {row[name]!r}")
        if name not in _TEXTS and not _whole(row[name]):
            raise LineError(f"{name} must be a whole number of at least 0, not {row[name]!r}")
    unknown = sorted(row.keys() - set(FIELDS))
    if unknown:
        raise LineError(f"unknown field {unknown[0]!r}; a fact has {', '.join(FIELDS)}")
    fact = UsageFact(**row)  # type: ignore[arg-type]  # just checked
    if not fact.project_id or not fact.metric:
        raise LineError("project_id and metric must not be empty")
    if max(fact.start, fact.observed_at) >= _LAST:
        raise LineError(f"start and observed_at must be in unix seconds, not {max(fact.start, fact.observed_at)}")
    for text in (fact.org_id, fact.project_id, fact.branch_id, fact.plan, fact.metric):
        _check_text(text)
    try:
        checked([fact])
    except (ValueError, OverflowError) as problem:
        raise LineError(str(problem)) from None
    return fact


def _check_text(text: str) -> None:
    """No database keeps half a character, and PostgreSQL no NUL."""
    if "\0" in text or any("\ud800" <= letter <= "\udfff" for letter in text):
        raise LineError(f"{text!r} cannot be stored as text")


def load(ledger: Ledger, texts: Iterable[str]) -> Iterator[str | Imported]:
    """Import lines in batches; yields ``number: what is wrong`` for each bad one, and at last what was done.

    Bad lines are left out, all others are imported.

    Raises:
        StoreError: the ledger cannot be written; what was imported before stays, and may be imported again.
    """
    done = Imported()
    batch: list[UsageFact] = []
    through: dict[str, int] = {}
    for number, text in enumerate(texts, 1):
        if not text.strip():
            continue
        done.lines += 1
        try:
            row = read_line(text)
        except LineError as problem:
            done.bad += 1
            yield f"{number}: {problem}"
            continue
        if isinstance(row, UsageFact):
            batch.append(row)
        else:
            through[row[0]] = max(row[1], through.get(row[0], 0))
        if len(batch) >= BATCH:
            done.changes += ledger.put(batch)
            done.facts += len(batch)
            batch = []
    done.changes += ledger.put(batch, read_through=through)
    done.facts += len(batch)
    yield done


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
