"""Run as a process of its own and killed at will: absorbs a known sequence, and prints what it has published.

Look number n is a pure function of n, so after a kill anyone can tell what the totals must be.
"""

from __future__ import annotations

import sys
from pathlib import Path

from collectors.base import Epoch
from collectors.metric import Families
from collectors.postgres.cluster.statements import StatementRow, StatementSample
from exporter.sampling.counters.statements import SCHEMAS, DurableCounters
from exporter.sampling.domain.topk import TopKPolicy
from exporter.storage.store import Store
from exporter.tenancy.domain.rules import TenantRule, TenantRules
from tests.exporter.sampling.statement_world import DEADLOCKS, NAMES, PLACE, START, counters, exported, oid

LIFE = 7
"""Looks per life of the compute."""
QUERIES = 40
RULES = TenantRules([TenantRule(role="u_(?P<tenant>.+)")])


def calls(look: int, query: int) -> int:
    """What the statement's row holds at a look: cumulative within the life."""
    return sum(1 + (number * 7 + query * 3) % 5 for number in range(look - look % LIFE, look + 1))


def done(look: int) -> dict[str, int]:
    """What each tenant had done in all by the end of a look."""
    ends = [*range(LIFE - 1, look, LIFE), look]
    return {
        f"t{tenant}": sum(calls(end, query) for end in ends for query in range(tenant, QUERIES, 3))
        for tenant in range(3)
    }


def sample(look: int) -> StatementSample:
    """Look number ``look``; a minute each."""
    born = START + (look - look % LIFE) * 60
    rows = tuple(
        StatementRow(
            f"u_t{query % 3}",
            "app",
            str(query),
            None,
            counters(calls(look, query), str(query)),
            oid(f"t{query % 3}"),
            5,
        )
        for query in range(QUERIES)
    )
    return StatementSample(Epoch(PLACE[2], born, START + look * 60 + 30), born + 0.5, 0, rows, QUERIES)


def deadlocks(look: int) -> Families:
    """A single durable counter beside the statements, in the same lives."""
    families = Families()
    families.set(DEADLOCKS, ("app",), calls(look, 0))
    return families


def open_durable(path: Path) -> tuple[Store, DurableCounters]:
    """As the agent does at its start."""
    store = Store.open(path, SCHEMAS)
    return store, DurableCounters(store, RULES, TopKPolicy(k=4, min_stay=120))


def next_look(durable: DurableCounters) -> int:
    """The look after the last one that is on the disk."""
    place = durable._known.get(PLACE)
    return 0 if place is None else round((place.life.clock_us / 1e6 - START - 30) / 60) + 1


def main(path: Path) -> None:
    """Go on from where the last process was killed, for ever."""
    _, durable = open_durable(path)
    look = next_look(durable)
    # The look that was in flight may or may not be on the disk: an agent that restarts looks again.
    look = max(0, look - 1)
    while True:
        seen = sample(look)
        durable.absorb(PLACE, NAMES, seen)
        kept = durable.absorb_counters("endpoint:databases", seen.epoch, deadlocks(look))
        shown = {**exported(durable.families(PLACE[2])), **exported(kept)}
        print(look, repr(shown), flush=True)
        look += 1


if __name__ == "__main__":
    main(Path(sys.argv[1]))
