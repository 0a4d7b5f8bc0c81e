"""OpenTelemetry out: spans, and the same series that /metrics serves, pushed over OTLP/HTTP.

The metrics do not pass through the SDK's instruments: those fold everything past 2,000 attribute sets into one overflow
series, and would keep a second copy of all values. The points are built from the families at hand and handed to the
SDK's exporter, which knows the protocol, in requests of bounded size.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from collectors.base import Target
from collectors.errors import UsageError
from collectors.metric import Families, Kind, Metric, Series, Unit
from exporter.core import tracing
from exporter.serving.render import as_float, limit_series
from exporter.version import __version__

if TYPE_CHECKING:
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.sdk.metrics.export import Metric as OtelMetric
    from opentelemetry.sdk.metrics.export import NumberDataPoint
    from opentelemetry.sdk.trace import TracerProvider
    from requests import PreparedRequest, Response, Session

BODY_LIMIT = 4096
"""Bytes of an answer's body that are read."""
POINTS_PER_REQUEST = 5_000
"""About a megabyte of protobuf; collectors refuse bodies past a few megabytes."""

_UCUM = {Unit.SECONDS: "s", Unit.TIMESTAMP: "s", Unit.BYTES: "By", Unit.RATIO: "1"}

Source = Callable[[], Iterable[tuple[Target, Families]]]
"""What is published now, target by target."""


class OtlpUnavailableError(UsageError):
    """An OTLP endpoint is configured and the extra is not installed; the message says what to install."""


@dataclass(frozen=True, slots=True)
class OtlpSettings:
    """``endpoint`` is the base URL (``http://collector:4318``); ``interval`` in seconds, of metrics."""

    endpoint: str
    traces: bool = True
    metrics: bool = False
    interval: float = 60.0
    timeout: float = 10.0


class Otlp:
    """The running export; :meth:`stop` flushes it."""

    def __init__(
        self,
        settings: OtlpSettings,
        source: Source,
        on_error: Callable[[str], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``on_error`` gets one line each time a push of metrics fails; the next interval tries again.

        ``clock`` (unix seconds) dates the points.

        Raises:
            OtlpUnavailableError: the extra ``otlp`` is not installed.
        """
        try:
            from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 - 100 ms and an extra, when asked for only
        except ImportError as missing:
            raise OtlpUnavailableError(
                "telemetry.otlp_endpoint is set, but OpenTelemetry is not installed: install neonmeter[otlp]"
            ) from missing
        self._settings = settings
        self._source = source
        self._on_error = on_error
        self._clock = clock
        self._resource = Resource.create({"service.name": "neonmeter", "service.version": __version__})
        self._stopped = threading.Event()
        self._provider = self._trace() if settings.traces else None
        self._exporter = self._metric_exporter() if settings.metrics else None
        self._thread: threading.Thread | None = None
        if self._exporter is not None:
            self._thread = threading.Thread(target=self._push_until_stopped, name="otlp-metrics", daemon=True)
            self._thread.start()

    def _url(self, signal: str) -> str:
        return f"{self._settings.endpoint.rstrip('/')}/v1/{signal}"

    def _trace(self) -> TracerProvider:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

        provider = TracerProvider(resource=self._resource, shutdown_on_exit=False)
        exporter = OTLPSpanExporter(
            endpoint=self._url("traces"), timeout=self._settings.timeout, session=_bounded_session()
        )
        provider.add_span_processor(BatchSpanProcessor(exporter))
        tracing.use(provider.get_tracer("neonmeter", __version__))
        return provider

    def _metric_exporter(self) -> OTLPMetricExporter:
        from opentelemetry.exporter.otlp.proto.http import Compression  # noqa: PLC0415
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter  # noqa: PLC0415

        return OTLPMetricExporter(
            endpoint=self._url("metrics"),
            timeout=self._settings.timeout,
            compression=Compression.Gzip,
            session=_bounded_session(),
        )

    def _push_until_stopped(self) -> None:
        while not self._stopped.wait(self._settings.interval):
            self.push()

    def push(self) -> int:
        """Push what is published now.

        Returns:
            The number of points that were accepted; fewer than there are after an ``on_error``.
        """
        if self._exporter is None:
            return 0
        accepted = 0
        try:
            for metrics, points in requests(self._source(), int(self._clock() * 1e9)):
                if not self._send(self._exporter, metrics):
                    self._on_error(f"OTLP metrics were rejected by {self._url('metrics')}")
                    break
                accepted += points
        except Exception as problem:  # telemetry may never end the program
            self._on_error(f"OTLP metrics failed: {type(problem).__name__}")
        return accepted

    def _send(self, exporter: OTLPMetricExporter, metrics: list[OtelMetric]) -> bool:
        from opentelemetry.sdk.metrics import export  # noqa: PLC0415
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope  # noqa: PLC0415

        scope = export.ScopeMetrics(InstrumentationScope("neonmeter", __version__), metrics, "")
        data = export.MetricsData([export.ResourceMetrics(self._resource, [scope], "")])
        return exporter.export(data) is export.MetricExportResult.SUCCESS

    def stop(self) -> None:
        """Send what is left, and stop. Takes at most about the timeout of the settings."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(self._settings.timeout)
        if self._exporter is not None:
            self._exporter.shutdown()
        if self._provider is not None:
            tracing.use(None)
            self._provider.shutdown()


def _bounded_session() -> Session:
    """A session of `requests` that reads the start of an answer's body, as it is sent: nobody needs more of it.

    `requests` would read all of it, decompressed layer by layer.
    """
    from requests import Session  # noqa: PLC0415
    from requests.adapters import HTTPAdapter  # noqa: PLC0415

    class BoundedAdapter(HTTPAdapter):
        def send(self, request: PreparedRequest, *args: Any, **kwargs: Any) -> Response:
            answer = super().send(request, *args, **{**kwargs, "stream": True})
            answer._content = answer.raw.read1(BODY_LIMIT, decode_content=False)
            answer.close()
            return answer

    session = Session()
    for scheme in ("http://", "https://"):
        session.mount(scheme, BoundedAdapter())
    return session


def requests(source: Iterable[tuple[Target, Families]], now: int) -> Iterator[tuple[list[OtelMetric], int]]:
    """Cut everything into requests of at most POINTS_PER_REQUEST points: (metrics, points) each. ``now`` in ns."""
    batch: list[OtelMetric] = []
    points = 0
    for target, families in source:
        for metric, series in families.items():
            items = list(limit_series(metric, series).items())
            while items:
                room = POINTS_PER_REQUEST - points
                part, items = items[:room], items[room:]
                batch.append(_metric(target, metric, dict(part), now))
                points += len(part)
                if points == POINTS_PER_REQUEST:
                    yield batch, points
                    batch, points = [], 0
    if batch:
        yield batch, points


def _metric(target: Target, metric: Metric, series: Series, now: int) -> OtelMetric:
    from opentelemetry.sdk.metrics import export  # noqa: PLC0415

    points = list(_points(target, metric, series, now))
    data: export.Sum | export.Gauge
    if metric.kind is Kind.COUNTER:
        data = export.Sum(points, export.AggregationTemporality.CUMULATIVE, is_monotonic=True)
    else:
        data = export.Gauge(points)
    return export.Metric(metric.name, metric.help, _UCUM.get(metric.unit, ""), data)


def _points(target: Target, metric: Metric, series: Series, now: int) -> Iterator[NumberDataPoint]:
    from opentelemetry.sdk.metrics.export import NumberDataPoint  # noqa: PLC0415

    scope = dict(zip(metric.scope.value, target.labels, strict=True))
    for labels, value in series.items():
        own = dict(zip(metric.labels, labels, strict=True))
        # An int past 64 bits has no place in the protocol. The start of a total that outlives us is not known: 0.
        plain = value if isinstance(value, int) and -(2**63) <= value < 2**63 else as_float(value)
        yield NumberDataPoint({**scope, **own}, 0, now, plain)
