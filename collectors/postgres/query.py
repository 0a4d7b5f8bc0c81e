"""The SQL files and what their rows become: a query is a file that a DBA can read, run and cost by itself.

``sql/<name>.sql`` is the floor, for the oldest version we support; ``sql/<name>.17.sql`` replaces it from PostgreSQL 17
on. Each begins with comment lines ``view:`` (the upstream view and its documentation), ``cost:`` and ``privilege:``; a
part of the security scan names in ``checks:`` what its rows answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple

from collectors.base import Result
from collectors.metric import Families, Labels, Metric

Row = Mapping[str, Any]
"""One row by column name; NULL is None."""

_FILE = re.compile(r"(?P<name>[a-z_]+)(\.(?P<major>\d+))?\.sql\Z")
_FIELD = re.compile(r"--\s*(?P<key>view|cost|privilege|checks|checks when quiet):\s*(?P<text>.*)")


@cache
def _files() -> dict[str, dict[int, str]]:
    """Text by name and lowest major version (0 is the floor)."""
    # A third of the cost of importing this package, for what commands that run no SQL never need.
    from importlib import resources  # noqa: PLC0415

    found: dict[str, dict[int, str]] = {}
    for file in resources.files("collectors.postgres").joinpath("sql").iterdir():
        if match := _FILE.match(file.name):
            text = file.read_text(encoding="utf-8")
            found.setdefault(match["name"], {})[int(match["major"] or 0)] = text
    return found


def names() -> tuple[str, ...]:
    """Every query there is, sorted."""
    return tuple(sorted(_files()))


def versions(name: str) -> tuple[int, ...]:
    """The lowest major versions that a query has files for, ascending; 0 is the floor.

    Raises:
        KeyError: there is no such query.
    """
    return tuple(sorted(_files()[name]))


@cache
def load(name: str, major: int) -> str:
    """The statement for one major version, without its comments: the server need not parse our prose.

    Raises:
        KeyError: there is no such query.
    """
    by_major = _files()[name]
    text = by_major[max(version for version in by_major if version <= major)]
    lines = (line.split("-- ")[0].rstrip() for line in text.splitlines())
    return "\n".join(line for line in lines if line and line != "--")


def header(name: str, major: int = 0) -> dict[str, str]:
    """What the head of a file says, by key: ``view``, ``cost``, ``privilege`` and, in the security scan, ``checks``.

    Raises:
        KeyError: there is no such query or version.
    """
    found: dict[str, str] = {}
    key = ""
    for line in _files()[name][major].splitlines():
        if not line.startswith("--"):
            break
        if match := _FIELD.match(line):
            key = match["key"]
            found[key] = match["text"].strip()
        elif key:
            found[key] += " " + line.removeprefix("--").strip()
    return found


def records(result: Result | None) -> Iterator[dict[str, Any]]:
    """The rows by column name; none when the query failed or did not run."""
    if result is not None:
        for row in result.rows:
            yield dict(zip(result.columns, row, strict=True))


class Column(NamedTuple):
    """One line of a collector's table: this column is this metric, after division by ``per``."""

    column: str
    metric: Metric
    per: int = 1


def fill(families: Families, table: Iterable[Column], labels: Labels, row: Row) -> None:
    """Set every metric of the table whose column is there and known: NULL stays absent, no 0 is invented."""
    for column, metric, per in table:
        value = row.get(column)
        if value is not None:
            number = float(value) if isinstance(value, float) else int(value)
            families.set(metric, labels, number if per == 1 else number / per)
