"""The sections of the money: prices and the ledger."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from exporter.settings.budgets import ExtraLines
from exporter.settings.section import Secret, Section


class CostSettings(Section):
    """Prices."""

    plan: str | None = Field(None, description="Price as this plan (launch, scale, agent) whatever the API says.")
    rate_card: Path | None = Field(None, description="Your own rates; the dated list rates ship with neonmeter.")
    rounding: Literal["half_up", "half_even"] = Field(
        "half_up", description="How an invoice line is rounded to the cent when a month is closed."
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
