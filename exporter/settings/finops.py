"""The sections of the money: prices and the ledger."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from exporter.settings.section import Section


class CostSettings(Section):
    """Prices."""

    plan: str | None = Field(None, description="Price as this plan (launch, scale, agent) whatever the API says.")
    rate_card: Path | None = Field(None, description="Your own rates; the dated list rates ship with neonmeter.")


class LedgerSettings(Section):
    """Where facts are kept. Neon forgets hourly consumption after 168 h: this file does not."""

    path: Path = Field(Path("neonmeter.db"), description="SQLite file; created when missing.")
