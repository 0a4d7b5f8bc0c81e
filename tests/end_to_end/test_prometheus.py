"""A real Prometheus scrapes an agent of a demo world: everything that the catalogue promises arrives, and nothing else.

The world is the demo's, with what a quiet one lacks played on top: a suspend and a wake, a lock queue, an open
transaction, a slot that nobody reads, a limited database, a project with quotas. What it still
cannot show is listed here with the reason.
"""

from __future__ import annotations

import contextlib
import http.client
import re
import threading
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import psycopg
import pytest
from prometheus_client.parser import text_string_to_metric_families

from collectors.metric import Kind
from collectors.pgbouncer import console as pgbouncer
from collectors.registry import ALL
from exporter.app.catalog import CATALOG
from exporter.demo.pooler import find_pgbouncer
from exporter.demo.twin import Twin, TwinSettings
from tests.fix_agent import Agent
from tests.fix_prometheus import Prometheus, PrometheusFactory, promtool_check
from tests.fix_twin_world import app_dsn, wait_for

NOT_SHOWN = {
    "neon_project_storage_bytes": "the twin does not model synthetic_storage_size",
    "neon_branch_active_seconds_total": "the twin leaves active_time_seconds at 0, as Neon does on paid plans",
    "neon_org_projects_limit": "the organisation of the world is not on the Free plan",
    "neon_branch_expires_timestamp_seconds": "no branch of the world expires",
    "neon_branch_last_reset_timestamp_seconds": "no branch of the world was reset to its parent",
    "neon_project_failed_operations_total": "every operation of the twin succeeds",
    "neon_pricing_unknown": "the rate card has a price for everything in the world",
    "neonmeter_series_truncated": "nothing has too many series",
    "neon_cost_closed_month_timestamp_seconds": "no month was closed",
    "neon_cost_reconciliation_variance_usd": "no month was closed",
    "neon_tenant_schemas": "no rule of this world goes by schema",
    "neon_tenant_schema_drift_objects": "no rule of this world goes by schema",
    "neon_offsite_backup_age_seconds": "no bucket is configured",
    "neon_tenant_key_age_seconds": "no key store is configured",
    **{
        name: "nothing was promised and nothing drilled" for name in CATALOG if re.match("neon_drill_(last|r.o)_", name)
    },
    **{name: "no migration tool was at work here" for name in CATALOG if name.startswith("neon_migrations_")},
}
"""Families that this world cannot show, and why: one that does appear must leave this list."""
MAY_BE_SHOWN = {
    "neon_branch_compute_unit_seconds_total": "0 is not shown, and a branch may be read again only after five minutes",
    "neon_tenant_cost_adjustments_usd_total": "only when the growing hour moved a cost between tenants",
    "neon_tenant_posture_findings": "needs a second scan, which knows the tenant of each schema",
    "neon_tenant_posture_score_ratio": "needs a second scan, which knows the tenant of each schema",
    "neonmeter_excess_privilege": "needs a scan of the user databases",
    "neon_branch_snapshots": "snapshots are read once an hour",
    "neon_snapshot_age_seconds": "snapshots are read once an hour, and not every world has one",
    "neon_schema_scan_stale": "needs a scan that brought nothing",
    "neon_schema_scan_errors_total": "needs a scan that brought nothing",
    "neon_settings_drift_objects": "the branches have the same settings, unless another test changed one",
    "neon_budget_info": "the spending limit of the world is read once an hour",
    "neon_budget_usd": "the spending limit of the world is read once an hour",
    "neon_budget_spent_usd": "the spending limit of the world is read once an hour",
    "neon_budget_expected_usd": "the spending limit of the world is read once an hour",
    "neon_budget_burn_rate_ratio": "needs whole hours of the month",
    "neon_budget_forecast_usd": "needs usage of the month",
    "neon_budget_exhaustion_timestamp_seconds": "the limit of the world lasts the month",
    "neon_cost_forecast_usd": "needs a whole day of usage",
    "neon_project_cost_forecast_usd": "needs a whole day of usage",
    "neon_cost_forecast_error_ratio": "needs weeks of usage",
    "neon_cost_forecast_coverage_ratio": "needs weeks of usage",
    "neon_cost_forecast_low_confidence": "needs a whole day of usage",
    "neon_cost_anomaly_active": "needs weeks of usage",
    "neon_cost_anomaly_impact_usd": "needs weeks of usage",
    "neon_waste_usd": "needs a finding: a branch without an expiry is one, if it lives long enough to be priced",
    "neon_finops_tag_compliance_ratio": "no tags are required in this world",
    "neon_finops_forecast_accuracy_ratio": "needs a whole month",
    "neon_finops_anomaly_cost_ratio": "needs days of usage",
    "neon_finops_waste_ratio": "needs a cost above nothing",
    "neon_history_day_usd": "needs restore history that costs something",
    "neon_cost_hourly_run_rate_usd": "only of whole hours, so it depends on when the test runs",
    "neon_endpoint_kept_awake_usd_per_day": "needs a whole hour with a price",
    "neonmeter_endpoint_added_awake_usd_total": "needs a visit whose awake time is settled and priced",
    "pgbouncer_stats_totals_server_assignments_total": "PgBouncer 1.23 and later",
    "pgbouncer_stats_totals_client_parses_total": "PgBouncer 1.24 and later",
    "pgbouncer_stats_totals_server_parses_total": "PgBouncer 1.24 and later",
    "pgbouncer_stats_totals_binds_total": "PgBouncer 1.24 and later",
    "pgbouncer_databases_max_client_connections": "PgBouncer 1.24 and later",
    "pgbouncer_databases_current_client_connections": "PgBouncer 1.24 and later",
    "pgbouncer_config_max_prepared_statements": "PgBouncer 1.21 and later",
}
"""Families that depend on the machine or the hour."""
POOLED = [metric.name for metric in pgbouncer.METRICS]
SHOWN_SECONDS = 400


@dataclass(frozen=True)
class Scrape:
    """One answer on /metrics, as a scraper that takes plain text gets it."""

    generation: int
    text: str
    series: dict[tuple[str, tuple[tuple[str, str], ...]], float] = field(default_factory=dict)


def scrape(agent: Agent) -> Scrape:
    connection = http.client.HTTPConnection(agent.url.removeprefix("http://"), timeout=30)
    try:
        connection.request("GET", "/metrics")
        answer = connection.getresponse()
        assert answer.status == 200
        made = Scrape(int(answer.headers["X-Neonmeter-Generation"]), answer.read().decode())
    finally:
        connection.close()
    for family in text_string_to_metric_families(made.text):
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in made.series, f"{key} is there twice"
            made.series[key] = sample.value
    return made


@contextlib.contextmanager
def waiting(dsn: str) -> Iterator[None]:
    """A session that waits for a lock which another one holds in a transaction that it forgot."""
    with psycopg.connect(dsn) as holder, psycopg.connect(dsn, autocommit=True) as waiter:
        holder.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        holder.execute("SELECT count(*), pg_advisory_xact_lock(1) FROM customers")

        def wait() -> None:
            with contextlib.suppress(psycopg.Error):
                waiter.execute("SELECT pg_advisory_lock(1)")

        thread = threading.Thread(target=wait)
        thread.start()
        try:
            yield
        finally:
            holder.rollback()
            thread.join()


@pytest.fixture(scope="module")
def twin(open_state_dir: Path) -> Iterator[Twin]:
    settings = TwinSettings(postgres={"max_slot_wal_keep_size": "1GB"})
    with Twin("small", open_state_dir / "prometheus", settings=settings) as twin:
        bookshop = twin.world.projects[twin.compute("bookshop", "main").endpoint.project_id]
        bookshop.quota = {"compute_time_seconds": 360_000, "logical_size_bytes": 1000}  # one to spare, one used up
        yield twin


@pytest.fixture(scope="module")
def agent(twin: Twin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    settings = twin.agent_settings()
    settings["sampling"]["collectors"] = {name: {"interval_seconds": 2} for name in ALL}
    agent = Agent(settings, tmp_path_factory.mktemp("agent")).start()
    yield agent
    assert agent.stop() == 0


@pytest.fixture(scope="module")
def server(agent: Agent, prometheus_of: PrometheusFactory) -> Iterator[Prometheus]:
    with prometheus_of(agent.url.removeprefix("http://")) as server:
        yield server


@pytest.fixture(scope="module")
def played(twin: Twin, agent: Agent) -> Iterator[None]:
    """What the demo's world lacks for the rest of the catalogue."""
    main = twin.compute("bookshop", "main")
    with psycopg.connect(main.cluster.conninfo(), autocommit=True) as admin:
        admin.execute("ALTER DATABASE app CONNECTION LIMIT 50")
        admin.execute("SELECT pg_create_physical_replication_slot('forgotten', true)")
    twin.compute("analytics", "dev").suspend()  # Its tenant wakes it again.
    twin.compute("bookshop", "staging").suspend()
    request = urllib.request.Request(f"{agent.url}/-/reload", method="POST")
    with urllib.request.urlopen(request, timeout=300) as answer:
        assert answer.status == 200
    with waiting(app_dsn(twin, main, "acme", name="a-migration")):
        yield


def missing(server: Prometheus) -> set[str]:
    """Families of the catalogue without a sample."""
    return set(CATALOG) - {str(entry["metric"]["__name__"]) for entry in server.query('{job="neonmeter"}')}  # type: ignore[index]


def test_every_family_that_can_be_shown_is(server: Prometheus, played: None) -> None:
    server.wait("up", lambda value: value == 1)
    absent = dict(NOT_SHOWN) if find_pgbouncer() else NOT_SHOWN | dict.fromkeys(POOLED, "PgBouncer is not installed")
    wait_for(lambda: missing(server) <= absent.keys() | MAY_BE_SHOWN.keys(), SHOWN_SECONDS)
    without = missing(server)
    assert sorted(without - absent.keys() - MAY_BE_SHOWN.keys()) == [], "nothing in Prometheus, and no reason here"
    assert sorted(absent.keys() - without) == [], "it is in Prometheus: take it off the list"
    server.wait("up", lambda value: value == 1)
    assert server.value("scrape_samples_scraped - scrape_samples_post_metric_relabeling") == 0


def test_promtool_has_nothing_to_say(agent: Agent, played: None) -> None:
    assert promtool_check(scrape(agent).text.encode()) == ""


def test_scrapes_are_whole_generations_and_no_counter_goes_back(agent: Agent, played: None) -> None:
    scrapes = [scrape(agent)]
    until, at_most = time.monotonic() + 15, time.monotonic() + 180
    while (now := time.monotonic()) < until or (now < at_most and scrapes[-1].generation == scrapes[0].generation):
        time.sleep(0.7)
        scrapes.append(scrape(agent))
    assert scrapes[-1].generation > scrapes[0].generation
    for entry in scrapes:
        assert entry.series["neonmeter_publish_generation", ()] == entry.generation, "a page of one generation"
    for before, after in pairwise(scrapes):
        assert after.generation >= before.generation
        if after.generation == before.generation:
            assert after.text == before.text
        for key, value in before.series.items():
            if CATALOG[key[0]].kind is Kind.COUNTER:
                assert after.series.get(key, -1.0) >= value, f"{key} went from {value} to {after.series.get(key)}"


def test_the_vocabulary_is_closed_and_series_are_bounded(agent: Agent, played: None) -> None:
    counts: dict[tuple[str, tuple[str, ...]], int] = defaultdict(int)
    for name, labels in scrape(agent).series:
        metric = CATALOG[name]
        assert {label for label, _ in labels} == set(metric.all_labels), name
        target = tuple(value for label, value in labels if label in metric.scope.value)
        counts[name, target] += 1
    for (name, target), count in counts.items():
        assert count <= CATALOG[name].max_series, f"{name} of {target}"


def test_what_it_measures_is_what_happened(twin: Twin, agent: Agent, played: None) -> None:
    """A few figures that the world knows, as a person would check them."""
    assert agent.sum("neonmeter_endpoint_caused_wakes_total") == 0
    assert not twin.truth.wakes("neonmeter")
    ids = {compute.endpoint.id for compute in twin.computes.values()}
    shown = {dict(labels)["endpoint_id"] for labels in agent.samples()["neon_endpoint_info"]}
    assert shown == ids
    agent.until(lambda agent: agent.sum("neon_tenant_calls_total", tenant="acme") > 0)
    assert agent.sum("neon_tenant_calls_total", tenant="acme") <= twin.workload.done["acme"]
