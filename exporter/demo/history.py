"""The history of a twin's branch: its data directory as it once was, and every byte of WAL since.

A new branch at a past instant is that copy with the WAL replayed up to the instant, by PostgreSQL's own point-in-time
recovery; so what such a branch shows is what the parent held then, and nothing that was committed later. The parent
keeps its WAL where it is (``wal_keep_size``) and goes on undisturbed.
"""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from exporter.demo.postgres import Cluster, PostgresStartError, give_to_server

KEEP = {"wal_keep_size": "8GB"}
"""Settings of a server that keeps a history: its WAL is never recycled before that."""
_NO_LATER_COMMIT = "recovery ended before configured recovery target was reached"


@dataclass(slots=True)
class History:
    """The history of one cluster, in a folder of its own."""

    cluster: Cluster
    folder: Path

    @property
    def since(self) -> float | None:
        """The earliest instant (unix seconds) that can be gone back to; None before ``begin``."""
        try:
            return float((self.folder / "since").read_text())
        except (OSError, ValueError):
            return None

    def begin(self, now: float) -> None:
        """Copy the data directory of the stopped server, unless that was done before."""
        if self.since is not None:
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        shutil.copytree(self.cluster.data_dir, self.folder / "base", symlinks=True)
        (self.folder / "since").write_text(repr(now))

    def restore(self, target: Cluster, at: float) -> None:
        """Make ``target`` what the cluster was at ``at`` (unix seconds), promoted and stopped.

        Must run on a thread that outlives the server that does it.

        Raises:
            PostgresStartError: PostgreSQL could not replay to it.
        """
        if self.cluster.running:
            self._commit_something()
        shutil.copytree(self.folder / "base", target.data_dir, symlinks=True)
        self._copy_wal(target)
        for slot in (target.data_dir / "pg_replslot").iterdir():
            shutil.rmtree(slot)  # As on Neon, a branch has none of its parent's slots.
        (target.data_dir / "recovery.signal").touch()
        give_to_server(target.data_dir)
        instant = datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S.%f+00")
        try:
            self._replay(target, {"recovery_target_time": instant, "recovery_target_action": "promote"})
        except PostgresStartError as problem:
            if _NO_LATER_COMMIT not in str(problem):
                raise
            self._replay(target, {})  # Nothing was committed after the instant: the end of the WAL is it.

    def _commit_something(self) -> None:
        """Recovery stops at the first commit after the instant: make one, where the parent may be quiet."""
        with contextlib.suppress(psycopg.Error), psycopg.connect(self.cluster.conninfo(), autocommit=True) as session:
            session.execute("SELECT pg_current_xact_id()")

    def _copy_wal(self, target: Cluster) -> None:
        source = self.cluster.data_dir / "pg_wal"
        for path in sorted(source.iterdir()):
            if len(path.name) == 24:  # A segment; not its folders.
                with contextlib.suppress(FileNotFoundError):
                    shutil.copy2(path, target.data_dir / "pg_wal" / path.name)

    @staticmethod
    def _replay(target: Cluster, settings: dict[str, str]) -> None:
        # No archive to ask: every segment lies in the copy's own pg_wal.
        recovery = {"restore_command": "false", "hot_standby": "off", **settings}
        server = Cluster(target.bin_dir, target.data_dir, target.password, settings={**target.settings, **recovery})
        server.start(wait_seconds=120.0)
        server.stop()
