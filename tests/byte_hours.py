"""The unit of made-up figures of stored bytes: tests write them in byte-hours, whatever the date says."""

from __future__ import annotations


def byte_hours(metric: str) -> str:
    """What a fact of this metric has as its unit."""
    return "byte-hour" if metric.endswith("_bytes_month") else ""
