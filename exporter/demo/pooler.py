"""A real PgBouncer in front of one compute, as a team runs it itself: statistics for `stats`, transactions pooled.

It connects through the compute's door, so its connections wake the compute like any other; configured badly
(``min_pool_size``) it comes back after every suspend, which is what an agent must be able to tell.
"""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from collectors.errors import NeonmeterError
from exporter.demo.postgres import as_server, end, free_port, give_to_server

STATS_USER = "stats"


class PoolerStartError(NeonmeterError):
    """PgBouncer did not come up; the message carries the end of its log."""


def find_pgbouncer() -> str | None:
    """The program, when it is installed."""
    return shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/bin")


@dataclass(slots=True)
class Pooler:
    """One PgBouncer on 127.0.0.1:port."""

    program: str
    folder: Path
    host: str
    """``127.0.0.1:PORT`` of the compute's door."""
    database: str
    users: Mapping[str, str]
    """Roles that may connect, with their passwords."""
    stats_password: str
    port: int = field(default_factory=free_port)
    settings: Mapping[str, str | int] = field(default_factory=dict)
    """PgBouncer settings over the defaults here."""
    user: str = ""
    """A role that every server connection is forced to: ``min_pool_size`` needs it before a client came."""
    _process: subprocess.Popen[bytes] | None = None

    @property
    def dsn(self) -> str:
        """The admin console, without its password."""
        return f"postgresql://{STATS_USER}@127.0.0.1:{self.port}/pgbouncer"

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def conninfo(self, role: str) -> str:
        """How a role's service connects through it."""
        return (
            f"host=127.0.0.1 port={self.port} dbname={self.database} user={role} password={self.users[role]}"
            " sslmode=disable"
        )

    def start(self, wait_seconds: float = 10.0) -> None:
        """Write its files, start it (on a thread that lives as long as it shall), return when it listens.

        Raises:
            PoolerStartError: it ended, or does not listen in time.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        config, log = self.folder / "pgbouncer.ini", self.folder / "pgbouncer.log"
        config.write_text(self._config())
        users = {**self.users, STATS_USER: self.stats_password}
        (self.folder / "userlist.txt").write_text("".join(f'"{name}" "{word}"\n' for name, word in users.items()))
        give_to_server(self.folder)
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                as_server(self.program, str(config), ended_by="KILL"),  # INT would wait for its clients
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                cwd="/",
                start_new_session=True,
            )
        deadline = time.monotonic() + wait_seconds
        while not self._listens():
            if self.pid is None or time.monotonic() > deadline:
                self.stop()
                raise PoolerStartError(f"pgbouncer did not start: {log.read_text(errors='replace')[-800:].strip()}")
            time.sleep(0.05)

    def stop(self) -> None:
        """End it at once, by its pid."""
        process, self._process = self._process, None
        end(process, signal.SIGTERM)

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def _config(self) -> str:
        address, _, port = self.host.rpartition(":")
        forced = f" user={self.user} password={self.users[self.user]}" if self.user else ""
        settings: dict[str, str | int] = {
            "listen_addr": "127.0.0.1",
            "listen_port": self.port,
            "unix_socket_dir": "",
            "auth_type": "scram-sha-256",
            "auth_file": str(self.folder / "userlist.txt"),
            "stats_users": STATS_USER,
            "pool_mode": "transaction",
            "default_pool_size": 5,
            "max_client_conn": 200,
            "server_idle_timeout": 10,
            "server_tls_sslmode": "disable",
            "server_check_query": "",  # A check would be counted as a call of the tenant's.
            "server_login_retry": 1,
            **self.settings,
        }
        lines = "\n".join(f"{name} = {value}" for name, value in settings.items())
        return (
            f"[databases]\n{self.database} = host={address} port={port} dbname={self.database}{forced}\n"
            f"[pgbouncer]\n{lines}\n"
        )
