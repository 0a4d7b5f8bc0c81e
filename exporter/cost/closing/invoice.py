"""Reads the lines of an invoice from a CSV that a person made or exported; headers may be named as they like.

Every line that cannot be used is reported with its number, what is wrong and what to write; a file with one is refused.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, ValidationInfo

from collectors.errors import UsageError
from exporter.cost.domain.reconcile import InvoiceRow
from exporter.pricing.domain.components import METRIC_COMPONENTS, STORAGE, Component

_HEADERS: Mapping[str, tuple[str, ...]] = {
    "component": ("component", "metric", "sku", "meter"),
    "description": ("description", "item", "lineitem", "line", "product", "name", "charge"),
    "quantity": ("quantity", "qty", "usage", "units", "billedquantity"),
    "unit": ("unit", "uom", "unitofmeasure", "pricingunit"),
    "amount": ("amount", "total", "cost", "amountusd", "totalusd", "costusd", "price", "subtotal", "linetotal"),
    "project_id": ("projectid", "project"),
    "org_id": ("orgid", "org", "organization", "organisation", "organizationid"),
}
_WORDS: tuple[tuple[str, tuple[Component, ...]], ...] = (
    *((c.spec.invoice.pattern, (c,)) for c in sorted(Component, key=lambda component: component.spec.invoice.turn)),
    (r"\bstorage\b", STORAGE),
)
_UNITS: Mapping[str, Mapping[str, Fraction]] = {
    "CU-hour": {"cuhour": Fraction(1), "cuh": Fraction(1), "hour": Fraction(1), "cusecond": Fraction(1, 3600)},
    "GB-month": {"gbmonth": Fraction(1), "gbmo": Fraction(1), "gb": Fraction(1), "tbmonth": Fraction(1000),
                 "gbhour": Fraction(1, 744), "bytehour": Fraction(1, 744 * 10**9)},
    "branch-month": {"branchmonth": Fraction(1), "branch": Fraction(1), "branche": Fraction(1),
                     "branchhour": Fraction(1, 744)},
    "GB": {"gb": Fraction(1), "tb": Fraction(1000), "mb": Fraction(1, 1000), "byte": Fraction(1, 10**9)},
}  # fmt: skip
_TOTALS = re.compile(r"\s*(sub.?total|total|amount due|balance due|grand total|total due)\b", re.IGNORECASE)
_MAX_BYTES = 5_000_000


class InvoiceError(UsageError):
    """The file cannot be used; ``problems`` has one line each."""

    def __init__(self, origin: str, problems: list[str]) -> None:
        """Name the file and list what is wrong with it."""
        super().__init__("\n".join(f"{origin}: {problem}" for problem in problems))
        self.problems = [f"{origin}: {problem}" for problem in problems]


@dataclass(frozen=True, slots=True)
class Invoice:
    """The lines of an invoice, and what was noticed on the way."""

    rows: tuple[InvoiceRow, ...]
    notes: tuple[str, ...] = ()


def read_invoice(path: Path) -> Invoice:
    """The lines of a CSV file.

    Raises:
        InvoiceError: it cannot be read, has no amount column, or some line cannot be used.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise InvoiceError(str(path), ["over 5 MB: this is not a list of invoice lines"])
        text = path.read_text("utf-8-sig")
    except OSError as problem:
        raise InvoiceError(str(path), [f"{problem.strerror}; name a CSV file with the lines of the invoice"]) from None
    except UnicodeDecodeError:
        raise InvoiceError(str(path), ["not UTF-8 text; save it as CSV (UTF-8)"]) from None
    return parse_invoice(text, str(path))


def parse_invoice(text: str, origin: str) -> Invoice:
    """The lines of CSV text (comma, semicolon or tab).

    Raises:
        InvoiceError: with every problem that the text has.
    """
    lines = _lines(text, origin)
    head = lines[0][1] if lines else []
    columns = _columns(head)
    if "amount" not in columns or not {"component", "description"} & columns.keys():
        names = ", ".join(cell.strip() for cell in head if cell.strip())
        wants = "description (or component) and amount, and where there is one quantity, unit, project_id"
        raise InvoiceError(origin, [f"the first line must name the columns: {wants}; it has {names or 'nothing'}"])
    rows: list[InvoiceRow] = []
    problems: list[str] = []
    stated: Fraction | None = None
    for number, cells in lines[1:]:
        if not any(cell.strip() for cell in cells):
            continue
        values = {name: cells[at].strip() if at < len(cells) else "" for name, at in columns.items()}
        try:
            row = _Line.model_validate(values).row(number)
        except ValidationError as wrong:
            problems += [
                f"line {number}: {error.get('ctx', {}).get('error', error['msg'])}" for error in wrong.errors()
            ]
            continue
        if _TOTALS.match(row.description) and not row.components:
            stated = row.amount
        else:
            rows.append(row)
    if not problems and not rows:
        problems.append("has no lines under its header")
    if problems:
        raise InvoiceError(origin, problems)
    total = sum((row.amount for row in rows), Fraction())
    notes = []
    if stated is not None and stated != total:
        notes.append(f"its total says {float(stated):.2f}, its lines sum to {float(total):.2f}")
    return Invoice(tuple(rows), tuple(notes))


def _lines(text: str, origin: str) -> list[tuple[int, list[str]]]:
    """The cells of each line, with the number of the line on which it begins."""
    delimiter = max(",;\t", key=text.split("\n", 1)[0].count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    lines: list[tuple[int, list[str]]] = []
    number = 1
    try:
        for cells in reader:
            lines.append((number, cells))
            number = reader.line_num + 1
    except csv.Error as problem:
        advice = "a cell that begins with a quote must end with one, and quotes within it are written twice"
        raise InvoiceError(origin, [f"line {number}: not valid CSV ({problem}); {advice}"]) from None
    return lines


def _columns(head: list[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    plain = [re.sub(r"[^a-z]", "", cell.lower()) for cell in head]
    for name, words in _HEADERS.items():
        for word in words:
            if word in plain and name not in found and plain.index(word) not in found.values():
                found[name] = plain.index(word)
    return found


def _described(text: str, info: ValidationInfo) -> str:
    described = text or info.data.get("component", "")
    if not described:
        raise ValueError("has neither a description nor a component; say what the amount is for")
    return str(described)


def _number(text: str, info: ValidationInfo) -> Fraction:
    wrong = f"{info.field_name} {text!r} is not a number; write it like 1234.56"
    plain = re.sub(r"USD|US\$|[$\s]", "", text, flags=re.IGNORECASE)
    if plain.startswith("(") and plain.endswith(")"):
        plain = f"-{plain[1:-1]}"
    plain = plain.replace("\u2212", "-")
    if re.search(r"\.\d{3},\d|^-?\d+,\d{1,2}$", plain):
        # Written with a decimal comma.
        plain = plain.replace(".", "").replace(",", ".")
    try:
        amount = Decimal(plain.replace(",", ""))
    except InvalidOperation:
        raise ValueError(wrong) from None
    # As a fraction, a number with very many decimals would fill the memory.
    if not amount.is_finite() or abs(amount) > 10**15 or int(amount.as_tuple().exponent) < -30:
        raise ValueError(wrong)
    return Fraction(amount)


def _quantity(text: str, info: ValidationInfo) -> Fraction | None:
    """Only of what is metered: a discount may have any number of anything."""
    return _number(text, info) if text and _components_of(info.data) else None


def _factor(unit: str, info: ValidationInfo) -> Fraction:
    """How many of our units of the component one of the line's is."""
    if not unit or info.data.get("quantity") is None:
        return Fraction(1)
    component = _components_of(info.data)[0]
    ours = component.spec.unit
    plain = re.sub(r"[^a-z]", "", unit.lower().replace("per", "")).rstrip("s")
    factor = _UNITS[ours].get(plain.replace("hours", "hour").replace("months", "month"))
    if factor is None:
        raise ValueError(f"unit {unit!r} is none of {component.value}; write {ours}")
    return factor


class _Line(BaseModel):
    """One line of the file by our names of the columns; an absent column is empty. The order is that of checking."""

    model_config = ConfigDict(validate_default=True)

    component: str = ""
    description: Annotated[str, BeforeValidator(_described)] = ""
    amount: Annotated[Fraction, BeforeValidator(_number)] = ""  # type: ignore[assignment]
    quantity: Annotated[Fraction | None, BeforeValidator(_quantity)] = ""  # type: ignore[assignment]
    unit: Annotated[Fraction, BeforeValidator(_factor)] = ""  # type: ignore[assignment]
    project_id: str = ""
    org_id: str = ""

    def row(self, number: int) -> InvoiceRow:
        """The line as it is reconciled; ``number`` is its line in the file."""
        quantity = None if self.quantity is None else self.quantity * self.unit
        components = _components(self.component, self.description)
        return InvoiceRow(number, self.description, components, self.amount, quantity, self.org_id, self.project_id)


def _components_of(values: Mapping[str, str]) -> tuple[Component, ...]:
    return _components(values.get("component", ""), values.get("description", ""))


def _components(named: str, description: str) -> tuple[Component, ...]:
    plain = named.strip().lower()
    if plain in METRIC_COMPONENTS:
        return (METRIC_COMPONENTS[plain],)
    if plain.replace("-", "_").replace(" ", "_") in tuple(Component):
        return (Component(plain.replace("-", "_").replace(" ", "_")),)
    for text in (named, description):
        slug = text.strip().lower()
        for pattern, components in _WORDS:
            if slug and re.search(pattern, slug.replace("_", " ")):
                return components
    return ()
