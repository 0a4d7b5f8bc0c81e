"""A real PgBouncer (Debian's) in front of the shared PostgreSQL 18; tests that need it say so when it is absent."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from exporter.demo.postgres import SUPERUSER, Cluster, as_server, free_port, give_to_server
from tests.fix_postgres import PASSWORD

STATS_PASSWORD = "stats-not-a-secret"


@dataclass
class Pooler:
    """A running PgBouncer: `app` is a database of one server connection, `stats` may SHOW, `nobody` may nothing."""

    port: int
    process: subprocess.Popen[bytes]

    def console(self, user: str = "stats", password: str = STATS_PASSWORD) -> str:
        return f"host=127.0.0.1 port={self.port} user={user} password={password}"

    def app(self) -> str:
        return f"host=127.0.0.1 port={self.port} dbname=app user={SUPERUSER} password={PASSWORD}"

    def signal(self, number: int) -> None:
        os.kill(self.process.pid, number)


def binary() -> str:
    found = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if found is None:
        pytest.skip("PgBouncer is not installed (apt-get install pgbouncer)")
    return found


@contextmanager
def pooler(server: Cluster, **settings: str) -> Iterator[Pooler]:
    """Start a PgBouncer of its own for a test that freezes or kills it."""
    where = Path(tempfile.mkdtemp(prefix="neonmeter-pgbouncer-"))
    port = free_port()
    users = {SUPERUSER: PASSWORD, "stats": STATS_PASSWORD, "nobody": STATS_PASSWORD}
    (where / "users.txt").write_text("".join(f'"{user}" "{word}"\n' for user, word in users.items()))
    options = {
        "listen_addr": "127.0.0.1",
        "listen_port": str(port),
        "unix_socket_dir": "",
        "auth_type": "scram-sha-256",
        "auth_file": str(where / "users.txt"),
        "stats_users": "stats",
        "pool_mode": "transaction",
        "default_pool_size": "7",
        **settings,
    }
    (where / "pgbouncer.ini").write_text(
        f"[databases]\napp = host=127.0.0.1 port={server.port} dbname=postgres pool_size=1\n[pgbouncer]\n"
        + "".join(f"{key} = {value}\n" for key, value in options.items())
    )
    where.chmod(0o700)
    give_to_server(where)
    log = (where / "log").open("wb")
    process = subprocess.Popen(
        as_server(binary(), "-q", str(where / "pgbouncer.ini")),
        stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", start_new_session=True,
    )  # fmt: skip
    try:
        _wait(process, port, where / "log")
        yield Pooler(port, process)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        log.close()
        shutil.rmtree(where, ignore_errors=True)


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + 120
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"PgBouncer did not start: {log.read_text(errors='replace')[-800:]}")
        time.sleep(0.02)


@pytest.fixture(scope="session")
def pgbouncer(postgres18: Cluster) -> Iterator[Pooler]:
    """A shared running PgBouncer; a test that disturbs it takes `pooler()` instead."""
    with pooler(postgres18) as running:
        yield running
