"""Every query of every dashboard returns data from a real Prometheus that holds the seeded world."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from exporter.app.catalog import CATALOG
from tests.dashboards import asking, promql, rules
from tests.dashboards.seeded.world import exposition, seeded_prometheus
from tests.fix_prometheus import Prometheus

BOARDS = rules.boards()


@pytest.fixture(scope="module")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    with seeded_prometheus(tmp_path_factory.mktemp("seeded")) as server:
        yield server


@pytest.mark.parametrize("uid", BOARDS)
def test_every_query_returns_data(seeded: Prometheus, uid: str) -> None:
    allowed = rules.excused("returns data", uid)
    asked = list(asking.ask(seeded.url, BOARDS[uid]))
    assert [(entry.name, entry.error, entry.expr) for entry in asked if entry.error] == []
    empty = [entry for entry in asked if not entry.series]
    assert [entry.name for entry in empty if entry.panel not in allowed] == []
    assert allowed <= {entry.panel for entry in empty}, "it returns data: take it off the list of exceptions"


@pytest.mark.parametrize("uid", BOARDS)
def test_every_variable_has_values(seeded: Prometheus, uid: str) -> None:
    found = asking.variables(seeded.url, BOARDS[uid])
    assert all(found.values()), found


def test_the_world_has_every_metric_that_is_drawn() -> None:
    drawn = {name for board in BOARDS.values() for _, expr in rules.targets(board) for name in promql.metrics(expr)}
    assert drawn - exposition().names == set()
    assert drawn <= set(CATALOG)
