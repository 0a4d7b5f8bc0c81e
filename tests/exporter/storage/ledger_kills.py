"""Kills programs that write to a ledger, at random moments, and counts what is lost or doubled after each kill."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from decimal import Decimal

from exporter.cost.allocation.costs import Costs
from exporter.cost.allocation.series import ADJUSTMENTS, COST
from exporter.pricing.ratecard import load
from exporter.storage.ledger.ledger import Ledger
from tests.exporter.storage import ledger_writer


@dataclass(slots=True)
class Damage:
    """What was found over all kills; everything but the first three should be 0."""

    kills: int = 0
    buckets: int = 0
    batches: int = 0
    """Said to be committed by the writers."""
    lost: int = 0
    """Buckets of committed batches that are not there."""
    doubled: int = 0
    """Buckets that are there twice, and new buckets that were counted twice."""
    half: int = 0
    """Batches of which a part is there."""
    wrong: int = 0
    """Buckets with another value than the newest reading's."""
    unequal: int = 0
    """Days whose sum is not the sum of their buckets."""
    backwards: int = 0
    """Cost counters that were lower than one that had been told."""
    off: int = 0
    """Times that counters less adjustments were not the cost of what is there."""

    def problems(self) -> dict[str, int]:
        """What is not 0 and should be."""
        names = ("lost", "doubled", "half", "wrong", "unequal", "backwards", "off")
        return {name: getattr(self, name) for name in names if getattr(self, name)}


def kill(where: str, kills: int, *, seed: int, writers: int = 1) -> Damage:
    """Start writers on one ledger, kill them, look; again and again. A kill is one writer killed."""
    chance, found = random.Random(seed), Damage()
    counter = Decimal()
    while found.kills < kills:
        command = [sys.executable, "-m", "tests.exporter.storage.ledger_writer", where]
        running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(writers)]
        said = []
        try:
            said = [process.stdout.readline() for process in running if process.stdout is not None]
            for process in running:
                time.sleep(chance.random() * 0.15 / writers)
                process.send_signal(signal.SIGKILL)
        finally:
            for process in running:
                process.kill()
                said.extend(process.communicate()[0].splitlines(keepends=True))
        told = [line.split() for line in said if line.endswith("\n")]
        puts = [int(number) for kind, number in told if kind == "put"]
        assert puts, "a writer wrote nothing"
        found.batches += len(puts)
        found.kills += writers
        counter = max([counter, *(Decimal(number) for kind, number in told if kind == "counter")])
        with ledger_writer.opened(where) as book:
            counter = look(book, found, committed=max(puts), counter=counter)
    return found


def look(book: Ledger, found: Damage, *, committed: int, counter: Decimal) -> Decimal:
    """Count what is wrong with a ledger whose writers said that they had committed so far; answers its counter."""
    held = list(book.stored())
    keys = {fact[:7] for fact in held}
    newest = max(fact.start for fact in held)
    hours = (newest - ledger_writer.START) // 3600 + 1
    found.buckets = len(held)
    found.lost += max(0, (committed + 1) * ledger_writer.WIDTH - len(keys))
    found.half += hours * ledger_writer.WIDTH - len(keys)
    found.wrong += sum(
        fact.value != (ledger_writer.FINAL if fact.start < newest else ledger_writer.FIRST) for fact in held
    )  # fmt: skip
    holdings = book.holdings()
    found.doubled += len(held) - len(keys) + holdings.doubled + abs(book.tally()["facts"] - len(keys))
    found.unequal += holdings.mismatches
    observed = Costs(book, lambda start, end: (), load()).observe(newest)
    counted = sum((v for o in observed for v in o.families.get(COST).values()), Decimal())
    taken = sum((v for o in observed for v in o.families.get(ADJUSTMENTS).values()), Decimal())
    used = sum(fact.value for fact in held)
    found.backwards += counted < counter
    found.off += abs(counted - taken - Decimal("0.106") * used / 3600) > Decimal("1e-9")
    return counted
