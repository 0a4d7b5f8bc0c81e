"""SIGTERM and SIGINT end every command that takes time, in the same way: it says what is known and leaves nothing.

Real processes and signals. SIGINT comes to a process that was started with it ignored, as a shell starts the background
jobs of a script: whoever sends it all the same means it. The running agent has its own tests (test_stop), as have the
demo (test_demo) and a drill that has made a branch (test_drill).
"""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.fix_twin import Twin

SECONDS = 180.0
IGNORING = ("sh", "-c", 'trap "" INT; exec "$@"', "sh")
DIALS_OUT = ("check", "inventory", "record it", "ledger backfill", "posture")
"""Commands that wait for Neon's API."""


class Command:
    """A command as a process, with an API and a folder for all that it writes."""

    def __init__(self, folder: Path, api_url: str, key: str, *command: str) -> None:
        self.out, self.temporary = folder / "out", folder / "tmp"
        self.temporary.mkdir()
        environment = os.environ | {
            "NEONMETER_NEON__API_URL": api_url, "NEON_API_KEY": key, "TMPDIR": str(self.temporary),
            "NEONMETER_STORAGE__PATH": str(folder / "neonmeter.db"), "PYTHONUNBUFFERED": "1",
            "NEONMETER_POSTGRES__DSN": "postgresql://monitor@{host}/postgres",
        }  # fmt: skip
        with self.out.open("wb") as out:
            self.process = subprocess.Popen(
                [*IGNORING, sys.executable, "-m", "exporter", *command],
                env=environment, cwd=folder, stdout=out, stderr=subprocess.STDOUT,
            )  # fmt: skip

    def __enter__(self) -> Command:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()

    @property
    def text(self) -> str:
        return self.out.read_text()

    def says(self, what: str) -> None:
        """Wait until it said so."""
        self.until(lambda: what in self.text)

    def until(self, happened: Callable[[], bool]) -> None:
        """Wait for it; fail when the command ends without."""
        until = time.monotonic() + SECONDS
        while not happened():
            assert self.process.poll() is None and time.monotonic() < until, self.text
            time.sleep(0.05)

    def end(self, number: int) -> int:
        """Send the signal; the exit code."""
        self.process.send_signal(number)
        code = self.process.wait(SECONDS)
        assert "Traceback" not in self.text, self.text
        assert not list(self.temporary.iterdir())
        return code


@contextmanager
def silent() -> Iterator[socket.socket]:
    """An API that accepts and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        yield listener


both = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.deep)])
@pytest.mark.parametrize("command", DIALS_OUT)
def test_while_neon_does_not_answer(tmp_path: Path, command: str, number: int) -> None:
    with silent() as api:
        url = f"http://127.0.0.1:{api.getsockname()[1]}/api/v2"
        with Command(tmp_path, url, "k", *command.split()) as running:
            running.until(lambda: bool(select.select([api], [], [], 0)[0]))
            assert running.end(number) == 128 + number, running.text


@both
def test_verify_wake_tells_what_is_known(twin_api: Twin, tmp_path: Path, number: int) -> None:
    endpoint = next(iter(twin_api.world.endpoints))
    with Command(tmp_path, twin_api.url, twin_api.key, "verify-wake", "--every", "1", "--endpoint", endpoint) as watch:
        watch.says("waiting until somebody uses it")
        assert watch.end(number) == 128 + number
        assert "Not measured: no suspend was seen" in watch.text


@both
def test_prove_takes_its_folder_with_it(tmp_path: Path, number: int) -> None:
    with Command(tmp_path, "http://127.0.0.1:1", "k", "prove", "--branches", "1200") as prove:
        prove.until(lambda: any(prove.temporary.iterdir()))
        assert prove.end(number) == 128 + number, prove.text


@both
def test_what_serves_until_stopped_ends_well(twin_api: Twin, tmp_path: Path, number: int) -> None:
    """A stop is the usual end of `twin` and `replay`."""
    for name in ("twin", "record", "replay"):
        (tmp_path / name).mkdir()
    with Command(tmp_path / "twin", "", "", "twin", "--world", "large:2x2") as twin:
        twin.says("neon.api_url")
        assert twin.end(number) == 0
    folder = str(tmp_path / "recording")
    with Command(tmp_path / "record", twin_api.url, twin_api.key, "record", folder) as record:
        assert record.process.wait(SECONDS) == 0, record.text
    with Command(tmp_path / "replay", "", "", "replay", folder) as replay:
        replay.says("neonmeter check")
        assert replay.end(number) == 0
