"""The worked example of CONTRIBUTING.md is executed as it stands there: SQL, collector, registry line, test."""

from __future__ import annotations

import re
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

from collectors.base import SqlCollector
from collectors.metric import catalogue
from collectors.postgres import query
from exporter.app.catalog import CATALOG
from exporter.demo.postgres import Cluster
from tests.collectors.reading import read

BLOCK = re.compile(r"```(sql|python)\n(.*?)```", re.DOTALL)


@pytest.fixture
def example() -> Iterator[types.ModuleType]:
    """A module made of the python blocks, with the SQL block in its place among the files."""
    blocks = BLOCK.findall((Path(__file__).parent.parent / "CONTRIBUTING.md").read_text())
    languages = [language for language, _ in blocks]
    assert languages == ["sql", "python", "python", "python"], "the example has four steps"
    query._files()["prepared"] = {0: blocks[0][1]}
    module = types.ModuleType("example")
    module.__dict__.update(Cluster=Cluster, read=read)
    for _, code in blocks[1:]:
        exec(compile(code, "CONTRIBUTING.md", "exec"), module.__dict__)
    yield module
    del query._files()["prepared"]
    query.load.cache_clear()


async def test_the_four_steps_work(example: types.ModuleType, postgres: Cluster) -> None:
    collector: SqlCollector = example.ALL["prepared"](None)
    assert set(query.header("prepared")) == {"view", "cost", "privilege"}
    assert catalogue(CATALOG.values(), collector.metrics), "its metrics fit into the catalogue"
    await example.test_prepared(postgres)
