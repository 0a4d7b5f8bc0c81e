"""The synthetic year as a ledger that was never written: what forecasts and anomalies are tested on, without a disk."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from exporter.demo.year import Year
from exporter.pricing.domain.calendar import DAY
from exporter.pricing.domain.usage import UsageFact
from exporter.storage.ledger.cost_counters import Counted, CounterKey
from exporter.storage.ledger.ledger import Changes, Through


class YearLedger:
    """Answers what a ledger would, from the year itself. Nothing can be written."""

    def __init__(self, year: Year) -> None:
        self.year = year
        self._day = -1
        self._facts: list[UsageFact] = []

    def put(self, facts: Iterable[UsageFact], *, read_through: Mapping[str, int] | None = None) -> Changes:
        raise NotImplementedError

    def usage(self, start: int, end: int, project_id: str | None = None) -> list[UsageFact]:
        if end - start == DAY and project_id is None:
            if self._day != start:
                self._day, self._facts = start, list(self.year.facts(start, end))
            return self._facts
        return [fact for fact in self.year.facts(start, end) if project_id in (None, fact.project_id)]

    def priceable(self, start: int, end: int, cuts: Iterable[int] = ()) -> list[UsageFact]:
        return self.usage(start, end)

    def window(self, start: int, end: int) -> list[UsageFact]:
        return self.usage(start, end)

    def hours(self, metric: str, start: int, end: int) -> list[UsageFact]:
        return [fact for fact in self.usage(start, end) if fact.metric == metric]

    def revisions(self, start: int, end: int) -> dict[int, int]:
        return dict.fromkeys(range(max(start, self.year.start), min(end, self.year.end), DAY), 1)

    def through(self) -> Through:
        return Through({org.id: self.year.end for org in self.year.orgs}, {})

    def tally(self) -> dict[str, int]:
        return {"facts": 0, "corrections": 0}

    def advance(self, month: int, priced: Mapping[CounterKey, int]) -> dict[CounterKey, Counted]:
        raise NotImplementedError
