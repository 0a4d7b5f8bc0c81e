"""Real PostgreSQL servers for tests: 18 from the wheel, 14-17 from npm, one server per version and session."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from exporter.demo.postgres import Cluster, PostgresStartError, wheel_bin_dir

NPM = Path(__file__).parent / "npm" / "node_modules"
QUICK = (15, 18)
ALL = (14, 15, 16, 17, 18)
PASSWORD = "not-a-secret"


def bin_dir(major: int) -> Path:
    """The folder with initdb and postgres of one major version; skips the test with a reason when it is not there."""
    if major == 18:
        try:
            return wheel_bin_dir(Path(tempfile.gettempdir()) / "neonmeter-tests")
        except PostgresStartError as problem:
            pytest.skip(str(problem))
    package = NPM / f"pg{major}"
    if not package.is_dir():
        pytest.skip(f"PostgreSQL {major} is not installed (npm ci in tests/npm)")
    native = package / "native"
    if not (native / ".hydrated").exists():
        node = shutil.which("node")
        if node is None:
            pytest.skip("node is not installed: it links the libraries of the npm PostgreSQL")
        subprocess.run([node, "scripts/hydrate-symlinks.js"], cwd=package, check=True, capture_output=True)
        for tool in (native / "bin").iterdir():
            tool.chmod(0o755)
        (native / ".hydrated").touch()
    return native / "bin"


@contextmanager
def cluster(major: int, **settings: str) -> Iterator[Cluster]:
    """A fresh, running server of one major version, with pg_stat_statements in `postgres`."""
    where = Path(tempfile.mkdtemp(prefix=f"neonmeter-pg{major}-"))
    where.chmod(0o755)
    server = Cluster(bin_dir(major), where / "data", PASSWORD, settings=settings)
    try:
        server.create()
        server.start()
        with psycopg.connect(server.conninfo(), autocommit=True) as connection:
            connection.execute("CREATE EXTENSION pg_stat_statements")
            connection.execute(f"CREATE ROLE monitor LOGIN PASSWORD '{PASSWORD}' CONNECTION LIMIT 3")
            connection.execute("GRANT pg_monitor TO monitor")
        yield server
    finally:
        server.stop("immediate")
        shutil.rmtree(where, ignore_errors=True)


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--all-postgres` runs what takes `postgres` on 14-18 instead of 15 and 18."""
    parser.addoption("--all-postgres", action="store_true", help="PostgreSQL 14-18 instead of 15 and 18")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One run per major version for each test that takes `postgres`."""
    if "postgres" in metafunc.fixturenames:
        majors = ALL if metafunc.config.getoption("--all-postgres") else QUICK
        metafunc.parametrize("postgres", majors, indirect=True, ids=[f"pg{major}" for major in majors], scope="session")


@pytest.fixture(scope="session")
def postgres(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A shared running server of the version at hand; a test that changes global state takes `cluster()` instead."""
    with cluster(request.param) as server:
        yield server


@pytest.fixture(scope="session")
def postgres18() -> Iterator[Cluster]:
    """A shared running PostgreSQL 18 from the wheel."""
    with cluster(18) as server:
        yield server
