"""One compute of the twin: a real PostgreSQL server that a connection wakes and idleness suspends.

It moves its endpoint and branch in the World as the control plane would show them, and tells the Meter every second
that it was awake. It runs at its smallest size (CU = min_cu): the twin does not scale up, so consumption is awake
seconds x min_cu and anyone can check it by hand. A suspend loses all statistics, as Neon's does.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from exporter.demo.front import RefusedError, Visitor
from exporter.demo.meter import Meter
from exporter.demo.monitor import LOOK_SECONDS, ActivityCheck, Monitor, Watch
from exporter.demo.postgres import Cluster, PostgresStartError, free_port
from exporter.demo.world import TwinEndpoint, World


@dataclass(frozen=True, slots=True)
class Wake:
    """A start of a suspended compute, and the connection that caused it."""

    at: float
    application_name: str
    user: str
    database: str


class Compute:
    """One endpoint with its cluster; thread-safe.

    ``start`` must run on a thread that lives as long as the process (servers end with the thread that started them).
    """

    def __init__(self, world: World, meter: Meter, endpoint: TwinEndpoint, cluster: Cluster, wal_base: int = 0) -> None:
        self.world = world
        self.endpoint = endpoint
        self.cluster = cluster
        self.wal_base = wal_base
        """WAL position at the branch's creation: ``wal_bytes`` counts from here."""
        self.wakes: list[Wake] = []
        self.visits: Counter[Visitor] = Counter()
        """Connections that reached the server through the front, by who they said they are."""
        self.kept_awake_by = ""
        """What moved ``last_active`` last: start, or one of the monitor's checks."""
        self._meter = meter
        self._gate = threading.Lock()
        self._ledger_writer = threading.Lock()
        self._monitor: Monitor | None = None
        self._metered_until: float | None = None
        self._connected_at = 0.0
        self._closed = False
        self._sent = self._sent_counted = 0

    def server_port(self) -> int | None:
        """The server's own port while the compute is active; None otherwise. Never blocks."""
        return (
            self.cluster.port if self.endpoint.current_state == "active" and not self.endpoint.pending_state else None
        )

    def connected(self, visitor: Visitor) -> None:
        """Count a connection that goes through to the server."""
        self._connected_at = time.monotonic()
        self.visits[visitor] += 1

    def sent(self, count: int) -> None:
        """Count bytes that left for a client: network transfer. Only the front's thread calls this."""
        self._sent += count

    def wake(self, visitor: Visitor) -> int:
        """Start the server for a visitor and return its port.

        Raises:
            RefusedError: the compute is disabled, or the server does not start.
        """
        if self.endpoint.disabled:
            raise RefusedError("the endpoint is disabled")
        with self._gate:
            if self._closed:
                raise RefusedError("the twin is stopping")
            if self.endpoint.current_state == "active" and self.cluster.running:
                return self.cluster.port
            if self.endpoint.current_state == "active":
                self._settle()  # The server died under us: what was awake is counted, then it starts again.
            self.wakes.append(Wake(self.world.clock(), visitor.application_name, visitor.user, visitor.database))
            try:
                self._start()
            except PostgresStartError as problem:
                self._settle()
                raise RefusedError(f"the compute does not start: {problem}") from None
            return self.cluster.port

    def _start(self) -> None:
        began = self.world.clock()
        self._show(pending_state="active")
        self.cluster.port = free_port()
        self.cluster.start()
        ready = self.world.clock()
        self.kept_awake_by = "start"
        with self._ledger_writer:
            self._metered_until = ready
        self._show(current_state="active", pending_state="", started_at=ready, last_active=ready)
        self.world.record(self.endpoint, "start_compute", began, ready - began)
        watch = Watch(self._looked, self._measured)
        self._monitor = Monitor(self.cluster.conninfo(), self.world.clock, watch)
        self._monitor.start()

    def suspend(self) -> None:
        """Stop the server and lose its statistics, whoever is connected; a suspended compute stays as it is."""
        with self._gate:
            self._suspend()

    def close(self) -> None:
        """Suspend for good: nothing wakes it any more."""
        with self._gate:
            self._closed = True
            self._suspend()

    def _suspend(self) -> None:
        if self.endpoint.current_state != "active":
            return
        began = self.world.clock()
        self._show(pending_state="idle")
        self._settle()
        self.world.record(self.endpoint, "suspend_compute", began, self.world.clock() - began)

    def _settle(self) -> None:
        """From whatever state to idle: count what was awake, end monitor and server, forget statistics."""
        monitor, self._monitor = self._monitor, None
        if monitor is not None:
            monitor.end()
        self.account()
        with self._ledger_writer:
            self._metered_until = None
        self.cluster.stop()
        forget_statistics(self.cluster)
        self._show(current_state="idle", pending_state="", suspended_at=self.world.clock())

    def account(self) -> None:
        """Tell the meter of the awake seconds, and of the bytes that left, since the last time."""
        with self._ledger_writer:
            sent = self._sent
            if sent > self._sent_counted:
                self._meter.egress(self.endpoint.branch_id, self.world.clock(), sent - self._sent_counted)
                self._sent_counted = sent
            if self._metered_until is not None:
                now = self.world.clock()
                if now > self._metered_until:
                    self._meter.awake(self.endpoint.branch_id, self._metered_until, now, self.endpoint.min_cu)
                    self._metered_until = now

    def _show(self, **fields: str | float | None) -> None:
        with self.world.lock:
            for name, value in fields.items():
                setattr(self.endpoint, name, value)
            self.endpoint.updated_at = self.world.clock()

    def _looked(self, check: ActivityCheck) -> None:
        with self.world.lock:
            if check.last_active is not None and check.last_active > (self.endpoint.last_active or 0.0):
                self.endpoint.last_active, self.kept_awake_by = check.last_active, check.reason
        if self._idle_for_long() or not self.cluster.running:
            with self._gate:  # Somebody may have been here first, and a visitor may have woken it again.
                if self._idle_for_long() or not self.cluster.running:
                    self._suspend()

    def _idle_for_long(self) -> bool:
        limit = self.endpoint.suspend_after
        # A connection that came through the door a moment ago has not been looked at yet: it is not cut off unseen.
        if limit is None or time.monotonic() - self._connected_at <= LOOK_SECONDS:
            return False
        return self.world.clock() - (self.endpoint.last_active or 0.0) >= limit

    def _measured(self, size: int, wal_position: int) -> None:
        now = self.world.clock()
        written = max(0, wal_position - self.wal_base)
        branch = self.world.branches[self.endpoint.branch_id]
        with self.world.lock:
            if (branch.logical_size, branch.wal_bytes) != (size, written):
                branch.logical_size, branch.wal_bytes, branch.updated_at = size, written, now
        self._meter.size(branch.id, now, size)
        self._meter.wal(branch.id, now, written)


def forget_statistics(cluster: Cluster) -> None:
    """Delete what a stopped server wrote down of its statistics, so that the next start knows nothing."""
    folder = cluster.data_dir / "pg_stat"
    if folder.is_dir():
        for path in folder.iterdir():
            path.unlink(missing_ok=True)


def wait_until_gone(cluster: Cluster, wait_seconds: float = 10.0) -> None:
    """Wait for a server that an earlier process left behind to end: it was told to when that process died.

    Raises:
        PostgresStartError: it still runs, also after it was told again.
    """
    try:
        pid = int((cluster.data_dir / "postmaster.pid").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return
    for last_word in (signal.SIGQUIT, None):
        deadline = time.monotonic() + wait_seconds
        while time.monotonic() < deadline:
            if not _serves(pid, cluster):
                return
            time.sleep(0.05)
        if last_word is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, last_word)
    raise PostgresStartError(f"{cluster.data_dir.name} is still served by process {pid}")


def _serves(pid: int, cluster: Cluster) -> bool:
    """Whether this process is that cluster's server, and not another that got its number since."""
    try:
        return str(cluster.data_dir).encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
