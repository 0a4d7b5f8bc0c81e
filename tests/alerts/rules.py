"""The rule files read once: what the tests, the generator of unit tests and the gate ask about them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ALERTS = Path(__file__).resolve().parents[2] / "alerts"
WATCHDOG = "NeonWatchdog"
_DURATION = re.compile(r"(\d+)([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def seconds(text: str) -> int:
    """A duration of Prometheus in seconds: 1h30m is 5400."""
    return sum(int(number) * _SECONDS[unit] for number, unit in _DURATION.findall(text))


@dataclass(frozen=True)
class Rule:
    """One alert or recording rule as its file says."""

    name: str
    expr: str
    file: str
    holds: int = 0
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)
    alert: bool = True


@cache
def files() -> tuple[Path, ...]:
    """All rule files, but for the one of other exporters' names."""
    return tuple(sorted(path for path in ALERTS.glob("*.rules.yml") if path.name != "compatibility.rules.yml"))


def read(path: Path) -> Iterator[Rule]:
    """The rules of one file."""
    loaded: dict[str, Any] = yaml.safe_load(path.read_text())
    for group in loaded["groups"]:
        for rule in group["rules"]:
            yield Rule(
                rule.get("alert") or rule["record"], str(rule["expr"]), path.name, seconds(rule.get("for", "")),
                rule.get("labels", {}), rule.get("annotations", {}), "alert" in rule,
            )  # fmt: skip


@cache
def rules() -> tuple[Rule, ...]:
    """All rules in the order of the files."""
    return tuple(rule for path in files() for rule in read(path))


@cache
def alerts() -> dict[str, Rule]:
    """Alerts by name."""
    found = [rule for rule in rules() if rule.alert]
    assert len({rule.name for rule in found}) == len(found), "two alerts of one name"
    return {rule.name: rule for rule in found}


@cache
def recorded() -> frozenset[str]:
    """Names of the recording rules."""
    return frozenset(rule.name for rule in rules() if not rule.alert)
