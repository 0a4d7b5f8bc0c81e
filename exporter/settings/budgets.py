"""The sections of declared money: lines that no meter shows, and budgets."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Annotated, Literal, Self, TypeVar

from pydantic import AfterValidator, Field, model_validator

from exporter.settings.section import Section

Amount = Annotated[Decimal, Field(max_digits=18, decimal_places=6)]
"""USD, exactly as it is written; a YAML number keeps its digits."""
Name = Annotated[str, Field(min_length=1, max_length=80)]


class ExtraLineSettings(Section):
    """A line of the invoice that no meter shows: support, a credit, a tax. It is declared, and shown as such."""

    name: Name = Field(description="What the line is called on the invoice; each name once.")
    category: Literal["Purchase", "Credit", "Tax", "Adjustment"] = Field(
        description="Purchase, Credit, Tax or Adjustment; a Credit is written positive and is subtracted."
    )
    amount: Amount | None = Field(None, description="USD a month; either this or percent.")
    percent: Amount | None = Field(None, description="Percent of what stands before the line; either this or amount.")
    of: Literal["usage", "all"] = Field("usage", description="What a percentage is of: usage, or all lines before it.")
    org: str | None = Field(None, description="Organisation id; needed for an amount when there is more than one.")
    project: str | None = Field(None, description="Project id, when it is the charge of one project.")
    from_: date = Field(alias="from", description="First day; the month of that day has the line, uncut.")
    to: date | None = Field(None, description="Last day; none: no end.")
    monthly: bool = Field(True, description="Every month; no: only in the month of `from`.")
    split: Literal["shared", "pro_rata"] = Field(
        "shared", description="Below the organisation: one shared row, or in proportion to metered cost."
    )

    @model_validator(mode="after")
    def _one_amount(self) -> Self:
        if (self.amount is None) == (self.percent is None):
            raise ValueError("needs either amount or percent; give one of them")
        given = self.amount if self.amount is not None else self.percent
        if self.category != "Adjustment" and given is not None and given < 0:
            raise ValueError(f"a {self.category} is written positive; only an Adjustment may be below 0")
        if self.to is not None and self.to < self.from_:
            raise ValueError("to is before from; swap them")
        return self


class BudgetSettings(Section):
    """A budget for each calendar month (UTC), of metered list cost."""

    name: Name = Field(description="What it is called; each name once.")
    amount: Annotated[Amount, Field(gt=0)] = Field(description="USD a month.")
    scope: Literal["org", "project", "branch", "tenant", "tag"] = Field(
        "org", description="What `match` is a name of: org, project, branch, tenant, or a tag of report.tags."
    )
    match: str = Field(
        "*", min_length=1, description="Id, name or glob; a branch may be project/branch, a tag is team=payments."
    )
    alerts: list[Annotated[float, Field(gt=0, le=10)]] = Field(
        [0.5, 0.8, 1.0], description="Shares of the budget at which `neonmeter budget` says so."
    )

    @model_validator(mode="after")
    def _a_tag_has_a_value(self) -> Self:
        if self.scope == "tag" and not all(self.match.partition("=")):
            raise ValueError("match: a tag is written key=value, as team=payments; the value may be a glob")
        return self


Named = TypeVar("Named", ExtraLineSettings, BudgetSettings)


def _each_name_once(named: list[Named]) -> list[Named]:
    seen: set[str] = set()
    for budget in named:
        if budget.name in seen:
            raise ValueError(f"the name {budget.name!r} is there twice; give each its own")
        seen.add(budget.name)
    return named


ExtraLines = Annotated[list[ExtraLineSettings], AfterValidator(_each_name_once)]
Budgets = Annotated[list[BudgetSettings], AfterValidator(_each_name_once)]
