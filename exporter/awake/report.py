"""Who keeps which compute awake, what that costs a day, and what to do about it: as text and as JSON."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

from exporter.awake.accounts import Awake
from exporter.awake.holders import advice, who
from exporter.awake.series import LEDGER, Price
from exporter.documents.terminal import dollars, seconds, table
from exporter.feature.workspace import ledger_of, names_of, open_store
from exporter.pricing import ratecard
from exporter.pricing.domain.rates import to_decimal
from exporter.sampling.awake_store import AwakeRecord, AwakeWindow
from exporter.sampling.domain.awake_shares import MICRO, UNCOVERED, AwakeHolder, total, usd_per_day
from exporter.settings.tree import CoreSettings

DAY = 24 * 3600 * MICRO
PENDING = AwakeHolder("pending")
_SHOWN = 10
"""Holders of one compute in the table; the JSON has all."""


@dataclass(frozen=True, slots=True)
class AwakeCompute:
    """One compute that was awake within the window."""

    record: AwakeRecord
    name: str
    window: AwakeWindow
    price: Price

    def usd_per_day(self, amount: int) -> Decimal | None:
        """What awake time of the window (microseconds) costs a day; None where the plan has no price."""
        if self.price.rate is None:
            return None
        return to_decimal(usd_per_day(amount, self.window.length, self.price.cu, self.price.rate))

    def holders(self) -> Iterator[tuple[AwakeHolder, int]]:
        """The most awake time first; what is uncovered and what waits for a visit at the end."""
        yield from sorted(self.window.by_holder.items(), key=lambda item: (item[0] == UNCOVERED, -item[1], item[0]))
        if self.window.pending > 0:
            yield PENDING, self.window.pending


@dataclass(frozen=True, slots=True)
class Own:
    """What watching itself added since first sight: awake time, its part of all awake time, USD."""

    added: int
    share: Fraction
    usd: Decimal
    usd_per_day: Decimal


@dataclass(frozen=True, slots=True)
class AwakeReport:
    """All computes that were awake, the most expensive first, and our own part."""

    looked_at: int
    """When the control plane was last looked at, microseconds; 0 never."""
    computes: tuple[AwakeCompute, ...]
    own: Own

    def text(self) -> str:
        """The table, for the terminal."""
        if not self.looked_at:
            return "No compute was seen yet: `neonmeter run` fills this.\n"
        at = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(self.looked_at / MICRO))
        rows: list[tuple[object, ...]] = []
        own = self.own
        for compute in self.computes:
            head = (
                compute.name,
                f"{_percent(compute.window.awake, compute.window.length)} of {_span(compute.window.length)}",
            )
            for index, (holder, amount) in enumerate(list(compute.holders())[:_SHOWN]):
                cost = compute.usd_per_day(amount)
                rows.append(
                    (
                        *(head if index == 0 else ("", "")),
                        holder.reason,
                        who(holder),
                        _percent(amount, compute.window.awake),
                        None if cost is None else _money(cost),
                        _todo(holder, compute),
                    )
                )
        rows.append((
            "neonmeter itself", "", "our visits", "-", _percent(own.share.numerator, own.share.denominator),
            _money(own.usd_per_day), f"at most {own.added / MICRO:.1f} s since first sight, {_money(own.usd)}; "
            "part of the rows above (docs/observer-effect.md)",
        ))  # fmt: skip
        headers = ("branch", "awake", "reason", "who", "share", "$/day", "what to do")
        return f"Who keeps computes awake, up to {at}.\n\n{table(headers, rows)}\n{_notes(self.computes)}"

    def as_dict(self) -> dict[str, Any]:
        """The same as data."""
        return {
            "as_of": self.looked_at / MICRO,
            "computes": [_compute_json(compute) for compute in self.computes],
            "neonmeter": {
                "added_awake_seconds": self.own.added / MICRO,
                "share": float(self.own.share),
                "usd": str(self.own.usd),
                "usd_per_day": str(self.own.usd_per_day),
            },
        }


def read_report(settings: CoreSettings) -> AwakeReport:
    """Read it from the store, also beside a running agent.

    Raises:
        StoreError: the store cannot be used.
        RateCardError: the rate card cannot be used.
    """
    now = time.time()
    with open_store(settings) as store, closing(ledger_of(settings, store, read_only=True)) as ledger:
        awake = Awake(store)
        awake.use(ratecard.load(settings.cost.rate_card), ledger, settings.cost.plan)
        awake.meter(now)
        names = names_of(store)
    computes = [
        AwakeCompute(record, _name(record, names), awake.window(record.endpoint_id), awake.price(record, now))
        for record in awake.records.values()
    ]
    ranked = sorted(
        (compute for compute in computes if compute.window.awake > 0),
        key=lambda found: (-(found.usd_per_day(found.window.awake) or 0), -found.window.awake, found.name),
    )
    return AwakeReport(awake.looked_at, tuple(ranked), _own(awake))


def _name(record: AwakeRecord, names: Mapping[str, str]) -> str:
    return f"{names.get(record.project_id, record.project_id)}/{names.get(record.branch_id, record.branch_id)}"


def _own(awake: Awake) -> Own:
    records = list(awake.records.values())
    added = sum(record.added for record in records)
    whole = sum(total(awake.totals(record.endpoint_id), record.state) for record in records)
    watched = awake.looked_at - min((record.state.since for record in records), default=awake.looked_at)
    cost = awake.added_usd()
    daily = cost * Fraction(DAY, watched) if watched > 0 else Fraction()
    return Own(added, min(Fraction(1), Fraction(added, whole)) if whole else Fraction(), to_decimal(cost),
               to_decimal(daily))  # fmt: skip


def _todo(holder: AwakeHolder, compute: AwakeCompute) -> str:
    if holder == PENDING:
        return "the last minutes: the next visit covers them"
    return advice(holder.reason, compute.record.suspend_after)


def _notes(found: Sequence[AwakeCompute]) -> str:
    sources = {compute.price.source for compute in found}
    text = "share: of the compute's awake time. $/day: awake time x compute units x the list price in force; "
    metered = "compute units as Neon metered them over the last day"
    least = "compute units at the lower limit of autoscaling"
    text += (f"{metered}, {least} where too little is metered yet" if len(sources) > 1 else
             metered if sources == {LEDGER} else f"{least}, as too little was metered so far") + ".\n"  # fmt: skip
    plans = sorted({compute.record.plan for compute in found if compute.price.rate is None})
    return text + "".join(f"no price for plan {plan!r}: set cost.plan or cost.rate_card.\n" for plan in plans)


def _percent(part: int, whole: int) -> str:
    if not whole:
        return "0%"
    share = 100 * part / whole
    return f"{share:.0f}%" if share >= 10 or share == 0 else f"{share:.1f}%" if share >= 0.1 else "<0.1%"


def _span(length: int) -> str:
    return seconds(length / MICRO)


def _money(amount: Decimal) -> str:
    return f"${amount:,.4f}" if amount >= Decimal("0.0001") else dollars(amount)


def _compute_json(compute: AwakeCompute) -> dict[str, Any]:
    record, window, price = compute.record, compute.window, compute.price
    return {
        "project_id": record.project_id,
        "branch_id": record.branch_id,
        "endpoint_id": record.endpoint_id,
        "name": compute.name,
        "plan": record.plan,
        "suspend_after_seconds": record.suspend_after,
        "window_seconds": window.length / MICRO,
        "awake_seconds": window.awake / MICRO,
        "cu": float(price.cu),
        "cu_source": price.source,
        "usd_per_cu_hour": None if price.rate is None else str(to_decimal(price.rate)),
        "usd_per_day": _text(compute.usd_per_day(window.awake)),
        "keepers": [
            {
                "reason": holder.reason,
                "user": holder.user,
                "application_name": holder.application,
                "slot": holder.slot,
                "seconds": amount / MICRO,
                "share": amount / window.awake,
                "usd_per_day": _text(compute.usd_per_day(amount)),
                "what_to_do": _todo(holder, compute),
            }
            for holder, amount in compute.holders()
        ],
    }


def _text(amount: Decimal | None) -> str | None:
    return None if amount is None else str(amount)
