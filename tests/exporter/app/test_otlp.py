"""OpenTelemetry out, against a real HTTP receiver that reads the protobuf; and what happens without the extra."""

from __future__ import annotations

import contextlib
import gzip
import subprocess
import sys
import threading
from collections.abc import Iterator
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

pytest.importorskip("opentelemetry.sdk", reason="the extra otlp is not installed")

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from collectors.base import Target
from collectors.metric import Families, Scope
from exporter.app import otlp
from exporter.app.otlp import Otlp, OtlpSettings
from exporter.core import tracing
from tests.exporter.serving.served import CALLS, COST, SIZE, endpoint, families


class Receiver:
    """An OTLP/HTTP endpoint: keeps what it was sent; answers with ``status``."""

    def __init__(self) -> None:
        self.status = 200
        self.traces: list[ExportTraceServiceRequest] = []
        self.metrics: list[ExportMetricsServiceRequest] = []
        received = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                if self.path == "/v1/traces":
                    received.traces.append(ExportTraceServiceRequest.FromString(body))
                elif self.path == "/v1/metrics":
                    received.metrics.append(ExportMetricsServiceRequest.FromString(body))
                self.send_response(received.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def points(self) -> dict[tuple[str, ...], float]:
        found: dict[tuple[str, ...], float] = {}
        for request in self.metrics:
            for metric in request.resource_metrics[0].scope_metrics[0].metrics:
                for point in (metric.sum if metric.HasField("sum") else metric.gauge).data_points:
                    labels = [f"{pair.key}={pair.value.string_value}" for pair in point.attributes]
                    key = (metric.name, *labels)
                    assert key not in found
                    found[key] = point.as_int if point.HasField("as_int") else point.as_double
        return found


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    thread = threading.Thread(target=made.server.serve_forever, daemon=True)
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join()


@contextlib.contextmanager
def exporting(settings: OtlpSettings, source: otlp.Source, errors: list[str]) -> Iterator[Otlp]:
    running = Otlp(settings, source, errors.append)
    try:
        yield running
    finally:
        running.stop()


def test_spans_arrive_with_their_attributes_and_their_parents(receiver: Receiver) -> None:
    with exporting(OtlpSettings(receiver.url), list, []), tracing.span("visit", endpoint="ep-a", due=3) as visit:
        tracing.record("neon.get", 1000.0, 1000.5, route="/projects", status=200)
        with pytest.raises(KeyError), tracing.span("query"):
            raise KeyError("postgresql://u:secret@h")
        visit.set(rows=7)
        visit.fail("timeout")
    (request,) = receiver.traces
    resource = {pair.key: pair.value.string_value for pair in request.resource_spans[0].resource.attributes}
    assert resource["service.name"] == "neonmeter"
    spans = {span.name: span for span in request.resource_spans[0].scope_spans[0].spans}
    attributes = {pair.key: pair.value for pair in spans["visit"].attributes}
    assert attributes["endpoint"].string_value == "ep-a"
    assert (attributes["due"].int_value, attributes["rows"].int_value) == (3, 7)
    assert (spans["visit"].status.code, spans["visit"].status.message) == (2, "timeout")
    assert spans["query"].parent_span_id == spans["visit"].span_id == spans["neon.get"].parent_span_id
    assert spans["neon.get"].end_time_unix_nano - spans["neon.get"].start_time_unix_nano == 500_000_000
    assert (spans["query"].status.code, spans["query"].status.message) == (2, "KeyError")
    assert b"secret" not in request.SerializeToString()


def test_every_series_arrives_past_the_limit_of_the_sdk(receiver: Receiver) -> None:
    source = [(endpoint(number), families(number, 4000)) for number in range(2)]
    money = Families()
    money.set(COST, ("acme",), Decimal("1.25"))
    source.append((Target(Scope.BRANCH, ("p", "b")), money))
    errors: list[str] = []
    with exporting(OtlpSettings(receiver.url, traces=False, metrics=True), lambda: source, errors) as running:
        assert running.push() == 2 * 8001 + 1
    points = receiver.points()
    assert len(points) == 2 * 8001 + 1
    assert len(receiver.metrics) == 4
    assert points[COST.name, "project_id=p", "branch_id=b", "tenant=acme"] == 1.25
    scope = [f"{name}={value}" for name, value in zip(CALLS.scope.value, endpoint(1).labels, strict=True)]
    assert points[CALLS.name, *scope, "datname=db3999", "user=app"] == 4999
    metrics = {
        metric.name: metric
        for request in receiver.metrics
        for metric in request.resource_metrics[0].scope_metrics[0].metrics
    }
    assert metrics[CALLS.name].sum.is_monotonic
    assert metrics[CALLS.name].sum.aggregation_temporality == 2
    assert (metrics[SIZE.name].unit, metrics[SIZE.name].description) == ("By", "Size.")
    assert errors == []


def test_metrics_are_pushed_at_the_interval(receiver: Receiver) -> None:
    source = [(endpoint(1), families(1, 1))]
    arrived = threading.Event()
    settings = OtlpSettings(receiver.url, traces=False, metrics=True, interval=0.02)

    def told() -> list[tuple[Target, Families]]:
        if len(receiver.metrics) >= 2:
            arrived.set()
        return source

    with exporting(settings, told, []):
        assert arrived.wait(20)


def test_a_refusal_and_a_broken_source_are_told_and_end_nothing(receiver: Receiver) -> None:
    errors: list[str] = []
    receiver.status = 400
    source = [(endpoint(1), families(1, 1))]
    settings = OtlpSettings(receiver.url, traces=False, metrics=True)
    with exporting(settings, lambda: source, errors) as running:
        assert running.push() == 0
        receiver.status = 200
        assert running.push() == 3
        source.append((Target(Scope.AGENT, ()), families(1, 1)))
        running.push()
    assert len(errors) == 2
    assert errors[1] == "OTLP metrics failed: ValueError"


def test_without_a_tracer_a_span_is_nothing() -> None:
    one = tracing.span("visit", endpoint="a")
    assert one is tracing.span("other")
    with one as inner:
        inner.set(rows=1)
        inner.fail("x")
    tracing.record("x", 1.0, 2.0)


def test_without_the_extra_it_says_what_to_install() -> None:
    program = (
        "import sys; sys.modules['opentelemetry'] = None\n"
        "from exporter.app import otlp\nfrom exporter.core import tracing\n"
        "with tracing.span('visit', a=1) as s: s.set(b=2)\n"
        "try: otlp.Otlp(otlp.OtlpSettings('http://localhost:1'), list, print)\n"
        "except otlp.OtlpUnavailableError as problem: print(problem)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert "install neonmeter[otlp]" in done.stdout


def test_the_seam_does_not_import_opentelemetry() -> None:
    modules = "sys, exporter.core.tracing, exporter.app.otlp"
    program = f"import {modules}; print([m for m in sys.modules if m.startswith('opentelemetry')])"
    assert subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout == "[]\n"
