"""`neonmeter verify-wake` on the twin: it measures a suspend without us and one with us, and wakes nothing."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

from exporter.demo.compute import Compute
from exporter.demo.lastactive import Follow
from exporter.demo.twin import Twin, TwinSettings
from tests.fix_twin_world import app_dsn, suspended, wait_for

T = 20
BOUND = 17.5


@pytest.fixture(scope="module")
def twin(open_state_dir: Path) -> Iterator[Twin]:
    quiet = TwinSettings(suspend_seconds=T, workload=False, consumers=False, poolers=False)
    with Twin("small", open_state_dir / "verify", settings=quiet) as twin:
        yield twin


Maker = Callable[..., "Command"]


@pytest.fixture
def watch(twin: Twin, tmp_path: Path) -> Iterator[Maker]:
    """Commands by their arguments; what still runs at the end is killed."""
    made: list[Command] = []

    def make(*arguments: str, **settings: Any) -> Command:
        made.append(Command(twin, tmp_path, *arguments, **settings))
        return made[-1]

    yield make
    for command in made:
        command.process.kill()
        command.end()


class Command:
    """The command as a process, and what it says, line by line."""

    def __init__(self, twin: Twin, folder: Path, *more: str, **settings: Any) -> None:
        config = folder / "neonmeter.yaml"
        config.write_text(
            yaml.safe_dump({**twin.agent_settings(), "storage": {"path": str(folder / "x.db")}, **settings})
        )
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "exporter", "verify-wake", "--config", str(config), "--every", "1", *more],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as out:
            for line in out:
                self.lines.append(line)

    @property
    def text(self) -> str:
        return "".join(self.lines)

    def says(self, what: str) -> None:
        """Wait until it said so; fail when it ended without."""
        assert wait_for(lambda: what in self.text or self.process.poll() is not None), self.text
        self._reader.join(0.1 if self.process.poll() is None else 60)
        assert what in self.text, self.text

    def end(self) -> int:
        """Wait for the end of the process and of what it says; the exit code."""
        code = self.process.wait(180)
        self._reader.join(60)
        return code


def use(twin: Twin, compute: Compute) -> None:
    with psycopg.connect(app_dsn(twin, compute, "acme")) as connection:
        connection.execute("SELECT 1")


@pytest.mark.deep
def test_both_are_measured_and_the_bound_holds(twin: Twin, watch: Maker) -> None:
    staging = twin.compute("bookshop", "staging")
    command = watch("--endpoint", "bookshop/staging", "--minutes", "3")
    command.says("idle: waiting until somebody uses it")
    time.sleep(3)
    assert not staging.wakes, "it wakes nothing"
    use(twin, staging)
    command.says("phase 2")
    assert not staging.visits.total() - 1, "nobody but the user was there"
    use(twin, staging)
    command.says("visited for")
    assert command.end() == 0, command.text
    print(command.text)
    found = re.search(r"Added by watching: ([-+][\d.]+) s; the bound is ([\d.]+) s: it holds", command.text)
    assert found is not None
    assert float(found[2]) == BOUND
    assert -2 <= float(found[1]) <= BOUND + 2
    without = re.search(r"^without us +([\d.]+) s", command.text, re.MULTILINE)
    assert without is not None
    assert T - 2 <= float(without[1]) <= T + 4
    assert re.search(r"last_active moved \d+ x", command.text) or "did not move" in command.text
    assert {wake.application_name for wake in staging.wakes} == {"a-service"}
    kinds = re.findall(r"^[\d:]{8}  (wake|suspend) ", command.text, re.MULTILINE)
    assert kinds == ["wake", "suspend"] * 2, "Neon's own record is beside it"


@pytest.mark.deep
def test_where_last_active_stands_still_a_start_is_what_counts(twin: Twin, watch: Maker) -> None:
    dev = twin.compute("analytics", "dev")
    twin.api.last_active.follow = Follow.FROZEN
    try:
        command = watch("--endpoint", dev.endpoint.id, "--minutes", "3")
        command.says("idle: waiting")
        for phase in ("phase 2", "visited for"):
            psycopg.connect(app_dsn(twin, dev, "dune")).close()
            command.says(phase)
        assert command.end() == 0, command.text
        print(command.text)
        assert "did not move" in command.text
        assert "the bound is 17.5 s: it holds" in command.text
    finally:
        twin.api.last_active.follow = Follow.EXACT


def test_a_stop_in_the_middle_tells_what_is_known(twin: Twin, watch: Maker) -> None:
    archive = twin.compute("bookshop", "preview")
    command = watch("--endpoint", archive.endpoint.id)
    command.says("waiting until somebody uses it")
    command.process.send_signal(signal.SIGINT)
    assert command.end() == 130
    assert "Traceback" not in command.text
    assert "Not measured: no suspend was seen" in command.text
    assert not archive.wakes
    assert suspended(archive)


def test_it_ends_by_itself(twin: Twin, watch: Maker) -> None:
    command = watch("--endpoint", "bookshop/preview", "--minutes", "0.03")
    assert command.end() == 1
    assert "0.03 minutes are over" in command.text


def test_what_it_cannot_watch_it_refuses(twin: Twin, watch: Maker) -> None:
    command = watch("--endpoint", "bookshop/nowhere")
    assert command.end() == 2
    assert "bookshop/staging" in command.text
    command = watch("--endpoint", "bookshop/staging", postgres={})
    assert command.end() == 2
    assert "postgres.dsn" in command.text
