"""Our closed month against the invoice: per line what each says, the difference, and its likely cause.

An invoice line is found by what it is for; where it names a project, project by project. Where one thing has several
lines, because the plan or the price changed in the month, their price distinguishes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from exporter.cost.domain.close import USAGE, InvoiceLine, quantise
from exporter.cost.domain.invoice_variance import Cause, ComparedUsage, Context, Figures, InvoiceRow, likely_cause
from exporter.pricing.domain.components import STORAGE, Component
from exporter.pricing.domain.rates import decimal_text

__all__ = ["Cause", "Context", "InvoiceRow", "Variance", "cents_text", "reconcile"]


@dataclass(frozen=True, slots=True)
class Variance:
    """One line of the statement. Cents; ``cents`` is the invoice minus ours."""

    label: str
    org_id: str
    component: str
    project_id: str
    ours: int
    invoice: int
    our_quantity: Fraction | None
    invoice_quantity: Fraction | None
    unit: str
    cause: Cause
    why: str

    @property
    def cents(self) -> int:
        """How much more the invoice says."""
        return self.invoice - self.ours

    @property
    def ratio(self) -> Fraction | None:
        """The difference as a share of our figure; None where we have none."""
        return Fraction(self.cents, abs(self.ours)) if self.ours else None

    def as_dict(self) -> dict[str, object]:
        """Ready for JSON; amounts are decimal strings."""
        return {
            "line": self.label,
            "org_id": self.org_id,
            "component": self.component,
            "project_id": self.project_id,
            "ours": cents_text(self.ours),
            "invoice": cents_text(self.invoice),
            "variance": cents_text(self.cents),
            "variance_ratio": None if self.ratio is None else decimal_text(round(self.ratio, 6)),
            "our_quantity": None if self.our_quantity is None else decimal_text(self.our_quantity),
            "invoice_quantity": None if self.invoice_quantity is None else decimal_text(self.invoice_quantity),
            "unit": self.unit,
            "cause": self.cause.value,
            "why": self.why,
        }


def reconcile(ours: Sequence[InvoiceLine], rows: Sequence[InvoiceRow], context: Context) -> tuple[Variance, ...]:
    """The statement, in the order of the components; declared and unknown lines come last.

    Where every line of the invoice names its organisation, only those are compared: an invoice is for one of them.
    """
    named = {row.org_id for row in rows}
    if named and "" not in named:
        ours = [line for line in ours if line.key.org_id in named]
    metered = [line for line in ours if line.key.kind == USAGE]
    found = [_compared(side, context) for side in _sides(metered, [row for row in rows if row.components])]
    found += _declared([line for line in ours if line.key.kind != USAGE], [row for row in rows if not row.components])
    return tuple(
        variance for variance in found if variance.ours or variance.invoice or variance.cause is not Cause.NONE
    )


def cents_text(cents: int) -> str:
    """Whole cents as dollars: ``-0.07``."""
    return f"{'-' if cents < 0 else ''}{abs(cents) // 100}.{abs(cents) % 100:02}"


def _sides(lines: Sequence[InvoiceLine], rows: Sequence[InvoiceRow]) -> Iterable[ComparedUsage]:
    orgs = {line.key.org_id for line in lines}
    only = next(iter(orgs)) if len(orgs) == 1 else ""
    by_org = bool(rows) and all(row.org_id or only for row in rows)
    combined = any(row.components == STORAGE for row in rows)

    def group(component: Component) -> tuple[Component, ...]:
        return STORAGE if combined and component in STORAGE else (component,)

    projects = {group(row.components[0]) for row in rows if row.project_id}
    sides: dict[tuple[str, tuple[Component, ...], str], ComparedUsage] = {}

    def side(
        org: str, components: tuple[Component, ...], project: str
    ) -> tuple[tuple[str, tuple[Component, ...], str], ComparedUsage]:
        key = (org, components, project)
        return key, sides.get(key, ComparedUsage(org, components, project, (), ()))

    for line in lines:
        components = group(Component(line.key.component))
        org = line.key.org_id if by_org else ""
        for project, part in _by_project(line) if components in projects else [("", line)]:
            key, held = side(org, components, project)
            sides[key] = held._replace(lines=(*held.lines, part))
    for row in rows:
        key, held = side((row.org_id or only) if by_org else "", group(row.components[0]), row.project_id)
        sides[key] = held._replace(rows=(*held.rows, row))
    order = {component: rank for rank, component in enumerate(Component)}
    for key in sorted(sides, key=lambda key: (key[0], order[key[1][0]], key[2])):
        yield from _by_rate(sides[key])


def _by_project(line: InvoiceLine) -> list[tuple[str, InvoiceLine]]:
    """A line's cents by project; its quantity goes along in proportion, so it is near, not exact."""
    cents: dict[str, int] = {}
    for part in line.allocations:
        cents[part.path.project_id] = cents.get(part.path.project_id, 0) + part.cents
    parts = []
    for project, own in sorted(cents.items()):
        share = Fraction(own, line.cents) if line.cents else Fraction()
        own_line = InvoiceLine(line.key, line.unit, 0, line.quantity * share, line.cost * share, own, line.lower_bound)
        parts.append((project, own_line))
    return parts or [("", line)]


def _by_rate(side: ComparedUsage) -> Iterable[ComparedUsage]:
    """Several lines of one thing (a plan or a price changed in the month) are distinguished by their price."""
    lines, rows = list(side.lines), list(side.rows)
    if len(lines) > 1 and len(rows) > 1:
        for row in side.rows:
            for line in lines:
                rate = Fraction(line.key.rate or 0)
                if row.quantity is not None and rate and abs(row.quantity * rate - row.amount) <= Fraction(1, 100):
                    yield side._replace(lines=(line,), rows=(row,))
                    lines.remove(line)
                    rows.remove(row)
                    break
    if lines or rows:
        yield side._replace(lines=tuple(lines), rows=tuple(rows))


def _compared(side: ComparedUsage, context: Context) -> Variance:
    ours = sum(line.cents for line in side.lines)
    invoice = _cents(side.rows)
    our_quantity = sum((line.quantity for line in side.lines), Fraction()) if side.lines else None
    quantities = [row.quantity for row in side.rows]
    known = [quantity for quantity in quantities if quantity is not None]
    invoice_quantity = sum(known, Fraction()) if known and len(known) == len(quantities) else None
    cause, why = likely_cause(side, Figures(ours, invoice, our_quantity, invoice_quantity), context)
    unit = side.lines[0].unit if side.lines else ""
    label = " and ".join(component.value for component in side.components)
    rates = sorted({line.key.rate for line in side.lines if line.key.rate})
    if len(side.lines) == 1 and rates:
        label += f" ({side.lines[0].key.plan} at {rates[0]})"
    return Variance(
        label=label,
        org_id=side.org_id,
        component="+".join(component.value for component in side.components),
        project_id=side.project_id,
        ours=ours,
        invoice=invoice,
        our_quantity=our_quantity,
        invoice_quantity=invoice_quantity,
        unit=unit,
        cause=cause,
        why=why,
    )


def _cents(rows: Iterable[InvoiceRow]) -> int:
    return quantise(sum((row.amount for row in rows), Fraction()))


_WORDS: Mapping[str, tuple[str, ...]] = {
    "Tax": ("tax", "vat", "gst", "hst"),
    "Credit": ("credit", "discount", "promo", "refund", "voucher"),
    "Purchase": ("support", "hipaa", "fee", "plan", "subscription", "commit", "minimum", "seat", "add-on", "addon"),
}


def _declared(lines: Sequence[InvoiceLine], rows: Sequence[InvoiceRow]) -> list[Variance]:
    left = list(rows)
    found = []
    for line in lines:
        name = line.key.component
        matching = [r for r in left if _alike(name, r.description) and r.org_id in ("", line.key.org_id)][:1]
        left = [row for row in left if row not in matching]
        cause, why = Cause.NONE, ""
        invoice = _cents(matching)
        if not matching:
            cause, why = Cause.OURS_ONLY, "declared in cost.extra_lines, and the invoice has no line of that name"
        elif abs(invoice - line.cents) == 1:
            cause, why = Cause.ROUNDING, "a cent of rounding"
        elif invoice != line.cents:
            cause = Cause.AMOUNT
            why = "declared otherwise in cost.extra_lines, or a percentage of lines that differ themselves"
        found.append(_extra(f"{name} ({line.key.kind})", (line.key.org_id, name), (line.cents, invoice), cause, why))
    for row in left:
        category = next((c for c, words in _WORDS.items() if any(w in row.description.lower() for w in words)), "")
        kind = category or ("Credit" if row.amount < 0 else "Adjustment")
        amount = decimal_text(abs(row.amount) if kind == "Credit" else row.amount)
        why = f"not metered: declare it as {{name: {row.description}, category: {kind}, amount: {amount}}}"
        why += " in cost.extra_lines"
        found.append(_extra(row.description, (row.org_id, "extra"), (0, _cents([row])), Cause.UNKNOWN, why))
    return found


def _alike(name: str, description: str) -> bool:
    mine, theirs = name.casefold().strip(), description.casefold().strip()
    return mine == theirs or mine in theirs or theirs in mine


def _extra(label: str, names: tuple[str, str], cents: tuple[int, int], cause: Cause, why: str) -> Variance:
    return Variance(label, *names, "", *cents, None, None, "", cause, why)
