"""A full collection frees cycles, and looks at what survived it only once."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from exporter.app.interpreter import SURVIVORS, collect_garbage, end_exemptions


class Node:
    """Refers to itself."""

    def __init__(self) -> None:
        self.own = self


@pytest.fixture(autouse=True)
def collector() -> Iterator[None]:
    """As an agent that has just started."""
    threshold = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 5, 1_000_000)
    yield
    gc.set_threshold(*threshold)
    gc.unfreeze()


def test_cycles_go_and_survivors_are_not_looked_at_again() -> None:
    gone = weakref.ref(Node())
    held: list[list[int]] = [[] for _ in range(2 * SURVIVORS)]
    gc.collect(1)
    before = gc.get_freeze_count()
    assert collect_garbage()
    assert gone() is None
    assert gc.get_freeze_count() >= before + len(held)
    assert not collect_garbage(), "nothing is new"
    held.clear()
    assert gc.get_freeze_count() < before + SURVIVORS, "what is exempt is freed when nobody refers to it"


def test_a_cycle_among_the_exempt_goes_after_a_reload() -> None:
    node = Node()
    gone = weakref.ref(node)
    gc.collect()
    gc.freeze()
    del node
    gc.collect()
    assert gone() is not None
    end_exemptions()
    gc.collect()
    assert gone() is None
