"""The example of Alertmanager's settings: taken by its own tools, every route reached, and inhibition that is safe."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.alerts.rules import ALERTS
from tests.fix_prometheus import binary

CONFIG = ALERTS / "alertmanager.example.yml"
ROUTES = ALERTS / "tests" / "routes.yml"


def amlint(*arguments: str) -> str:
    if importlib.util.find_spec("amlint") is None:
        pytest.skip("amlint is not installed")
    program = Path(sys.executable).with_name("amlint")
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_amtool_takes_it() -> None:
    done = subprocess.run([binary("amtool"), "check-config", str(CONFIG)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_amlint_has_no_warning() -> None:
    assert amlint("check", "--strict", "--rules", str(ALERTS / "*.rules.yml"), str(CONFIG)) == ""


def test_every_route_is_reached_by_a_case() -> None:
    assert amlint("test", str(CONFIG), str(ROUTES), "--coverage", "--fail-under", "100") == ""


def test_a_wrong_case_is_told(tmp_path: Path) -> None:
    cases = yaml.safe_load(ROUTES.read_text())
    inhibited = next(case for case in cases if case.get("inhibited"))
    (tmp_path / "routes.yml").write_text(yaml.safe_dump([inhibited | {"inhibited": False}]))
    assert amlint("test", str(CONFIG), str(tmp_path / "routes.yml")) != ""


def test_no_route_falls_through() -> None:
    def walk(route: dict) -> None:  # type: ignore[type-arg]
        assert not route.get("continue")
        for child in route.get("routes", ()):
            walk(child)

    config = yaml.safe_load(CONFIG.read_text())
    walk(config["route"])
    assert config["route"]["receiver"].startswith("eu-"), "what nobody routed stays in the EU"
    first = config["route"]["routes"][1]
    assert first["matchers"] == ['data_residency=~"eu|unknown"'], "after the watchdog, the EU comes first"


def test_inhibition_never_matches_by_missing_labels() -> None:
    for rule in yaml.safe_load(CONFIG.read_text())["inhibit_rules"]:
        present = {matcher.split("=~")[0] for matcher in rule["source_matchers"] if matcher.endswith('=~".+"')}
        assert present & set(rule["equal"]), rule
