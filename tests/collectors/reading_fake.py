"""A collector that asks what a test tells it to."""

from __future__ import annotations

from collections.abc import Mapping

from collectors.base import Epoch, Query, Reading, Result, Server
from collectors.metric import Families, Metric


class FakeCollector:
    """Fits `SqlCollector`; its queries are named q0, q1, ..."""

    name = "fake"
    interval = 60.0
    metrics: tuple[Metric, ...] = ()

    def __init__(self, *queries: str, probes: tuple[str, ...] = ("pg_stat_statements", "pg_stat_database", "nope")):
        self.asked = queries
        self.probes = probes

    def queries(self, server: Server) -> tuple[Query, ...]:
        return tuple(Query(f"q{index}", text) for index, text in enumerate(self.asked))

    def read(self, results: Mapping[str, Result], epoch: Epoch) -> Reading:
        return Reading(Families(), sum(len(result.rows) for result in results.values()))
