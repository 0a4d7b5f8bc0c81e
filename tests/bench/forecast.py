"""Forecasts and anomalies on the synthetic year, with faults that were put in: `python -m tests.bench forecast`.

Everything is told as an agent would have told it then: a forecast sees the days before it, a detector judges a day by
those before it. Beside ours: the run-rate (the mean of the month so far goes on) and the seasonal naive one (the last
week repeats). Seeds 1 to 5 are what the methods were tuned on; the figures are of those after.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from fractions import Fraction

from exporter.cost.domain.outlook.anomaly import KINDS, Anomaly, Policy
from exporter.cost.outlook.daily import Daily, DailyCosts
from exporter.cost.outlook.outlook import Outlook
from exporter.demo.year import Year
from exporter.demo.year_faults import Fault
from exporter.documents.terminal import table
from exporter.pricing import ratecard
from exporter.pricing.domain.calendar import DAY, next_month
from tests.bench.year_days import YearLedger

DAYS = (1, 10, 20)
"""A forecast is made when so many days of the month are known."""
FIRST = 3
"""The first month of the year that is forecast."""


@dataclass
class Made:
    """One forecast of one month of one organisation, and what came; USD."""

    day: int
    actual: float
    ours: float
    p10: float
    p90: float
    run_rate: float
    seasonal: float


@dataclass
class Judged:
    """What a detector found of one year."""

    faults: Sequence[Fault]
    hits: list[tuple[Fault, Anomaly]] = field(default_factory=list)
    false: list[Anomaly] = field(default_factory=list)
    found: int = 0
    months: float = 0


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench forecast", description=__doc__)
    parser.add_argument("--seeds", default="6,7,8,9", help="years to test on (1 to 5 were tuned on)")
    parser.add_argument("--branches", type=int, default=100, help="branches in each year")
    parser.add_argument("--jobs", type=int, default=2, help="years at a time")
    parser.add_argument("--quick", action="store_true", help="one small year, three months: a look, no figures")
    options = parser.parse_args(arguments)
    seeds = [2] if options.quick else [int(entry) for entry in options.seeds.split(",")]
    made: list[Made] = []
    years: list[Judged] = []
    branches, months = (24, 3) if options.quick else (options.branches, 12 - FIRST)
    with ProcessPoolExecutor(options.jobs) as pool:
        for told, judged in pool.map(one, seeds, [branches] * len(seeds), [months] * len(seeds)):
            made += told
            years.append(judged)
    print("\nForecast of a whole month by organisation, made when so many of its days were known:\n")
    print(table(*accuracy(made)))
    print("Anomalies (an alarm counts as right when it overlaps a fault on its branch):\n")
    print(table(*detection(years)))
    print(table(*kinds(years)))
    for year in years:
        for alarm in year.false:
            print(f"false: {alarm.kind} {alarm.project_id}/{alarm.branch_id} {alarm.component}: {alarm.why}")


def one(seed: int, branches: int, months: int) -> tuple[list[Made], Judged]:
    """One year: its last months forecast, all of its days judged."""
    year = Year(seed=seed, branches=branches)
    ledger = YearLedger(year)
    days = Daily(ledger, ratecard.load(), spare=year.end - year.start)
    daily = days.costs(year.start, year.end)
    made = list(forecasts(Outlook(ledger, ratecard.load(), daily=days), daily, year.months[-months:]))
    print(f"seed {seed}: {len(year.projects)} projects, {len(daily)} series, {len(year.faults)} faults", flush=True)
    return made, judge(year, daily)


def forecasts(outlook: Outlook, daily: DailyCosts, months: Sequence[int]) -> Iterator[Made]:
    """Every month, at each of the days, for every organisation; made in the order of time."""
    usd: dict[str, dict[int, Fraction]] = {}
    for key, series in daily.items():
        days = usd.setdefault(key.org_id, {})
        for day, cost in series.items():
            days[day] = days.get(day, Fraction()) + cost
    for month in months:
        for known in DAYS:
            through, end = month + known * DAY, next_month(month)
            for org, told in outlook.month(month, through).orgs.items():
                days = usd[org]
                spent = sum((days.get(day, Fraction()) for day in range(month, through, DAY)), Fraction())
                rest = range(through, end, DAY)
                week = sum(
                    (days.get(through - 7 * DAY + (day - through) % (7 * DAY), Fraction()) for day in rest), spent
                )
                actual = spent + sum((days.get(day, Fraction()) for day in rest), Fraction())
                pace = spent * ((end - month) // DAY) / known
                yield Made(known, *map(float, (actual, told.p50, told.p10, told.p90, pace, week)))


def accuracy(made: Sequence[Made]) -> tuple[Sequence[str], Sequence[Sequence[object]]]:
    rows = []
    for known in DAYS:
        some = [entry for entry in made if entry.day == known]
        whole = sum(entry.actual for entry in some)

        def wape(name: str, some: Sequence[Made] = some, whole: float = whole) -> str:
            return f"{sum(abs(getattr(entry, name) - entry.actual) for entry in some) / whole:.2%}"

        bias = sum(entry.ours - entry.actual for entry in some) / whole
        held = sum(entry.p10 <= entry.actual <= entry.p90 for entry in some) / len(some)
        width = sum(entry.p90 - entry.p10 for entry in some) / whole
        money = (wape("ours"), wape("run_rate"), wape("seasonal"))
        rows.append((known, len(some), *money, f"{bias:+.2%}", f"{held:.0%}", f"{width:.1%}"))
    head = ("days known", "forecasts", "WAPE ours", "run-rate", "seasonal naive", "bias", "in P10-P90", "width")
    return head, rows


def judge(year: Year, daily: DailyCosts) -> Judged:
    """All alarms of a year against the truth. A day is judged by the days before it, whenever the code runs."""
    outlook = Outlook(YearLedger(year), ratecard.load(), policy=Policy())
    found = outlook.anomalies_in(daily, year.end)
    judged = Judged(year.faults, found=len(found), months=(year.end - year.start) / DAY / 30.44)
    right: set[int] = set()
    for fault in year.faults:
        own = [
            anomaly
            for anomaly in found
            if anomaly.branch_id == fault.branch_id
            and anomaly.start < fault.end
            and (anomaly.end or year.end) > fault.start
        ]
        right |= {id(anomaly) for anomaly in own}
        if own:
            judged.hits.append((fault, min(own, key=lambda entry: entry.detected)))
    judged.false = [anomaly for anomaly in found if id(anomaly) not in right]
    return judged


def detection(years: Sequence[Judged]) -> tuple[Sequence[str], Sequence[Sequence[object]]]:
    faults = sum(len(year.faults) for year in years)
    found, false = sum(year.found for year in years), sum(len(year.false) for year in years)
    hits = [hit for year in years for hit in year.hits]
    named = sum(alarm.kind == fault.kind for fault, alarm in hits)
    months = sum(year.months for year in years)
    row = (
        faults,
        found,
        f"{(found - false) / found:.0%}" if found else "-",
        f"{len(hits) / faults:.0%}" if faults else "-",
        f"{named}/{len(hits)}",
        f"{false / months:.2f}",
    )
    return ("faults", "alarms", "precision", "recall", "kind right", "false a month"), [row]


def kinds(years: Sequence[Judged]) -> tuple[Sequence[str], Sequence[Sequence[object]]]:
    rows = []
    for kind in KINDS:
        faults = [fault for year in years for fault in year.faults if fault.kind == kind]
        hits = [hit for year in years for hit in year.hits if hit[0].kind == kind]
        days = sorted((alarm.detected - fault.start) // DAY for fault, alarm in hits)
        true, told = sum(float(fault.usd) for fault, _ in hits), sum(float(alarm.usd) for _, alarm in hits)
        middle = days[len(days) // 2] if days else None
        rows.append((kind, len(faults), len(hits), middle, days[-1] if days else None, f"${true:.2f}", f"${told:.2f}"))
    return ("kind", "faults", "found", "days to find", "at most", "true dollars", "reported"), rows
