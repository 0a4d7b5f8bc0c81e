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


@pytest.mark.deep
def test_other_servers_are_skipped_with_a_line_or_measured() -> None:
    command = [sys.executable, "-m", "tests.bench", "serving-libraries", "--targets", "20", "--rounds", "1"]
    command += ["--requests", "3", "--clients", "20", "--seconds", "2"]
    output = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300).stdout
    for name in ("ours", "cheroot", "uvicorn", "granian"):
        assert any(line.startswith((name, f"skipped: {name}")) for line in output.splitlines()), output
    assert "0 of" in output
    assert "head dripping" in output
