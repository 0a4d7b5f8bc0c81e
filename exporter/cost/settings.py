"""The sections of cost: prices, declared lines, budgets, anomalies and waste."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar

from pydantic import AfterValidator, Field, model_validator

from exporter.cost.allocation import declared_weights
from exporter.cost.domain.outlook.anomaly import Policy as AnomalyPolicy
from exporter.cost.domain.waste.waste import Policy as WastePolicy
from exporter.settings.section import Section
from exporter.settings.sections import PriceSettings
from exporter.settings.tree import CoreSettings

Amount = Annotated[Decimal, Field(max_digits=18, decimal_places=6)]
"""USD, exactly as it is written; a YAML number keeps its digits."""
Name = Annotated[str, Field(min_length=1, max_length=80)]


class ExtraLineSettings(Section):
    """An invoice line that no meter shows, such as support, a credit or a tax; shown as declared."""

    name: Name = Field(description="Name of the line on the invoice; must be unique.")
    category: Literal["Purchase", "Credit", "Tax", "Adjustment"] = Field(
        description="Purchase, Credit, Tax or Adjustment; a Credit is written as a positive amount and subtracted."
    )
    amount: Amount | None = Field(None, description="USD a month; give either amount or percent.")
    percent: Amount | None = Field(None, description="Percent of the preceding lines; give either amount or percent.")
    of: Literal["usage", "all"] = Field("usage", description="Base of the percentage: usage, or all preceding lines.")
    org: str | None = Field(None, description="Organisation id; required for an amount if there is more than one.")
    project: str | None = Field(None, description="Project id, if the line belongs to one project.")
    from_: date = Field(alias="from", description="First day; the line applies in full from that month on.")
    to: date | None = Field(None, description="Last day; empty: open.")
    monthly: bool = Field(True, description="Every month; false: only in the month of `from`.")
    split: Literal["shared", "pro_rata"] = Field(
        "shared", description="Split below the organisation: one shared row, or in proportion to metered cost."
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

    name: Name = Field(description="Name of the budget; must be unique.")
    amount: Annotated[Amount, Field(gt=0)] = Field(description="USD a month.")
    scope: Literal["org", "project", "branch", "tenant", "tag"] = Field(
        "org", description="What `match` refers to: org, project, branch, tenant, or a tag of report.tags."
    )
    match: str = Field(
        "*", min_length=1, description="Id, name or glob; a branch may be written project/branch, a tag key=value."
    )
    alerts: list[Annotated[float, Field(gt=0, le=10)]] = Field(
        [0.5, 0.8, 1.0], description="Fractions of the budget that `neonmeter budget` reports when reached."
    )

    @model_validator(mode="after")
    def _a_tag_has_a_value(self) -> Self:
        if self.scope == "tag" and not all(self.match.partition("=")):
            raise ValueError("match: a tag is written key=value, as team=payments; the value may be a glob")
        return self


Named = TypeVar("Named", ExtraLineSettings, BudgetSettings)


def _each_name_once(named: list[Named]) -> list[Named]:
    names: set[str] = set()
    for budget in named:
        if budget.name in names:
            raise ValueError(f"the name {budget.name!r} is a duplicate; give each its own")
        names.add(budget.name)
    return named


ExtraLines = Annotated[list[ExtraLineSettings], AfterValidator(_each_name_once)]
Budgets = Annotated[list[BudgetSettings], AfterValidator(_each_name_once)]


class CostSettings(PriceSettings):
    """Prices."""

    rounding: Literal["half_up", "half_even"] = Field(
        "half_up", description="Rounding of invoice lines to the cent when a month is closed."
    )
    idle: Literal["separate", "proportional", "even", "fixed", "wake"] = Field(
        "separate",
        description="Allocation of awake time in which no tenant worked: separate (the row __idle__), "
        "proportional (to busy time), even, fixed (by weights_file), wake (to who kept the compute awake).",
    )
    shared: Literal["separate", "proportional", "even", "fixed"] = Field(
        "separate",
        description="Allocation of shared cost: separate (the row __shared__), proportional (to direct cost), even, "
        "fixed (by weights_file).",
    )
    weights_file: Path | None = Field(
        None, description="CSV of declared weights (project,branch,tenant,weight[,component][,from][,to])."
    )
    sizes_stale_days: int = Field(
        7, ge=1, description="After this many days without a new size, the split of storage is called an estimate."
    )
    extra_lines: ExtraLines = Field([], description="Invoice lines that no meter shows, in the order of the invoice.")


Usd = Annotated[float, Field(ge=0, le=1_000_000)]


class AnomalySettings(Section):
    """Thresholds of anomalies (docs/forecast.md); a cost is an anomaly when it passes all of them."""

    usd: Usd = Field(1, description="Minimum USD above the usual cost in total.")
    usd_per_day: Usd = Field(0.1, description="Minimum USD above the usual cost for a day to count.")
    days: int = Field(2, ge=1, le=14, description="Minimum number of days, unless one day is far above all others.")
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

    window_days: float = Field(7, gt=0, le=31, description="Days of usage from which monthly dollars are projected.")
    idle_days: Days = Field(7, description="A branch unused for this many days is idle.")
    branch_ttl_days: Days = Field(7, description="Maximum age of a child branch, in days.")
    diverged_ratio: Ratio = Field(
        0.8, description="A child branch whose own data reaches this fraction of its size has diverged."
    )
    busy_ratio: Ratio = Field(
        0.05, description="A compute busy for less than this fraction of its awake time is nearly idle."
    )
    always_awake_ratio: Ratio = Field(
        0.95, description="A compute awake for this fraction of the time counts as never suspended."
    )
    snapshot_days: Days = Field(30, description="Maximum age of a snapshot, in days.")
    history_days: Days = Field(7, description="Maximum length of the history window, in days.")
    egress_ratio: Ratio = Field(0.8, description="Fraction of the transfer allowance at which a forecast warns.")

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


def problems_of_cost(cost: CostSettings) -> Iterator[str]:
    """What can be known to be wrong before anything is contacted, one line each, beginning with its path."""
    try:
        declared_weights.load(cost.weights_file)
    except declared_weights.WeightsFileError as problem:
        yield from (f"cost.weights_file: {line}" for line in problem.problems)
    for name in ("idle", "shared"):
        if getattr(cost, name) == "fixed" and cost.weights_file is None:
            yield f"cost.{name}: fixed goes by declared weights; name their file in cost.weights_file"
