"""The twin, assembled: a fake Neon control plane, real PostgreSQL computes behind it, and a life in them.

It keeps all it needs in one folder and continues from there after a stop or a kill; the servers it starts end with
it. Everything is on loopback.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from exporter.demo.api import TwinApi, TwinApiSettings, serve
from exporter.demo.branching import Branching, Ground, clear_made
from exporter.demo.clusters import Clusters
from exporter.demo.compute import Compute, forget_statistics, wait_until_gone
from exporter.demo.front import Front
from exporter.demo.history import KEEP, History
from exporter.demo.life import Life
from exporter.demo.meter import Meter
from exporter.demo.postgres import wheel_bin_dir
from exporter.demo.statefile import TwinState, load_state, only_twin, restore_world, spec_digest, world_to_json
from exporter.demo.truth import Truth
from exporter.demo.world import Clock
from exporter.demo.worldfile import WorldSpec, build_world, load
from exporter.tenancy.domain.rules import TenantRule, TenantRules

HEARTBEAT_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class TwinSettings:
    """What a twin is started with, beside its world."""

    suspend_seconds: int | None = None
    """T of every compute that can suspend, instead of the world's (the API's minimum is 60; the twin takes any)."""
    postgres: Mapping[str, str] = field(default_factory=dict)
    """Server settings of every compute."""
    api: TwinApiSettings | None = None
    """How the control plane behaves; its organisation key stays the one of the state folder unless this is given."""
    workload: bool = True
    """Let the tenants work."""
    consumers: bool = True
    """Consume the slots (which keeps their computes awake)."""
    history: bool = False
    """Keep what every branch was since the start, and let the write key make branches of the past."""
    poolers: bool = True
    """Start the PgBouncers."""


class Twin:
    """One twin over one state folder; a context manager that stops it. Threads of its own start the servers."""

    def __init__(
        self,
        world: WorldSpec | str | Path,
        state_dir: Path,
        *,
        listen: str = "127.0.0.1:0",
        settings: TwinSettings | None = None,
        clock: Clock = time.time,
    ) -> None:
        """Describe it; nothing happens before ``start``.

        Raises:
            WorldFileError: the world's description is wrong.
        """
        self.spec = world if isinstance(world, WorldSpec) else load(world)
        self.settings = settings or TwinSettings()
        self.state_dir = state_dir
        self.computes: dict[str, Compute] = {}
        """By endpoint id."""
        self.notes: list[str] = []
        """For a person: what could not be as described, and what was done instead."""
        self.truth = Truth(self)
        """Wakes, visits, awake seconds and calls, to hold an agent against; also over HTTP under /_twin."""
        self.start_seconds = 0.0
        self._listen = listen
        self._clock = clock
        self._state_file = state_dir / "state.json"
        self._stack = contextlib.ExitStack()

    @property
    def api_url(self) -> str:
        """What the setting ``neon.api_url`` wants."""
        return self.api.url

    @property
    def api_key(self) -> str:
        """The organisation's key."""
        return self.api.settings.org_key

    @property
    def dsn_template(self) -> str:
        """What the setting ``postgres.dsn`` wants."""
        return "postgresql://monitor@{host}/postgres"

    @property
    def monitor_password(self) -> str:
        """The password of the role ``monitor`` on every compute."""
        return self._state.monitor_password

    @property
    def password(self) -> str:
        """The password of every application role."""
        return self._state.password

    @property
    def pooler(self) -> tuple[str, str] | None:
        """DSN of the first PgBouncer's console, and its password; None when there is none."""
        for pooler in self.life.poolers.values():
            return pooler.dsn, pooler.stats_password
        return None

    def compute(self, project: str, branch: str) -> Compute:
        """The compute of a branch, by the names in the description.

        Raises:
            KeyError: there is none.
        """
        for compute in self.computes.values():
            if (self.world.projects[compute.endpoint.project_id].name, self._branch_name(compute)) == (project, branch):
                return compute
        raise KeyError(f"{project}/{branch}")

    def _branch_name(self, compute: Compute) -> str:
        return self.world.branches[compute.endpoint.branch_id].name

    def tenant_rules(self) -> list[dict[str, str]]:
        """What the setting ``tenants`` wants: one rule for each tenant's role."""
        roles = {t.role: t.name for p in self.spec.projects for b in p.branches for t in b.tenants}
        return [{"tenant": tenant, "role": f"^{role}$"} for role, tenant in roles.items()]

    def tenancy(self) -> list[dict[str, str]]:
        """The rules that the world's description names; without any, those of ``tenant_rules``."""
        return [dict(rule) for rule in self.spec.tenancy] or self.tenant_rules()

    def tenants(self) -> list[str]:
        """Who is there by those rules, in the order of the description."""
        rules = TenantRules([TenantRule(**rule) for rule in self.tenancy()])  # type: ignore[arg-type]
        found = [
            rules.resolve(
                project=project.name, branch=branch.name, database=tenant.database or branch.database,
                schema=tenant.schema, role=tenant.role,
            )
            for project in self.spec.projects for branch in project.branches for tenant in branch.tenants
        ]  # fmt: skip
        return list(dict.fromkeys(found))

    def agent_settings(self) -> dict[str, Any]:
        """The settings of an agent that watches this twin, as its YAML file would hold them."""
        slots = [
            {"project": self.world.projects[compute.endpoint.project_id].name, "branch": branch.name,
             "slot": branch.slot} for branch, compute in self.life.branches() if branch.slot
        ]  # fmt: skip
        poolers = [
            {"name": self._branch_name(self.computes[endpoint]), "dsn": pooler.dsn, "password": pooler.stats_password}
            for endpoint, pooler in self.life.poolers.items()
        ]
        return {
            "neon": {"api_url": self.api_url, "api_key": self.api_key, "org_id": self.world.org_id},
            "postgres": {"dsn": self.dsn_template, "password": self.monitor_password},
            "sampling": {"expected_slots": slots},
            "pgbouncer": poolers,
            "tenants": self.tenant_rules(),
        }

    def describe(self) -> str:
        """What is there, for a person: one line for each compute, with its state of this moment."""
        lines = [f"API {self.api_url}  key {self.api_key}  (world ready in {self.start_seconds:.1f} s)"]
        for branch, compute in self.life.branches():
            endpoint = compute.endpoint
            place = f"{self.world.projects[endpoint.project_id].name}/{branch.name}"
            limit = "never" if endpoint.suspend_after is None else f"{endpoint.suspend_after:.0f} s"
            tenants = " ".join(tenant.name for tenant in branch.tenants) or "nobody"
            extra = f"  slot {branch.slot}" if branch.slot else ""
            extra += "  PgBouncer" if endpoint.id in self.life.poolers else ""
            lines.append(
                f"{place:24} {endpoint.host:16} {endpoint.current_state:7} {endpoint.min_cu:g} CU"
                f"  suspends after {limit}  used by {tenants}{extra}"
            )
        return "\n".join([*lines, *self.notes])

    def start(self) -> Self:
        """Bring the world up: make or find the clusters, open the doors, start counting, let them live.

        Raises:
            StateError, WorldFileError, PostgresStartError, OSError: each says what to do; nothing is left running.
        """
        began = time.monotonic()
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        self.start_seconds = time.monotonic() - began
        return self

    def _start(self) -> None:
        self.state_dir.mkdir(parents=True, exist_ok=True)
        self.state_dir.chmod(0o755)  # The servers' user must reach its folder; the state file is ours alone.
        self._stack.enter_context(only_twin(self.state_dir))
        # Servers end with the thread that started them, so these threads live until the twin stops.
        holder = ThreadPoolExecutor(4, thread_name_prefix="twin-keeper")
        self._stack.callback(holder.shutdown)
        bin_dir = wheel_bin_dir(self.state_dir)
        state = load_state(self._state_file, self.spec)
        if state is None:
            self._make(bin_dir)
        else:
            self._restore(state, bin_dir)
        self._stack.callback(self._save)
        front = Front(holder)
        self._open_doors(front)
        self._branching(front, holder, bin_dir)
        self.api = self._serve()
        self._stack.callback(self.api.stop)
        self._save()
        self.life = Life(
            self.spec, self.computes, self._state, self.state_dir, bin_dir, holder, self.notes.append
        )  # fmt: skip
        self._stack.callback(self.life.stop)
        if self.settings.poolers:
            self.life.start_poolers()
        self.workload = self.life.workload()
        self._stack.callback(self.workload.stop)
        if self.settings.consumers:
            self.life.start_consumers()
        if self.settings.workload:
            self.workload.start()
        self._start_heart()

    def _clusters(self, bin_dir: Path) -> Clusters:
        return Clusters(
            folder=self.state_dir / "clusters",
            bin_dir=bin_dir,
            password=self._state.password,
            monitor_password=self._state.monitor_password,
            settings={**(KEEP if self.settings.history else {}), **self.settings.postgres},
        )

    def _make(self, bin_dir: Path) -> None:
        self._state = TwinState(spec_digest(self.spec))
        made = self._clusters(bin_dir).make(self.spec)
        self.world = build_world(self.spec, self._clock)
        for branch in self.world.branches.values():
            mine = made[branch.id]
            branch.logical_size, branch.wal_bytes = mine.size, mine.wal_end - mine.wal_base
        self._state.wal_base = {name: mine.wal_base for name, mine in made.items()}
        self.meter = Meter(self.world)
        self._make_computes(bin_dir)

    def _restore(self, state: TwinState, bin_dir: Path) -> None:
        """Continue: what ran when we ended was awake until the last heartbeat, and is idle now."""
        self._state = state
        self.world = restore_world(self.spec, state.world, self._clock)
        self.meter = Meter.from_json(self.world, state.meter)
        self._make_computes(bin_dir)
        for compute in self.computes.values():
            wait_until_gone(compute.cluster)
            forget_statistics(compute.cluster)
            endpoint = compute.endpoint
            if endpoint.current_state == "active" or endpoint.pending_state:
                endpoint.current_state, endpoint.pending_state = "idle", ""
                endpoint.suspended_at = endpoint.updated_at = state.saved_at
                self.world.record(endpoint, "suspend_compute", state.saved_at, 0.0)

    def _make_computes(self, bin_dir: Path) -> None:
        clusters = self._clusters(bin_dir)
        for endpoint in self.world.endpoints.values():
            if self.settings.suspend_seconds is not None and endpoint.suspend_after is not None:
                endpoint.suspend_timeout_seconds = self.settings.suspend_seconds
            cluster = clusters.cluster(endpoint.branch_id)
            base = self._state.wal_base[endpoint.branch_id]
            self.computes[endpoint.id] = Compute(self.world, self.meter, endpoint, cluster, base)

    def _open_doors(self, front: Front) -> None:
        for compute in self.computes.values():
            self._stack.callback(compute.close)
        self._stack.callback(front.stop)  # Before the suspends: nobody wakes what is being stopped.
        for compute in self.computes.values():
            before = int(compute.endpoint.host.rpartition(":")[2] or 0)
            try:
                port = front.listen(compute, before)
            except OSError:
                port = front.listen(compute, 0)
                self.notes.append(f"{compute.endpoint.id}: port {before} is taken, its door is at {port} now")
            compute.endpoint.host = f"127.0.0.1:{port}"

    def _branching(self, front: Front, holder: ThreadPoolExecutor, bin_dir: Path) -> None:
        clusters = self._clusters(bin_dir)
        clear_made(clusters.folder)
        self._writer = None
        if not self.settings.history:
            return
        histories = {}
        for compute in self.computes.values():
            branch = compute.endpoint.branch_id
            histories[branch] = History(compute.cluster, self.state_dir / "history" / branch)
            histories[branch].begin(self._clock())
        self._writer = Branching(Ground(self.world, self.meter, front, holder, clusters.cluster, histories))
        self._stack.callback(self._writer.stop)

    def _serve(self) -> TwinApi:
        api = self.settings.api or TwinApiSettings(org_key=self._state.api_key)
        api = replace(api, extra={**self.truth.paths(), **api.extra}, writer=api.writer or self._writer)
        host, _, port = self._listen.rpartition(":")
        if port == "0" and "api" in self._state.ports:
            with contextlib.suppress(OSError):  # Taken meanwhile: then a new one.
                return serve(self.world, self.meter, api, f"{host}:{self._state.ports['api']}")
        served = serve(self.world, self.meter, api, self._listen)
        self._state.ports["api"] = int(served.origin.rpartition(":")[2])
        return served

    def _start_heart(self) -> None:
        ended = threading.Event()

        def beat() -> None:
            while not ended.wait(HEARTBEAT_SECONDS):
                try:
                    self._save()
                except OSError as problem:  # A full disk, say: the world lives on, and the next beat tries again.
                    del self.notes[20:]
                    self.notes.append(f"the state was not saved: {problem}")

        heart = threading.Thread(target=beat, name="twin-heartbeat", daemon=True)
        heart.start()
        self._stack.callback(heart.join)
        self._stack.callback(ended.set)

    def _save(self) -> None:
        for compute in self.computes.values():
            compute.account()
        self._state.saved_at = self._clock()
        self._state.world = world_to_json(self.world)
        self._state.meter = self.meter.to_json()
        self._state.save(self._state_file)

    def stop(self) -> None:
        """End the life, suspend every compute, save; nothing of ours runs afterwards. A second call does nothing."""
        self._stack.close()

    def __enter__(self) -> Self:
        """Start."""
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self.stop()
