"""What the commands of cost and the review work with: the store, what prices its months, names, closed months."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Final

from exporter.cost.allocation.costs import Costs
from exporter.cost.allocation.weights import tenant_facts
from exporter.cost.closing.store import CLOSE_POSTGRES, CLOSE_SCHEMA, CloseStore, postgres_closes, sqlite_closes
from exporter.cost.outlook.store import OUTLOOK_SCHEMA
from exporter.cost.settings import CostTree
from exporter.feature.workspace import ledger_of, names_of, open_store, unmetered_in
from exporter.pricing import ratecard
from exporter.sampling.counters.statements import DurableCounters
from exporter.storage.ledger.ledger import Ledger
from exporter.storage.store import Schemas, Store
from exporter.tenancy.rules import rules_of
from exporter.tenancy.store import Tenancy

SCHEMAS: Final[Schemas] = {"close": CLOSE_SCHEMA, "outlook": OUTLOOK_SCHEMA}
"""The tables of cost in the store, beside those that features share."""
LEDGER_SCHEMAS: Final[Schemas] = {"close": CLOSE_POSTGRES}
"""Its tables in a ledger that is a database of its own."""


@dataclass(frozen=True, slots=True)
class CostWorkspace:
    """The open ledger, what prices it, and the closed months."""

    store: Store
    costs: Costs
    closed_months: CloseStore
    counters: DurableCounters
    """What visits measured."""
    names: dict[str, str]
    """Names of organisations, projects and branches by id."""
    unmetered: dict[str, int]
    """Services in use without a metric: on how many branches each."""


@contextmanager
def open_workspace(settings: CostTree, *, write: bool = False) -> Iterator[CostWorkspace]:
    """Open all of it, also beside a running agent; ``write`` is for the closed months alone.

    Raises:
        StoreError: the store or the database cannot be used.
        RateCardError: the rate card cannot be used.
        WeightsFileError: the file of declared weights cannot be used.
    """
    rules = rules_of(settings)
    with (
        open_store(settings, SCHEMAS, write=write) as store,
        closing(ledger_of(settings, store, LEDGER_SCHEMAS, read_only=not write)) as ledger,
    ):
        counters = DurableCounters(store, rules, settings.sampling.top_statements)
        facts = tenant_facts(settings, counters, Tenancy(store, rules), rules)
        costs = Costs(ledger, facts, ratecard.load(settings.cost.rate_card), plan=settings.cost.plan)
        yield CostWorkspace(store, costs, closed_months(ledger, store), counters, names_of(store), unmetered_in(store))


def closed_months(ledger: Ledger, store: Store) -> CloseStore:
    """The closed months stand beside the usage, so that replicas share them too."""
    return sqlite_closes(store) if ledger.link is None else postgres_closes(ledger.link.write, ledger.link.read)
