"""Notes the unit of stored bytes in a ledger that has figures without one: of before units were kept, or undecided.

Figures stay as they were reported, so nothing is lost whatever was believed about them; what is worked out from them
changes, and in a month that is closed the difference becomes a correction.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from exporter.pricing.domain.calendar import DAY, month_start, next_month
from exporter.pricing.domain.units import UnitWalk
from exporter.pricing.domain.usage import DAILY, HOURLY, MONTHLY
from exporter.storage.ledger.ledger import Ledger

_EVER = 2**40
_PAGE = 7 * DAY
"""Root storage of so long is looked at together: one figure an hour and project."""


def settle_units(
    ledger: Ledger, org_id: str, sizes: Mapping[str, int], now: float, *, known: str = "", said: str = ""
) -> int:
    """Find the unit of every figure without one and note it; answers how many there were.

    ``sizes`` are bytes of the root branches of now by project, ``known`` is the unit of the newest figures, ``said``
    that of the settings, which holds for all. What nothing tells keeps none, and the rate card's dates hold for it.

    Raises:
        StoreError: the ledger cannot be read or written.
    """
    days = sorted(ledger.revisions(0, _EVER))
    if not days:
        return 0
    walks = {granularity: UnitWalk(sizes, now, known=known) for granularity in (HOURLY, DAILY, MONTHLY)}
    found: dict[str, dict[int, str]] = {granularity: {} for granularity in walks}
    for start in range(days[-1] // _PAGE * _PAGE, days[0] // _PAGE * _PAGE - 1, -_PAGE):
        buckets = ledger.undecided(start, start + _PAGE).get(org_id, [])
        for granularity, walk in walks.items():
            these = walk.units(bucket for bucket in buckets if bucket.granularity == granularity)
            found[granularity].update({at: said or unit for (_, at), unit in these.items()})
    noted = 0
    for granularity, units in found.items():
        for begin, end, unit in _spans({at: unit for at, unit in units.items() if unit}):
            for first, until in _months(max(begin, days[0]), min(end, days[-1] + DAY)):
                noted += ledger.settle_unit(org_id, granularity, first, until, unit)
    return noted


def _spans(units: Mapping[int, str]) -> Iterator[tuple[int, int, str]]:
    """From when until when each unit holds; what is older than the first bucket is as that one."""
    begin, last = 0, None
    for at in sorted(units):
        if last is not None and units[at] != last:
            yield begin, at, last
            begin = at
        last = units[at]
    if last is not None:
        yield begin, _EVER, last


def _months(begin: int, end: int) -> Iterator[tuple[int, int]]:
    """The span by calendar months, so that no transaction is long."""
    while begin < end:
        until = min(end, next_month(month_start(begin)))
        yield begin, until
        begin = until
