"""The command line's own manners: what it refuses, and how."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from exporter.commands.main import main
from exporter.documents.terminal import seconds, size, table


def test_a_stranger_called_collectors_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "collectors").mkdir()
    (tmp_path / "collectors" / "__init__.py").write_text("")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); "
        "from exporter.commands.entry import main; sys.argv[1:] = ['version']; sys.exit(main())"
    )
    told = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert told.returncode == 2
    assert told.stderr.count("\n") == 1
    assert "an environment of its own" in told.stderr


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version"]) == 0
    assert capsys.readouterr().out.startswith("neonmeter ")


def test_importing_the_command_line_is_cheap() -> None:
    """`version` and `healthcheck` run every few seconds in containers: no library may come along."""
    heavy = "{'httpx','jinja2','psycopg','pydantic','yaml'}"
    code = f"import sys, exporter.commands.main; print(sorted(m for m in sys.modules if m in {heavy}))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


def test_a_table_aligns_numbers_to_the_right() -> None:
    text = table(("name", "cost"), [("a", "$1.50"), ("long name", "$12.00"), ("none", None)])
    assert text.splitlines() == ["name         cost", "---------  ------", "a           $1.50", "long name  $12.00",
                                 "none            -"]  # fmt: skip


@pytest.mark.parametrize(
    ("value", "text"), [(None, "-"), (0.4, "0s"), (59, "59s"), (61, "1m 01s"), (3661, "1h 01m"), (90061, "1d 01h")]
)
def test_durations_are_told_in_two_units(value: float | None, text: str) -> None:
    assert seconds(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(None, "-"), (0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (2e12, "2.0 TB")]
)
def test_sizes_are_decimal_as_neon_bills_them(value: float | None, text: str) -> None:
    assert size(value) == text
