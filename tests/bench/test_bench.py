"""The benchmarks run and tell every line; their figures are judged by a person, never here."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.deep
@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("postgres_exporter", ("neonmeter, 20 statements a tenant", "neonmeter, every statement")),
        ("agent", ("start to the first /metrics", "RSS at", "large:25x10")),
        ("sleep", ("computes that nobody used: wakes", "bookshop/preview")),
    ],
)
def test_it_runs(name: str, lines: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "tests.bench", name, "--quick", "--seconds", "5"]
    told = subprocess.run(command, check=True, capture_output=True, text=True, timeout=200).stdout
    for line in lines:
        assert line in told


def test_an_unknown_name_is_refused() -> None:
    command = [sys.executable, "-m", "tests.bench", "nothing"]
    told = subprocess.run(command, check=False, capture_output=True, text=True)
    assert told.returncode == 2
    assert "there is no nothing" in told.stderr


def test_what_hangs_or_fails_is_named_and_the_run_ends_well() -> None:
    command = [sys.executable, "-m", "tests.bench", "sleep", "--quick", "--deadline", "0.5"]
    ended = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
    assert "MISSED:\n  sleep: not done within 0.5 s\n" in ended.stdout
