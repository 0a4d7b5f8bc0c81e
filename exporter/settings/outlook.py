"""When a cost is unusual enough to tell."""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated

from pydantic import Field

from exporter.cost.domain.outlook.anomaly import Policy
from exporter.settings.section import Section

Usd = Annotated[float, Field(ge=0, le=1_000_000)]


class AnomalySettings(Section):
    """Floors of docs/forecast.md: all of them must be passed before a cost is called unusual."""

    usd: Usd = Field(1, description="It must have cost so much more than usual so far.")
    usd_per_day: Usd = Field(0.1, description="A day must cost so much more than usual to count at all.")
    days: int = Field(2, ge=1, le=14, description="It must last so many days, unless one day is far above all others.")
    spreads: float = Field(4, ge=2, le=20, description="Robust standard deviations above the median of the weekday.")

    def policy(self) -> Policy:
        """For the detectors."""
        return Policy(
            spreads=Fraction(str(self.spreads)),
            usd=Fraction(str(self.usd)),
            usd_per_day=Fraction(str(self.usd_per_day)),
            days=self.days,
        )
