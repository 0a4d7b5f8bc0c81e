"""The back-test runs and tells its three tables; its figures are judged by a person, never here."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.deep
def test_it_runs() -> None:
    command = [sys.executable, "-m", "tests.bench", "forecast", "--quick"]
    told = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300).stdout
    for line in ("seasonal naive", "false a month", "slow_leak"):
        assert line in told
