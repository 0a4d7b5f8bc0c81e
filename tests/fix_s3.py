"""S3 as moto plays it, in a process of its own on loopback; tests that need it say so when it is absent."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from exporter.demo.postgres import free_port

KEYS = ("testing-id", "testing-secret")


@dataclass
class S3:
    """A running server; ``client()`` is boto3's."""

    url: str

    def client(self, region: str = "eu-central-1", service: str = "s3") -> Any:
        import boto3

        return boto3.client(
            service, endpoint_url=self.url, region_name=region, aws_access_key_id=KEYS[0], aws_secret_access_key=KEYS[1]
        )


@pytest.fixture(scope="session")
def s3() -> Iterator[S3]:
    """A shared S3; each test makes buckets of its own."""
    if importlib.util.find_spec("moto") is None or importlib.util.find_spec("boto3") is None:
        pytest.skip("moto is not installed (pip install 'moto[server]')")
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        running = S3(f"http://127.0.0.1:{port}")
        _wait(running, process)
        yield running
    finally:
        process.terminate()
        process.wait(10)


def _wait(running: S3, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 180
    while True:
        try:
            httpx.get(f"{running.url}/moto-api/", timeout=10)
        except httpx.HTTPError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("moto's server did not start") from None
            time.sleep(0.1)
        else:
            return
