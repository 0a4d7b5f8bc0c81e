"""From alerts/tests/*.cases.yml to promtool's unit tests: `python -m tests.alerts.unit_tests` writes *.test.yml.

A case names only what matters: the series that make an alert fire, and those that must not. The world around it (one
awake compute of an EU project) and the bookkeeping of promtool are added here. A test loads the rules of its own file
and the recording rules, so a firing case also says that nothing else of its kind fires; the bad month says it of all.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import yaml

from tests.alerts.rules import ALERTS, WATCHDOG, Rule, alerts, seconds

FOLDER = ALERTS / "tests"
_JOB = 'job="neonmeter",instance="a:9719"'
MACROS = {
    "J": _JOB,
    "P": f'{_JOB},project_id="p1"',
    "B": f'{_JOB},project_id="p1",branch_id="br1"',
    **{
        f"E{number}": f'{_JOB},project_id="p1",branch_id="br1",endpoint_id="ep{number or 1}"'
        for number in ("", 2, 3, 4)
    },
    "L": f'{_JOB},pooler="pooler-1",database="app",user="web"',
}
WORLD = {
    "up{J}": "1",
    'neon_project_info{P,project="shop",region_id="aws-eu-central-1"}': "1",
    'neon_branch_info{B,branch="main",role="default"}': "1",
    'neon_endpoint_info{E,endpoint="main"}': "1",
    'neon_endpoint_state{E,state="active"}': "1",
    "neon_endpoint_suspend_timeout_seconds{E}": "300",
    "pg_up{E}": "1",
}
"""What is there unless a case says otherwise."""
HEADER = "# Written by `python -m tests.alerts.unit_tests` from the *.cases.yml beside it.\n"
_FIRING = f'ALERTS{{alertname!="{WATCHDOG}",alertstate="firing"}}'


def expand(series: str) -> str:
    """``pg_up{E}`` with all its labels."""
    return re.sub(r"\{(J|P|B|E\d?|L)(?=[,}])", lambda found: "{" + MACROS[found[1]], series)


def _length(duration: int) -> str:
    return f"{math.ceil(duration / 60)}m"


def _series(given: dict[str, Any], steps: int) -> list[dict[str, str]]:
    whole = {series: f"{value}x{steps}" for series, value in WORLD.items()} | given
    return [{"series": expand(series), "values": str(values)} for series, values in whole.items()]


def _fires(rule: Rule, name: str, labels: dict[str, Any]) -> dict[str, Any]:
    """The sample that a firing alert must leave: who, how urgent, whose data, which project."""
    wanted = {"alertname": name, "severity": rule.labels["severity"]}
    residency = labels.get("residency") or rule.labels.get("data_residency") or "eu"
    wanted["data_residency"] = residency
    if "data_residency" not in rule.labels:
        wanted["project_id"] = "p1"
    return {"labels": "{" + ",".join(f'{key}="{value}"' for key, value in wanted.items()) + "}", "value": 1}


def tests_of(name: str, case: dict[str, Any]) -> list[dict[str, Any]]:
    """The firing test of one alert, and its silent ones."""
    rule = alerts()[name]
    step = case.get("step", "1m")
    usual = _length(rule.holds + 600)
    made = []
    firing = case["firing"]
    at = firing.get("at", usual)
    expected = [] if name == WATCHDOG else firing.get("alerts", [name])
    made.append({
        "name": f"{name} fires",
        "interval": step,
        "input_series": _series(firing["series"], seconds(at) // seconds(step) + 2),
        "promql_expr_test": [{
            "expr": f"count by (alertname, severity, data_residency, project_id) ({_FIRING})",
            "eval_time": at,
            "exp_samples": [_fires(alerts()[entry], entry, firing) for entry in expected],
        }],
    })  # fmt: skip
    if name == WATCHDOG:
        made[0]["promql_expr_test"][0] |= {
            "expr": f'count(ALERTS{{alertname="{WATCHDOG}",alertstate="firing"}})',
            "exp_samples": [{"labels": "{}", "value": 1}],
        }
    for silent in case.get("silent", []):
        until = silent.get("at", firing.get("at", usual))
        made.append({
            "name": f"{name} is silent: {silent['why']}",
            "interval": step,
            "input_series": _series(silent["series"], seconds(until) // seconds(step) + 2),
            "promql_expr_test": [{
                "expr": f'count_over_time(ALERTS{{alertname="{name}",alertstate="firing"}}[{until}])',
                "eval_time": until,
            }],
        })  # fmt: skip
    return made


def cases(path: Path) -> dict[str, Any]:
    """The cases of one file by alert."""
    loaded: dict[str, Any] = yaml.safe_load(path.read_text())
    return loaded


def test_file(theme: str, found: dict[str, Any], step: str) -> str:
    """The text of promtool's file for the cases of one step: promtool evaluates a whole file at one interval."""
    document = {
        "rule_files": ["../recording.rules.yml", f"../{theme}.rules.yml"],
        "evaluation_interval": step,
        "tests": [test for name, case in found.items() for test in tests_of(name, case)],
    }
    return HEADER + yaml.safe_dump(document, sort_keys=False, width=160, allow_unicode=True)


def written() -> dict[Path, str]:
    """Every test file with the text that it must have: minutes in one, steps of five (for days) in another."""
    made = {}
    for path in sorted(FOLDER.glob("*.cases.yml")):
        for step, suffix in (("1m", ".test.yml"), ("5m", ".long.test.yml")):
            found = {name: case for name, case in cases(path).items() if case.get("step", "1m") == step}
            if found:
                made[path.with_name(path.name.replace(".cases.yml", suffix))] = test_file(
                    path.name.removesuffix(".cases.yml"), found, step
                )
    return made


if __name__ == "__main__":
    for stale in FOLDER.glob("*.test.yml"):
        stale.unlink()
    for target, text in written().items():
        target.write_text(text)
