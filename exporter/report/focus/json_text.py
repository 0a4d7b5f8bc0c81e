"""JSON in a cell: compact, in a stable order, and with decimals as they are (never 1e-05, never a binary fraction)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal


def json_text(value: object) -> str:
    """The text; keys stay in the order given."""
    if isinstance(value, Decimal):
        text = format(value, "f")
        return (text.rstrip("0").rstrip(".") or "0") if "." in text else text
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{json.dumps(str(key))}:{json_text(entry)}" for key, entry in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(json_text(entry) for entry in value) + "]"
    return json.dumps(value, ensure_ascii=False)
