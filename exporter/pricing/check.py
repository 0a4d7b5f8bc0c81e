"""What a person should know before trusting a rate card: what in it is old, missing, early, or at odds with itself."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from exporter.pricing.domain.calendar import DAY, day_seconds, day_text
from exporter.pricing.domain.components import Component
from exporter.pricing.domain.rates import Allowance, PlanCard, Rate, RateCard


def findings(card: RateCard, now: int, max_age_days: int) -> list[str]:
    """One line each: where, what, what to do. Plans without public prices are not looked at."""
    found: list[str] = []
    for plan in card.plans.values():
        if plan.unpriced:
            continue
        found += _gaps(plan)
        for component, rates in plan.rates.items():
            where = f"plans.{plan.name}.rates.{component}"
            found += _dates(where, rates, now, max_age_days)
            found += _repeats(where, rates)
            found += _above_list(where, rates, now)
        for component, allowances in plan.allowances.items():
            where = f"plans.{plan.name}.allowances.{component}"
            found += _dates(where, allowances, now, max_age_days)
            found += _shrinking(where, allowances)
    return [*found, *_plan_history(card, now)]


def _gaps(plan: PlanCard) -> Iterator[str]:
    if not plan.rates:
        yield f"plans.{plan.name}: gap: there are allowances and no rates; add the rates, or `like` another plan"
        return
    first = min(rates[0].valid_from for rates in plan.rates.values())
    for component in Component:
        rates = plan.rates.get(component)
        where = f"plans.{plan.name}.rates.{component}"
        if not rates:
            if component not in plan.not_offered:
                yield f"{where}: gap: no rate; add one, or say why in plans.{plan.name}.not_offered"
        elif rates[0].valid_from > first:
            until = day_text(rates[0].valid_from)
            yield f"{where}: gap: no rate from {day_text(first)} to {until}, when the plan had others; add that time"


def _dates(where: str, prices: tuple[Rate, ...] | tuple[Allowance, ...], now: int, max_age_days: int) -> Iterator[str]:
    in_force = max((price.valid_from for price in prices if price.valid_from <= now), default=None)
    for price in prices:
        read = day_seconds(price.source.date)
        since = day_text(price.valid_from)
        if price.valid_from > now:
            yield f"{where}: future: holds only from {since}; until then what stands before it holds"
        if read > now:
            yield f"{where}: future: the source of {since} was read on {price.source.date}; correct source_date"
        elif price.valid_from == in_force and now - read > max_age_days * DAY:
            age = (now - read) // DAY
            yield (
                f"{where}: old: {price.source.name} was read {age} days ago ({price.source.date}); "
                "look it up again and set source_date"
            )


def _repeats(where: str, rates: tuple[Rate, ...]) -> Iterator[str]:
    for before, after in pairwise(rates):
        if before.amount == after.amount and before.list_amount == after.list_amount:
            day, earlier = day_text(after.valid_from), day_text(before.valid_from)
            yield f"{where}: overlap: the entry of {day} repeats the one of {earlier}; drop it"


def _above_list(where: str, rates: tuple[Rate, ...], now: int) -> Iterator[str]:
    rate = next((rate for rate in reversed(rates) if rate.valid_from <= now), None)
    if rate is not None and rate.amount > rate.list_amount:
        yield f"{where}: {rate.text} is more than the list price beside it; correct the rate, or add its new list price"


def _shrinking(where: str, allowances: tuple[Allowance, ...]) -> Iterator[str]:
    for before, after in pairwise(allowances):
        if after.scope is before.scope and after.quantity < before.quantity:
            day = day_text(after.valid_from)
            yield f"{where}: falls from {before.quantity} to {after.quantity} on {day}; look it up again (they grow)"


def _plan_history(card: RateCard, now: int) -> Iterator[str]:
    seen: set[tuple[str, str, int]] = set()
    for number, span in enumerate(card.plan_history):
        where = f"plan_history[{number}]"
        plan = card.plans.get(span.plan)
        if plan is None or plan.unpriced:
            yield f"{where}: plan {span.plan!r} has no prices; name one that has, or add its prices"
        if span.valid_from > now:
            yield f"{where}: future: holds only from {day_text(span.valid_from)}"
        name = (span.org, span.project, span.valid_from)
        if name in seen:
            yield f"{where}: overlap: the same projects have another entry of the same day; keep one"
        seen.add(name)
