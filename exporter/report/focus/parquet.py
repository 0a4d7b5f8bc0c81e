"""FOCUS as Parquet, for DuckDB, Trino, Spark or ClickHouse: amounts are 38-digit decimals, instants are UTC.

The same rows give the same bytes with the same pyarrow, of the extra ``neonmeter[parquet]``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from io import BytesIO
from typing import Any

from exporter.pricing.domain.calendar import day_text
from exporter.report.facts import ReviewFacts
from exporter.report.focus.columns import (
    BILLING_PERIOD_14,
    COST_AND_USAGE_12,
    COST_AND_USAGE_14,
    DECIMALS,
    INSTANTS,
    as_12,
)
from exporter.report.focus.files import VERSIONS, Focus
from exporter.report.focus.rows import Party, Row

SCALE = 27
"""Decimals of an amount: 15 of a quantity and 12 of a price; eleven digits are left for whole dollars."""


def parquet_files(
    facts: ReviewFacts, focus: Focus, party: Party, versions: Sequence[str] = VERSIONS
) -> dict[str, bytes]:
    """Name and content of each file."""
    month = day_text(facts.this.start)[:7]
    made = {}
    if "1.4" in versions:
        made[f"focus-1.4-cost-and-usage-{month}.parquet"] = parquet(COST_AND_USAGE_14, focus.rows)
        made[f"focus-1.4-billing-period-{month}.parquet"] = parquet(BILLING_PERIOD_14, [focus.period])
    if "1.2" in versions:
        rows = [as_12(row, party.publisher) for row in focus.rows]
        made[f"focus-1.2-cost-and-usage-{month}.parquet"] = parquet(COST_AND_USAGE_12, rows)
    return made


def parquet(columns: Sequence[str], rows: Iterable[Row]) -> bytes:
    """One file; an empty cell is a null."""
    import pyarrow as pa  # type: ignore[import-untyped]  # noqa: PLC0415 - of the extra neonmeter[parquet]
    from pyarrow import parquet as pq  # noqa: PLC0415

    kept = list(rows)
    fields, arrays = [], []
    for column in columns:
        kind: Any = pa.string()
        if column in DECIMALS:
            kind = pa.decimal128(38, SCALE)
        elif column in INSTANTS:
            kind = pa.timestamp("s", tz="UTC")
        fields.append(pa.field(column, kind))
        arrays.append(pa.array([_value(column, row[column]) for row in kept], type=kind))
    held = BytesIO()
    pq.write_table(pa.Table.from_arrays(arrays, schema=pa.schema(fields)), held, compression="zstd")
    return held.getvalue()


def _value(column: str, text: str) -> object:
    if not text:
        return None
    if column in DECIMALS:
        return Decimal(text)
    return datetime.fromisoformat(text) if column in INSTANTS else text
