"""The life in the twin: every tenant's service with its own pace and kind of work, in bursts with pauses.

Each call is one statement on an ordinary connection through the compute's door (or through the PgBouncer), and is
counted when the server has answered: what a collector says about calls can be held against it to the call. Seeded,
so two runs of one world do the same.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import LiteralString

import psycopg

from exporter.demo.seed import CUSTOMERS, ORDERS
from exporter.demo.worldfile import TenantSpec

_READ: Sequence[LiteralString] = (
    "SELECT status, amount FROM orders WHERE id = %s",
    "SELECT id, amount FROM orders WHERE customer_id = %s ORDER BY id LIMIT 20",
    "SELECT email FROM customers WHERE id = %s",
)
_WRITE: Sequence[LiteralString] = (
    "INSERT INTO orders (customer_id, amount) VALUES (%s, 9.90)",
    "UPDATE orders SET status = 'paid' WHERE id = %s",
)
_SCAN: Sequence[LiteralString] = (
    "SELECT c.id, count(*), sum(o.amount) FROM customers c JOIN orders o ON o.customer_id = c.id"
    " WHERE o.id > %s GROUP BY c.id ORDER BY sum(o.amount) DESC LIMIT 10",
    "SELECT status, date_trunc('month', ordered_at), avg(amount) FROM orders WHERE id > %s GROUP BY 1, 2 ORDER BY 2",
)
STATEMENTS: Mapping[str, Sequence[LiteralString]] = {
    "reader": _READ,
    "writer": _WRITE,
    "mixed": (*_READ, *_WRITE),
    "batch": (*_WRITE, _SCAN[0]),
    "heavy": _SCAN,
}
"""What each kind of work runs; every statement takes one number."""
SERVICES = {"reader": "web", "writer": "ingest", "mixed": "api", "batch": "nightly", "heavy": "reports"}
"""The second half of application_name, after the tenant's name."""
STEADY_CALLS_PER_SECOND = 10.0
"""A branch with at least this much work pauses only briefly: its compute stays awake, as production does."""


@dataclass(frozen=True, slots=True)
class Service:
    """One tenant's work on one compute; ``conninfo`` carries the password and no application_name."""

    endpoint_id: str
    tenant: TenantSpec
    conninfo: str
    suspend_after: float
    """T of the compute, in seconds: some pauses are longer."""


class Workload:
    """Runs the services, one thread for each compute; ``run_burst`` works without ``start``, for tests."""

    def __init__(self, services: Sequence[Service], seed: int = 1) -> None:
        self._services = {(service.endpoint_id, service.tenant.name): service for service in services}
        self._seed = seed
        self._lock = threading.Lock()
        self._done: Counter[tuple[str, str]] = Counter()
        self._failed: Counter[tuple[str, str]] = Counter()
        self._ended = threading.Event()
        self._threads: list[threading.Thread] = []

    @property
    def done(self) -> dict[str, int]:
        """Answered calls by tenant, on all computes."""
        return self._by_tenant(self._done)

    @property
    def failed(self) -> dict[str, int]:
        """Calls by tenant that got an error or no answer (a compute went away in the middle)."""
        return self._by_tenant(self._failed)

    def done_on(self, endpoint_id: str, tenant: str) -> int:
        """Answered calls of one tenant on one compute."""
        with self._lock:
            return self._done[endpoint_id, tenant]

    def run_burst(self, endpoint_id: str, tenant: str, calls: int) -> int:
        """Connect, make so many calls without a pause, disconnect; returns how many were answered.

        Raises:
            KeyError: no such tenant on this compute.
            psycopg.Error: the connection or a statement failed; what was answered before is counted.
        """
        service = self._services[endpoint_id, tenant]
        before = self.done_on(endpoint_id, tenant)
        with _session(service) as connection:
            for number in range(calls):
                self._call(service, connection, before + number)
        return self.done_on(endpoint_id, tenant) - before

    def start(self) -> None:
        """Let every compute's tenants work until ``stop``."""
        by_endpoint: dict[str, list[Service]] = {}
        for service in self._services.values():
            if service.tenant.calls_per_second > 0:
                by_endpoint.setdefault(service.endpoint_id, []).append(service)
        for endpoint_id, services in by_endpoint.items():
            rhythm = random.Random(f"{self._seed}/{endpoint_id}")
            run = threading.Thread(target=self._live, args=(services, rhythm), name="twin-workload", daemon=True)
            self._threads.append(run)
            run.start()

    def stop(self) -> None:
        """End after the call at hand."""
        self._ended.set()
        for thread in self._threads:
            thread.join()
        self._threads.clear()

    def _live(self, services: Sequence[Service], rhythm: random.Random) -> None:
        for work, pause in bursts(services, rhythm):
            until = time.monotonic() + work
            while not self._ended.is_set() and time.monotonic() < until:
                try:
                    self._work(services, until)
                except psycopg.Error:
                    self._ended.wait(1.0)  # The compute went away or is not up: a service would try again.
            if self._ended.wait(pause):
                return

    def _work(self, services: Sequence[Service], until: float) -> None:
        """Every tenant at its own pace, one connection each, in one thread: second by second."""
        sessions = [(service, _session(service)) for service in services]
        connections: list[tuple[Service, psycopg.Connection]] = []
        try:
            connections = [(service, session.__enter__()) for service, session in sessions]
            self._seconds(connections, until)
        finally:
            for _, connection in connections:
                connection.close()

    def _seconds(self, connections: Sequence[tuple[Service, psycopg.Connection]], until: float) -> None:
        began = time.monotonic()
        made = [0] * len(connections)
        while not self._ended.is_set() and time.monotonic() < until:
            elapsed = time.monotonic() - began
            for index, (service, connection) in enumerate(connections):
                while made[index] < elapsed * service.tenant.calls_per_second and not self._ended.is_set():
                    made[index] += 1
                    self._call(service, connection, self.done_on(service.endpoint_id, service.tenant.name))
            self._ended.wait(0.2)

    def _call(self, service: Service, connection: psycopg.Connection, number: int) -> None:
        key = (service.endpoint_id, service.tenant.name)
        choices = STATEMENTS[service.tenant.kind]
        statement = choices[number % len(choices)]
        try:
            connection.execute(statement, [argument(statement, number)]).close()
        except psycopg.Error:
            with self._lock:
                self._failed[key] += 1
            raise
        with self._lock:
            self._done[key] += 1

    def _by_tenant(self, counts: Counter[tuple[str, str]]) -> dict[str, int]:
        total: Counter[str] = Counter()
        with self._lock:
            for (_, tenant), count in counts.items():
                total[tenant] += count
        return dict(total)


def argument(statement: str, number: int) -> int:
    """The one parameter of the ``number``-th call: scattered over the rows that the seed made."""
    rows = CUSTOMERS if "customers" in statement or "customer_id" in statement else ORDERS
    return 0 if "GROUP BY" in statement else 1 + number * 7919 % rows


def bursts(services: Sequence[Service], rhythm: random.Random) -> Iterator[tuple[float, float]]:
    """Seconds of work, seconds of pause, without end; all tenants of a compute share the rhythm.

    Busy computes pause for seconds; quiet ones for up to twice T and more, so that they suspend in between. The first
    burst outlasts the time in which a watcher that began with it keeps away.
    """
    busy = sum(service.tenant.calls_per_second for service in services) >= STEADY_CALLS_PER_SECOND
    limit = min(service.suspend_after for service in services)
    if not busy:
        yield rhythm.uniform(28, 40), limit * rhythm.uniform(0.3, 2.2)
    while True:
        if busy:
            yield rhythm.uniform(20, 60), rhythm.uniform(1, min(10.0, limit / 2))
        else:
            yield rhythm.uniform(5, 25), limit * rhythm.uniform(0.3, 2.2)


@contextmanager
def _session(service: Service) -> Iterator[psycopg.Connection]:
    name = f"{service.tenant.name}-{SERVICES[service.tenant.kind]}"
    # Through a PgBouncer in transaction mode a prepared statement would be looked for on another connection.
    with psycopg.connect(
        service.conninfo, application_name=name, autocommit=True, prepare_threshold=None, connect_timeout=15
    ) as connection:
        yield connection
