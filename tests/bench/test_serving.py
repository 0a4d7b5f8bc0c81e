"""The serving benchmark runs and prints every line; its figures are judged by a person, never here."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.deep
def test_it_runs() -> None:
    command = [sys.executable, "-m", "tests.bench.serving", "--targets", "20", "--requests", "5"]
    told = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout
    for line in (
        "plain, at rest",
        "gzip, collecting flat out",
        "publish after one target",
        "us a series",
        "100,000 series",
    ):
        assert line in told
