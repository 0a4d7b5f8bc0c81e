"""What the commands of money work with, put together from the settings: costs, names, the book of closed months."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from exporter.cost.allocation.costs import Costs
from exporter.cost.allocation.weights import tenant_facts
from exporter.cost.closing.store import CLOSE_POSTGRES, CloseStore, postgres_closes, sqlite_closes
from exporter.feature.workspace import ledger_of, names_of
from exporter.pricing import ratecard
from exporter.sampling.counters.statements import DurableCounters
from exporter.storage.ledger.ledger import DurableLedger, Ledger
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
        ledger = ledger_of(settings, store, {"close": CLOSE_POSTGRES}, read_only=not write)
        try:
            costs = costs_of(settings, store, ledger, rules)
            yield CostWorkspace(store, costs, book_of(ledger, store), names_of(store))
        finally:
            ledger.close()
    finally:
        store.close()


def costs_of(settings: CostTree, store: Store, ledger: Ledger, rules: TenantRules) -> Costs:
    """What prices and allocates the months, as `neonmeter cost` does.

    Raises:
        RateCardError: the rate card cannot be used.
        WeightsFileError: the file of declared weights cannot be used.
        StoreError: the store cannot be read.
    """
    durable = DurableCounters(store, rules, settings.sampling.top_statements)
    card = ratecard.load(settings.cost.rate_card)
    facts = tenant_facts(settings, durable, Tenancy(store, rules), rules)
    return Costs(ledger, facts, card, plan=settings.cost.plan)


def book_of(ledger: DurableLedger, store: Store) -> CloseStore:
    """The closed months: beside the usage, so that replicas share them too."""
    return sqlite_closes(store) if ledger.link is None else postgres_closes(ledger.link.write, ledger.link.read)
