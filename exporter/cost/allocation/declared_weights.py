"""The file of declared weights: a CSV that a person keeps, checked line by line.

Columns: project, branch, tenant, weight, and if wanted component, from, to. ``project`` and ``branch`` are globs over
ids or names; ``from`` and ``to`` are days (YYYY-MM-DD, UTC), the last one included.
"""

from __future__ import annotations

import csv
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, Field, ValidationError, ValidationInfo, model_validator

from collectors.errors import UsageError
from exporter.cost.domain.policy import is_tenant
from exporter.cost.domain.weights import DeclaredWeight
from exporter.pricing.domain.calendar import DAY, day_seconds, day_text
from exporter.pricing.domain.components import Component
from exporter.pricing.reader import must


class WeightsFileError(UsageError):
    """The file cannot be used; ``problems`` has one line for each, with its line number."""

    heading = "neonmeter cannot start with the settings:"

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def _weight(text: str) -> Fraction:
    try:
        weight = Fraction(-1) if "/" in text else Fraction(text)
    except ValueError:
        weight = Fraction(-1)
    if weight < 0:
        raise ValueError(f"weight {text!r} is not a number of at least 0")
    return weight


def _component(text: str) -> Component | None:
    if text and text not in set(Component):
        raise ValueError(f"component {text!r} is not one of {', '.join(Component)}")
    return Component(text) if text else None


def _day(text: Any, info: ValidationInfo) -> int | None:
    try:
        return day_seconds(text) if text else None
    except ValueError:
        name = _Row.model_fields[str(info.field_name)].alias
        raise ValueError(f"{name} {text!r} is not a day; write YYYY-MM-DD") from None


class _Row(BaseModel):
    """One line; the aliases of the fields are the columns."""

    project: Annotated[str, must(bool, "project is empty; write * for all")]
    branch: Annotated[str, must(bool, "branch is empty; write * for all")]
    tenant: Annotated[str, must(lambda name: name and is_tenant(name), "tenant {!r} cannot be a tenant's name")]
    weight: Annotated[Fraction, BeforeValidator(_weight)]
    component: Annotated[Component | None, BeforeValidator(_component)] = None
    first: Annotated[int | None, BeforeValidator(_day)] = Field(None, alias="from")
    last: Annotated[int | None, BeforeValidator(_day)] = Field(None, alias="to")

    @model_validator(mode="after")
    def _ends_after_it_begins(self) -> Self:
        if self.first is not None and self.last is not None and self.last < self.first:
            raise ValueError(f"to {day_text(self.last)} is before from {day_text(self.first)}")
        return self

    def declared(self) -> DeclaredWeight:
        """The line as it is asked: the last day is included."""
        end = None if self.last is None else self.last + DAY
        return DeclaredWeight(self.project, self.branch, self.tenant, self.weight, self.component, self.first, end)


_COLUMNS = {field.alias or name: field.is_required() for name, field in _Row.model_fields.items()}
"""Columns of the file, and whether they must be there."""


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
    problems += [
        f"{path}:1: missing column {name!r}" for name, needed in _COLUMNS.items() if needed and name not in columns
    ]
    unknown = [name for name in columns if name not in _COLUMNS]
    problems += [f"{path}:1: unknown column {name!r}; known: {', '.join(_COLUMNS)}" for name in unknown]
    for line in lines if not problems else ():
        if any(isinstance(value, list) for value in line.values()):
            problems.append(f"{path}:{lines.line_num}: more values than columns")
            continue
        try:
            rows.append(_Row.model_validate({name: (value or "").strip() for name, value in line.items()}).declared())
        except ValidationError as wrong:
            found = (error["ctx"]["error"] for error in wrong.errors())
            problems += [f"{path}:{lines.line_num}: {problem}" for problem in found]
    if problems:
        raise WeightsFileError(problems)
    return tuple(rows)
