"""The twin with real computes, for tests: the built-in small world, T of 3 s, and nobody at work unless asked."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from exporter.demo.compute import Compute
from exporter.demo.postgres import PostgresStartError, wheel_bin_dir
from exporter.demo.twin import Twin, TwinSettings

QUIET = TwinSettings(suspend_seconds=3, workload=False, consumers=False, poolers=False)


def wait_for(what: Callable[[], object], seconds: float = 180.0) -> bool:
    """Whether it comes true; looks twenty times a second, for longer than any busy machine needs."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if what():
            return True
        time.sleep(0.05)
    return bool(what())


def suspended(compute: Compute) -> bool:
    """Whether a compute is idle, with nothing pending."""
    return compute.endpoint.current_state == "idle" and not compute.endpoint.pending_state


def suspends_in_time(compute: Compute, used_at: float, bound: float = 17.5) -> None:
    """Wait for the suspend; what the twin recorded tells whether visits put it off by more than the bound.

    ``used_at`` is when the last use by others ended, on the twin's clock. How long we waited says nothing: the server
    takes its time to stop.
    """
    assert wait_for(lambda: suspended(compute)), f"{compute.endpoint.id} is kept awake by {compute.kept_awake_by}"
    assert compute.endpoint.last_active is not None
    assert compute.endpoint.last_active - used_at <= bound, "visits must not keep it awake"


@contextmanager
def held_awake(compute: Compute) -> Iterator[None]:
    """It does not suspend by itself, however slowly a test looks at it."""
    before, compute.endpoint.suspend_timeout_seconds = compute.endpoint.suspend_timeout_seconds, -1
    try:
        yield
    finally:
        compute.endpoint.suspend_timeout_seconds = before


def app_dsn(twin: Twin, compute: Compute, role: str, database: str = "app", name: str = "a-service") -> str:
    """How an application of a tenant connects."""
    return f"postgresql://{role}:{twin.password}@{compute.endpoint.host}/{database}?application_name={name}"


@pytest.fixture(scope="session")
def open_state_dir() -> Iterator[Path]:
    """A folder that the servers' user can enter, and that is gone afterwards (pytest's own are private)."""
    try:
        wheel_bin_dir(Path(tempfile.gettempdir()) / "neonmeter-tests")
    except PostgresStartError as problem:
        pytest.skip(str(problem))
    memory = Path("/dev/shm")  # Thousands of small files are made and removed: on a busy disk that takes a minute.
    folder = Path(tempfile.mkdtemp(prefix="neonmeter-twin-", dir=memory if os.access(memory, os.W_OK) else None))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def small_twin(open_state_dir: Path) -> Iterator[Twin]:
    """The small world with T = 3 s; no workload, consumer or PgBouncer runs: a test wakes what it needs."""
    with Twin("small", open_state_dir / "small", settings=QUIET) as twin:
        yield twin
