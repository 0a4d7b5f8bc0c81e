"""A closed month for the terminal and as JSON: the statement that finance files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction

from exporter.cost.closing.close import ClosedMonth, instant_text
from exporter.cost.domain.close import USAGE, Booking, Corrections, InvoiceLine, Path
from exporter.cost.domain.reconcile import Cause, Variance, cents_text
from exporter.documents.terminal import table
from exporter.documents.text import money
from exporter.pricing.domain.calendar import day_text
from exporter.pricing.domain.rates import decimal_text

Names = Mapping[str, str]


def statement(month: ClosedMonth, names: Names, pending: Corrections | None = None, *, drafted: bool = False) -> str:
    """The lines, what is carried from earlier months, and the same money by project and by tenant."""
    booking = month.booking
    name = day_text(month.month)[:7]
    state = "would be closed so" if drafted else f"closed {instant_text(booking.at)}"
    state += f" by {booking.by}" if booking.by else ""
    text = f"{name}, {state}; usage read through {instant_text(booking.through)}; rates: {booking.rate_card}\n"
    if booking.forced:
        text += f"FORCED: {booking.forced}\n"
    text += "\n" + _line_table(booking.lines)
    if month.carried:
        text += "\nCorrections of earlier months in this statement:\n"
        text += _line_table([line for booking in month.carried for line in booking.lines], list(month.carried))
        text += f"statement total: {money(month.cents)}\n"
    if len({line.key.org_id for line in booking.lines}) > 1:
        sums = Counter[str]()
        for line in booking.lines:
            sums[line.key.org_id] += line.cents
        text += "\n" + table(("organisation", "amount"), [(org, money(cents)) for org, cents in sums.items()])
    text += "\n" + _by(booking.lines, "project", lambda path: names.get(path[0], path[0]))
    text += "\n" + _by(booking.lines, "tenant", lambda path: path[2])
    for correction in month.corrections:
        text += f"\nCorrected on {day_text(correction.at)}, in the statement of {day_text(correction.booked_in)[:7]}:\n"
        text += _line_table(correction.lines)
    return text + ("" if pending is None else pending_text(name, pending))


def pending_text(name: str, pending: Corrections) -> str:
    """What a closed month lacks, and how to book it."""
    text = "".join(f"note: {note}\n" for note in pending.held)
    if not pending.lines:
        return text
    text += f"\n{name} has changed since it was closed, by {money(pending.cents)}; not recorded yet:\n"
    return text + _line_table(pending.lines) + f"Record it with `neonmeter close {name} --corrections`.\n"


def correction_text(booking: Booking) -> str:
    """A correction that was booked."""
    text = f"Recorded correction {booking.sequence} of {day_text(booking.month)[:7]}: {money(booking.cents)}, "
    text += f"in the statement of {day_text(booking.booked_in)[:7]}.\n\n"
    return text + _line_table(booking.lines)


def _line_table(lines: Sequence[InvoiceLine], bookings: Sequence[Booking] = ()) -> str:
    orgs = len({line.key.org_id for line in lines}) > 1
    months = [day_text(booking.month)[:7] for booking in bookings for _ in booking.lines]
    rows: list[tuple[object, ...]] = []
    for number, line in enumerate(lines):
        key, metered = line.key, line.key.kind == USAGE
        quantity = f"{_rounded(line.quantity)}{'+' if line.lower_bound else ''}" if metered else ""
        what = key.component if metered else f"{key.component} ({key.kind})"
        cells = (what, key.plan, key.rate or ("no price" if metered else ""), quantity, line.unit, money(line.cents))
        rows.append((*((months[number],) if months else ()), *((key.org_id,) if orgs else ()), *cells))
    head = (*(("of",) if months else ()), *(("organisation",) if orgs else ()))
    total = [""] * (len(head) + 6)
    total[0], total[-1] = "total", money(sum(line.cents for line in lines))
    text = table((*head, "line", "plan", "rate", "quantity", "unit", "amount"), [*rows, tuple(total)])
    if any(line.lower_bound for line in lines):
        text += "+ a lower bound: only daily counts were left of some days\n"
    return text


def _rounded(quantity: Fraction) -> str:
    return f"{float(round(quantity, 4)):,.4f}"


def _by(lines: Iterable[InvoiceLine], what: str, name: Callable[[Path], str]) -> str:
    sums = Counter[str]()
    for line in lines:
        for part in line.allocations:
            sums[name(part.path)] += part.cents
    ordered = sorted(sums.items(), key=lambda item: (-item[1], item[0]))
    shown, rest = ordered[:20], ordered[20:]
    rows = [(key, money(cents)) for key, cents in shown]
    if rest:
        rows.append((f"{len(rest)} more (--json has all)", money(sum(cents for _, cents in rest))))
    return table((what, "amount"), [*rows, ("total", money(sum(sums.values())))])


def reconciliation(variances: Sequence[Variance], notes: Iterable[str]) -> str:
    """The statement against the invoice, and the causes below it."""
    rows: list[tuple[object, ...]] = []
    orgs = len({variance.org_id for variance in variances if variance.org_id}) > 1
    names = {}
    for variance in variances:
        label = variance.label + (f", {variance.project_id}" if variance.project_id else "")
        label = names[variance] = f"{variance.org_id}: {label}" if orgs and variance.org_id else label
        percent = "" if variance.ratio is None else f"{float(variance.ratio):+.2%}"
        cause = "" if variance.cause is Cause.NONE else variance.cause.value.replace("_", " ")
        rows.append((label, money(variance.ours), money(variance.invoice), money(variance.cents), percent, cause))
    ours, invoice = sum(variance.ours for variance in variances), sum(variance.invoice for variance in variances)
    ratio = f"{(invoice - ours) / ours:+.2%}" if ours else ""
    rows.append(("total", money(ours), money(invoice), money(invoice - ours), ratio, ""))
    text = "Against the invoice:\n" + table(("line", "ours", "invoice", "variance", "%", "likely cause"), rows)
    differ = [variance for variance in variances if variance.cause not in (Cause.NONE, Cause.ROUNDING)]
    text += "".join(f"- {names[variance]}: {variance.why}\n" for variance in differ)
    text += "".join(f"note: {note}\n" for note in notes)
    return text + ("" if differ else "Every line agrees to the cent of rounding.\n")


def as_dict(month: ClosedMonth, pending: Corrections | None = None, *, drafted: bool = False) -> dict[str, object]:
    """The whole of it for JSON: amounts are decimal strings, allocations are there."""
    return {
        "month": day_text(month.month)[:7],
        "currency": "USD",
        "closed": not drafted,
        "total": cents_text(month.booking.cents),
        "statement_total": cents_text(month.cents),
        **_booking_dict(month.booking),
        "carried": [_booking_dict(booking) for booking in month.carried],
        "corrections": [_booking_dict(correction) for correction in month.corrections],
        "pending": [line_dict(line) for line in pending.lines] if pending else [],
        "notes": list(pending.held) if pending else [],
        "reconciliation": month.statement,
    }


def _booking_dict(booking: Booking) -> dict[str, object]:
    return {
        "charge_month": day_text(booking.month)[:7],
        "sequence": booking.sequence,
        "booked_in": day_text(booking.booked_in)[:7],
        "booked_at": booking.at,
        "booked_by": booking.by,
        "forced": booking.forced or None,
        "data_through": booking.through or None,
        "facts_sha256": booking.facts,
        "rate_card": booking.rate_card,
        "rounding": booking.rounding,
        "lines": [line_dict(line) for line in booking.lines],
    }


def line_dict(line: InvoiceLine) -> dict[str, object]:
    """One line with its allocations; quantity and exact cost unrounded, amounts in cents as dollars."""
    return {
        "org_id": line.key.org_id,
        "kind": line.key.kind,
        "component": line.key.component,
        "plan": line.key.plan or None,
        "rate": line.key.rate or None,
        "unit": line.unit or None,
        "quantity": decimal_text(line.quantity),
        "cost": decimal_text(line.cost),
        "amount": cents_text(line.cents),
        "lower_bound": line.lower_bound,
        "leaves": [
            {
                **part.path._asdict(),
                "amount": cents_text(part.cents),
                "confidence": part.confidence.value,
            }
            for part in line.allocations
        ],
    }
