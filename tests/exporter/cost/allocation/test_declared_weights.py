"""The file of declared weights: what it says, when it holds, and one clear line for each that cannot be used."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from exporter.cost.allocation.declared_weights import WeightsFileError, load
from exporter.cost.domain.weights import declared
from exporter.pricing.domain.calendar import day_seconds
from exporter.pricing.domain.components import Component

GOOD = """project,branch,tenant,weight,component,from,to
shop,*,acme,3,,,
shop,*,birch,1.5,,,2026-10-31
shop,*,acme,1,root_storage,,
shop-*,t-?,cedar,1,,2026-11-01,
"""


def weights(path: Path, day: str, component: Component, project: str = "shop", branch: str = "main") -> dict[str, str]:
    found = declared(load(path), ("p1", project), ("b1", branch), component, day_seconds(day))
    return {tenant: str(weight) for tenant, weight in found.items()}


def test_lines_hold_where_and_when_they_say(tmp_path: Path) -> None:
    path = tmp_path / "weights.csv"
    path.write_text(GOOD)
    assert weights(path, "2026-10-31", Component.COMPUTE) == {"acme": "3", "birch": "3/2"}
    assert weights(path, "2026-11-01", Component.COMPUTE) == {"acme": "3"}
    assert weights(path, "2026-10-31", Component.ROOT_STORAGE) == {"acme": "1"}
    assert weights(path, "2026-11-01", Component.COMPUTE, "shop-eu", "t-1") == {"cedar": "1"}
    assert weights(path, "2026-10-31", Component.COMPUTE, "shop-eu", "t-1") == {}
    assert load(None) == ()
    assert load(path)[1].weight == Fraction(3, 2)


def test_every_line_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    path = tmp_path / "weights.csv"
    path.write_text(
        "project,branch,tenant,weight,component,from,to\n"
        ",*,a,1,,,\n"
        "*,*,__idle__,1,,,\n"
        "*,*,a,-1,,,\n"
        "*,*,a,many,cpu,,\n"
        "*,*,a,1,,2026-13-01,\n"
        "*,*,a,1,,2026-02-01,2026-01-01\n"
        "*,*,a,1,,,,more\n"
        "*,*,a,1\n"
    )
    with pytest.raises(WeightsFileError) as caught:
        load(path)
    assert [problem.partition("weights.csv:")[2] for problem in caught.value.problems] == [
        "2: project is empty; write * for all",
        "3: tenant '__idle__' cannot be a tenant's name",
        "4: weight '-1' is not a number of at least 0",
        "5: weight 'many' is not a number of at least 0",
        "5: component 'cpu' is not one of compute, root_storage, child_storage, instant_restore, snapshot_storage, "
        "extra_branches, public_transfer, private_transfer",
        "6: from '2026-13-01' is not a day; write YYYY-MM-DD",
        "7: to 2026-01-01 is before from 2026-02-01",
        "8: more values than columns",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("project,branch,tenant\n", "missing column 'weight'"),
        ("project,branch,tenant,weight,wieght\n", "unknown column 'wieght'"),
        ("", "missing column 'project'"),
    ],
)
def test_a_header_that_cannot_be_used_is_told(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "weights.csv"
    path.write_text(text)
    with pytest.raises(WeightsFileError, match=problem):
        load(path)
    with pytest.raises(WeightsFileError, match="cannot be read"):
        load(tmp_path / "none.csv")
