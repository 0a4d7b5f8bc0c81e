"""The benchmark of the money runs, at toy sizes, and tells every figure; they are judged by a person, never here."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.deep
def test_it_runs() -> None:
    command = [sys.executable, "-m", "tests.bench", "finops", "--sizes", "3,6"]
    told = subprocess.run(command, check=True, capture_output=True, text=True, timeout=200).stdout
    for line in ("price and allocate, first pass s", "peak after pricing MB", "6 : 3"):
        assert line in told
