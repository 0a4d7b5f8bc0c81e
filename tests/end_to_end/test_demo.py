"""`neonmeter demo` and `neonmeter twin` as a newcomer starts them: what they say, how they end, what they leave."""

from __future__ import annotations

import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.core.http_client import ask
from exporter.demo.scene import WIDTH
from tests.fix_twin_world import wait_for

UP_SECONDS = 180
"""What a fresh machine is promised; nothing here is a measurement."""
ADDRESS = re.compile(r"serving on (http://127\.0\.0\.1:\d+) after [\d.]+ s")
LINE = re.compile(r" +\d+s +\d of 5 +\d+ .*\$\d+\.\d{6} +\d+\.\ds")


class Command:
    """One `neonmeter ...` in a process group of its own, as a terminal would run it."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.out, self.err = folder / "out", folder / "err"
        with self.out.open("wb") as out, self.err.open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "exporter", *arguments],
                stdout=out, stderr=err, stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip

    def said(self) -> str:
        return self.out.read_text()

    def until(self, text: str) -> str:
        """Wait until it said something on stdout; returns what it said so far."""
        assert wait_for(lambda: text in self.said() or self.process.poll() is not None, UP_SECONDS), (
            self.err.read_text()
        )
        assert text in self.said(), self.err.read_text()
        return self.said()

    def ctrl_c(self) -> None:
        """SIGINT for the whole group, as a terminal sends it."""
        os.killpg(self.process.pid, signal.SIGINT)

    def wait(self) -> int:
        return self.process.wait(300)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[list[Command]]:
    """What a test started; ended at the latest with it."""
    started: list[Command] = []
    yield started
    for command in started:
        if command.process.poll() is None:
            command.process.terminate()
            command.wait()


def left_running(folder: Path) -> list[str]:
    """Command lines of processes that name this folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in line:
            found.append(line)
    return found


def totals(state: Path) -> dict[str, int]:
    """Rows of the ledger's facts."""
    with sqlite3.connect(state / "neonmeter.db") as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in tables}


def check_tables(said: str) -> None:
    """The ending: tenants with costs, branches with cost and state, and the agent's own account."""
    for heading in (
        r"tenant +cost +share",
        r"branch +cost +busy +how its tenants are known",
        r"branch +compute +reading +rule +why",
    ):
        assert re.search(rf"^{heading}$", said, re.MULTILINE), heading
    assert re.search(r"^total +<?\$[\d.]+", said, re.MULTILINE)
    assert re.search(r"^bookshop/preview +asleep +asleep +R1 ", said, re.MULTILINE)
    own = re.search(r"neonmeter itself: (\d+) visits, [\d.]+s of SQL .* at most \d+s of awake .* (\d+) computes", said)
    assert own is not None
    assert own[2] == "0", "it woke nobody"


def test_the_demo_ends_by_itself_and_its_ledger_stays(run: list[Command], tmp_path: Path, open_state_dir: Path) -> None:
    state = open_state_dir / "demo"
    run.append(demo := Command(tmp_path, "demo", "--for", "8", "--state", str(state)))
    assert demo.wait() == 0, demo.err.read_text()
    said = demo.said()
    assert ADDRESS.search(said)
    lines = [line for line in said.splitlines() if LINE.match(line)]
    seconds = [int(line.split("s", 1)[0]) for line in lines]
    assert len(seconds) > 1 and seconds == sorted(set(seconds)), "at most one a second"
    assert max(len(line) for line in lines) <= WIDTH
    check_tables(said)
    assert "Starting real PostgreSQL servers" in demo.err.read_text()
    assert "Traceback" not in demo.err.read_text()
    assert left_running(state) == []
    before = totals(state)
    assert sum(before.values()) > 0

    run.append(again := Command(tmp_path, "demo", "--state", str(state)))
    url = ADDRESS.search(again.until("what happened"))
    assert url is not None
    assert ask(f"{url[1]}/readyz")[0] == 200
    assert wait_for(lambda: LINE.search(again.said()))
    again.ctrl_c()
    assert again.wait() == 0, again.err.read_text()
    check_tables(again.said())
    assert "Traceback" not in again.err.read_text()
    assert left_running(state) == []
    after = totals(state)
    assert all(after[name] >= rows for name, rows in before.items()), (before, after)


def test_ctrl_c_while_it_starts(run: list[Command], tmp_path: Path, open_state_dir: Path) -> None:
    state = open_state_dir / "interrupted"
    run.append(demo := Command(tmp_path, "demo", "--state", str(state)))
    assert wait_for((state / "twin" / "clusters").exists, UP_SECONDS)
    time.sleep(0.5)
    demo.ctrl_c()
    assert demo.wait() == 130
    assert "Traceback" not in demo.err.read_text()
    assert wait_for(lambda: not left_running(state)), left_running(state)


@pytest.mark.deep
def test_nothing_outlives_a_kill(run: list[Command], tmp_path: Path, open_state_dir: Path) -> None:
    state = open_state_dir / "killed"
    run.append(demo := Command(tmp_path, "demo", "--state", str(state)))
    demo.until("what happened")
    assert len(left_running(state)) > 4
    demo.process.kill()
    demo.process.wait()
    assert wait_for(lambda: not left_running(state)), left_running(state)


def test_addresses_that_cannot_be_used(run: list[Command], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        for command in (["demo"], ["twin"], ["twin", "--world", "large:2x2"]):
            run.append(refused := Command(tmp_path, *command, "--listen", listen))
            assert refused.wait() == 2
            assert refused.said() == ""
            (line,) = refused.err.read_text().splitlines()
            assert line.endswith(f"--listen {listen} cannot be used: Address already in use")
    run.append(odd := Command(tmp_path, "demo", "--listen", "somewhere"))
    assert odd.wait() == 2
    assert "write HOST:PORT" in odd.err.read_text()


def test_a_twin_serves_until_it_is_stopped(run: list[Command], tmp_path: Path, open_state_dir: Path) -> None:
    state = open_state_dir / "served"
    run.append(twin := Command(tmp_path, "twin", "--world", "small", "--state", str(state)))
    said = twin.until("postgres.password: ")
    for wanted in (
        "NEON_API_KEY=napi_",
        "neon.api_url: http://127.0.0.1:",
        "postgres.dsn: postgresql://monitor@{host}",
    ):
        assert wanted in said
    assert re.search(r"^bookshop/preview .* suspends after 300 s  used by nobody$", said, re.MULTILINE)
    twin.ctrl_c()
    assert twin.wait() == 0
    assert "Traceback" not in twin.err.read_text()
    assert left_running(state) == []


def test_a_large_twin(run: list[Command], tmp_path: Path) -> None:
    run.append(twin := Command(tmp_path, "twin", "--world", "large:50x4"))
    said = twin.until("neon.api_url: ")
    environment = {**os.environ, "NEON_API_KEY": said.split("NEON_API_KEY=")[1].split()[0]}
    environment["NEONMETER_NEON__API_URL"] = said.split("neon.api_url: ")[1].split()[0]
    told = subprocess.run(
        [sys.executable, "-m", "exporter", "inventory"],
        env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    assert len(told.stdout.splitlines()) > 200, "a line for each of 50 x 4 branches"
    twin.process.terminate()
    assert twin.wait() == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("projects: [", "not YAML"),
        ("projects:\n  - {name: a, region: aws-x-1, branches: [{name: main, color: red}]}\n", "branches[0].color"),
        ("projects:\n  - {name: a, region: aws-x-1, branches: [{name: b, parent: nowhere}]}\n", "no branch 'nowhere'"),
        (None, "cannot be read"),
    ],
)
def test_a_broken_world(run: list[Command], tmp_path: Path, text: str | None, said: str) -> None:
    world = tmp_path / "world.yaml"
    if text is not None:
        world.write_text(text)
    run.append(twin := Command(tmp_path, "twin", "--world", str(world)))
    assert twin.wait() == 2
    assert said in twin.err.read_text()
    assert "Traceback" not in twin.err.read_text()
    assert twin.said() == ""
