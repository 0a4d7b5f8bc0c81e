"""Disks that refuse: real file systems, mounted for a test in a mount namespace of its own; as root only."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from exporter.core.http_client import ask
from exporter.demo.api import serve_named
from exporter.demo.postgres import free_port
from tests.fix_agent import Agent

IDLE = {"api_url": f"http://127.0.0.1:{free_port()}/api/v2", "api_key": "k"}
MOUNTS = {
    "full": 'mount -t tmpfs -o size=64k tmpfs "$D" && dd if=/dev/zero of="$D/ballast" bs=4k 2>/dev/null; ',
    "no inode left": 'mount -t tmpfs -o nr_inodes=1 tmpfs "$D"; ',
    "read-only": 'mount -t tmpfs -o ro tmpfs "$D"; ',
    "almost full": 'mount -t tmpfs -o size=48k tmpfs "$D"; ',
    "nearly full": 'mount -t tmpfs -o size=200k tmpfs "$D"; ',
}
AGED = (
    'mount -t tmpfs -o size=6m tmpfs "$D"; case "$*" in *exporter*) timeout -s TERM 20 "$@"; '
    'dd if=/dev/zero of="$D/ballast" bs=4k 2>/dev/null; truncate -s -131072 "$D/ballast";; esac; '
)
"""An agent ran here for a while, and then something else took all the space but 128 KiB."""
SAYS = {
    "full": "the disk is full", "no inode left": "the disk is full", "read-only": "read-only",
    "almost full": "the disk is full", "nearly full": "the disk is full",
}  # fmt: skip


def namespace(mount: str, folder: Path) -> list[str]:
    """How to start a program that sees a file system of its own at ``folder``; skips where that is not allowed."""
    command = ["unshare", "--mount", "sh", "-c", f'D="{folder}"; {mount} exec "$@"', "sh"]
    if os.geteuid() != 0 or subprocess.run([*command, "true"], check=False, capture_output=True).returncode:
        pytest.skip("no file system may be mounted here (root and unshare --mount)")
    return command


@pytest.mark.parametrize("kind", [
    pytest.param("full", marks=pytest.mark.fault("disk: full at the start")),
    pytest.param("no inode left", marks=pytest.mark.fault("disk: no inode left at the start")),
    pytest.param("read-only", marks=pytest.mark.fault("disk: read-only at the start")),
    "almost full", "nearly full",
])  # fmt: skip
def test_a_disk_that_refuses_at_the_start_is_one_line(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "volume"
    folder.mkdir()
    agent = Agent({"neon": IDLE, "storage": {"path": str(folder / "neonmeter.db")}}, tmp_path)
    agent.config.write_text(yaml.safe_dump(agent.settings))
    command = namespace(MOUNTS[kind], folder)
    run = [*command, sys.executable, "-m", "exporter", "run", "--config", str(agent.config)]
    ended = subprocess.run(run, check=False, capture_output=True, text=True, timeout=180)
    assert ended.returncode == 2, ended.stderr
    assert "Traceback" not in ended.stderr and "http.listen" not in ended.stderr, ended.stderr
    lines = [line for line in ended.stderr.splitlines() if str(folder) in line]
    assert len(lines) == 1 and SAYS[kind] in lines[0], ended.stderr


@pytest.mark.fault("disk: full at a start with an older file")
def test_an_agent_with_a_file_starts_on_a_full_disk(tmp_path: Path) -> None:
    """What is on the disk is shown, what needs no disk is read, and both is said."""
    folder = tmp_path / "volume"
    folder.mkdir()
    with serve_named("small") as api:
        neon = {"api_url": api.url, "api_key": api.settings.org_key}
        agent = Agent({"neon": neon, "storage": {"path": str(folder / "neonmeter.db")}}, tmp_path)
        agent.config.write_text(yaml.safe_dump(agent.settings))
        command = namespace(AGED, folder)
        run = [*command, sys.executable, "-m", "exporter", "run", "--config", str(agent.config)]
        with agent.log.open("ab") as out:
            agent.process = subprocess.Popen(run, stdout=out, stderr=out)
        try:
            full = {"status": "store_error"}
            agent.until(lambda agent: agent.sum("neonmeter_rounds_total", **full) > 0, why="it says so")
            agent.until(lambda agent: ask(f"{agent.url}/readyz")[0] == 200, why="the inventory needs no disk")
            agent.until(lambda agent: agent.samples().get("neon_endpoint_state"), why="states are shown")
            agent.until(lambda agent: "disk is full" in agent.page("/"), why="a person reads it")
        finally:
            assert agent.stop(60) == 0
        assert "Traceback" not in agent.log.read_text()
