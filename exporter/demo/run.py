"""The demo and the twin at work: the world on embedded parts, with an agent that watches it, or alone.

The agent runs as a process of its own against the twin, exactly as it would against Neon: what the demo shows is what
`neonmeter run` does. Both end with this process, also when it is killed.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import yaml

from collectors.errors import OK, UPSTREAM, NeonmeterError, UsageError
from collectors.registry import ALL
from exporter.core.http_client import wait_until_ready
from exporter.demo import drifting
from exporter.demo.api import WRITE_KEY, ListenError, serve_named
from exporter.demo.postgres import free_port
from exporter.demo.scene import LEGEND, Scene
from exporter.demo.twin import Twin, TwinSettings
from exporter.demo.waste import ABOUT, wasting

INTERRUPTED = 130
READY_SECONDS = 60.0
PATIENCE_SECONDS = 5.0
PACE = {"inventory_seconds": 5, "consumption_seconds": 5, "operations_seconds": 10, "publish_seconds": 1}
"""The twin meters every second, so the demo looks more often than anyone would at Neon."""


def run_demo(listen: str, folder: Path | None, seconds: float | None) -> int:
    """Bring up the twin and an agent, say every second what the agent sees, end with tables.

    ``folder`` keeps ledger and clusters; ``seconds`` ends it by itself.
    """
    began = time.monotonic()
    with _stop_signals() as stop, _starting("The demo", stop):
        address = _free_address(listen)
        with _state_dir(folder) as state, contextlib.ExitStack() as stack:
            with _progress("Starting real PostgreSQL servers and a twin of Neon's control plane"):
                twin = stack.enter_context(Twin("small", state / "twin"))
            return _watch(twin, state, address, seconds, stop, began=began)


@contextlib.contextmanager
def _starting(what: str, stop: StopSignal) -> Iterator[None]:
    """Say what could not start; what fails because Ctrl-C reached it, too, is no failure."""
    try:
        yield
    except UsageError as problem:
        raise UsageError(f"{what} cannot start: {problem}") from problem
    except (NeonmeterError, OSError) as problem:
        if stop.is_set():
            raise KeyboardInterrupt from problem
        raise NeonmeterError(f"{what} cannot start: {problem}") from problem


def _watch(
    twin: Twin, state: Path, listen: str, seconds: float | None, stop: StopSignal, *, began: float
) -> int:  # fmt: skip
    config = _write_settings(twin, state, listen)
    # A session of its own: Ctrl-C is for us, and we still ask the agent for the tables of the end.
    agent = subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", "--", sys.executable, "-m", "exporter", "run", "--config", str(config)],
        start_new_session=True,
    )
    try:
        url = f"http://{listen}"
        with _progress("Starting neonmeter"):
            ready = wait_until_ready(url, READY_SECONDS, lambda: agent.poll() is None and not stop.is_set())
        if stop.is_set():
            return INTERRUPTED
        if not ready:
            print("The agent did not start; its output is above.", file=sys.stderr)
            return UPSTREAM
        print(f"\nneonmeter is serving on {url} after {time.monotonic() - began:.1f} s")
        print(f"  for people:     {url}/\n  for Prometheus: {url}/metrics\n  its settings:   {config}\n")
        print(f"{twin.describe()}\n\n{ABOUT}\n{drifting.ABOUT}\n\n{LEGEND}\n", flush=True)
        scene = Scene(url, config, twin.tenants())
        with wasting(twin), drifting.drifting(twin):
            _follow(scene, seconds, stop, agent)
        if agent.poll() is not None:
            print(f"neonmeter ended unexpectedly with exit code {agent.returncode}.", file=sys.stderr)
            return UPSTREAM
        print(scene.ending(), flush=True)
        return OK
    finally:
        agent.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            agent.wait(20)
        agent.kill()


def _write_settings(twin: Twin, state: Path, listen: str) -> Path:
    settings = twin.agent_settings()
    tick = PACE["inventory_seconds"]
    paces = {name: {"interval_seconds": tick} for name in ALL}
    settings["sampling"] |= {"tick_seconds": tick, "collectors": paces}
    settings["intervals"] = PACE
    settings["tenants"] = twin.tenancy()
    settings["storage"] = {"path": str(state / "neonmeter.db")}
    settings["http"] = {"listen": listen}
    settings["log"] = {"level": "warning"}
    config = state / "neonmeter.yaml"
    config.write_text(yaml.safe_dump(settings))
    config.chmod(0o600)
    return config


def _follow(scene: Scene, seconds: float | None, stop: StopSignal, agent: subprocess.Popen[bytes]) -> None:
    began = time.monotonic()
    while not stop.wait(1.0) and agent.poll() is None:
        elapsed = time.monotonic() - began
        print(scene.line(elapsed), flush=True)
        if seconds is not None and elapsed >= seconds:
            return


def run_twin(world: str, listen: str, folder: Path | None, *, history: bool) -> None:
    """Serve a world until stopped, so that any Neon client can be pointed at it."""
    with _stop_signals() as stop, _starting("The twin", stop):
        if not listen.endswith(":0"):  # Port 0: the twin takes the one that it had before.
            _free_address(listen)
        if world.startswith("large:"):
            with serve_named(world, listen=listen) as api:
                print(f"NEON_API_KEY={api.settings.org_key}\nneon.api_url: {api.url}", flush=True)
                stop.wait()
                return
        with _state_dir(folder) as state, contextlib.ExitStack() as stack:
            with _progress("Starting real PostgreSQL servers and a twin of Neon's control plane"):
                settings = TwinSettings(history=history)
                twin = stack.enter_context(Twin(world, state, listen=listen, settings=settings))
            print(twin.describe())
            print(f"NEON_API_KEY={twin.api_key}\nneon.api_url: {twin.api_url}\npostgres.dsn: {twin.dsn_template}\n"
                  f"postgres.password: {twin.monitor_password}", flush=True)  # fmt: skip
            if history:
                print(f"NEONMETER_DRILL_KEY={WRITE_KEY}\npassword of the applications: {twin.password}", flush=True)
            stop.wait()


def _free_address(listen: str) -> str:
    """The address with a port in place of 0; tried before anything starts, which takes a while.

    Raises:
        ListenError: it is malformed or taken.
    """
    host, _, port = listen.rpartition(":")
    if not re.fullmatch(r"(\[[0-9a-fA-F:]+\]|[\w.-]+):\d{1,5}", listen):
        raise ListenError(f"--listen {listen!r}: write HOST:PORT (port 0: a free one)")
    if int(port) == 0:
        return f"{host}:{free_port()}"
    name = host.strip("[]")
    try:
        with socket.create_server((name, int(port)), family=socket.AF_INET6 if ":" in name else socket.AF_INET):
            return listen
    except (OSError, OverflowError) as problem:
        said = os.strerror(problem.errno) if isinstance(problem, OSError) and problem.errno else str(problem)
        raise ListenError(f"--listen {listen} cannot be used: {said}") from None


@contextlib.contextmanager
def _progress(text: str) -> Iterator[None]:
    """Say on stderr what is being done, now and while it takes long."""
    done = threading.Event()
    began = time.monotonic()

    def patience() -> None:
        while not done.wait(PATIENCE_SECONDS):
            print(f"  ... {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)

    print(f"{text} ...", file=sys.stderr, flush=True)
    thread = threading.Thread(target=patience, name="demo-progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


@contextlib.contextmanager
def _state_dir(wanted: Path | None) -> Iterator[Path]:
    """The given folder, kept; or one of our own, removed at the end. The servers' uid must be able to pass through.

    Raises:
        OSError: it cannot be made.
    """
    if wanted is not None:
        wanted.mkdir(parents=True, exist_ok=True)
        yield wanted.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="neonmeter-demo-", ignore_cleanup_errors=True) as made:
        Path(made).chmod(0o755)
        yield Path(made)


class StopSignal:
    """Whether we were told to stop.

    No threading.Event: its lock is not reentrant, and a handler that sets it while the main thread is inside ``wait``
    waits for ever.
    """

    def __init__(self) -> None:
        self._told = False

    def set(self, *_: object) -> None:
        """The signal handler."""
        self._told = True

    def is_set(self) -> bool:
        """Whether the signal came."""
        return self._told

    def wait(self, seconds: float = float("inf")) -> bool:
        """Wait for it, at most so long; whether it came."""
        until = time.monotonic() + seconds
        while not self._told and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, 0.1))
        return self._told


@contextlib.contextmanager
def _stop_signals() -> Iterator[StopSignal]:
    stop = StopSignal()
    before = {number: signal.signal(number, stop.set) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
