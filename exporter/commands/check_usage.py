"""The part of `neonmeter check` about money: can usage be read, is all of it priced, by which plan and in which unit.

It prices what it reads, as the agent would, so that what has no price shows here and not in a bill of 0.
"""

from __future__ import annotations

import calendar
import time
from collections.abc import Iterator
from typing import NamedTuple

from collectors.base import Status
from collectors.neon.client import NeonClient
from collectors.neon.consumption import IDS_A_REQUEST, Consumption, read_consumption
from collectors.neon.errors import NeonError
from collectors.neon.inventory import Inventory
from exporter.app.settings import Settings
from exporter.cost.usage_import import created, read_account_plan, root_buckets, root_sizes
from exporter.documents.terminal import counted
from exporter.pricing import ratecard
from exporter.pricing.domain.calendar import HOUR
from exporter.pricing.domain.components import MONTH_HOURS, USAGE_METRICS
from exporter.pricing.domain.price import price
from exporter.pricing.domain.rates import AccountPlan, RateCard, decimal_text
from exporter.pricing.domain.units import STORED_METRICS, UnitEvidence, UnitWalk
from exporter.pricing.domain.usage import HOURLY, UsageFact
from exporter.storage.ledger.ledger import from_rows

HOURS = 6
"""Whole hours that are read, beside the running one: a figure can be up to a quarter of an hour late."""


class UsageLine(NamedTuple):
    """What was looked at, whether it is as it should be (None: nothing to look at), and what it means or what to do."""

    what: str
    works: bool | None
    detail: str


async def usage_lines(client: NeonClient, settings: Settings, found: Inventory) -> list[UsageLine]:
    """Read the last hours and price them."""
    now = time.time() + found.skew
    begin = int(now) // HOUR * HOUR - HOURS * HOUR
    projects = sorted(found.projects)[:IDS_A_REQUEST]
    try:
        read = await read_consumption(
            client, found.org_id, projects, begin, begin + (HOURS + 1) * HOUR, HOURLY, metrics=USAGE_METRICS
        )
        account = await read_account_plan(client, found)
    except NeonError as problem:
        return [UsageLine("consumption", False, problem.message)]
    if read.status is not Status.OK:
        return [UsageLine("consumption", False, "no cost: " + "; ".join(read.notes))]
    card, said = ratecard.load(settings.cost.rate_card), settings.cost.said_unit
    walk = UnitWalk(root_sizes(found), now, created=created(found))
    units = walk.units(root_buckets(read.rows))
    if said:
        units = {(row.granularity, row.start): said for row in read.rows}
    facts = [
        fact._replace(plan=account.billed(fact.plan, card)) for fact in from_rows(found.org_id, read.rows, now, units)
    ]
    left = len(found.projects) - len(projects)
    return [
        _priced(facts, card, settings.cost.plan, f"; {counted(left, 'project')} more not tried" if left else ""),
        *_plans(read, account, card, settings.cost.plan),
        _unit(facts, walk.evidence, said, now),
    ]


def _priced(facts: list[UsageFact], card: RateCard, plan: str | None, rest: str) -> UsageLine:
    pricing = price(facts, card, plan=plan)
    figures = f"{counted(len(facts), 'hourly figure')} of the last {HOURS} hours{rest}"
    if not pricing.unknown:
        return UsageLine("consumption", True, f"{figures}; all is priced: {decimal_text(round(pricing.total, 6))} USD")
    why = sorted({f"{usage.component}: {usage.why}" for usage in pricing.unknown})
    return UsageLine("consumption", False, f"{figures}; NOT PRICED: {'; '.join(why)}")


def _plans(read: Consumption, account: AccountPlan, card: RateCard, said: str | None) -> Iterator[UsageLine]:
    """By which plan each period is priced, and which words of Neon's say so."""
    now = int(time.time())
    for period in sorted({row.plan for row in read.rows}):
        billed = said or card.plan_of(account.billed(period, card), "", "", now)
        plan = card.plans.get(billed)
        words = f"its usage says {period or 'nothing'}"
        words += (
            f", the organisation {account.org_plan or 'nothing'}, the owner {account.subscription_type or 'nothing'}"
        )
        priced = plan is not None and not plan.unpriced
        by = "by cost.plan" if said else "usage-based, because the consumption API of usage-based plans answers"
        if priced and plan is not None:
            yield UsageLine("plan", True, f"{billed} ({plan.label}), {by}; {words}")
        else:
            yield UsageLine(
                "plan", False, f"{billed or 'unknown'} has no prices; {words}; set cost.plan if you know it"
            )


def _unit(facts: list[UsageFact], found: UnitEvidence, said: str, now: float) -> UsageLine:
    """What the API counts stored bytes in. A month of 31 days has 744 hours: only then is a byte-month unambiguous."""
    if not any(fact.metric in STORED_METRICS for fact in facts):
        return UsageLine("storage unit", None, "no stored bytes in these hours: nothing to decide yet")
    if said:
        return UsageLine("storage unit", True, f"{said}s, by cost.storage_unit; the figures say {found.text}")
    if not found.unit:
        return UsageLine(
            "storage unit",
            False,
            f"{found.text}; look again after a whole hour, or set cost.storage_unit by an invoice",
        )
    today = time.gmtime(now)
    days = calendar.monthrange(today.tm_year, today.tm_mon)[1]
    doubt = ""
    if found.unit == "byte-month" and days * 24 != MONTH_HOURS:
        doubt = (
            f"; a byte-month is taken as {MONTH_HOURS} h also in this month of {days} days, for which no record is "
            f"public: 1/{days * 24} would say otherwise"
        )
    return UsageLine("storage unit", True, found.text + doubt)
