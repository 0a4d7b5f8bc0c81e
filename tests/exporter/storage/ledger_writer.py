"""Writes numbered batches to a ledger for ever and says so after each commit; a test kills it.

Batch n holds ``WIDTH`` buckets of hour n, and reads the hour before it again with a larger value, as the agent does.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from exporter.cost.allocation.costs import Costs
from exporter.cost.allocation.series import COST
from exporter.pricing.domain.usage import UsageFact
from exporter.pricing.ratecard import load
from exporter.storage.ledger.ledger import Ledger
from exporter.storage.ledger.sqlite import SqliteLedger
from exporter.storage.ledger.sqlite_sql import LEDGER_SCHEMA
from exporter.storage.store import Store

WIDTH = 40
START = 1793491200  # 2026-11-01
FIRST, FINAL = 100, 250


def batch(number: int) -> list[UsageFact]:
    return [
        UsageFact("o", "p", f"b{branch}", START + 3600 * hour, "hourly", "launch_v3", "compute_unit_seconds", value, at)
        for hour, value, at in ((number - 1, FINAL, 2 * number), (number, FIRST, 2 * number))
        if hour >= 0
        for branch in range(WIDTH)
    ]


@contextmanager
def opened(where: str) -> Iterator[Ledger]:
    """The ledger in a file, or in the PostgreSQL of an address with its password."""
    if where.startswith("postgresql://"):
        from exporter.storage.ledger.postgres import PostgresLedger

        shared = PostgresLedger.of(where, lambda: None, {})
        try:
            yield shared
        finally:
            shared.close()
        return
    store = Store.open(Path(where), {"ledger": LEDGER_SCHEMA})
    try:
        yield SqliteLedger(store)
    finally:
        store.close()


def main(where: str) -> None:
    with opened(where) as ledger:
        costs = Costs(ledger, lambda start, end: (), load())
        number = (max(ledger.through().projects.values(), default=START) - START) // 3600
        while True:
            ledger.put(batch(number))
            print("put", number, flush=True)
            if number % 3 == 0:
                seen = [o.families.get(COST) for o in costs.observe(START + 3600 * number)]
                print("counter", sum(value for family in seen for value in family.values()), flush=True)
            number += 1


if __name__ == "__main__":
    main(sys.argv[1])
