"""The controls over a whole server, on real servers of their own: one is set up with care, the other is not."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from collectors.postgres.database.security import SecurityCollector
from exporter.demo.postgres import Cluster, give_to_server
from exporter.posture.domain.finding import Finding, Outcome
from exporter.posture.domain.policy import Policy
from tests.collectors.certificates import make
from tests.exporter.posture.staging import POLICY, judged, scanned
from tests.fix_postgres import ALL, QUICK, cluster

WITHOUT_TLS = (18,)
"""The wheel's server is built without OpenSSL."""
CARE = {
    "log_connections": "on", "log_disconnections": "on", "log_statement": "ddl", "log_line_prefix": "%m %u %d ",
    "wal_level": "logical",
}  # fmt: skip
CARELESS = {"log_connections": "off", "log_statement": "none", "log_line_prefix": "%p "}
EXPECTED = replace(POLICY, expected_slots=("shipping",))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "major" in metafunc.fixturenames:
        every = metafunc.config.getoption("--all-postgres")
        metafunc.parametrize("major", ALL if every else QUICK, ids=lambda major: f"pg{major}", scope="module")


@contextmanager
def server(major: int, settings: dict[str, str]) -> Iterator[Cluster]:
    """A server; with care it has TLS where it can, and a slot that somebody reads."""
    folder = Path(tempfile.mkdtemp(prefix="neonmeter-care-"))
    folder.chmod(0o755)
    try:
        told = dict(settings)
        if settings is CARE and major not in WITHOUT_TLS:
            pair = make("localhost")
            (folder / "server.pem").write_bytes(pair.pem)
            (folder / "server.key").write_bytes(pair.key_pem)
            (folder / "server.key").chmod(0o600)
            give_to_server(folder)
            told |= {"ssl": "on", "ssl_cert_file": str(folder / "server.pem"),
                     "ssl_key_file": str(folder / "server.key")}  # fmt: skip
        with cluster(major, **told) as running:
            yield running
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def careful(major: int) -> Iterator[Cluster]:
    with server(major, CARE) as running:
        yield running


@pytest.fixture(scope="module")
def careless(major: int) -> Iterator[Cluster]:
    with server(major, CARELESS) as running:
        # After the start, for our own role must be able to log in.
        with psycopg.connect(running.conninfo(), autocommit=True) as admin:
            admin.execute("ALTER SYSTEM SET password_encryption = 'md5'")
            admin.execute("SELECT pg_reload_conf()")
            while running_password_encryption(running) != "md5":
                time.sleep(0.05)
        yield running


def running_password_encryption(cluster: Cluster) -> str:
    """What a new session has: the postmaster reads its files again a moment after it was told to."""
    with psycopg.connect(cluster.conninfo()) as session:
        (value,) = session.execute("SHOW password_encryption").fetchone() or ("",)
    return str(value)


def findings(cluster: Cluster, policy: Policy = POLICY) -> list[Finding]:
    with psycopg.connect(cluster.conninfo(user="monitor"), autocommit=True) as agent:
        return list(judged(scanned(agent, SecurityCollector("postgres")), policy))


def outcomes(found: list[Finding], control: str) -> set[Outcome]:
    return {finding.outcome for finding in found if finding.control == control}


@pytest.mark.parametrize("control", ["P33", "P45"])
def test_passwords_and_the_log(careful: Cluster, careless: Cluster, control: str) -> None:
    assert outcomes(findings(careful), control) == {Outcome.PASS}
    assert outcomes(findings(careless), control) == {Outcome.FAIL}


def test_tls(major: int, careful: Cluster, careless: Cluster) -> None:
    assert outcomes(findings(careless), "P32") == {Outcome.FAIL}
    if major in WITHOUT_TLS:
        pytest.skip("this build of PostgreSQL 18 has no TLS to switch on")
    assert outcomes(findings(careful), "P32") == {Outcome.PASS}


def test_patches(major: int, careful: Cluster) -> None:
    with psycopg.connect(careful.conninfo()) as connection:
        minor = connection.info.server_version % 10000
    now, later = replace(POLICY, server_minors={major: minor}), replace(POLICY, server_minors={major: minor + 1})
    assert outcomes(findings(careful, now), "P49") == {Outcome.PASS}
    assert outcomes(findings(careful, later), "P49") == {Outcome.FAIL}
    assert outcomes(findings(careful, replace(POLICY, server_minors={99: 1})), "P49") == {Outcome.FAIL}


def test_an_audit_log_that_is_not_loaded(careless: Cluster) -> None:
    assert outcomes(findings(careless), "P46") == {Outcome.FAIL}


def test_an_expected_slot(careful: Cluster, careless: Cluster) -> None:
    assert outcomes(findings(careless, EXPECTED), "P70") == {Outcome.FAIL}, "it is not there"
    with psycopg.connect(careful.conninfo(), autocommit=True) as admin:
        admin.execute("SELECT pg_create_logical_replication_slot('shipping', 'pgoutput')")
        admin.execute("CREATE PUBLICATION shipped FOR ALL TABLES")
        reader = psycopg.connect(careful.conninfo() + " replication=database", autocommit=True)
        try:
            reader.pgconn.exec_(
                b"START_REPLICATION SLOT shipping LOGICAL 0/0 (proto_version '1', publication_names 'shipped')"
            )
            assert outcomes(findings(careful, EXPECTED), "P70") == {Outcome.PASS}, "somebody reads it"
        finally:
            reader.close()
