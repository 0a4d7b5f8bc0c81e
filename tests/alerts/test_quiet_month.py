"""A month in which nothing is wrong pages nobody: every rule evaluated every five minutes by promtool's own engine."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.alerts import quiet
from tests.alerts.rules import WATCHDOG, files
from tests.alerts.scenes import values
from tests.fix_prometheus import binary


def evaluated(folder: Path, series: quiet.Series, steps: int) -> str:
    """What promtool says about the first so many steps; empty when no alert but the watchdog fired in them."""
    fired = f'count by (alertname) (count_over_time(ALERTS{{alertstate="firing",alertname!="{WATCHDOG}"}}[40d]))'
    waited = f'ALERTS{{alertstate="firing",alertname="{WATCHDOG}"}}'
    end = f"{steps * 5}m"
    document = {
        "rule_files": [str(path) for path in files()],
        "evaluation_interval": "5m",
        "tests": [{
            "interval": "5m",
            "input_series": [
                {"series": name, "values": quiet.notation(points[:steps])} for name, points in series.items()
            ],
            "promql_expr_test": [
                {"expr": fired, "eval_time": end},
                {"expr": f"count(count_over_time({waited}[40d]) >= bool {steps - 1})", "eval_time": end,
                 "exp_samples": [{"labels": "{}", "value": 1}]},
            ],
        }],
    }  # fmt: skip
    (folder / "month.test.yml").write_text(json.dumps(document))
    done = subprocess.run(
        [binary("promtool"), "test", "rules", "month.test.yml"], cwd=folder, capture_output=True, text=True, check=False
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_the_notation_reads_back() -> None:
    points = [1.0, 1.0, None, None, None, 2.5, 0.0, 0.0, 0.0, None]
    assert list(values(quiet.notation(points))) == points


def test_a_quiet_day(tmp_path: Path) -> None:
    assert evaluated(tmp_path, quiet.month(), 288) == ""


def test_a_fault_in_it_would_be_told(tmp_path: Path) -> None:
    series = quiet.month()
    lock = next(name for name in series if name.startswith("pg_locks_longest_wait") and "production" in name)
    assert "NeonLockWaitLong" in evaluated(tmp_path, series | {lock: [120.0] * quiet.STEPS}, 12)


@pytest.mark.deep
def test_a_quiet_month(tmp_path: Path) -> None:
    assert evaluated(tmp_path, quiet.month(), quiet.STEPS) == ""
