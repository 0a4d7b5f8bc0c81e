"""The waste findings of each month: a review of last month must not depend on what Neon shows today.

A month's findings are replaced at each evaluation until the month is over, so they are what was last known of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

from exporter.cost.domain.waste.waste import Findings
from exporter.pricing.domain.calendar import day_text, month_start
from exporter.storage.tables import KeyValueStore

KIND = "waste"
MOST = 500
"""Findings that are stored: the most expensive."""


class StoredWaste(NamedTuple):
    """One finding; USD a month, exact."""

    rule: str
    project_id: str
    branch_id: str
    usd_per_month: Fraction
    evidence: str
    action: str
    command: str
    confidence: str

    @property
    def order(self) -> tuple[object, ...]:
        """Sorts the most expensive first."""
        return (-self.usd_per_month, self.rule, self.project_id, self.branch_id)


@dataclass(frozen=True, slots=True)
class StoredFindings:
    """What was found at one time (unix seconds), and the cost that was looked through, both a month at that pace."""

    at: int
    cost: Fraction
    found: tuple[StoredWaste, ...]


class WasteStore:
    """Findings by month, among the key-values of the agent's store."""

    def __init__(self, key_values: KeyValueStore) -> None:
        """Use the key-values of a store."""
        self._key_values = key_values

    def save(self, findings: Findings, at: float) -> None:
        """Store what was found in the month of ``at`` (unix seconds); it replaces what the month had.

        Raises:
            StoreError: the disk is full or the file damaged.
        """
        most_expensive = sorted(findings.found, key=lambda waste: -waste.usd_per_month)[:MOST]
        rows = [
            [waste.rule, waste.project_id, waste.branch_id, str(waste.usd_per_month), waste.evidence, waste.action,
             waste.command, waste.confidence.value]
            for waste in most_expensive
        ]  # fmt: skip
        findings_json: dict[str, object] = {"at": int(at), "cost": str(findings.cost), "found": rows}
        self._key_values.write(KIND, day_text(month_start(int(at)))[:7], findings_json)

    def of(self, month: int) -> StoredFindings | None:
        """What was last found in a month (any instant of it), or None.

        Raises:
            StoreError: the file is damaged.
        """
        stored: dict[str, Any] | None = self._key_values.read(KIND, day_text(month)[:7])
        if stored is None:
            return None
        found = tuple(StoredWaste._make([*row[:3], Fraction(row[3]), *row[4:]]) for row in stored["found"])
        return StoredFindings(int(stored["at"]), Fraction(stored["cost"]), found)
