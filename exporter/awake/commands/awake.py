"""`neonmeter awake`: who keeps which compute awake, what that costs a day, and what to do about it.

It reads the ledger's file beside a running agent, and asks nobody else.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

from exporter.awake.awake import LEDGER, Awake, Price, Window
from exporter.awake.holders import advice, who
from exporter.awake.tables import Page
from exporter.commands.main import OK, USAGE, load_settings, refuse
from exporter.cost.allocation.text import money
from exporter.documents.terminal import seconds, table
from exporter.pricing import ratecard
from exporter.pricing.domain.rates import to_decimal
from exporter.sampling.domain.awake_shares import MICRO, UNCOVERED, AwakeHolder, total, usd_per_day
from exporter.settings import CoreSettings
from exporter.storage.ledger.ledger import open_ledger
from exporter.storage.store import Store, StoreError
from exporter.storage.tables import KeyValueStore

DAY = 24 * 3600 * MICRO
PENDING = AwakeHolder("pending")
_SHOWN = 10
"""Keepers of one compute in the table; the JSON has all."""


@dataclass(frozen=True, slots=True)
class Awakeness:
    """One compute that was awake within the window; ``costs`` are USD a day, None where the plan has no price."""

    page: Page
    name: str
    window: Window
    price: Price

    def usd_per_day(self, amount: int) -> Decimal | None:
        """What awake time of the window costs a day."""
        if self.price.rate is None:
            return None
        return to_decimal(usd_per_day(amount, self.window.length, self.price.cu, self.price.rate))

    def holders(self) -> Iterator[tuple[AwakeHolder, int]]:
        """The most awake time first; what is uncovered and what waits for a visit at the end."""
        kept = self.window.kept
        yield from sorted(kept.items(), key=lambda item: (item[0] == UNCOVERED, -item[1], item[0]))
        if self.window.pending > 0:
            yield PENDING, self.window.pending


@dataclass(frozen=True, slots=True)
class Own:
    """What watching itself added since first sight: awake time, its part of all awake time, USD."""

    added: int
    share: Fraction
    usd: Decimal
    usd_per_day: Decimal


def awake_command(options: argparse.Namespace) -> int:
    """Print the table, or JSON."""
    settings = load_settings(options)
    if settings is None:
        return USAGE
    if not settings.storage.path.exists():
        return refuse(f"storage.path: {settings.storage.path} is not there yet; `neonmeter run` fills it")
    try:
        looked, found, own = _read(settings)
    except StoreError as problem:
        return refuse(str(problem))
    if options.json:
        print(json.dumps(_as_json(looked, found, own), indent=2))
    else:
        print(_as_text(looked, found, own), end="")
    return OK


def _read(settings: CoreSettings) -> tuple[int, list[Awakeness], Own]:
    from exporter.app.wiring import SCHEMAS

    store, now = Store.open(settings.storage.path, SCHEMAS, read_only=True), time.time()
    try:
        awake = Awake(store)
        ledger = open_ledger(settings, store, read_only=True)
        awake.use(ratecard.load(settings.cost.rate_card), ledger, settings.cost.plan)
        awake.meter(now)
        names = {key: str(name) for key, name in (KeyValueStore(store).read("names", "all") or {}).items()}
    finally:
        store.close()
    found = [
        Awakeness(page, _name(page, names), awake.window(page.endpoint_id), awake.price(page, now))
        for page in awake.pages.values()
    ]
    found = [awakeness for awakeness in found if awakeness.window.awake > 0]
    found.sort(
        key=lambda awakeness: (
            -(awakeness.usd_per_day(awakeness.window.awake) or 0),
            -awakeness.window.awake,
            awakeness.name,
        )
    )
    return awake.looked, found, _own(awake)


def _name(page: Page, names: Mapping[str, str]) -> str:
    return f"{names.get(page.project_id, page.project_id)}/{names.get(page.branch_id, page.branch_id)}"


def _own(awake: Awake) -> Own:
    pages = list(awake.pages.values())
    added = sum(page.added for page in pages)
    whole = sum(total(awake.totals(page.endpoint_id), page.book) for page in pages)
    watched = awake.looked - min((page.book.since for page in pages), default=awake.looked)
    cost = awake.added_usd()
    daily = cost * Fraction(DAY, watched) if watched > 0 else Fraction()
    return Own(added, min(Fraction(1), Fraction(added, whole)) if whole else Fraction(), to_decimal(cost),
               to_decimal(daily))  # fmt: skip


def _as_text(looked: int, found: list[Awakeness], own: Own) -> str:
    if not looked:
        return "No compute was seen yet: `neonmeter run` fills this.\n"
    at = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(looked / MICRO))
    rows: list[tuple[object, ...]] = []
    for awakeness in found:
        head = (
            awakeness.name,
            f"{_percent(awakeness.window.awake, awakeness.window.length)} of {_span(awakeness.window.length)}",
        )
        for index, (holder, amount) in enumerate(list(awakeness.holders())[:_SHOWN]):
            cost = awakeness.usd_per_day(amount)
            rows.append(
                (
                    *(head if index == 0 else ("", "")),
                    holder.reason,
                    who(holder),
                    _percent(amount, awakeness.window.awake),
                    None if cost is None else _money(cost),
                    _todo(holder, awakeness),
                )
            )
    rows.append((
        "neonmeter itself", "", "our visits", "-", _percent(own.share.numerator, own.share.denominator),
        _money(own.usd_per_day), f"at most {own.added / MICRO:.1f} s since first sight, {_money(own.usd)}; "
        "part of the rows above (docs/observer-effect.md)",
    ))  # fmt: skip
    headers = ("branch", "awake", "reason", "who", "share", "$/day", "what to do")
    return f"Who keeps computes awake, up to {at}.\n\n{table(headers, rows)}\n{_notes(found)}"


def _todo(holder: AwakeHolder, awakeness: Awakeness) -> str:
    if holder == PENDING:
        return "the last minutes: the next visit tells"
    return advice(holder.reason, awakeness.page.suspend_after)


def _notes(found: list[Awakeness]) -> str:
    sources = {awakeness.price.source for awakeness in found}
    text = "share: of the compute's awake time. $/day: awake time x compute units x the list price in force; "
    metered = "compute units as Neon metered them over the last day"
    least = "compute units at the lower limit of autoscaling"
    text += (f"{metered}, {least} where too little was metered" if len(sources) > 1 else
             metered if sources == {LEDGER} else f"{least}, as too little was metered so far") + ".\n"  # fmt: skip
    plans = sorted({awakeness.page.plan for awakeness in found if awakeness.price.rate is None})
    return text + "".join(f"no price for plan {plan!r}: set cost.plan or cost.rate_card.\n" for plan in plans)


def _percent(part: int, whole: int) -> str:
    if not whole:
        return "0%"
    share = 100 * part / whole
    return f"{share:.0f}%" if share >= 10 or share == 0 else f"{share:.1f}%" if share >= 0.1 else "<0.1%"


def _span(length: int) -> str:
    return seconds(length / MICRO)


def _money(amount: Decimal) -> str:
    return f"${amount:,.4f}" if amount >= Decimal("0.0001") else money(amount)


def _as_json(looked: int, found: list[Awakeness], own: Own) -> dict[str, Any]:
    return {
        "as_of": looked / MICRO,
        "computes": [_compute_json(awakeness) for awakeness in found],
        "neonmeter": {
            "added_awake_seconds": own.added / MICRO,
            "share": float(own.share),
            "usd": str(own.usd),
            "usd_per_day": str(own.usd_per_day),
        },
    }


def _compute_json(awakeness: Awakeness) -> dict[str, Any]:
    page, window, price = awakeness.page, awakeness.window, awakeness.price
    return {
        "project_id": page.project_id,
        "branch_id": page.branch_id,
        "endpoint_id": page.endpoint_id,
        "name": awakeness.name,
        "plan": page.plan,
        "suspend_after_seconds": page.suspend_after,
        "window_seconds": window.length / MICRO,
        "awake_seconds": window.awake / MICRO,
        "cu": float(price.cu),
        "cu_source": price.source,
        "usd_per_cu_hour": None if price.rate is None else str(to_decimal(price.rate)),
        "usd_per_day": _text(awakeness.usd_per_day(window.awake)),
        "keepers": [
            {
                "reason": holder.reason,
                "user": holder.user,
                "application_name": holder.application,
                "slot": holder.slot,
                "seconds": amount / MICRO,
                "share": amount / window.awake,
                "usd_per_day": _text(awakeness.usd_per_day(amount)),
                "what_to_do": _todo(holder, awakeness),
            }
            for holder, amount in awakeness.holders()
        ],
    }


def _text(amount: Decimal | None) -> str | None:
    return None if amount is None else str(amount)
