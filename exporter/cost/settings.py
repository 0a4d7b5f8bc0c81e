"""The sections of cost: prices, declared lines, budgets, anomalies and waste."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar

from pydantic import AfterValidator, Field, model_validator

from exporter.cost.domain.outlook.anomaly import Policy as AnomalyPolicy
from exporter.cost.domain.waste.waste import Policy as WastePolicy
from exporter.settings.section import Section
from exporter.settings.sections import PriceSettings
from exporter.settings.tree import CoreSettings

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


class CostSettings(PriceSettings):
    """Prices."""

    rounding: Literal["half_up", "half_even"] = Field(
        "half_up", description="How an invoice line is rounded to the cent when a month is closed."
    )
    idle: Literal["separate", "proportional", "even", "fixed", "wake"] = Field(
        "separate",
        description="Who pays for awake time in which no tenant worked: separate (nobody: the row __idle__), "
        "proportional (to busy time), even, fixed (by weights_file), wake (who kept the compute awake).",
    )
    shared: Literal["separate", "proportional", "even", "fixed"] = Field(
        "separate",
        description="Who pays for what belongs to all: separate (the row __shared__), proportional (to direct cost), "
        "even, fixed (by weights_file).",
    )
    weights_file: Path | None = Field(
        None, description="CSV of declared weights (project,branch,tenant,weight[,component][,from][,to])."
    )
    sizes_stale_days: int = Field(
        7, ge=1, description="A size that was read longer ago than this makes the split of storage an estimate."
    )
    extra_lines: ExtraLines = Field([], description="Lines of the invoice that no meter shows; in the order of it.")


Usd = Annotated[float, Field(ge=0, le=1_000_000)]


class AnomalySettings(Section):
    """Floors of docs/forecast.md: all of them must be passed before a cost is called unusual."""

    usd: Usd = Field(1, description="It must have cost so much more than usual so far.")
    usd_per_day: Usd = Field(0.1, description="A day must cost so much more than usual to count at all.")
    days: int = Field(2, ge=1, le=14, description="It must last so many days, unless one day is far above all others.")
    spreads: float = Field(4, ge=2, le=20, description="Robust standard deviations above the median of the weekday.")

    def policy(self) -> AnomalyPolicy:
        """For the detectors."""
        return AnomalyPolicy(
            spreads=Fraction(str(self.spreads)),
            usd=Fraction(str(self.usd)),
            usd_per_day=Fraction(str(self.usd_per_day)),
            days=self.days,
        )


Days = Annotated[float, Field(gt=0, le=3650)]
Ratio = Annotated[float, Field(ge=0, le=1)]


class WasteSettings(Section):
    """Thresholds of the rules of docs/waste.md."""

    window_days: float = Field(7, gt=0, le=31, description="Days of usage that dollars a month are projected from.")
    idle_days: Days = Field(7, description="A branch that nobody used for so many days is idle.")
    branch_ttl_days: Days = Field(7, description="A child branch older than this should have expired.")
    diverged_ratio: Ratio = Field(0.8, description="A child with so much of its size of its own shares too little.")
    busy_ratio: Ratio = Field(0.05, description="A compute busy below this part of its awake time is near idle.")
    always_awake_ratio: Ratio = Field(0.95, description="Awake this part of the time means never suspended.")
    snapshot_days: Days = Field(30, description="A snapshot older than this is past the policy.")
    history_days: Days = Field(7, description="History windows longer than this are past the policy.")
    egress_ratio: Ratio = Field(0.8, description="Warn when a month will use so much of its transfer allowance.")

    def policy(self, api_url: str) -> WastePolicy:
        """For the rules."""
        return WastePolicy(
            idle=round(self.idle_days * 86400),
            branch_ttl=round(self.branch_ttl_days * 86400),
            diverged=Fraction(str(self.diverged_ratio)),
            busy=Fraction(str(self.busy_ratio)),
            always_awake=Fraction(str(self.always_awake_ratio)),
            snapshot_age=round(self.snapshot_days * 86400),
            history=round(self.history_days * 86400),
            egress=Fraction(str(self.egress_ratio)),
            api_url=api_url.rstrip("/"),
        )


class CostTree(CoreSettings):
    """The settings that cost reads: the shared sections and its own."""

    cost: CostSettings = CostSettings()
    budgets: Budgets = []  # noqa: RUF012  # pydantic copies it
    anomalies: AnomalySettings = AnomalySettings()
    waste: WasteSettings = WasteSettings()
