"""The sections of the money: prices and the ledger."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from exporter.pricing.domain.rates import plan_named
from exporter.settings.budgets import ExtraLines
from exporter.settings.section import Secret, Section


class CostSettings(Section):
    """Prices."""

    plan: Annotated[str | None, AfterValidator(lambda name: name and plan_named(name))] = Field(
        None, description="Price as this plan (launch, scale, agent or a type as scale_v3), whatever the API says."
    )
    rate_card: Path | None = Field(None, description="Your own rates; the dated list rates ship with neonmeter.")
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


class LedgerSettings(Secret):
    """Where facts are kept. Neon forgets hourly consumption after 168 h: this does not."""

    path: Path = Field(Path("neonmeter.db"), description="SQLite file; created when missing.")
    url: str | None = Field(
        None, description="Keep usage in PostgreSQL instead, for replicas and SQL: postgresql://neonmeter@host/finops."
    )
    keep_hourly_days: int = Field(
        400, ge=62, description="Then hours become days, whole months at a time; no cost changes by it."
    )
