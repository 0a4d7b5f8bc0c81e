"""What a review is made from, put together from the settings: ledger, prices, names, tags, and who provides what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from exporter.cost.allocation.weights import WeightSource, tenant_facts
from exporter.cost.closing.declared import extra_lines
from exporter.cost.closing.store import CloseStore
from exporter.cost.domain.day import DayWeights
from exporter.cost.domain.extra import ExtraLine
from exporter.cost.domain.use import TenantHour
from exporter.cost.settings import CostTree
from exporter.cost.tags import Tagging
from exporter.cost.workspace import SCHEMAS, closed_months
from exporter.feature.workspace import ledger_of, names_of, open_store
from exporter.pricing import ratecard
from exporter.pricing.domain.calendar import month_start
from exporter.pricing.domain.rates import RateCard
from exporter.report.focus.rows import Party
from exporter.sampling.counters.statements import DurableCounters
from exporter.storage.ledger.ledger import Ledger
from exporter.storage.store import Store
from exporter.storage.tables import KeyValueStore
from exporter.tenancy.domain.rules import AGENT
from exporter.tenancy.rules import rules_of
from exporter.tenancy.store import Tenancy


@dataclass(frozen=True, slots=True, eq=False)
class ReviewSources:
    """What a review is made from."""

    ledger: Ledger
    weights: WeightSource
    card: RateCard
    names: Mapping[str, str]
    tagging: Tagging
    closings: CloseStore | None = None
    extra: Sequence[ExtraLine] = ()
    plan: str | None = None
    company: str = ""
    required_tags: Sequence[str] = ()
    settings: CostTree | None = None
    store: Store | None = None
    """Of the agent, for parts that need more than the ledger; None where there is none."""


class Counting(WeightSource):
    """Passes the weights of an allocation on and counts statements on the way, so that a month is read only once."""

    def __init__(self, weights: WeightSource) -> None:
        """Stand before a source."""
        super().__init__(self._counted, weights.policies)
        self._weights = weights
        self.calls: dict[tuple[int, str, str], int] = {}

    def _counted(self, start: int, end: int) -> Iterator[TenantHour]:
        month = month_start(start)
        for row in self._weights.tenant_hours(start, end):
            calls = getattr(row, "calls", 0)
            if calls and row.tenant != AGENT:
                key = (month, row.project_id, row.branch_id)
                self.calls[key] = self.calls.get(key, 0) + calls
            yield row

    def day(self, day: int) -> DayWeights:
        """As the source answers it."""
        return self._weights.day(day)

    def owner(self, project_id: str, branch_id: str) -> str | None:
        """As the source answers it."""
        return self._weights.owner(project_id, branch_id)


@contextmanager
def sources_of(settings: CostTree) -> Iterator[tuple[ReviewSources, Party]]:
    """Open what the settings name, for reading, beside a running agent.

    Raises:
        RateCardError: the rate card cannot be used.
        WeightsFileError: the file of declared weights cannot be used.
        StoreError: the ledger cannot be read.
    """
    with ExitStack() as opened:
        store = opened.enter_context(open_store(settings, SCHEMAS))
        rules = rules_of(settings)
        durable = DurableCounters(store, rules, settings.sampling.top_statements)
        ledger = ledger_of(settings, store, read_only=True)
        opened.callback(ledger.close)
        names, report = names_of(store), settings.report
        sources = ReviewSources(
            ledger=ledger,
            weights=tenant_facts(settings, durable, Tenancy(store, rules), rules),
            card=ratecard.load(settings.cost.rate_card),
            names=names,
            tagging=Tagging(report.tags, names),
            closings=closed_months(ledger, store),
            extra=extra_lines(settings.cost.extra_lines),
            plan=settings.cost.plan,
            company=report.company,
            required_tags=report.required_tags,
            settings=settings,
            store=store,
        )
        regions = KeyValueStore(store).texts("regions")
        yield sources, Party(report.provider, report.publisher, report.invoice_issuer, regions)
