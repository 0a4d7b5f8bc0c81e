"""Plain tables for the terminal: aligned columns, numbers to the right, nothing else."""

from __future__ import annotations

import re
import shutil
import sys
import textwrap
from collections.abc import Sequence
from decimal import Decimal

_NUMBER = re.compile(r"[-+$<~]*[\d,.]+( ?[%a-zA-Z/]{0,6})?\Z")


def table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Rows under headers, as text that ends in a newline; a None is shown as a dash."""
    texts = [["-" if cell is None else str(cell) for cell in row] for row in rows]
    widths = [max(len(line[i]) for line in [list(headers), *texts]) for i in range(len(headers))]
    numeric = [
        bool(texts) and all(_NUMBER.match(row[i]) or row[i] in ("-", "") for row in texts) for i in range(len(headers))
    ]

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(cells, widths, numeric, strict=True)
        ]
        return "  ".join(padded).rstrip()

    lines = [line(headers), line(["-" * width for width in widths]), *map(line, texts)]
    return "\n".join(_folded(lines, sum(widths[:-1]) + 2 * len(widths[:-1]))) + "\n"


def _folded(lines: list[str], indent: int) -> list[str]:
    """On a terminal, long last columns go on under themselves; a program gets one line a row."""
    width = shutil.get_terminal_size().columns
    if not sys.stdout.isatty() or indent > width // 2:
        return lines
    return [
        part
        for line in lines
        for part in textwrap.wrap(line, width, subsequent_indent=" " * indent, drop_whitespace=False) or [""]
    ]


def counted(number: int, name: str) -> str:
    """1 branch, 2 branches, 3 computes, 4 months."""
    plural = name + ("es" if name.endswith(("ch", "sh")) else "s")
    return f"{number} {name if number == 1 else plural}"


def dollars(amount: Decimal) -> str:
    """Dollars with as many decimals as are needed to see anything."""
    if amount == 0:
        return "$0"
    return (
        f"${amount:,.2f}" if abs(amount) >= 1 else f"${amount:.6f}" if abs(amount) >= Decimal("1e-6") else "<$0.000001"
    )


def seconds(value: float | None) -> str:
    """A duration for a person: 45s, 3m 20s, 2h 05m, 4d 03h."""
    if value is None:
        return "-"
    whole = round(value)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02}s"
    if whole < 86400:
        return f"{whole // 3600}h {whole % 3600 // 60:02}m"
    return f"{whole // 86400}d {whole % 86400 // 3600:02}h"


def size(value: float | None) -> str:
    """A size for a person, in decimal units as Neon bills them."""
    if value is None:
        return "-"
    amount = float(value)
    for unit in ("B", "kB", "MB", "GB"):
        if abs(amount) < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"
