"""Closing a month: priced and allocated as ``neonmeter cost`` does, rounded once per invoice line, and locked.

A month is closed by a person, when it is over and its usage has been read to its end. After that its rows never change;
usage that comes late or is corrected becomes a correction, booked in the month that is open, once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from collectors.errors import FINDINGS, NeonmeterError
from exporter.cost.allocation.costs import SETTLED, Costs, MonthCosts
from exporter.cost.closing.store import AlreadyBookedError, CloseStore
from exporter.cost.domain.close import Booking, Corrections, InvoiceLine, Rounding, corrections, usage_lines
from exporter.cost.domain.extra import ExtraLine, MeteredCosts, extra_invoice_lines
from exporter.documents.text import instant
from exporter.pricing.domain.calendar import day_text, next_month
from exporter.pricing.domain.usage import UsageFact

__all__ = ["AlreadyBookedError", "ClosedMonth", "Closer", "NotReadyError", "closed"]


class NotReadyError(NeonmeterError):
    """The month cannot be closed; ``reasons`` has one line each, ``final`` says that force does not help."""

    exit_code = FINDINGS

    def __init__(self, reasons: Sequence[str], *, final: bool = False) -> None:
        """Keep the reasons."""
        super().__init__("\n".join(reasons))
        self.reasons = tuple(reasons)
        self.final = final

    @property
    def lines(self) -> tuple[str, ...]:
        """The reasons, and how to close the month all the same where that can be done."""
        force = "Close it anyway with --force; the month is then marked with this."
        return self.reasons if self.final else (*self.reasons, force)


@dataclass(frozen=True, slots=True)
class ClosedMonth:
    """A month as it was closed, its corrections, and those of earlier months that its statement shows."""

    month: int
    booking: Booking
    corrections: tuple[Booking, ...]
    """Of this month, booked in later ones."""
    carried: tuple[Booking, ...]
    """Of earlier months, booked in this one."""
    statement: dict[str, Any] | None = None
    """The newest reconciliation against an invoice (`exporter.cost.closing.reconciliation.variance_dict`)."""

    @property
    def lines(self) -> tuple[InvoiceLine, ...]:
        """The lines of the month itself; in whole cents, as are their allocations."""
        return self.booking.lines

    @property
    def cents(self) -> int:
        """What the statement of the month sums to: its own lines and the corrections carried into it."""
        return self.booking.cents + sum(booking.cents for booking in self.carried)


def closed(store: CloseStore, month: int) -> ClosedMonth | None:
    """A month as it was closed, or None while it is open. ``month`` is its first instant (unix seconds)."""
    bookings = store.of(month)
    if not bookings:
        return None
    return ClosedMonth(month, bookings[0], bookings[1:], store.booked_in(month), store.statement(month))


class Closer:
    """Prices months, closes them, and books what came later."""

    def __init__(
        self, store: CloseStore, costs: Costs, *, extra: Sequence[ExtraLine] = (), rounding: Rounding = Rounding.HALF_UP
    ) -> None:
        """``store`` has the closed months, ``costs`` prices those that are open."""
        self.store = store
        self.costs = costs
        self._extra = tuple(extra)
        self._rounding = rounding

    def lines(self, costs: MonthCosts) -> tuple[tuple[InvoiceLine, ...], tuple[str, ...]]:
        """The invoice lines of a priced month by organisation, metered ones first; and what cannot be placed."""
        metered = usage_lines(costs.pricing.lines, costs.shares, self._rounding)
        allocations = MeteredCosts(
            (line.key.org_id, part.path, Fraction(part.cents, 100)) for line in metered for part in line.allocations
        )
        declared, problems = extra_invoice_lines(self._extra, costs.month, allocations, self._rounding)
        return tuple(sorted(metered + declared, key=lambda line: line.key.org_id)), problems

    def draft(self, month: int, now: float, *, by: str = "", forced: str = "") -> Booking:
        """The month as it would be closed now; nothing is written."""
        costs = self.costs.month(month, now)
        return self._booking(costs, now, lines=self.lines(costs)[0], by=by, forced=forced)

    def _booking(
        self, costs: MonthCosts, now: float, *, lines: tuple[InvoiceLine, ...], by: str, forced: str = ""
    ) -> Booking:
        ledger, card = self.costs.ledger, self.costs.card
        return Booking(
            month=costs.month,
            sequence=0,
            booked_in=costs.month,
            at=int(now),
            by=by,
            forced=forced,
            through=costs.through,
            facts=facts_hash(ledger.priceable(costs.month, next_month(costs.month), card.boundaries)),
            rate_card=card.origin,
            rounding=self._rounding.value,
            lines=lines,
        )

    def reasons(self, month: int, now: float) -> tuple[str, ...]:
        """Why the month should not be closed yet, one line each, with what to do.

        Raises:
            NotReadyError: it is not over, or there is nothing of it; no force closes such a month.
        """
        end, name = next_month(month), day_text(month)[:7]
        if now < end:
            raise NotReadyError([f"{name} is not over; close it on {day_text(end)} or later"], final=True)
        costs = self.costs.month(month, now)
        if not costs.pricing.lines:
            raise NotReadyError([f"the ledger has no usage of {name}; see `neonmeter cost --month {name}`"], final=True)
        through = self.costs.ledger.through().orgs
        orgs = sorted({line.org_id for line in costs.pricing.lines})
        reasons = [
            f"{org}: usage has been read through {instant_text(through.get(org, 0))} only; "
            "let `neonmeter run` read on, or fill the gap with `neonmeter ledger backfill`"
            for org in orgs
            if through.get(org, 0) < end
        ]
        if now < end + SETTLED and not reasons:
            reasons.append(f"the last hours of {name} may still be revised until {instant_text(end + SETTLED)}; wait")
        for plan, component, why in sorted({(u.plan, u.component, u.why) for u in costs.pricing.unknown}):
            reasons.append(f"usage without a price ({plan}: {component}): {why}")
        reasons.extend(f"cost.extra_lines: {problem}" for problem in self.lines(costs)[1])
        return tuple(reasons)

    def close(self, month: int, now: float, *, by: str = "", force: bool = False) -> Booking:
        """Lock a month, and book in it what is pending of the closed months before it.

        Raises:
            NotReadyError: it is not over, has no usage, or conditions are not met and ``force`` is not given.
            AlreadyBookedError: it is closed.
        """
        if self.store.of(month):
            raise AlreadyBookedError(f"{day_text(month)[:7]} is closed already")
        reasons = self.reasons(month, now)
        if reasons and not force:
            raise NotReadyError(reasons)
        booking = self.draft(month, now, by=by, forced="; ".join(reasons))
        for earlier in self.store.months():
            if earlier < month:
                self.book_corrections(earlier, now, by=by, booked_in=month)
        self.store.add(booking)
        return booking

    def pending(self, month: int, now: float) -> Corrections:
        """What a closed month lacks now; empty lines when nothing moved since, or when its usage is gone."""
        bookings = self.store.of(month)
        if not bookings:
            return Corrections(())
        costs = self.costs.month(month, now)
        if not costs.pricing.lines:
            return Corrections(
                (), (f"{day_text(month)[:7]}: its usage is no longer in the ledger; it stays as closed",)
            )
        return corrections(self.lines(costs)[0], bookings)

    def book_corrections(self, month: int, now: float, *, by: str = "", booked_in: int | None = None) -> Booking | None:
        """Book what a closed month lacks; None when it lacks nothing. It shows in the first open month after it.

        Raises:
            AlreadyBookedError: another process booked a correction at the same moment.
        """
        found = self.pending(month, now)
        if not found.lines:
            return None
        bookings = self.store.of(month)
        draft = self._booking(self.costs.month(month, now), now, lines=found.lines, by=by)
        into = self.open_month(month) if booked_in is None else booked_in
        booking = replace(draft, sequence=bookings[-1].sequence + 1, booked_in=into)
        self.store.add(booking)
        return booking

    def open_month(self, month: int) -> int:
        """The first month after this one and after every closed month."""
        return next_month(max((month, *self.store.months())))


def facts_hash(facts: Iterable[UsageFact]) -> str:
    """SHA-256 over usage as it is priced, whatever its order and whenever it was read."""
    digest = hashlib.sha256()
    for row in sorted(tuple(fact[:8]) for fact in facts):
        digest.update(repr(row).encode())
    return digest.hexdigest()


def instant_text(at: int) -> str:
    """An instant for a person, to the minute."""
    return instant(at) if at else "the beginning"
