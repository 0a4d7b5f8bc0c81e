"""The table of faults in docs/reliability.md names tests that exist, and each says that it executes that row."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

pytestmark = pytest.mark.house

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "reliability.md"
ROW = re.compile(r"^\| ([^|]+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \| `([^|`]+)` \|$", re.MULTILINE)
AREAS = {"database", "API", "platforms", "disk", "clock", "DNS", "network", "signals", "ourselves"}
LIST = """
import json, sys, pytest

class Faults:
    def __init__(self):
        self.found = []

    def pytest_collection_modifyitems(self, items):
        for item in items:
            for mark in item.iter_markers("fault"):
                self.found.append((item.nodeid.partition("[")[0], mark.args[0]))

faults = Faults()
code = pytest.main(["-q", "--collect-only", "-p", "no:cacheprovider", "-p", "no:xdist", *sys.argv[1:]], [faults])
print("\\n" + json.dumps([int(code), faults.found]))
"""


def rows() -> list[tuple[str, str]]:
    """The test and the fault of each row."""
    return [(test, f"{area}: {fault}") for area, fault, _, _, test in ROW.findall(PAGE.read_text())]


def test_the_table_is_whole() -> None:
    found = ROW.findall(PAGE.read_text())
    assert {area for area, *_ in found} == AREAS and len(found) >= 40
    assert max(Counter(fault for _, fault in rows()).values()) == 1


def test_every_row_is_executed_by_its_test_and_every_test_of_a_fault_has_its_row() -> None:
    wanted = set(rows())
    files = sorted(
        {test.partition("::")[0] for test, _ in wanted}
        | {
            str(path.relative_to(ROOT))
            for path in (ROOT / "tests").rglob("test_*.py")
            if "pytest.mark.fault(" in path.read_text() and path.name != Path(__file__).name
        }
    )
    listed = subprocess.run(
        [sys.executable, "-c", LIST, *files], cwd=ROOT, capture_output=True, text=True, check=False, timeout=600
    )
    code, found = json.loads(listed.stdout.splitlines()[-1])
    assert code == 0, listed.stdout[-2000:]
    marked = {(test, fault) for test, fault in found}
    assert marked - wanted == set(), "tests of faults without a row"
    assert wanted - marked == set(), "rows whose test does not exist, or does not say that it executes them"
