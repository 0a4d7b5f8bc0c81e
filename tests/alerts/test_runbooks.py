"""Every alert has a runbook; every command in it parses, every query is one, and every metric in it exists."""

from __future__ import annotations

import argparse
import contextlib
import io
import re
import shlex

import pytest

from exporter.commands.main import build_parser
from tests.alerts.rules import ALERTS, alerts
from tests.alerts.test_rules import metrics_of, real

pytestmark = pytest.mark.house
FOLDER = ALERTS / "runbooks"
by_name = pytest.mark.parametrize("name", alerts())
_FENCE = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)
_METRIC = re.compile(r"\b(?:neon|neonmeter|pg|pgbouncer)_[a-z_]+_(?:total|seconds|bytes|ratio|usd|info|usd_per_day)\b")


def text(name: str) -> str:
    return (FOLDER / f"{name}.md").read_text()


def blocks(name: str, kind: str) -> list[str]:
    return [block.strip() for language, block in _FENCE.findall(text(name)) if language == kind]


def test_one_each_and_no_other() -> None:
    assert {path.stem for path in FOLDER.glob("*.md")} == set(alerts())


@by_name
def test_its_parts(name: str) -> None:
    headings = re.findall(r"^#+ .*", text(name), re.MULTILINE)
    assert headings == [f"# {name}", "## Meaning", "## Impact", "## Diagnosis", "## Mitigation"]
    assert blocks(name, "sh") or blocks(name, "promql")


@by_name
def test_its_commands_parse(name: str) -> None:
    inline = re.findall(r"`(neonmeter [^`]+)`", text(name))
    for command in (line for block in [*blocks(name, "sh"), *inline] for line in block.splitlines()):
        words = shlex.split(command.replace("MONTH", "2026-10"))
        assert words[0] == "neonmeter"
        parser, menu = build_parser()
        with contextlib.redirect_stderr(io.StringIO()) as said:
            try:
                options = parser.parse_args(menu.completed(words[1:]))
            except SystemExit:
                pytest.fail(f"{command}: {said.getvalue()}")
        assert isinstance(options, argparse.Namespace)


@by_name
def test_its_queries_parse_and_name_real_metrics(name: str) -> None:
    for query in blocks(name, "promql"):
        for metric, labels in metrics_of(query):
            assert real(metric, labels), f"{metric} in {query}"


@by_name
def test_other_alerts_and_metrics_that_it_names_exist(name: str) -> None:
    prose = _FENCE.sub("", text(name))
    assert set(re.findall(r"\bNeon(?:meter)?[A-Z]\w+", prose)) <= set(alerts())
    for metric in _METRIC.findall(prose):
        assert real(metric, frozenset()), metric
    for page in re.findall(r"\bdocs/\w[\w.-]+\.(?:md|sql)\b", prose):
        assert page in KNOWN_PAGES or (ALERTS.parent / page).exists(), page


KNOWN_PAGES = {"docs/posture.md", "docs/recovery.md"}
"""Written by other parts of the project; the test of the documentation's links holds them."""
