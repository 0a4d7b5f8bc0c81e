"""Rows of texts as CSV and Parquet, values as JSON in a cell, and text made harmless for Markdown."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from io import BytesIO, StringIO
from typing import Any

_NUMBER = re.compile(r"-?\d+(\.\d+)?")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def csv_text(head: Sequence[str], rows: Iterable[Sequence[object]], *, line_end: str = "\n") -> str:
    """CSV under a head, quoted only where it must be.

    A text that begins as a formula does gets an apostrophe before it, since a spreadsheet that opens the file would run
    it; numbers stay as they are.
    """
    written = StringIO()
    writer = csv.writer(written, lineterminator=line_end)
    writer.writerow(head)
    writer.writerows([[_harmless(cell) for cell in row] for row in rows])
    return written.getvalue()


def _harmless(cell: object) -> object:
    if isinstance(cell, str) and cell[:1] in _FORMULA and not _NUMBER.fullmatch(cell):
        return f"'{cell}"
    return cell


def records_csv(columns: Sequence[str], records: Iterable[Mapping[str, str]]) -> str:
    """CSV for programs only: every cell as it is, a null as an empty cell.

    Raises:
        ValueError: a record has a key that is no column.
    """
    written = StringIO()
    writer = csv.DictWriter(written, columns, lineterminator="\n", extrasaction="raise")
    writer.writeheader()
    writer.writerows(records)
    return written.getvalue()


def records_parquet(
    columns: Sequence[str],
    records: Iterable[Mapping[str, str]],
    *,
    decimals: Collection[str],
    instants: Collection[str],
    scale: int,
) -> bytes:
    """The same records as a Parquet file, an empty cell as a null.

    The columns ``decimals`` are 38-digit decimals of ``scale`` places, the columns ``instants`` UTC timestamps, and
    others texts. The same records give the same bytes with the same pyarrow, of the extra ``neonmeter[parquet]``.
    """
    import pyarrow as pa  # type: ignore[import-untyped]  # noqa: PLC0415
    from pyarrow import parquet  # noqa: PLC0415

    rows = list(records)
    fields, arrays = [], []
    for column in columns:
        kind: Any = pa.string()
        read: Any = str
        if column in decimals:
            kind, read = pa.decimal128(38, scale), Decimal
        elif column in instants:
            kind, read = pa.timestamp("s", tz="UTC"), datetime.fromisoformat
        fields.append(pa.field(column, kind))
        arrays.append(pa.array([read(row[column]) if row[column] else None for row in rows], type=kind))
    written = BytesIO()
    parquet.write_table(pa.Table.from_arrays(arrays, schema=pa.schema(fields)), written, compression="zstd")
    return written.getvalue()


def json_text(value: object) -> str:
    """JSON for a cell: compact, keys in their order, decimals as they are (never 1e-05, never a binary fraction)."""
    if isinstance(value, Decimal):
        text = format(value, "f")
        return (text.rstrip("0").rstrip(".") or "0") if "." in text else text
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{json.dumps(str(key))}:{json_text(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(json_text(item) for item in value) + "]"
    return json.dumps(value, ensure_ascii=False)


def markdown_text(text: str) -> str:
    """A text with a backslash before what Markdown would read as markup."""
    return "".join(f"\\{char}" if char in "*_`[]<>#|~" else char for char in text)


def markdown_cell(text: str) -> str:
    """Text in a Markdown table: one line, and nothing that would end the cell, its code or the table's text."""
    return " ".join(text.replace("|", "\\|").replace("`", "'").replace("<", "&lt;").split())


def markdown_document(parts: Sequence[str], most: int) -> str:
    """Parts as paragraphs in at most ``most`` characters; what is too much is left out before the last part."""
    first = list(parts)
    last = first.pop()
    while len(first) > 1 and len("\n\n".join([*first, last])) > most:
        first.pop()
    return "\n\n".join([*first, last])[:most] + "\n"
