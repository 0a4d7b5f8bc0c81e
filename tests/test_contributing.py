"""The worked examples of CONTRIBUTING.md are followed to the letter on a copy of the sources, and work there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.worked_example import follow, run


@pytest.fixture(scope="module")
def with_collector(open_state_dir: Path) -> Path:
    """A copy of the sources with the collector of the example, and the pages that `make docs` writes."""
    root = follow("collector", open_state_dir / "collector")
    run(root, "-m", "exporter.app.reference")
    return root


def test_a_collector_is_documented(with_collector: Path) -> None:
    page, readme = (with_collector / "docs" / "metrics.md").read_text(), (with_collector / "README.md").read_text()
    assert "## Prepared transactions\n\nSource: pg_prepared_xacts.\n" in page
    assert page.count("| `pg_prepared_transactions") == 2
    assert "| Prepared transactions | pg_prepared_xacts | 2 |" in readme
    listed = run(with_collector, "-m", "exporter", "metrics", "--format", "json")
    assert '"pg_prepared_transactions_oldest_age_seconds"' in listed


def test_a_collector_passes_its_own_test_and_those_of_all_collectors(with_collector: Path) -> None:
    tests = ["tests/collectors/postgres/test_prepared.py", "tests/collectors/postgres/test_query.py"]
    tests += ["tests/collectors/test_registry.py", "tests/test_docs.py"]
    told = run(with_collector, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not deep", *tests)
    assert "passed" in told
    assert "skipped" not in told, told


def test_a_price_component_is_priced_asked_for_and_told_by_name(open_state_dir: Path) -> None:
    root = follow("component", open_state_dir / "component")
    page = (root / "docs" / "metrics.md").read_text()
    run(root, "-m", "exporter.app.reference")
    assert (root / "docs" / "metrics.md").read_text() == page  # A component is a value of a label, not a series.
    ran = run(root, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not deep", "tests/exporter/pricing")
    assert "passed" in ran
    rates = json.loads(run(root, "-m", "exporter", "rates", "show", "--json"))
    assert "object_storage" in json.dumps(rates)
    asked = "from exporter.pricing.domain.components import USAGE_METRICS; print(*USAGE_METRICS['branches'])"
    assert "object_storage_bytes_month" in run(root, "-c", asked).split()


def test_an_alert_passes_the_gates_of_all_alerts(open_state_dir: Path) -> None:
    root = follow("alert", open_state_dir / "alert")
    for module in ("tests.alerts.unit_tests", "dashboards.kubernetes"):
        run(root, "-m", module)
    gates = ["tests/alerts/test_rules.py", "tests/alerts/test_runbooks.py", "tests/dashboards/test_kubernetes.py"]
    ran = run(root, "-m", "pytest", "-q", "-p", "no:cacheprovider", *gates)
    assert "NeonmeterConnectionsHigh" in (root / "alerts" / "tests" / "agent.test.yml").read_text()
    assert "passed" in ran


def test_a_posture_control_is_reported_and_passes_its_own_test_and_those_of_all_controls(open_state_dir: Path) -> None:
    root = follow("control", open_state_dir / "control")
    run(root, "-m", "exporter.app.reference")
    told = run(root, "-c", "from exporter.posture.catalogue import shipped; print(shipped().clauses('P71'))")
    assert "A.8.5" in told
    assert "IDM-09" in told
    tests = ["tests/exporter/posture/domain", "tests/exporter/posture/test_catalogue.py", "tests/test_docs.py"]
    ran = run(root, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not deep", *tests)
    assert "passed" in ran
