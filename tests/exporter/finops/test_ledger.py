"""The ledger under kill -9: nothing that was committed is lost, nothing is counted twice."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path

import pytest

from collectors.neon.consumption import UsageRow
from exporter.finops.cost_metrics import ADJUSTMENTS, COST
from exporter.finops.costs import Costs
from exporter.finops.ledger import LEDGER_SCHEMA, SqliteLedger, UsageFact, from_rows
from exporter.finops.ratecard import load
from exporter.storage.store import Store
from tests.exporter import ledger_writer

HOUR, DAY = 3600, 86400
T0 = 1793491200


def test_rows_of_the_consumption_reader_become_facts() -> None:
    row = UsageRow("p1", "b1", "scale_v3", T0, "hourly", "compute_unit_seconds", 9)
    assert from_rows("org", [row], 12.9) == [
        UsageFact("org", "p1", "b1", T0, "hourly", "scale_v3", "compute_unit_seconds", 9, 12)
    ]


def kill_and_check(path: Path, kills: int, seed: int) -> None:
    chance = random.Random(seed)
    counter, net_before = Decimal(0), Decimal(0)
    for _ in range(kills):
        command = [sys.executable, "-m", "tests.exporter.ledger_writer", str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            first = writer.stdout.readline()
            time.sleep(chance.random() * 0.15)
            writer.send_signal(signal.SIGKILL)
            said = [first, *writer.stdout.readlines()]
        whole = [line.split() for line in said if line.endswith("\n")]
        committed = max(int(n) for kind, n in whole if kind == "put")
        counter = max([counter, *(Decimal(n) for kind, n in whole if kind == "counter")])
        store = Store.open(path, {"ledger": LEDGER_SCHEMA})
        try:
            net_before, counter = check(SqliteLedger(store), committed, counter, net_before)
        finally:
            store.close()


def check(book: SqliteLedger, committed: int, counter: Decimal, net_before: Decimal) -> tuple[Decimal, Decimal]:
    held = book.usage(0, 2**40)
    hours, rest = divmod(len(held), ledger_writer.WIDTH)
    assert rest == 0, "half a batch is there"
    assert hours >= committed + 1, "a committed batch is gone"
    newest = T0 + (hours - 1) * HOUR
    expected = {ledger_writer.FINAL if f.start < newest else ledger_writer.FIRST for f in held}
    assert {f.value for f in held} == expected
    assert all(f.value == (ledger_writer.FINAL if f.start < newest else ledger_writer.FIRST) for f in held)
    assert book.mismatches() == 0
    assert book.tally() == {"facts": len(held), "corrections": 0}
    observed = Costs(book, lambda start, end: (), load()).observe(newest)
    counted = sum((v for o in observed for v in o.families.get(COST).values()), Decimal())
    taken = sum((v for o in observed for v in o.families.get(ADJUSTMENTS).values()), Decimal())
    assert counted >= counter, "a counter went back"
    net = counted - taken
    assert net >= net_before
    used = sum(f.value for f in held)
    assert abs(net - Decimal("0.106") * used / 3600) < Decimal("1e-9"), "a cost was counted twice, or lost"
    return net, counted


def test_kill_9_loses_nothing_and_doubles_nothing(tmp_path: Path) -> None:
    kill_and_check(tmp_path / "neonmeter.db", kills=6, seed=1)


@pytest.mark.deep
def test_kill_9_two_hundred_times(tmp_path: Path) -> None:
    kill_and_check(tmp_path / "neonmeter.db", kills=200, seed=2)
