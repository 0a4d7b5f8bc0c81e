"""Thrift: what is asked of PostgreSQL 18 in every run is asked of the others in part, and of all in the deep one."""

from __future__ import annotations

import pytest

SHARE = 3


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of the single changes on other versions than 18, all but every third are deep."""
    others = [
        item
        for item in items
        if item.name.startswith("test_a_single_change_is_seen_as_exactly_that[pg") and "[pg18-" not in item.name
    ]
    for place, item in enumerate(others):
        if place % SHARE:
            item.add_marker(pytest.mark.deep)
