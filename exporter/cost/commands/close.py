"""`neonmeter close`: lock a month in whole cents, book its corrections, and hold it against the invoice."""

from __future__ import annotations

import argparse
import getpass
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from collectors.errors import FINDINGS, OK, UsageError

if TYPE_CHECKING:
    from exporter.core.command_line import Commands
    from exporter.cost.closing.close import ClosedMonth, Closer
    from exporter.cost.closing.invoice import Invoice
    from exporter.cost.closing.store import CloseStore
    from exporter.cost.domain.close import Corrections
    from exporter.cost.domain.reconcile import InvoiceRow
    from exporter.cost.settings import CostTree


def add(commands: Commands) -> None:
    """Declare it."""
    close = commands.add("close", close_command, "close a month in whole cents, compare it with the invoice", json=True)
    close.add_argument("month", nargs="?", metavar="YYYY-MM", help="the month to close")
    close.add_argument("--invoice", metavar="FILE", help="CSV of the invoice's lines: show where they differ, and why")
    close.add_argument("--org", metavar="ID", help="organisation of the invoice, where its lines have no org_id")
    close.add_argument("--corrections", action="store_true", help="record what has changed in a closed month")
    close.add_argument("--dry-run", action="store_true", help="show the statement, write nothing")
    close.add_argument("--force", action="store_true", help="close although data is missing; the month is marked")
    close.add_argument("--by", metavar="NAME", help="who closes it (default: the current system user)")
    close.add_argument("--list", action="store_true", help="list the closed months")


def close_command(options: argparse.Namespace, settings: CostTree) -> int:
    """Close a month, or say what a closed one is. Exit code 1 when it cannot be closed, or does not agree."""
    from exporter.cost.closing.close import Closer
    from exporter.cost.closing.declared import extra_lines
    from exporter.cost.domain.close import Rounding
    from exporter.cost.workspace import open_workspace

    month, invoice = (0, None) if options.list else (_month(options.month), _invoice(options.invoice))
    with open_workspace(settings, write=not (options.list or options.dry_run)) as workspace:
        if options.list:
            return _list(workspace.closed_months, options)
        extra, rounding = extra_lines(settings.cost.extra_lines), Rounding(settings.cost.rounding)
        closer = Closer(workspace.closed_months, workspace.costs, extra=extra, rounding=rounding)
        return _MonthRun(closer, workspace.names, month, options, invoice).run()


def _month(text: str | None) -> int:
    from exporter.pricing.domain.calendar import day_seconds

    try:
        return day_seconds(f"{text}-01")
    except ValueError:
        wrong = f"{text!r} is not a month" if text else "no month is named"
        raise UsageError(f"{wrong}; write `neonmeter close YYYY-MM`, or --list") from None


def _invoice(name: str | None) -> Invoice | None:
    from exporter.cost.closing.invoice import read_invoice

    return None if name is None else read_invoice(Path(name))


def _list(store: CloseStore, options: argparse.Namespace) -> int:
    from exporter.cost.closing.close import closed, instant_text
    from exporter.cost.domain.reconcile import cents_text
    from exporter.documents.terminal import table
    from exporter.documents.text import money
    from exporter.pricing.domain.calendar import day_text

    months = [found for month in store.months() if (found := closed(store, month)) is not None]
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
        figures = (*map(money, amounts), _variance(closed_month.statement))
        marks = "forced" if booking.forced else ""
        shown.append((day_text(closed_month.month)[:7], instant_text(booking.at), booking.by, *figures, marks))
    print(
        table(("month", "closed", "by", "amount", "carried in", "corrected later", "invoice variance", ""), shown),
        end="",
    )
    return OK


def _variance(statement: dict[str, Any] | None) -> str:
    return "-" if statement is None else f"${statement['variance']}".replace("$-", "-$")


class _MonthRun:
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
        from exporter.cost.closing.close import closed

        found = closed(self.closer.store, self.month)
        if self.options.corrections:
            return self._correct(found)
        return self._close() if found is None else self._closed(found)

    def _correct(self, found: ClosedMonth | None) -> int:
        from exporter.cost.closing.close import NotReadyError
        from exporter.cost.closing.text import correction_text, line_dict, pending_text
        from exporter.pricing.domain.calendar import day_text

        name = day_text(self.month)[:7]
        if found is None:
            raise NotReadyError([f"{name} is not closed; a month in the open needs no correction"], final=True)
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
            print("".join(f"note: {note}\n" for note in pending.held), end="")
            print(f"{name}: nothing has changed since it was closed; nothing was recorded.")
        return OK

    def _close(self) -> int:
        from exporter.cost.closing.close import ClosedMonth, closed

        if self.options.dry_run:
            reasons = self.closer.reasons(self.month, self.now)
            draft = ClosedMonth(self.month, self.closer.draft(self.month, self.now, by=self.by), (), ())
            self._show(draft, None, drafted=True)
            if reasons:
                print("Closing it needs --force:", *reasons, sep="\n", file=sys.stderr)
            return FINDINGS if reasons else OK
        self.closer.close(self.month, self.now, by=self.by, force=self.options.force)
        found = closed(self.closer.store, self.month)
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
            statement_dict = variance_dict(variances, notes, origin=Path(self.options.invoice).name, at=int(self.now))
            if not drafted and not self.options.dry_run:
                self.closer.store.save_statement(month.month, statement_dict)
            month = replace(month, statement=statement_dict)
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
