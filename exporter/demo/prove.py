"""`neonmeter prove`: a synthetic year through the agent's own ledger, prices and allocation, and every sum checked."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

from collectors.errors import FINDINGS, OK, UsageError
from exporter.app.features import SCHEMAS
from exporter.cost.allocation.costs import Costs
from exporter.cost.allocation.proof import INVOICE, MonthProof, prove_month
from exporter.cost.allocation.weights import TenantFacts
from exporter.demo.year import Year
from exporter.demo.year_ledger import seed_ledger, seed_tenants, seed_world
from exporter.documents.terminal import counted
from exporter.pricing import ratecard
from exporter.pricing.domain.calendar import DAY, day_text, next_month
from exporter.pricing.domain.components import Component
from exporter.pricing.domain.price import price
from exporter.sampling.counters.statements import DurableCounters
from exporter.storage.ledger.ledger import Ledger
from exporter.storage.ledger.sqlite import SqliteLedger
from exporter.storage.store import Store, StoreError
from exporter.tenancy.domain.rules import TenantRules
from exporter.tenancy.store import Tenancy

FILE = "neonmeter.db"


def run_prove(seed: int, branches: int, months: int, keep: str | None) -> int:
    """Exit code 0 when every check holds, 1 when one does not.

    Raises:
        UsageError: the numbers or the folder to ``keep`` the ledger in cannot be used.
    """
    if min(branches, months) < 1:
        raise UsageError("--branches and --months: write whole numbers of at least 1")
    with ExitStack() as stack:
        if keep:
            folder = Path(keep)
            if (folder / FILE).exists():
                raise UsageError(f"--keep: {folder / FILE} is there already; name another folder")
        else:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="neonmeter-prove-")))
        try:
            folder.mkdir(parents=True, exist_ok=True)
            return _prove(Year(seed=seed, months=months, branches=branches), folder / FILE, keep=bool(keep))
        except (StoreError, OSError) as problem:
            raise UsageError(f"--keep: {problem}" if keep else str(problem)) from problem


def _prove(year: Year, path: Path, *, keep: bool) -> int:
    branches = sum(len(project.branches) for project in year.projects)
    print(
        f"{counted(len(year.orgs), 'organisation')}, {counted(len(year.projects), 'project')}, "
        f"{counted(branches, 'branch')}, {day_text(year.start)} to {day_text(year.end - 1)}; seed {year.seed}"
    )
    began, spent = time.monotonic(), time.process_time()
    problems: list[str] = []
    checks, total, worst = 0, Fraction(), Fraction()
    print(_line(_HEADERS), _line(["-" * width for width in _WIDTHS]), sep="\n")
    for facts, proof, wrote, took in _months(year, path):
        problems += [f"{_month(proof.month)}: {problem}" for problem in proof.problems]
        checks, total, worst = checks + proof.checks, total + proof.total, max(worst, proof.worst)
        print(_line(_row(proof, facts, wrote, took)), flush=True)
    print()
    print("Total: the month's cost, unrounded (20 decimals shown). Invoice: the sum of its lines, each rounded once.")
    print("= means that the difference is exactly 0: organisations, projects, branches and tenants each sum to the")
    print(
        "total, tenants to each line, the rows of every invoice line to the line to the cent, usage to what was used.\n"
    )
    minutes = f"{time.monotonic() - began:.0f} s, {time.process_time() - spent:.0f} s of one core"
    for problem in problems[:20]:
        print(f"does not hold: {problem}", file=sys.stderr)
    if keep:
        print(f"The ledger is kept: NEONMETER_STORAGE__PATH={path} neonmeter cost --month {_month(year.months[-1])}")
    if problems:
        print(f"{len(problems)} of {checks} checks do not hold; worst difference {worst} USD ({minutes})")
        return FINDINGS
    print(f"all {checks} checks hold; total {_text(total)} USD, worst difference 0 ({minutes})")
    return OK


_HEADERS = ("month", "days", "facts", "lines", "rows", "total USD", "levels", "invoice", "cents", "written", "proved")
_WIDTHS = (7, 4, 9, 6, 6, 28, 6, 12, 6, 8, 8)
"""Fixed, because a month is shown when it is done."""


def _line(cells: Iterable[object]) -> str:
    return "  ".join(str(cell).rjust(width) for cell, width in zip(cells, _WIDTHS, strict=True))


def _row(proof: MonthProof, facts: int, wrote: float, took: float) -> tuple[object, ...]:
    off = {problem.startswith(INVOICE) for problem in proof.problems}
    return (
        _month(proof.month),
        (next_month(proof.month) - proof.month) // DAY,
        f"{facts:,}",
        f"{proof.lines:,}",
        f"{proof.rows:,}",
        _text(proof.total),
        "OFF" if False in off else "=",
        f"{Decimal(proof.cents) / 100:,.2f}",
        "OFF" if True in off else "=",
        f"{wrote:.1f} s",
        f"{took:.1f} s",
    )


def _months(year: Year, path: Path) -> Iterator[tuple[int, MonthProof, float, float]]:
    """Each month: facts written, its proof, CPU seconds to write and to prove; the last has the year as a whole too."""
    store = Store.open(path, SCHEMAS)
    try:
        ledger = SqliteLedger(store)
        seed_world(store, year)
        costs = _costs(store, ledger)
        sums = Fraction()
        for month in year.months:
            began = time.process_time()
            end, usage = next_month(month), dict[Component, int]()
            facts = seed_ledger(ledger, year, start=month, end=end, usage=usage)
            seed_tenants(store, year, start=month, end=end)
            written = time.process_time()
            proof = prove_month(costs.month(month, end + 7 * DAY), usage)
            costs.forget(end)
            sums += proof.total
            if end == year.end:
                proof.same("the months to the year priced at once", sums, _at_once(costs, year))
            yield facts, proof, written - began, time.process_time() - written
    finally:
        store.close()


def _costs(store: Store, ledger: Ledger) -> Costs:
    """As the agent puts it together, with nothing set."""
    rules = TenantRules(())
    return Costs(ledger, TenantFacts(DurableCounters(store, rules), Tenancy(store, rules), rules), ratecard.load())


def _at_once(costs: Costs, year: Year) -> Fraction:
    facts = costs.ledger.priceable(year.start, year.end, (*costs.card.boundaries, *year.months))
    return price(facts, costs.card).total


def _text(amount: Fraction) -> str:
    """With 20 decimals, rounded half up."""
    units = int(amount * 10**20 + Fraction(1, 2))
    return f"{units // 10**20}.{units % 10**20:020d}"


def _month(at: int) -> str:
    return day_text(at)[:7]
