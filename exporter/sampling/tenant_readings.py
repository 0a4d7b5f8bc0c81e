"""Facts about tenants beside their statements: sizes, active sessions, and which branches and snapshots exist.

No query is made for them: sizes come from the collectors of sizes and schemas, sessions from a visit's evidence.
Lives on the event loop; everything is written on the writer thread.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from collectors.base import Reading
from collectors.neon.client import NeonClient
from collectors.neon.errors import NeonError
from collectors.neon.inventory import Inventory
from collectors.neon.snapshots import Snapshots, snapshots_of
from collectors.postgres.cluster.activity import is_monitor
from collectors.postgres.cluster.sizes import DatabaseSizes
from collectors.postgres.database.schemas import SIZE as SCHEMA_SIZE
from collectors.postgres.database.schemas import UNKNOWN, SchemaFacts
from collectors.postgres.evidence import CLIENT_ACTIVE, IDLE, IDLE_IN_TRANSACTION, Evidence, Holder
from collectors.wake.policy import WakeState
from exporter.core.clock import is_recent
from exporter.sampling.computes import Compute
from exporter.storage.writer import WriterThread
from exporter.tenancy.domain.rules import UNATTRIBUTED
from exporter.tenancy.store import BranchLife, BranchRef, SchemaSize, SnapshotLife, Tenancy

SNAPSHOTS_PACE = 3600.0
_log = logging.getLogger("neonmeter.neon")


class TenantReadings:
    """Hands to `exporter.tenancy.store` what others have read; reads itself only which snapshots there are."""

    def __init__(self, tenancy: Tenancy, disk: WriterThread, client: NeonClient | None = None) -> None:
        """Without a ``client`` no snapshots are read."""
        self._tenancy = tenancy
        self._disk = disk
        self._client = client
        self._snapshots: Snapshots = {}
        self._snapshots_at = 0.0

    async def look(self, inventory: Inventory) -> None:
        """Take in which branches exist.

        Raises:
            StoreError: the disk is full or the file damaged.
        """
        now = inventory.server_now or inventory.taken_at
        unknown = inventory.unknown_project_ids
        await self._disk.run(lambda: self._tenancy.look(_lives(inventory, now), now, unknown))

    def snapshots(self) -> Snapshots:
        """The snapshots of each project as last read (`exporter.feature.ports.SnapshotList`)."""
        return self._snapshots

    async def read_snapshots(self, inventory: Inventory | None) -> None:
        """Read which snapshots exist, once an hour; snapshots that Neon does not list stay a cost of the project.

        Raises:
            StoreError: the disk is full or the file damaged.
        """
        if self._client is None or inventory is None:
            return
        if is_recent(self._snapshots_at, inventory.server_now, SNAPSHOTS_PACE):
            return
        now = int(inventory.server_now)
        self._snapshots_at = inventory.server_now
        try:
            found = await snapshots_of(self._client, sorted(inventory.projects))
        except NeonError as problem:
            _log.info("snapshots: %s", problem.message)
            return
        self._snapshots = found
        lives = [
            SnapshotLife(
                snapshot.id,
                project,
                snapshot.source_branch_id,
                snapshot.charged_bytes or 0,
                int(snapshot.created_at or now),
                now,
            )
            for project, snapshots in found.items()
            for snapshot in snapshots or ()
        ]
        if lives:
            await self._disk.run(lambda: self._tenancy.absorb_snapshots(lives))

    def databases(self, compute: Compute, facts: DatabaseSizes, at: float) -> None:
        """Take in the sizes of databases (`exporter.sampling.readings.OnFacts`)."""
        if facts.sizes:
            self._tenancy.absorb_databases(_branch(compute), facts.sizes, at)

    async def schemas(self, compute: Compute, datname: str, reading: Reading, at: float) -> None:
        """Take in the sizes and roles of one database's schemas.

        Raises:
            StoreError: the disk is full or the file damaged.
        """
        roles: dict[str, list[str]] = {}
        if isinstance(reading.facts, SchemaFacts):
            for role, names in reading.facts.schemas.items():
                for schema in names:
                    roles.setdefault(schema, []).append(role)
        unknown = reading.families.get(UNKNOWN)
        sizes = {
            schema: SchemaSize(int(size), tuple(sorted(roles.get(schema, ()))), bool(unknown.get((name, schema))))
            for (name, schema), size in reading.families.get(SCHEMA_SIZE).items()
        }
        await self._disk.run(
            lambda: self._tenancy.absorb_schemas(_branch(compute), datname, sizes, at), patient=True
        )  # fmt: skip

    async def sample(
        self, compute: Compute, evidence: Evidence, before: WakeState, after: WakeState, at: float
    ) -> None:
        """Count the active sessions at a visit (`exporter.sampling.visits.OnEvidence`).

        Only sessions count whose tenant the application_name alone tells: others are known by their statements.

        Raises:
            StoreError: the disk is full or the file damaged.
        """
        del after
        if not evidence.privileged:
            return
        since = evidence.postmaster_start if before.server_end is None else before.server_end
        sessions = self._sessions(_branch(compute), [holder for holder in evidence.holders if _worked(holder, since)])
        if sessions:
            await self._disk.run(
                lambda: self._tenancy.absorb_samples(_branch(compute), at, sessions), patient=True
            )  # fmt: skip

    def _sessions(self, branch_ref: BranchRef, holders: list[Holder]) -> Mapping[str, int]:
        found: dict[str, int] = {}
        for holder in holders:
            tenant = self._tenancy.tenant_of_session(branch_ref, holder.user, holder.application, holder.database)
            known = self._tenancy.tenant_of_session(branch_ref, holder.user, "", holder.database)
            if known == UNATTRIBUTED != tenant:
                found[tenant] = found.get(tenant, 0) + holder.count
        return found


def _lives(inventory: Inventory, now: float) -> list[BranchLife]:
    """Every branch that exists at ``now`` (unix seconds)."""
    lives = []
    for branch in inventory.branches.values():
        project = inventory.projects.get(branch.project_id)
        names = (branch.name or branch.id, project.name if project else branch.project_id)
        born = int(branch.created_at or now)
        lives.append(BranchLife(branch.id, branch.project_id, *names, bool(branch.parent_id), born, int(now)))
    return lives


def _branch(compute: Compute) -> BranchRef:
    place = compute.place
    return BranchRef(place.project_id, place.branch_id, place.project_name, place.branch_name)


def _worked(holder: Holder, since: float) -> bool:
    """Whether the sessions of a group did something since the visit before."""
    if is_monitor(holder.application, holder.user):
        return False
    if holder.kind == IDLE:
        return not holder.unused and holder.changed is not None and holder.changed > since
    return holder.kind in (CLIENT_ACTIVE, IDLE_IN_TRANSACTION)
