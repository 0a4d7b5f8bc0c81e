"""One seeded quarter for all tests of the review: they only read it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.app.settings import load
from exporter.report.facts import ReviewFacts
from exporter.report.focus.rows import Party
from exporter.report.gather import gather
from exporter.report.parts import PARTS
from exporter.report.sources import ReviewSources, sources_of
from tests.exporter.report.seeded import seed, year


@pytest.fixture(scope="session")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The settings file of the seeded store."""
    return seed(tmp_path_factory.mktemp("review"))


@pytest.fixture(scope="session")
def opened(config: Path) -> Iterator[tuple[ReviewSources, Party]]:
    with sources_of(load(config)) as found:
        yield found


@pytest.fixture(scope="session")
def facts(opened: tuple[ReviewSources, Party]) -> ReviewFacts:
    """The review of the last month."""
    return gather(opened[0], year().months[-1], PARTS)
