"""A server in front of a builder, as the program wires them, and ready families: what the tests of serving share."""

from __future__ import annotations

import contextlib
import gzip
import time
from collections.abc import Iterator, Sequence
from decimal import Decimal

import httpx

from collectors.base import Target
from collectors.metric import Families, Kind, Metric, Scope, Unit
from exporter.core.selfmetrics import SelfMetrics
from exporter.serving.http import HttpServer, Limits
from exporter.serving.page import Overview, PoolerRow, TargetRow, TenantCostRow
from exporter.serving.routes import Routes
from exporter.serving.snapshot import EMPTY, Snapshot, SnapshotBuilder

CALLS = Metric(
    "pg_test_calls_total", Kind.COUNTER, Unit.NONE, Scope.ENDPOINT, "Calls.", ("datname", "user"), max_series=10_000
)
SIZE = Metric("pg_test_size_bytes", Kind.GAUGE, Unit.BYTES, Scope.ENDPOINT, "Size.", ("datname",), max_series=10_000)
COST = Metric("neon_test_cost_usd", Kind.GAUGE, Unit.USD, Scope.BRANCH, "Cost.", ("tenant",))
MARK = Metric("neonmeter_test_mark", Kind.GAUGE, Unit.NONE, Scope.ENDPOINT, "Mark of a generation.")


def endpoint(number: int) -> Target:
    """A target with labels of real lengths."""
    return Target(Scope.ENDPOINT, (f"calm-river-{number:08d}", f"br-cool-sun-{number:08d}", f"ep-wet-fog-{number:08d}"))


def families(mark: int, series: int = 10) -> Families:
    """Two families and a mark; every value follows from ``mark``."""
    made = Families()
    made.set(MARK, (), mark)
    made.put(CALLS, {(f"db{i}", "app"): mark * 1000 + i for i in range(series)})
    made.put(SIZE, {(f"db{i}",): mark + i / 8 for i in range(series)})
    return made


class TestView:
    """What the program shows of itself, with plain attributes to set."""

    __test__ = False

    def __init__(self) -> None:
        self.builder = SnapshotBuilder()
        self.current: Snapshot = EMPTY
        self.healthy = (True, "alive")
        self.readiness = (True, "ready")
        self.rows: tuple[TargetRow, ...] = ()
        self.index = Overview(0, 0.0, 0)
        self.reloads = 0

    def publish(self, now: float | None = None) -> Snapshot:
        self.current = self.builder.publish(time.time() if now is None else now)
        return self.current

    def snapshot(self) -> Snapshot:
        return self.current

    def health(self) -> tuple[bool, str]:
        return self.healthy

    def ready(self) -> tuple[bool, str]:
        return self.readiness

    def targets(self) -> Sequence[TargetRow]:
        return self.rows

    def config_text(self) -> str:
        return "neon:\n  api_key: '**********'\n"

    def reload(self) -> tuple[bool, str]:
        self.reloads += 1
        return True, "reloaded"

    identity = ""

    def overview(self) -> Overview:
        return self.index


@contextlib.contextmanager
def serving(
    view: TestView, metrics: SelfMetrics | None = None, limits: Limits | None = None
) -> Iterator[tuple[HttpServer, httpx.Client]]:
    """A running server and a client of it."""
    server = HttpServer(Routes(view, metrics).answer, limits=limits)
    server.start()
    try:
        with httpx.Client(base_url=server.url, timeout=20, trust_env=False) as client:
            yield server, client
    finally:
        server.stop()


def plain(snapshot: Snapshot) -> bytes:
    """The exposition as a client sees it, having checked that both forms say the same and the lengths are right."""
    text = b"".join(snapshot.plain)
    packed = b"".join(snapshot.gzip)
    assert gzip.decompress(packed) == text
    assert (len(text), len(packed)) == (snapshot.plain_length, snapshot.gzip_length)
    return text


def overview(now: float) -> Overview:
    """A page with something of everything."""
    rows = (
        TargetRow("endpoint:ep-a", "endpoint", "main", "shop", "active", "ok", now - 9, now + 6),
        TargetRow(
            "endpoint:ep-b", "endpoint", "pr-1", "shop", "asleep", "asleep", now - 7300, rule="R1", why="Suspended."
        ),
        TargetRow(
            "endpoint:ep-c", "endpoint", "eu", "shop", "active", "auth", None, now + 60, now + 600, why="Refused."
        ),
    )
    costs = (
        TenantCostRow("acme", Decimal("12.345")),
        TenantCostRow("__idle__", Decimal(3)),
        TenantCostRow("__shared__", Decimal("0.004")),
        TenantCostRow("__unattributed__", Decimal(0)),
    )
    return Overview(
        generation=7, published_at=now - 2, series=1234, org="Org", plan="scale", active=2, asleep=1, unknown=0,
        month="November 2026", month_usd=Decimal("15.349"), cost_as_of=now - 1800, oldest_success=now - 9,
        oldest_name="shop / main", added_awake_seconds=12.5, targets=rows, tenants=costs,
        poolers=(PoolerRow("eu", "ok", "1.18.0", 3, 1, 0.0042, now - 3),), notes=("The API key sees one project.",),
    )  # fmt: skip
