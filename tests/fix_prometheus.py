"""A real Prometheus (Debian's), scraping one address on loopback; skips with a reason when it is not installed."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from exporter.demo.postgres import free_port


def binary(name: str) -> str:
    """The path of a Debian tool; skips the test when it is not there."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/bin")
    if found is None:
        pytest.skip(f"{name} is not installed (apt-get install prometheus)")
    return found


def promtool_check(exposition: bytes) -> str:
    """What `promtool check metrics` has to say about an exposition; empty when nothing."""
    done = subprocess.run(
        [binary("promtool"), "check", "metrics"], input=exposition, capture_output=True, timeout=300, check=False
    )
    return (done.stdout + done.stderr).decode()


@dataclass(frozen=True)
class Prometheus:
    """A running server. It asks for gzip and nothing else, as Go's clients do."""

    url: str

    def query(self, expression: str) -> list[dict[str, object]]:
        """The vector of an instant query: dicts with ``metric`` and ``value`` ([time, text])."""
        answer = httpx.get(f"{self.url}/api/v1/query", params={"query": expression}, timeout=60, trust_env=False)
        answer.raise_for_status()
        result: list[dict[str, object]] = answer.json()["data"]["result"]
        return result

    def value(self, expression: str) -> float | None:
        """The value of a query with one result; None when there is no result."""
        result = self.query(expression)
        return float(result[0]["value"][1]) if result else None  # type: ignore[index]

    def wait(self, expression: str, wanted: Callable[[float], bool], seconds: float = 180) -> float:
        """Ask until the value is as wanted.

        Raises:
            TimeoutError: it did not become so in time; the message carries the last value and the scrape's error.
        """
        deadline = time.monotonic() + seconds
        while True:
            value = self.value(expression)
            if value is not None and wanted(value):
                return value
            if time.monotonic() > deadline:
                raise TimeoutError(f"{expression} is {value}; {self.scrape_error()}")
            time.sleep(0.1)

    def scrape_error(self) -> str:
        """The last error of the scrape; empty when there was none."""
        targets = httpx.get(f"{self.url}/api/v1/targets", timeout=60, trust_env=False).json()["data"]["activeTargets"]
        return "; ".join(filter(None, (target["lastError"] for target in targets)))


@contextlib.contextmanager
def prometheus(target: str, *, interval: str = "1s", path: str = "/metrics") -> Iterator[Prometheus]:
    """A server that scrapes ``target`` (HOST:PORT) until the block ends."""
    where = Path(tempfile.mkdtemp(prefix="neonmeter-prometheus-"))
    job = {"job_name": "neonmeter", "metrics_path": path, "static_configs": [{"targets": [target]}]}
    config = {"global": {"scrape_interval": interval, "scrape_timeout": interval}, "scrape_configs": [job]}
    try:
        with serving(where, config) as server:
            yield server
    finally:
        shutil.rmtree(where, ignore_errors=True)


@contextlib.contextmanager
def serving(where: Path, config: dict[str, object], *options: str) -> Iterator[Prometheus]:
    """A server with its data in ``where``/data; old blocks in there are served as long as the server lives."""
    program = binary("prometheus")
    (where / "prometheus.yml").write_text(json.dumps(config))
    port = free_port()
    arguments = [
        f"--config.file={where}/prometheus.yml",
        f"--storage.tsdb.path={where}/data",
        "--storage.tsdb.retention.time=100y",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
        *options,
    ]
    with (where / "log").open("wb") as log:
        process = subprocess.Popen([program, *arguments], stdout=log, stderr=log, cwd=where)
    try:
        server = Prometheus(f"http://127.0.0.1:{port}")
        for _ in range(1800):
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"{server.url}/-/ready", timeout=2, trust_env=False).status_code == 200:
                    break
            if process.poll() is not None:
                break
            time.sleep(0.1)
        else:
            process.kill()
        if process.poll() is not None:
            pytest.fail(f"Prometheus did not start: {(where / 'log').read_text()[-2000:]}")
        yield server
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        process.kill()
        process.wait()


PrometheusFactory = Callable[..., contextlib.AbstractContextManager[Prometheus]]


@pytest.fixture(scope="session")
def prometheus_of() -> PrometheusFactory:
    """`with prometheus_of("127.0.0.1:9719") as server:` starts a Prometheus that scrapes this address every second."""
    binary("prometheus")
    return prometheus
