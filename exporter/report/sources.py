"""What a review is made from, put together from the settings: ledger, prices, names, tags, and who provides what."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from exporter.app.wiring import SCHEMAS
from exporter.cost.allocation.weights import tenant_facts
from exporter.cost.closing.declared import extra_lines
from exporter.cost.settings import CostTree
from exporter.cost.tags import Tagging
from exporter.cost.workspace import book_of, names_of
from exporter.pricing import ratecard
from exporter.report.focus.rows import Party
from exporter.report.gather import ReviewSources
from exporter.sampling.counters.statements import Durable
from exporter.storage.ledger.ledger import open_ledger
from exporter.storage.ledger.postgres import PostgresLedger
from exporter.storage.store import Store
from exporter.storage.tables import KeyValueStore
from exporter.tenancy.rules import rules_of
from exporter.tenancy.store import Tenancy


@contextmanager
def sources_of(settings: CostTree) -> Iterator[tuple[ReviewSources, Party]]:
    """Open what the settings name, for reading, beside a running agent.

    Raises:
        RateCardError: the rate card cannot be used.
        WeightsFileError: the file of declared weights cannot be used.
        StoreError: the ledger cannot be read.
    """
    with ExitStack() as opened:
        store = Store.open(settings.storage.path, SCHEMAS, read_only=True)
        opened.callback(store.close)
        rules = rules_of(settings)
        durable = Durable(store, rules, settings.sampling.top_statements)
        ledger = open_ledger(settings, store, read_only=True)
        if isinstance(ledger, PostgresLedger):
            opened.callback(ledger.close)
        names, report = names_of(store), settings.report
        sources = ReviewSources(
            ledger=ledger,
            weights=tenant_facts(settings, durable, Tenancy(store, rules), rules),
            card=ratecard.load(settings.cost.rate_card),
            names=names,
            tagging=Tagging(report.tags, names),
            book=book_of(ledger, store),
            extra=extra_lines(settings.cost.extra_lines),
            plan=settings.cost.plan,
            company=report.company,
            required_tags=report.required_tags,
            settings=settings,
            store=store,
        )
        regions = {key: str(region) for key, region in (KeyValueStore(store).read("regions", "all") or {}).items()}
        yield sources, Party(report.provider, report.publisher, report.invoice_issuer, regions)
