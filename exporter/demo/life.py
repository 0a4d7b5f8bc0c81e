"""Who uses the twin's computes: the tenants' services, the consumer of a slot, the PgBouncer in front.

All of them come through the computes' doors, like anybody's program; a test may start any of them alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path

from exporter.demo.cdc import Consumer
from exporter.demo.compute import Compute
from exporter.demo.pooler import Pooler, PoolerStartError, find_pgbouncer
from exporter.demo.statefile import TwinState
from exporter.demo.workload import Service, Workload
from exporter.demo.worldfile import BranchSpec, WorldSpec, branch_id


@dataclass(slots=True)
class Life:
    """Everything that connects; ``keeper`` runs what starts a process, because processes end with their thread."""

    spec: WorldSpec
    computes: Mapping[str, Compute]
    """By endpoint id."""
    state: TwinState
    folder: Path
    bin_dir: Path
    holder: Executor
    note: Callable[[str], None]
    """Where to say what is missing here."""
    poolers: dict[str, Pooler] = field(default_factory=dict)
    """Running PgBouncers by endpoint id."""
    consumers: dict[str, Consumer] = field(default_factory=dict)
    """Consumers of slots by endpoint id; started by ``start_consumers``."""

    def branches(self) -> Iterator[tuple[BranchSpec, Compute]]:
        """Every branch with a compute."""
        by_branch = {compute.endpoint.branch_id: compute for compute in self.computes.values()}
        for project in self.spec.projects:
            for branch in project.branches:
                compute = by_branch.get(branch_id(project, branch.name))
                if compute is not None:
                    yield branch, compute

    def start_poolers(self) -> None:
        """A PgBouncer for every pooled branch; where it is not installed, that is noted."""
        program = find_pgbouncer()
        for branch, compute in self.branches():
            if not branch.pooled:
                continue
            if program is None:
                self.note(f"no PgBouncer in front of {compute.endpoint.id}: pgbouncer is not installed")
                continue
            pooler = self.pooler(branch, compute, program)
            try:
                self.holder.submit(pooler.start).result()
            except PoolerStartError as problem:
                self.note(f"no PgBouncer in front of {compute.endpoint.id}: {problem}")
                continue
            self.poolers[compute.endpoint.id] = pooler
            self.state.ports[compute.endpoint.id] = pooler.port

    def pooler(self, branch: BranchSpec, compute: Compute, program: str) -> Pooler:
        """A PgBouncer for this branch, not started."""
        pooler = Pooler(
            program=program,
            folder=self.folder / f"pgbouncer-{compute.endpoint.id}",
            host=compute.endpoint.host,
            database=branch.database,
            users={tenant.role: self.state.password for tenant in branch.tenants},
            stats_password=self.state.stats_password,
        )
        pooler.port = self.state.ports.get(compute.endpoint.id, pooler.port)
        return pooler

    def start_consumers(self) -> None:
        """A pg_recvlogical for every slot: from now on it keeps that compute awake."""
        for branch, compute in self.branches():
            if branch.slot is not None:
                made = Consumer(self.bin_dir, branch.slot, compute.endpoint.host, branch.database, self.state.password)
                consumer = self.consumers.setdefault(compute.endpoint.id, made)
                self.holder.submit(consumer.start).result()

    def stop_consumers(self) -> None:
        """End them; the slots stay, and their lag grows."""
        for consumer in self.consumers.values():
            consumer.stop()

    def workload(self) -> Workload:
        """The tenants' services, not started; on a pooled branch every second tenant goes through the PgBouncer."""
        services = []
        for branch, compute in self.branches():
            pooler = self.poolers.get(compute.endpoint.id)
            address, _, port = compute.endpoint.host.rpartition(":")
            for number, tenant in enumerate(branch.tenants):
                direct = (
                    f"host={address} port={port} dbname={tenant.database or branch.database} user={tenant.role}"
                    f" password={self.state.password} sslmode=disable"
                )
                pooled = pooler is not None and number % 2 and tenant.database is None
                conninfo = pooler.conninfo(tenant.role) if pooler is not None and pooled else direct
                services.append(Service(compute.endpoint.id, tenant, conninfo, compute.endpoint.suspend_after or 300.0))
        return Workload(services, self.spec.seed)

    def stop(self) -> None:
        """End consumers and poolers."""
        self.stop_consumers()
        for pooler in self.poolers.values():
            pooler.stop()
