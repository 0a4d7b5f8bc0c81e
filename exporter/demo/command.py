"""`neonmeter demo` and `neonmeter twin`: the world on embedded parts, with an agent that watches it, or alone.

The agent runs as a process of its own against the twin, exactly as it would against Neon: what the demo shows is what
`neonmeter run` does. Both end with this process, also when it is killed.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import yaml

from exporter.cli import OK, UPSTREAM, USAGE
from exporter.demo.api import ListenError, serve_named
from exporter.demo.large import LargeWorldError
from exporter.demo.postgres import PostgresStartError, free_port
from exporter.demo.scene import Scene
from exporter.demo.twin import Twin
from exporter.demo.worldfile import WorldFileError
from exporter.http_client import wait_until_ready

READY_SECONDS = 60.0
PACE = {"inventory_seconds": 5, "consumption_seconds": 5, "operations_seconds": 10, "publish_seconds": 1}
"""The twin meters every second, so the demo looks more often than anyone would at Neon."""


def demo_command(options: argparse.Namespace) -> int:
    """Bring up the twin and an agent, say every second what the agent sees, end with tables."""
    with _state_dir(options.state) as state, _stop_signals() as stop:
        print("Starting real PostgreSQL servers and a twin of Neon's control plane ...", file=sys.stderr, flush=True)
        try:
            with Twin("small", state / "twin") as twin:
                return _watch(twin, state, options, stop)
        except PostgresStartError as problem:
            print(f"The demo cannot start: {problem}", file=sys.stderr)
            return UPSTREAM


def _watch(twin: Twin, state: Path, options: argparse.Namespace, stop: threading.Event) -> int:
    settings = twin.agent_settings()
    settings["sampling"]["tick_seconds"] = PACE["inventory_seconds"]
    settings["intervals"] = PACE
    settings["ledger"] = {"path": str(state / "neonmeter.db")}
    listen = options.listen if not options.listen.endswith(":0") else f"127.0.0.1:{free_port()}"
    settings["http"] = {"listen": listen}
    config = state / "neonmeter.yaml"
    config.write_text(yaml.safe_dump(settings))
    config.chmod(0o600)
    agent = subprocess.Popen(
        ["setpriv", "--pdeathsig", "TERM", "--", sys.executable, "-m", "exporter", "run", "--config", str(config)]
    )
    try:
        url = f"http://{listen}"
        if not wait_until_ready(url, READY_SECONDS, lambda: agent.poll() is None):
            print("The agent did not come up; its log is above.", file=sys.stderr)
            return UPSTREAM
        print(f"\nneonmeter is serving on {url}\n  metrics: {url}/metrics\n  the page for people: {url}/\n"
              f"  settings of this agent: {config}\n", flush=True)  # fmt: skip
        print(twin.describe() + "\n", flush=True)
        scene = Scene(url, config)
        _follow(scene, options.seconds, stop, agent)
        print(scene.ending(), flush=True)
        return OK if agent.poll() is None else UPSTREAM
    finally:
        agent.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            agent.wait(20)
        agent.kill()


def _follow(scene: Scene, seconds: float | None, stop: threading.Event, agent: subprocess.Popen[bytes]) -> None:
    began = time.monotonic()
    while not stop.wait(1.0) and agent.poll() is None:
        elapsed = time.monotonic() - began
        print(scene.line(elapsed), flush=True)
        if seconds is not None and elapsed >= seconds:
            return


def twin_command(options: argparse.Namespace) -> int:
    """Serve a world until stopped, so that any Neon client can be pointed at it."""
    with _state_dir(options.state) as state, _stop_signals() as stop:
        try:
            if options.world.startswith("large:"):
                with serve_named(options.world, listen=options.listen) as api:
                    print(f"NEON_API_KEY={api.settings.org_key}\nneon.api_url: {api.url}", flush=True)
                    stop.wait()
                    return OK
            with Twin(options.world, state, listen=options.listen) as twin:
                print(twin.describe())
                print(f"NEON_API_KEY={twin.api_key}\nneon.api_url: {twin.api_url}\npostgres.dsn: {twin.dsn_template}\n"
                      f"postgres.password: {twin.monitor_password}", flush=True)  # fmt: skip
                stop.wait()
                return OK
        except (WorldFileError, LargeWorldError, ListenError) as problem:
            print(f"{problem}", file=sys.stderr)
            return USAGE
        except (PostgresStartError, OSError) as problem:
            print(f"The twin cannot start: {problem}", file=sys.stderr)
            return UPSTREAM


@contextlib.contextmanager
def _state_dir(wanted: Path | None) -> Iterator[Path]:
    """The given folder, kept; or one of our own, removed at the end. The servers' uid must be able to pass through."""
    if wanted is not None:
        wanted.mkdir(parents=True, exist_ok=True)
        yield wanted.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="neonmeter-demo-", ignore_cleanup_errors=True) as made:
        Path(made).chmod(0o755)
        yield Path(made)


@contextlib.contextmanager
def _stop_signals() -> Iterator[threading.Event]:
    stop = threading.Event()
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
