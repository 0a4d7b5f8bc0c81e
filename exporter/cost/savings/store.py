"""What was found to be waste, kept by month: a review of last month must not depend on what Neon shows today.

The page of a month is renewed at each judgement until the month is over, so it holds what was last known of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

from exporter.cost.domain.waste.waste import Findings
from exporter.pricing.domain.calendar import day_text, month_start
from exporter.storage.key_values import KeyValueStore

KIND = "waste"
MOST = 500
"""Findings that are kept: the dearest."""


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


@dataclass(frozen=True, slots=True)
class StoredFindings:
    """What was found at one time (unix seconds), and the cost that was judged, both a month at that pace."""

    at: int
    cost: Fraction
    found: tuple[StoredWaste, ...]


class WasteStore:
    """Pages by month in the agent's notebook."""

    def __init__(self, key_values: KeyValueStore) -> None:
        """Use a notebook."""
        self._key_values = key_values

    def keep(self, findings: Findings, at: float) -> None:
        """Write down what was found in the month that holds an instant; it replaces what the month had.

        Raises:
            StoreError: the disk is full or the file damaged.
        """
        dearest = sorted(findings.found, key=lambda entry: -entry.usd_per_month)[:MOST]
        rows = [
            [waste.rule, waste.project_id, waste.branch_id, str(waste.usd_per_month), waste.evidence, waste.action,
             waste.command, waste.confidence.value]
            for waste in dearest
        ]  # fmt: skip
        page: dict[str, object] = {"at": int(at), "cost": str(findings.cost), "found": rows}
        self._key_values.write(KIND, day_text(month_start(int(at)))[:7], page)

    def of(self, month: int) -> StoredFindings | None:
        """What was last found in a month (any instant of it), or None.

        Raises:
            StoreError: the file is damaged.
        """
        page: dict[str, Any] | None = self._key_values.read(KIND, day_text(month)[:7])
        if page is None:
            return None
        found = tuple(StoredWaste._make([*row[:3], Fraction(row[3]), *row[4:]]) for row in page["found"])
        return StoredFindings(int(page["at"]), Fraction(page["cost"]), found)
