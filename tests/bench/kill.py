"""`python -m tests.bench kill`: programs that write to the ledger are killed, 200 times; what is lost, what is doubled.

One writer on the agent's file, then two writers of the same facts on one PostgreSQL ledger. Each writer says what it
committed; after each kill the ledger is opened anew, read whole, and priced.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from exporter.documents.terminal import table
from tests.end_to_end.test_restart import kills_of_one_agent
from tests.exporter.storage.ledger_kills import Damage, kill
from tests.fix_postgres import PASSWORD, cluster


def run(kills: int, shared: int, seed: int) -> bool:
    """Kill and print the table; True when nothing was lost or doubled."""
    began = time.monotonic()
    rows: list[tuple[object, ...]] = []
    columns = ("batches", "buckets", "lost", "doubled", "half", "wrong", "unequal", "backwards", "off")

    def add(name: str, found: Damage) -> bool:
        values = asdict(found)
        rows.append((name, found.kills, *(f"{values[column]:,}" for column in columns)))
        return not found.problems()

    with tempfile.TemporaryDirectory(prefix="neonmeter-kill-") as folder:
        well = add("SQLite, one writer", kill(str(Path(folder) / "neonmeter.db"), kills, seed=seed))
    if shared:
        with cluster(18, fsync="on", full_page_writes="on") as server:
            address = f"postgresql://cloud_admin:{PASSWORD}@127.0.0.1:{server.port}/postgres"
            well = add("PostgreSQL, two writers", kill(address, shared, seed=seed, writers=2)) and well
    heads = ("ledger", "kills -9", "batches committed", *columns[1:4], "half written", "wrong value",
             "days unequal", "counters back", "costs off")  # fmt: skip
    print(table(heads, rows), end="")
    print(f"{time.monotonic() - began:.0f} s; seed {seed}")
    return well


def main(arguments: Sequence[str]) -> None:
    """Options of its own."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench kill", description=__doc__)
    parser.add_argument("--kills", type=int, default=200, help="of the one writer on a file (default: 200)")
    parser.add_argument("--shared", type=int, default=50, help="of the two writers on PostgreSQL (default: 50)")
    parser.add_argument("--agent", type=int, default=0, help="instead: so many of a whole agent, at random moments")
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args(arguments)
    if options.agent:
        kills_of_one_agent(options.agent, options.seed)
    elif not run(options.kills, options.shared, options.seed):
        raise SystemExit(1)
