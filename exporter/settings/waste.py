"""From when on something is waste."""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated

from pydantic import Field

from exporter.cost.domain.waste.waste import Policy
from exporter.settings.section import Section

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

    def policy(self, api_url: str) -> Policy:
        """For the rules."""
        return Policy(
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
