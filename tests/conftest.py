"""Real services come as plugins, one file each; a test names the service it needs."""

import os

import pytest
from hypothesis import settings

# Never a deadline: a slow machine is no failure. `make test` tries the same examples every time, so that it cannot fail
# by luck; the random search is that of `make test-all`.
settings.register_profile("neonmeter", deadline=None, derandomize=True, database=None)
settings.register_profile("search", deadline=None, max_examples=300, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "neonmeter"))

pytest_plugins = [
    "tests.fix_postgres",
    "tests.fix_pgbouncer",
    "tests.fix_prometheus",
    "tests.fix_twin",
    "tests.fix_twin_world",
    "tests.fix_agent",
    "tests.fix_clock",
    "tests.fix_openbao",
    "tests.fix_s3",
]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How many tests were of behaviour, and how many hold a rule about the files of the source tree."""
    house: dict[str, bool] = {}
    for outcome in ("passed", "failed", "error", "skipped", "xfailed", "xpassed"):
        for report in terminalreporter.getreports(outcome):
            if isinstance(report, pytest.TestReport):
                house[report.nodeid] = "house" in report.keywords
    rules = sum(house.values())
    terminalreporter.write_line(f"behaviour: {len(house) - rules} tests, house rules: {rules} tests")
