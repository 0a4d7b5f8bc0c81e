"""Who keeps a compute awake, and what that and our own visits cost, as series."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from collectors.metric import Families, Kind, Labels, Metric, Scope, Unit
from exporter.pricing.domain.rates import to_decimal
from exporter.sampling.awake_store import AwakeRecord, AwakeWindow
from exporter.sampling.domain.awake_shares import MICRO, AwakeHolder, total, usd_per_day
from exporter.sampling.domain.awake_shares import UNCOVERED as UNCOVERED_HOLDER
from exporter.storage.ledger.cost_counters import PICO

COLLECTOR: Final = "awake"
LEDGER, AUTOSCALING_MIN = "ledger", "autoscaling_min"
"""Where the compute units that awake time is priced with are from."""

TOP: Final = 40
"""Holders with a name of their own at one compute: those seen first. The rest is ``other`` of its reason."""
_MOST: Final = TOP + 12
_WHO: Final = ("reason", "user", "application_name")

AWAKE = Metric(
    "neon_endpoint_awake_seconds_total", Kind.COUNTER, Unit.SECONDS, Scope.ENDPOINT,
    "Awake time of the compute as the control plane shows it, since this agent first saw it.", worse="up", max_series=1,
)  # fmt: skip
KEPT = Metric(
    "neon_endpoint_kept_awake_seconds_total", Kind.COUNTER, Unit.SECONDS, Scope.ENDPOINT,
    "Awake time by awake holder, in equal parts over those that a visit found; reason 'nobody': only the suspend "
    "timeout ran. With the uncovered time it sums to the awake time, except for the last minutes.",
    _WHO, worse="up", max_series=_MOST,
)  # fmt: skip
UNCOVERED = Metric(
    "neon_endpoint_uncovered_awake_seconds_total", Kind.COUNTER, Unit.SECONDS, Scope.ENDPOINT,
    "Awake time that no visit covers (before the first and after the last in a life of the compute): its holder is "
    "unknown, and statements that ran after the last visit are lost with the suspend.", worse="up", max_series=1,
)  # fmt: skip
KEPT_USD = Metric(
    "neon_endpoint_kept_awake_usd_per_day", Kind.GAUGE, Unit.NONE, Scope.ENDPOINT,
    "USD a day for the awake time of this holder, over the last day or since first sight: its awake time x "
    "neon_endpoint_awake_cu x the rate in force; reason 'uncovered' has no known holder.",
    _WHO, worse="up", max_series=_MOST,
)  # fmt: skip
CU = Metric(
    "neon_endpoint_awake_cu", Kind.GAUGE, Unit.NONE, Scope.ENDPOINT,
    "Compute units used to price the awake time: source 'ledger' is the mean that Neon metered over the last "
    "day, 'autoscaling_min' the lower limit until enough was metered.", ("source",), worse="up", max_series=1,
)  # fmt: skip
ADDED_USD = Metric(
    "neonmeter_endpoint_added_awake_usd_total", Kind.COUNTER, Unit.USD, Scope.ENDPOINT,
    "Upper bound of the cost of the awake time that our visits added to this compute, at the rates then in force.",
    worse="up", max_series=1,
)  # fmt: skip

METRICS: Final = (AWAKE, KEPT, UNCOVERED, KEPT_USD, CU, ADDED_USD)


@dataclass(frozen=True, slots=True)
class Price:
    """CU while awake with where that is from, and USD per CU-hour; None where the plan has no price."""

    cu: Fraction
    source: str
    rate: Fraction | None


def families(record: AwakeRecord, totals: Mapping[AwakeHolder, int], window: AwakeWindow, price: Price) -> Families:
    """The series of one compute: its awake time since first sight by holder, and what the last day cost."""
    found = Families()
    found.set(AWAKE, (), total(totals, record.state) / MICRO)
    found.set(UNCOVERED, (), totals.get(UNCOVERED_HOLDER, 0) / MICRO)
    kept: dict[Labels, int] = {}
    for holder, amount in totals.items():
        if holder != UNCOVERED_HOLDER:  # Summed as integers: the order of the slots must not move the counter.
            kept[holder[:3]] = kept.get(holder[:3], 0) + amount
    found.put(KEPT, {labels: amount / MICRO for labels, amount in kept.items()})
    found.set(CU, (price.source,), float(price.cu))
    if price.rate is not None:
        for holder, amount in window.by_holder.items():
            cost = usd_per_day(amount, window.length, price.cu, price.rate)
            found.add(KEPT_USD, holder[:3], to_decimal(cost))
        found.set(ADDED_USD, (), to_decimal(Fraction(record.added_pico, PICO)))
    return found
