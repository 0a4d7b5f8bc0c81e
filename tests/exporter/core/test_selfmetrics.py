"""The agent's own metrics: what is counted comes out under the names of the catalogue, well formed from the start."""

from __future__ import annotations

import os
import threading

import pytest

from collectors.base import Status
from collectors.metric import Kind, Scope, catalogue
from exporter.core import selfmetrics as own
from exporter.core.selfmetrics import AGENT, METRICS, CollectorHealth, SelfMetrics, collector_families
from exporter.serving.snapshot import SnapshotBuilder
from tests.exporter.serving.served import endpoint, plain
from tests.fix_prometheus import promtool_check


def test_every_declaration_is_in_the_catalogue_once() -> None:
    joined = catalogue(METRICS)
    declared = {value.name for value in vars(own).values() if isinstance(value, own.Metric)}
    assert declared == set(joined)
    assert all(name.startswith("neonmeter_") for name in joined)


def test_values_come_out_as_they_went_in() -> None:
    metrics = SelfMetrics()
    metrics.inc(own.SCRAPES, ("gzip",))
    metrics.inc(own.SCRAPES, ("gzip",), 2)
    metrics.set(own.SERIES, 12)
    metrics.set(own.ADDED_AWAKE, 5.0)
    metrics.set(own.ADDED_AWAKE, 7.5)
    metrics.observe(own.PUBLISH_SECONDS, 0.25)
    metrics.observe(own.PUBLISH_SECONDS, -1.0)
    metrics.replace(own.TARGETS, {("endpoint", "active"): 3, ("endpoint", "asleep"): 1})
    metrics.replace(own.TARGETS, {("endpoint", "active"): 2})
    families = metrics.families()
    assert families.get(own.SCRAPES) == {("gzip",): 3}
    assert families.get(own.SERIES) == {(): 12}
    assert families.get(own.ADDED_AWAKE) == {(): 7.5}
    assert families.get(own.PUBLISH_SECONDS) == {(): 0.25}
    assert families.get(own.TARGETS) == {("endpoint", "active"): 2}


def test_misuse_is_an_error() -> None:
    metrics = SelfMetrics()
    with pytest.raises(TypeError):
        metrics.inc(own.SERIES)
    with pytest.raises(ValueError, match="ounters"):
        metrics.set(own.PUBLISHES, -1)
    with pytest.raises(ValueError, match="label"):
        metrics.inc(own.SCRAPES, ("gzip", "more"))
    with pytest.raises(KeyError):
        metrics.set(own.COLLECTOR_ROWS, 1)


def test_the_process_is_read() -> None:
    families = SelfMetrics().families()
    assert families.get(own.RESIDENT)[()] > 10_000_000
    assert families.get(own.OPEN_FDS)[()] > 2
    assert families.get(own.START)[()] > 1e9
    assert families.get(own.CPU)[()] >= os.times().user / 2
    assert families.get(own.THREADS)[()] >= 1


def test_an_instant_that_never_was_is_absent() -> None:
    metrics = SelfMetrics()
    assert metrics.families().get(own.INVENTORY_LAST) == {}
    metrics.set(own.INVENTORY_LAST, 1.7e9)
    assert metrics.families().get(own.INVENTORY_LAST) == {(): 1.7e9}


def test_counting_from_many_threads_loses_nothing() -> None:
    metrics = SelfMetrics()

    def count() -> None:
        for _ in range(500):
            metrics.inc(own.API_REQUESTS, ("/projects", "200"))

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert metrics.families().get(own.API_REQUESTS) == {("/projects", "200"): 4000}


def test_collectors_are_told_per_target() -> None:
    target = endpoint(1)
    states = [
        CollectorHealth("statements", Status.OK, 1.7e9, 0.5, 12),
        CollectorHealth("replication", Status.NO_PRIVILEGE, None, 0.25, 0),
    ]
    families = collector_families(target.key, states)
    who = ("statements", target.key)
    assert families.get(own.COLLECTOR_LAST) == {who: 1.7e9}
    assert families.get(own.COLLECTOR_STATUS) == {
        (*who, "ok"): 1,
        ("replication", target.key, "no_privilege"): 1,
    }
    assert len(families.get(own.COLLECTOR_SECONDS)) == 2
    assert families.get(own.COLLECTOR_ROWS) == {who: 12}


def test_promtool_finds_nothing_to_say() -> None:
    metrics = SelfMetrics()
    for metric, held in metrics._held.items():
        labels = tuple("x" for _ in metric.labels)
        if metric.kind is Kind.COUNTER:
            metrics.inc(metric, labels)
        else:
            metrics.set(metric, 1, labels)
        assert held is not None
    builder = SnapshotBuilder()
    builder.put("agent", AGENT, metrics.families())
    target = endpoint(1)
    builder.put("health", AGENT, collector_families(target.key, [CollectorHealth("a", Status.OK, 1.7e9, 0.5, 12)]))
    text = plain(builder.publish(1.0))
    agent_wide = {metric.name for metric in METRICS if metric.scope is Scope.AGENT}
    assert {line.split()[2] for line in text.decode().splitlines() if line.startswith("# TYPE")} == agent_wide
    assert promtool_check(text) == ""
