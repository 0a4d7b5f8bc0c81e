"""A real consumer of a logical slot: pg_recvlogical, connected through the compute's door.

Its walsender keeps the compute awake for as long as it runs; stopped, the slot stays and its lag grows.
"""

from __future__ import annotations

import os
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

from exporter.demo.postgres import as_server, end
from exporter.demo.seed import REPLICATOR, publication


@dataclass(slots=True)
class Consumer:
    """One pg_recvlogical that reads a slot and throws the changes away; it connects again when it loses its server."""

    bin_dir: Path
    slot: str
    host: str
    """``127.0.0.1:PORT`` of the compute's door."""
    database: str
    password: str
    _process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        """Whether the consumer's process is alive."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return self._process.pid if self._process is not None and self.running else None

    def start(self) -> None:
        """Begin to consume, on a thread that lives as long as the consumer shall."""
        if self.running:
            return
        address, _, port = self.host.rpartition(":")
        conninfo = (
            f"host={address} port={port} dbname={self.database} user={REPLICATOR} sslmode=disable"
            f" application_name={self.slot}"
        )
        self._process = subprocess.Popen(
            as_server(
                str(self.bin_dir / "pg_recvlogical"), f"--dbname={conninfo}", f"--slot={self.slot}", "--start",
                "--file=/dev/null", "--option=proto_version=1", f"--option=publication_names={publication(self.slot)}",
                ended_by="KILL",  # It has nothing to lose, and a signal that comes while it reconnects can pass it by.
            ),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/",
            start_new_session=True, env={**os.environ, "PGPASSWORD": self.password},
        )  # fmt: skip

    def stop(self) -> None:
        """End it, by its pid; the slot stays."""
        process, self._process = self._process, None
        end(process, signal.SIGTERM)
