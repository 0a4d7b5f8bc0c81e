"""The seeded world as a Prometheus: blocks made by promtool, served by a real server on loopback."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.dashboards.seeded.agent import put_agent
from tests.dashboards.seeded.exposition import Exposition
from tests.dashboards.seeded.insides import put_insides
from tests.dashboards.seeded.money import put_money
from tests.dashboards.seeded.places import put_places
from tests.dashboards.seeded.schemas import put_schemas
from tests.fix_prometheus import Prometheus, binary, serving


def exposition() -> Exposition:
    """Everything that there is in the world."""
    out = Exposition()
    for put in (put_places, put_insides, put_money, put_schemas, put_agent):
        put(out)
    return out


def backfill(folder: Path) -> None:
    """Make the blocks of a Prometheus in ``folder``/data."""
    promtool = binary("promtool")
    text = folder / "openmetrics"
    text.mkdir()
    for path in exposition().write(text):
        subprocess.run(
            [promtool, "tsdb", "create-blocks-from", "openmetrics", "-q", str(path), str(folder / "data")],
            check=True, capture_output=True, timeout=300,
        )  # fmt: skip


@contextlib.contextmanager
def seeded_prometheus(folder: Path) -> Iterator[Prometheus]:
    """A server over the seeded world; it scrapes nothing."""
    backfill(folder)
    with serving(folder, {}) as server:
        yield server
