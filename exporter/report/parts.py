"""The parts of a review that other rooms work out: budgets, forecasts, anomalies, waste, key figures, an invoice."""

from __future__ import annotations

from exporter.report.gather import Part

PARTS: tuple[Part, ...] = ()
"""In the order in which they are added to the facts."""
