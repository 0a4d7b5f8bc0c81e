"""The gate of the alerts: `python -m tests.gates.alerts` (make alerts) runs it in order and prints what it checked.

`--long` adds the bad month (every fault through a real Prometheus and Alertmanager) and the quiet month.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from pathlib import Path

import yaml

from tests.alerts.rules import ALERTS, alerts, files, rules
from tests.alerts.unit_tests import written

ROOT = ALERTS.parent
CONFIG = ALERTS / "alertmanager.example.yml"
ROUTES = ALERTS / "tests" / "routes.yml"


def run(*command: str) -> str:
    """The output of a program.

    Raises:
        SystemExit: it failed; its output is printed first.
    """
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        print(done.stdout + done.stderr)
        raise SystemExit(f"FAILED: {' '.join(command)[:200]}")
    return done.stdout + done.stderr


def tool(name: str) -> str:
    """The path of a tool of ours (in the venv) or of Debian's.

    Raises:
        SystemExit: it is not installed.
    """
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise SystemExit(f"{name} is not installed: apt-get install prometheus prometheus-alertmanager; pip: amlint")
    return found


def check_rules() -> str:
    """promtool on every file."""
    run(tool("promtool"), "check", "rules", "--lint-fatal", *(str(path) for path in ALERTS.glob("*.rules.yml")))
    counted = len(alerts())
    return f"{counted} alerts and {len(rules()) - counted} recording rules in {len(files())} files, and compatibility"


def unit_tests() -> str:
    """promtool's unit tests: a firing case of every alert, and silent ones."""
    for path, text in written().items():
        if path.read_text() != text:
            raise SystemExit(f"{path} is not that of its cases: python -m tests.alerts.unit_tests")
    paths = [str(path) for path in sorted(written())]
    run(tool("promtool"), "test", "rules", *paths)
    names = [test["name"] for text in written().values() for test in yaml.safe_load(text)["tests"]]
    fire = sum(name.endswith(" fires") for name in names)
    return f"{len(names)} unit tests: {fire} fire, {len(names) - fire} stay silent"


def check_routes() -> str:
    """amtool and amlint on the routes, with cases for each."""
    run(tool("amtool"), "check-config", str(CONFIG))
    cases = yaml.safe_load(ROUTES.read_text())
    for case in cases:
        if "expect" in case:
            labels = [f"{key}={value}" for key, value in case["labels"].items()]
            receivers = ",".join(case["expect"])
            run(tool("amtool"), "config", "routes", "test", f"--config.file={CONFIG}",
                f"--verify.receivers={receivers}", *labels)  # fmt: skip
    run(tool("amlint"), "check", "--strict", "--rules", str(ALERTS / "*.rules.yml"), str(CONFIG))
    said = run(tool("amlint"), "test", str(CONFIG), str(ROUTES), "--coverage", "--fail-under", "100")
    coverage = next(line.strip() for line in said.splitlines() if "Route coverage" in line)
    return f"{len(cases)} cases of routes and inhibition; {' '.join(coverage.split())}"


def pytests(*selection: str) -> str:
    """Our own tests; their last line."""
    said = run(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *selection)
    return said.strip().splitlines()[-1]


def exposition() -> str:
    """promtool on what a real agent shows; the end-to-end test does it with everything played."""
    return pytests("tests/end_to_end/test_prometheus.py", "-k", "promtool")


def main() -> int:
    """Run the gate; 0 when all is well."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--long", action="store_true", help="also the bad month and the quiet month")
    options = parser.parse_args()
    parts = [
        ("rules", check_rules),
        ("unit tests", unit_tests),
        ("metrics of a real agent", exposition),
        ("routes", check_routes),
        ("house rules, runbooks, links", lambda: pytests("tests/alerts", "-m", "not deep")),
    ]
    if options.long:
        deep = ("-m", "deep")
        parts.append(("bad month", lambda: pytests("tests/alerts/test_bad_month.py", *deep)))
        parts.append(("quiet month", lambda: pytests("tests/alerts/test_quiet_month.py", *deep)))
    for title, part in parts:
        began = time.monotonic()
        print(f"{title:30} {part()} ({time.monotonic() - began:.0f} s)", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
