"""The data directories of a world's branches: one initdb, and every child a byte copy of its parent that drifts.

Made once, in a quiet moment: a branch's server runs only while something must be written into it.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from exporter.demo.compute import forget_statistics, wait_until_gone
from exporter.demo.monitor import MEASURE_SQL
from exporter.demo.postgres import Cluster, PostgresStartError, server_uid
from exporter.demo.seed import needs_server, seed_branch, seed_server
from exporter.demo.worldfile import BranchSpec, ProjectSpec, WorldFileError, WorldSpec, branch_id

SETTINGS = {
    "io_method": "sync",  # no I/O workers: many small servers share two cores
    "pg_stat_statements.track_utility": "off",  # so that a pooler's SET is not counted as its tenant's call
}


class ClusterFolderError(PostgresStartError):
    """The folder cannot hold clusters; the message says why."""


@dataclass(slots=True)
class Made:
    """One branch's data directory as it was made."""

    cluster: Cluster
    wal_base: int = 0
    """WAL position in bytes when the branch began."""
    wal_end: int = 0
    """... and when its seeding ended."""
    size: int = 0
    """Bytes of all databases."""


@dataclass(slots=True)
class Clusters:
    """The clusters of one world under one folder; ``make`` for a new world, ``reuse`` for one made before."""

    folder: Path
    bin_dir: Path
    password: str
    monitor_password: str
    settings: dict[str, str] = field(default_factory=dict)

    def cluster(self, branch: str) -> Cluster:
        """The (not running) cluster of a branch id."""
        return Cluster(
            self.bin_dir,
            self.folder / branch,
            self.password,
            settings={**SETTINGS, **self.settings},
            initdb_options=("--wal-segsize=1",),  # megabytes: a branch is copied with its WAL
        )

    def make(self, spec: WorldSpec) -> dict[str, Made]:
        """Make every branch that has a compute, by branch id; whatever was in the folder is removed.

        Raises:
            ClusterFolderError: the servers' user cannot reach the folder.
            PostgresStartError: a server did not initialise or start.
            WorldFileError: the server refused a statement of the description.
        """
        if self.folder.is_dir():
            for left in self.folder.iterdir():  # Killed while it made them: such a server may still be ending.
                wait_until_gone(self.cluster(left.name))
            shutil.rmtree(self.folder)
        self.folder.mkdir(parents=True)
        self.folder.chmod(0o755)
        _check_reachable(self.folder)
        template = Made(self.cluster("template"))
        template.cluster.create()
        self._write(template, None)
        made: dict[str, Made] = {}
        for project in spec.projects:
            specs = {branch.name: branch for branch in project.branches}
            for branch in project.branches:
                made[branch_id(project, branch.name)] = self._branch(project, branch, specs, made, template)
        return made

    def _branch(
        self, project: ProjectSpec, branch: BranchSpec, specs: dict[str, BranchSpec], made: dict[str, Made], root: Made
    ) -> Made:
        parent = made[branch_id(project, branch.parent)] if branch.parent else root
        mine = Made(self.cluster(branch_id(project, branch.name)), parent.wal_end, parent.wal_end, parent.size)
        mine.cluster.copy_from(parent.cluster)
        # Neon does not hand a parent's replication slots on to its children.
        for slot in (mine.cluster.data_dir / "pg_replslot").iterdir():
            shutil.rmtree(slot)
        if needs_server(branch, specs[branch.parent] if branch.parent else None):
            self._write(mine, branch)
        return mine

    def _write(self, made: Made, branch: BranchSpec | None) -> None:
        cluster = made.cluster
        cluster.start()
        try:
            if branch is None:
                seed_server(cluster, self.monitor_password)
            else:
                try:
                    seed_branch(cluster, branch)
                except psycopg.Error as problem:
                    raise WorldFileError(f"branch {branch.name}: PostgreSQL refuses it: {problem}") from None
            with psycopg.connect(cluster.conninfo(), autocommit=True) as connection:
                row = connection.execute(MEASURE_SQL).fetchone()
        finally:
            cluster.stop()
            # What the seeding ran is nobody's work, and a suspended compute has no statistics anyway.
            forget_statistics(cluster)
        if row is not None:
            made.size, made.wal_end = int(row[0]), int(row[1])


def _check_reachable(folder: Path) -> None:
    if server_uid() is None:
        return
    for path in (folder, *folder.resolve().parents):
        if not path.stat().st_mode & 0o001:
            raise ClusterFolderError(
                f"PostgreSQL refuses to run as root, and another user cannot enter {path}: choose another state folder"
            )
