"""What is generated is up to date, and no page names a metric, a setting or a file that does not exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from collectors.metric import Kind, Metric, Scope, Unit
from exporter.app import reference
from exporter.app.catalog import CATALOG
from exporter.app.settings import Settings

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])

# Neon exports these itself: a series of ours under such a name would mix with theirs in a customer's Prometheus.
NEONS_OWN = re.compile(
    r"neon_(connection_counts|db_total_size|lfc_.*|max_cluster_size|pg_stats_userdb|pgbouncer_.*"
    r"|replication_delay_(bytes|seconds)|getpage_.*|compute_.*)\Z"
)
NAME = re.compile(r"`((?:pg|pgbouncer|neon|neonmeter)_[a-z0-9_]+)(?:\{[^`]*\})?`")
EXAMPLES = {"pg_prepared_transactions", "pg_prepared_transactions_oldest_age_seconds"}
SQL_NAMES = re.compile(
    r"pg_(stat_[a-z_]+|monitor|dump|recvlogical|database_size|settings|locks|database|prepared_xacts)\Z"
)


@pytest.mark.house
@pytest.mark.parametrize("page", reference.pages(ROOT), ids=lambda path: path.name)
def test_generated_pages_are_up_to_date(page: Path) -> None:
    assert page.read_text() == reference.pages(ROOT)[page], "run `make docs`"


@pytest.mark.house
@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_pages_name_only_metrics_that_exist(page: Path) -> None:
    labels = {label for metric in CATALOG.values() for label in metric.all_labels}
    known = {*CATALOG, *EXAMPLES, *labels}
    assert not {name for name in NAME.findall(page.read_text()) if name not in known and not SQL_NAMES.match(name)}


@pytest.mark.house
@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target


@pytest.mark.house
def test_pages_name_only_settings_that_exist() -> None:
    sections = set(Settings.model_fields)
    for page in PAGES:
        for section, key in re.findall(r"`([a-z]+)\.([a-z_]+)`", page.read_text()):
            if section in sections and key != "py":
                model = type(Settings.model_fields[section].get_default(call_default_factory=True))
                assert key in getattr(model, "model_fields", {key: None}), f"{page.name}: {section}.{key}"


@pytest.mark.house
def test_no_name_is_one_of_neons_own_export() -> None:
    assert not [name for name in CATALOG if NEONS_OWN.match(name)]


@pytest.mark.house
def test_labels_are_a_closed_vocabulary() -> None:
    """A new label is a decision: it is added here with the metric that needs it."""
    labels = {label for metric in CATALOG.values() for label in metric.all_labels}
    assert len(labels) < 100
    assert not labels & {"query", "dsn", "password", "message", "error", "ip", "client_addr"}


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("foo_bar", {}, "prefixes"),
        ("neon_things_total", {}, "_total belongs on counters"),
        ("neon_things", {"kind": Kind.COUNTER}, "_total belongs on counters"),
        ("neon_wait", {"unit": Unit.SECONDS}, "must end in _seconds"),
        ("neon_wait_seconds", {"unit": Unit.SECONDS, "help": "No stop"}, "full stop"),
        ("neon_things", {"labels": ("Bad-Label",)}, "malformed"),
        ("neon_things", {"labels": ("org_id",), "scope": Scope.ORG}, "twice"),
        ("neon_things", {"durable": True}, "only a counter"),
        ("neon_things", {"worse": "left"}, "worse is"),
    ],
)
def test_a_badly_declared_metric_is_refused_where_it_is_written(
    name: str, options: dict[str, object], says: str
) -> None:
    fields: dict[str, object] = {
        "kind": Kind.GAUGE,
        "unit": Unit.NONE,
        "scope": Scope.AGENT,
        "help": "Help.",
        **options,
    }
    with pytest.raises(ValueError, match=says):
        Metric(name, **fields)  # type: ignore[arg-type]
