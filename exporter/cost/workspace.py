"""What the commands of money work with, put together from the settings: costs, names, the book of closed months."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from exporter.cost.allocation.costs import Costs
from exporter.cost.allocation.weights import tenant_facts
from exporter.cost.closing.store import CloseStore, postgres_closes, sqlite_closes
from exporter.feature.workspace import names_of
from exporter.pricing import ratecard
from exporter.sampling.counters.statements import Durable
from exporter.storage.ledger.ledger import Ledger, open_ledger
from exporter.storage.ledger.postgres import PostgresLedger
from exporter.storage.store import Schemas, Store
from exporter.tenancy.domain.rules import TenantRules
from exporter.tenancy.store import Tenancy

if TYPE_CHECKING:
    from exporter.cost.settings import CostTree


@dataclass(frozen=True, slots=True)
class CostWorkspace:
    """The open ledger, what prices it, and the closed months."""

    store: Store
    costs: Costs
    book: CloseStore
    names: dict[str, str]


@contextmanager
def open_workspace(
    settings: CostTree, schemas: Schemas, rules: TenantRules, *, write: bool = False
) -> Iterator[CostWorkspace]:
    """Open all of it, also beside a running agent; ``write`` is for the book alone.

    Raises:
        StoreError: the store or the database cannot be used.
        RateCardError: the rate card cannot be used.
        WeightsFileError: the file of declared weights cannot be used.
    """
    path = settings.storage.path
    store = Store.open_beside(path, schemas) if write else Store.open(path, schemas, read_only=True)
    try:
        costs = costs_of(settings, store, rules, write=write)
        try:
            yield CostWorkspace(store, costs, book_of(costs.ledger, store), names_of(store))
        finally:
            if isinstance(costs.ledger, PostgresLedger):
                costs.ledger.close()
    finally:
        store.close()


def costs_of(settings: CostTree, store: Store, rules: TenantRules, *, write: bool = False) -> Costs:
    """What prices and allocates the months, as `neonmeter cost` does.

    Raises:
        RateCardError: the rate card cannot be used.
        WeightsFileError: the file of declared weights cannot be used.
        StoreError: the store cannot be read.
    """
    durable = Durable(store, rules, settings.sampling.top_statements)
    card = ratecard.load(settings.cost.rate_card)
    ledger = open_ledger(settings, store, read_only=not write)
    facts = tenant_facts(settings, durable, Tenancy(store, rules), rules)
    return Costs(ledger, facts, card, plan=settings.cost.plan)


def book_of(ledger: Ledger, store: Store) -> CloseStore:
    """The book of closed months: beside the usage, so that replicas share it too."""
    if isinstance(ledger, PostgresLedger):
        return postgres_closes(ledger.link.write, ledger.link.read)
    return sqlite_closes(store)
