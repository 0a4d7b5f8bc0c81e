"""What was found to be waste, kept by month: a review of last month must not depend on what Neon shows today.

The page of a month is renewed at each judgement until the month is over, so it holds what was last known of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

from exporter.cost.domain.waste.waste import Findings
from exporter.pricing.domain.rates import day_text, month_start
from exporter.storage.key_values import Notebook

KIND = "waste"
MOST = 500
"""Findings that are kept: the dearest."""


class KeptWaste(NamedTuple):
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
class KeptFindings:
    """What was found at one time (unix seconds), and the cost that was judged, both a month at that pace."""

    at: int
    cost: Fraction
    found: tuple[KeptWaste, ...]


class WasteBook:
    """Pages by month in the agent's notebook."""

    def __init__(self, notebook: Notebook) -> None:
        """Use a notebook."""
        self._notebook = notebook

    def keep(self, findings: Findings, at: float) -> None:
        """Write down what was found in the month that holds an instant; it replaces what the month had.

        Raises:
            StoreError: the disk is full or the file damaged.
        """
        dearest = sorted(findings.found, key=lambda each: -each.usd_per_month)[:MOST]
        rows = [
            [each.rule, each.project_id, each.branch_id, str(each.usd_per_month), each.evidence, each.action,
             each.command, each.confidence.value]
            for each in dearest
        ]  # fmt: skip
        page: dict[str, object] = {"at": int(at), "cost": str(findings.cost), "found": rows}
        self._notebook.write(KIND, day_text(month_start(int(at)))[:7], page)

    def of(self, month: int) -> KeptFindings | None:
        """What was last found in a month (any instant of it), or None.

        Raises:
            StoreError: the file is damaged.
        """
        page: dict[str, Any] | None = self._notebook.read(KIND, day_text(month)[:7])
        if page is None:
            return None
        found = tuple(KeptWaste._make([*row[:3], Fraction(row[3]), *row[4:]]) for row in page["found"])
        return KeptFindings(int(page["at"]), Fraction(page["cost"]), found)
