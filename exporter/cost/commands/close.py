"""`neonmeter close`: lock a month in whole cents, book its corrections, and hold it against the invoice."""

from __future__ import annotations

import argparse
import getpass
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exporter.commands.main import FINDINGS, OK, USAGE, load_settings, refuse

if TYPE_CHECKING:
    from exporter.cost.closing.close import ClosedMonth, Closer
    from exporter.cost.closing.invoice import Invoice
    from exporter.cost.closing.store import CloseStore
    from exporter.cost.domain.close import Corrections
    from exporter.cost.domain.reconcile import InvoiceRow


def close_command(options: argparse.Namespace) -> int:
    """Close a month, or say what a closed one is."""
    from exporter.app.wiring import SCHEMAS
    from exporter.cost.allocation.declared_weights import WeightsFileError
    from exporter.cost.closing.close import Closer
    from exporter.cost.closing.declared import extra_lines
    from exporter.cost.closing.invoice import InvoiceError
    from exporter.cost.domain.close import Rounding
    from exporter.cost.workspace import open_workspace
    from exporter.pricing.ratecard import RateCardError
    from exporter.storage.store import StoreError
    from exporter.tenancy.rules import rules_of

    settings = load_settings(options)
    if settings is None:
        return USAGE
    try:
        month, invoice = (0, None) if options.list else (_month(options.month), _invoice(options.invoice))
    except (ValueError, InvoiceError) as problem:
        return _say(str(problem), code=USAGE)
    if settings.ledger.url is None and not settings.storage.path.exists():
        return refuse(f"storage.path: {settings.storage.path} is not there yet; `neonmeter run` fills it")
    try:
        with open_workspace(
            settings, SCHEMAS, rules_of(settings), write=not (options.list or options.dry_run)
        ) as workspace:
            if options.list:
                return _list(workspace.book, options)
            extra, rounding = extra_lines(settings.cost.extra_lines), Rounding(settings.cost.rounding)
            closer = Closer(workspace.book, workspace.costs, extra=extra, rounding=rounding)
            return _Month(closer, workspace.names, month, options, invoice).run()
    except (StoreError, RateCardError, WeightsFileError) as problem:
        return refuse(*str(problem).splitlines())


def _month(text: str | None) -> int:
    from exporter.pricing.domain.calendar import day_seconds

    try:
        return day_seconds(f"{text}-01")
    except ValueError:
        wrong = f"{text!r} is no month" if text else "no month is named"
        raise ValueError(f"{wrong}; write `neonmeter close YYYY-MM`, or --list") from None


def _invoice(name: str | None) -> Invoice | None:
    from exporter.cost.closing.invoice import read_invoice

    return None if name is None else read_invoice(Path(name))


def _say(*lines: str, code: int) -> int:
    for line in lines:
        print(line, file=sys.stderr)
    return code


def _list(book: CloseStore, options: argparse.Namespace) -> int:
    from exporter.cost.closing.close import closed, instant_text
    from exporter.cost.closing.text import dollars
    from exporter.cost.domain.reconcile import cents_text
    from exporter.documents.terminal import table
    from exporter.pricing.domain.calendar import day_text

    months = [found for month in book.months() if (found := closed(book, month)) is not None]
    if options.json:
        rows = [
            {
                "month": day_text(closed_month.month)[:7],
                "closed_at": closed_month.booking.at,
                "closed_by": closed_month.booking.by,
                "forced": closed_month.booking.forced or None,
                "amount": cents_text(closed_month.booking.cents),
                "carried": cents_text(closed_month.cents - closed_month.booking.cents),
                "corrections": cents_text(sum(c.cents for c in closed_month.corrections)),
                "reconciled": closed_month.statement is not None,
                "variance": (closed_month.statement or {}).get("variance"),
            }
            for closed_month in months
        ]
        print(json.dumps(rows, indent=2))
        return OK
    if not months:
        print("No month is closed yet.")
        return OK
    shown = []
    for closed_month in months:
        booking, later = closed_month.booking, sum(correction.cents for correction in closed_month.corrections)
        amounts = (booking.cents, closed_month.cents - booking.cents, later)
        money = (*(dollars(amount) for amount in amounts), _variance(closed_month.statement))
        marks = "forced" if booking.forced else ""
        shown.append((day_text(closed_month.month)[:7], instant_text(booking.at), booking.by, *money, marks))
    print(
        table(("month", "closed", "by", "amount", "carried in", "corrected later", "invoice variance", ""), shown),
        end="",
    )
    return OK


def _variance(statement: dict[str, Any] | None) -> str:
    return "-" if statement is None else f"${statement['variance']}".replace("$-", "-$")


class _Month:
    """One run of the command on one month."""

    def __init__(
        self,
        closer: Closer,
        names: dict[str, str],
        month: int,
        options: argparse.Namespace,
        invoice: Invoice | None,
    ) -> None:
        self.closer = closer
        self.names = names
        self.month = month
        self.options = options
        self.invoice = invoice
        self.now = time.time()
        self.by = options.by if options.by is not None else _user()

    def run(self) -> int:
        from exporter.cost.closing.close import AlreadyBookedError, NotReadyError, closed

        found = closed(self.closer.book, self.month)
        try:
            if self.options.corrections:
                return self._correct(found)
            return self._close() if found is None else self._closed(found)
        except NotReadyError as problem:
            hint = () if problem.final else ("Close it all the same with --force; the month then carries this mark.",)
            return _say(*problem.reasons, *hint, code=FINDINGS)
        except AlreadyBookedError as problem:
            return _say(str(problem), code=FINDINGS)

    def _correct(self, found: ClosedMonth | None) -> int:
        from exporter.cost.closing.text import correction_text, line_dict, pending_text
        from exporter.pricing.domain.calendar import day_text

        name = day_text(self.month)[:7]
        if found is None:
            return _say(f"{name} is not closed; a month in the open needs no correction", code=FINDINGS)
        pending = self.closer.pending(self.month, self.now)
        dry = self.options.dry_run
        booking = None if dry else self.closer.book_corrections(self.month, self.now, by=self.by)
        if self.options.json:
            lines = booking.lines if booking else pending.lines if dry else ()
            print(json.dumps({"month": name, "booked": booking is not None, "lines": [line_dict(x) for x in lines]},
                             indent=2))  # fmt: skip
        elif booking is not None:
            print(correction_text(booking), end="")
        elif pending.lines and dry:
            print(pending_text(name, pending).lstrip("\n"), end="")
        else:
            print("".join(f"note: {entry}\n" for entry in pending.held), end="")
            print(f"{name}: nothing has changed since it was closed; nothing was booked.")
        return OK

    def _close(self) -> int:
        from exporter.cost.closing.close import ClosedMonth, closed

        if self.options.dry_run:
            reasons = self.closer.reasons(self.month, self.now)
            draft = ClosedMonth(self.month, self.closer.draft(self.month, self.now, by=self.by), (), ())
            self._show(draft, None, drafted=True)
            hint = ("Closing it needs --force:",) if reasons else ()
            return _say(*hint, *reasons, code=FINDINGS if reasons else OK)
        self.closer.close(self.month, self.now, by=self.by, force=self.options.force)
        found = closed(self.closer.book, self.month)
        if found is None:
            raise AssertionError("a month that was closed is closed")
        return self._show(found, None)

    def _closed(self, found: ClosedMonth) -> int:
        pending = self.closer.pending(self.month, self.now)
        code = self._show(found, pending)
        return FINDINGS if pending.lines else code

    def _show(self, month: ClosedMonth, pending: Corrections | None, *, drafted: bool = False) -> int:
        from dataclasses import replace

        from exporter.cost.closing.reconciliation import compared, variance_dict
        from exporter.cost.closing.text import as_dict, reconciliation, statement
        from exporter.cost.domain.reconcile import Context, reconcile

        text, code = "", OK
        if self.invoice is not None:
            context = Context(month.month, self.closer.costs.card, month.booking.through)
            rows, notes = self._rows(month)
            variances = reconcile(month.lines, rows, context)
            kept = variance_dict(variances, notes, origin=Path(self.options.invoice).name, at=int(self.now))
            if not drafted and not self.options.dry_run:
                self.closer.book.save_statement(month.month, kept)
            month = replace(month, statement=kept)
            text = "\n" + reconciliation(variances, notes)
            code = OK if compared(variances) else FINDINGS
        if self.options.json:
            print(json.dumps(as_dict(month, pending, drafted=drafted), indent=2))
        else:
            print(statement(month, self.names, pending, drafted=drafted) + text, end="")
        return code

    def _rows(self, month: ClosedMonth) -> tuple[tuple[InvoiceRow, ...], tuple[str, ...]]:
        from dataclasses import replace

        invoice = self.invoice
        if invoice is None:
            return (), ()
        org, notes = self.options.org or "", invoice.notes
        rows = tuple(row if row.org_id else replace(row, org_id=org) for row in invoice.rows)
        orgs = {line.key.org_id for line in month.lines}
        if len(orgs) > 1 and not any(row.org_id for row in rows):
            notes += (f"the invoice names no organisation, so all {len(orgs)} are compared; say which with --org",)
        foreign = sorted({row.org_id for row in rows} - orgs - {""})
        if foreign:
            notes += (f"the month has nothing of {', '.join(foreign)}; it has {', '.join(sorted(orgs))}",)
        return rows, notes


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # A container may run as a number without a name.
        return ""
