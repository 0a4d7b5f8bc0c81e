"""The file of declared weights: a CSV that a person keeps, checked line by line.

Columns: project, branch, tenant, weight, and if wanted component, from, to. ``project`` and ``branch`` are globs over
ids or names; ``from`` and ``to`` are days (YYYY-MM-DD, UTC), the last one included.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path

from collectors.errors import UsageError
from exporter.cost.domain.policy import is_tenant
from exporter.cost.domain.weights import DeclaredWeight
from exporter.pricing.domain.calendar import DAY, day_seconds
from exporter.pricing.domain.components import Component

NEEDED = ("project", "branch", "tenant", "weight")
OPTIONAL = ("component", "from", "to")


class WeightsFileError(UsageError):
    """The file cannot be used; ``problems`` has one line for each, with its line number."""

    heading = "neonmeter cannot start with the settings:"

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def load(path: Path | None) -> tuple[DeclaredWeight, ...]:
    """Read the file; nothing is declared without one.

    Raises:
        WeightsFileError: it cannot be read, or lines of it cannot; it names all of them.
    """
    if path is None:
        return ()
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as problem:
        why = problem.strerror if isinstance(problem, OSError) else "it is not UTF-8 text"
        raise WeightsFileError([f"{path}: cannot be read: {why}"]) from None
    rows, problems = [], []
    lines = csv.DictReader(text.splitlines(), skipinitialspace=True, restkey="", restval="")
    columns = [name.strip() for name in lines.fieldnames or ()]
    lines.fieldnames = columns
    problems += [f"{path}:1: there is no column {name!r}" for name in NEEDED if name not in columns]
    unknown = [name for name in columns if name not in (*NEEDED, *OPTIONAL)]
    problems += [f"{path}:1: unknown column {name!r}; known: {', '.join((*NEEDED, *OPTIONAL))}" for name in unknown]
    for line in lines if not problems else ():
        if any(isinstance(value, list) for value in line.values()):
            problems.append(f"{path}:{lines.line_num}: more values than columns")
            continue
        values = {name: (value or "").strip() for name, value in line.items()}
        found = list(_problems(values))
        problems += [f"{path}:{lines.line_num}: {problem}" for problem in found]
        if not found:
            rows.append(_row(values))
    if problems:
        raise WeightsFileError(problems)
    return tuple(rows)


def _problems(values: Mapping[str, str]) -> Iterator[str]:
    for name in ("project", "branch"):
        if not values[name]:
            yield f"{name} is empty; write * for all"
    if not values["tenant"] or not is_tenant(values["tenant"]):
        yield f"tenant {values['tenant']!r} cannot be a tenant's name"
    try:
        if "/" in values["weight"] or Fraction(values["weight"]) < 0:
            raise ValueError  # noqa: TRY301 - one message for both
    except ValueError:
        yield f"weight {values['weight']!r} is not a number of at least 0"
    if values.get("component") and values["component"] not in {component.value for component in Component}:
        yield f"component {values['component']!r} is not one of {', '.join(Component)}"
    days = {}
    for name in ("from", "to"):
        try:
            days[name] = _day(values.get(name, ""))
        except ValueError:
            yield f"{name} {values[name]!r} is not a day; write YYYY-MM-DD"
    first, last = days.get("from"), days.get("to")
    if first is not None and last is not None and last < first:
        yield f"to {values['to']} is before from {values['from']}"


def _row(values: Mapping[str, str]) -> DeclaredWeight:
    last = _day(values.get("to", ""))
    return DeclaredWeight(
        values["project"],
        values["branch"],
        values["tenant"],
        Fraction(values["weight"]),
        Component(values["component"]) if values.get("component") else None,
        _day(values.get("from", "")),
        None if last is None else last + DAY,
    )


def _day(text: str) -> int | None:
    return day_seconds(text) if text else None
