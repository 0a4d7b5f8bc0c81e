"""The twin, assembled: a fake Neon control plane, real PostgreSQL computes behind it, and a life in them.

It keeps all it needs in one folder and continues from there after a stop or a kill; the servers it starts end with
it. Everything is on loopback.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from exporter.demo.clusters import Clusters
from exporter.demo.compute import Compute, forget_statistics, wait_until_gone
from exporter.demo.front import Front
from exporter.demo.meter import Meter
from exporter.demo.postgres import wheel_bin_dir
from exporter.demo.statefile import TwinState, load_state, restore_world, spec_digest, world_to_json
from exporter.demo.world import Clock
from exporter.demo.worldfile import WorldSpec, build_world, load

HEARTBEAT_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class TwinSettings:
    """What a twin is started with, beside its world."""

    suspend_seconds: int | None = None
    """T of every compute that can suspend, instead of the world's (the API's minimum is 60; the twin takes any)."""
    postgres: Mapping[str, str] = field(default_factory=dict)
    """Server settings of every compute."""


class Twin:
    """One twin over one state folder; ``start`` and ``stop`` on the main thread, or one that lives as long."""

    def __init__(
        self,
        world: WorldSpec | str | Path,
        state_dir: Path,
        *,
        settings: TwinSettings | None = None,
        clock: Clock = time.time,
    ) -> None:
        self.spec = world if isinstance(world, WorldSpec) else load(world)
        self.settings = settings or TwinSettings()
        self.state_dir = state_dir
        self.computes: dict[str, Compute] = {}
        """By endpoint id."""
        self.notes: list[str] = []
        """For a person: what could not be as described, and what was done instead."""
        self.start_seconds = 0.0
        self._clock = clock
        self._state_file = state_dir / "state.json"
        self._ended = threading.Event()

    @property
    def monitor_password(self) -> str:
        """The password of the role ``monitor`` on every compute."""
        return self._state.monitor_password

    @property
    def dsn_template(self) -> str:
        """The DSN template for the agent's settings (without a password)."""
        return "postgresql://monitor@{host}/postgres"

    def start(self) -> None:
        """Bring the world up: make or find the clusters, open the doors, start counting.

        Raises:
            WorldFileError, StateError, ClusterFolderError, PostgresStartError: each says what to do.
        """
        began = time.monotonic()
        self.state_dir.mkdir(parents=True, exist_ok=True)
        self.state_dir.chmod(0o755)
        # Servers end with the thread that started them, so these threads live until the twin stops.
        self._keeper = ThreadPoolExecutor(4, thread_name_prefix="twin-keeper")
        state = load_state(self._state_file, self.spec)
        if state is None:
            self._make()
        else:
            self._restore(state)
        self._front = Front(self._keeper)
        for compute in self.computes.values():
            self._open_door(compute)
        self._save()
        self._heart = threading.Thread(target=self._beat, name="twin-heartbeat", daemon=True)
        self._heart.start()
        self.start_seconds = time.monotonic() - began

    def _clusters(self) -> Clusters:
        return Clusters(
            folder=self.state_dir / "clusters",
            bin_dir=wheel_bin_dir(self.state_dir),
            password=self._state.password,
            monitor_password=self._state.monitor_password,
            settings=dict(self.settings.postgres),
        )

    def _make(self) -> None:
        self._state = TwinState(spec_digest(self.spec))
        made = self._clusters().make(self.spec)
        self.world = build_world(self.spec, self._clock)
        for branch in self.world.branches.values():
            mine = made[branch.id]
            branch.logical_size, branch.wal_bytes = mine.size, mine.wal_end - mine.wal_base
        self._state.wal_base = {bid: each.wal_base for bid, each in made.items()}
        self.meter = Meter(self.world)
        self._make_computes()

    def _restore(self, state: TwinState) -> None:
        """Continue: what ran when we ended was awake until the last heartbeat, and is idle now."""
        self._state = state
        self.world = restore_world(self.spec, state.world, self._clock)
        self.meter = Meter.from_json(self.world, state.meter)
        self._make_computes()
        for compute in self.computes.values():
            wait_until_gone(compute.cluster)
            forget_statistics(compute.cluster)
            endpoint = compute.endpoint
            if endpoint.current_state == "active" or endpoint.pending_state:
                endpoint.current_state, endpoint.pending_state = "idle", ""
                endpoint.suspended_at = endpoint.updated_at = state.saved_at
                self.world.record(endpoint, "suspend_compute", state.saved_at, 0.0)

    def _make_computes(self) -> None:
        clusters = self._clusters()
        for endpoint in self.world.endpoints.values():
            if self.settings.suspend_seconds is not None and endpoint.suspend_after is not None:
                endpoint.suspend_timeout_seconds = self.settings.suspend_seconds
            cluster = clusters.cluster(endpoint.branch_id)
            self.computes[endpoint.id] = Compute(
                self.world, self.meter, endpoint, cluster, self._state.wal_base[endpoint.branch_id]
            )

    def _open_door(self, compute: Compute) -> None:
        before = int(compute.endpoint.host.rpartition(":")[2] or 0)
        try:
            port = self._front.listen(compute, before)
        except OSError:
            port = self._front.listen(compute, 0)
            self.notes.append(f"{compute.endpoint.id}: port {before} is taken, its door is at {port} now")
        compute.endpoint.host = f"127.0.0.1:{port}"

    def _beat(self) -> None:
        while not self._ended.wait(HEARTBEAT_SECONDS):
            self._save()

    def _save(self) -> None:
        for compute in self.computes.values():
            compute.account()
        self._state.saved_at = self._clock()
        self._state.world = world_to_json(self.world)
        self._state.meter = self.meter.to_json()
        self._state.save(self._state_file)

    def stop(self) -> None:
        """Suspend every compute and save; nothing of ours runs afterwards."""
        self._ended.set()
        self._heart.join()
        self._front.stop()
        for compute in self.computes.values():
            compute.suspend()
        self._save()
        self._keeper.shutdown()
