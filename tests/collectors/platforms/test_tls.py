"""Handshakes with real servers: trusted, self-signed, expired, of another name, without TLS."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import socket
import ssl
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.base import Status, Unread
from collectors.platforms.tls import Certificate, TlsTarget, read_certificate, shake_hands
from exporter.demo.postgres import Cluster, free_port, give_to_server
from exporter.posture.domain.evaluate import evaluate
from exporter.posture.domain.facts import Facts
from exporter.posture.domain.finding import Outcome
from tests.collectors.certificates import Pair, make
from tests.exporter.posture.policies import policy
from tests.fix_postgres import cluster

DAY = 86400.0


@dataclass
class Secured:
    """A PostgreSQL with TLS whose certificate a test may exchange."""

    server: Cluster
    authority: Pair
    folder: Path

    @property
    def ca_file(self) -> Path:
        return self.folder / "ca.pem"

    def wear(self, pair: Pair, issuer: Pair | None = None) -> None:
        """Take another certificate; new connections see it."""
        (self.folder / "server.pem").write_bytes(pair.pem + (issuer.pem if issuer else b""))
        (self.folder / "server.key").write_bytes(pair.key_pem)
        (self.folder / "server.key").chmod(0o600)
        give_to_server(self.folder)
        if self.server.running:
            self.server.signal(signal.SIGHUP)
            self._wait(pair)

    def _wait(self, pair: Pair) -> None:
        until = time.monotonic() + 120
        while ssl.PEM_cert_to_DER_cert(self._shown()) != pair.der:
            assert time.monotonic() < until, "the server keeps its old certificate"
            time.sleep(0.05)

    def _shown(self) -> str:
        context = ssl._create_unverified_context()
        with socket.create_connection(("127.0.0.1", self.server.port)) as plain:
            plain.sendall(b"\x00\x00\x00\x08\x04\xd2\x16\x2f")
            assert plain.recv(1) == b"S"
            with context.wrap_socket(plain) as secured:
                return ssl.DER_cert_to_PEM_cert(secured.getpeercert(binary_form=True) or b"")

    def target(self, *, ca: bool = True, **more: object) -> TlsTarget:
        return TlsTarget("pg", "127.0.0.1", self.server.port, ca_file=self.ca_file if ca else None, **more)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def secured() -> Iterator[Secured]:
    authority = make("Test Authority", organisation="Tests")
    folder = Path(tempfile.mkdtemp(prefix="neonmeter-tls-"))
    folder.chmod(0o755)
    (folder / "ca.pem").write_bytes(authority.pem)
    settings = {"ssl": "on", "ssl_cert_file": str(folder / "server.pem"), "ssl_key_file": str(folder / "server.key")}
    made = Secured(Cluster(Path(), Path(), ""), authority, folder)
    made.wear(make("localhost", authority), authority)
    with cluster(17, **settings) as server:  # the 18 of the wheel is built without TLS
        made.server = server
        yield made
    shutil.rmtree(folder, ignore_errors=True)


async def test_a_server_that_is_trusted(secured: Secured) -> None:
    secured.wear(make("localhost", secured.authority, days=20), secured.authority)
    found = await shake_hands(secured.target())
    assert (found.protocol, found.verified, found.problem) == ("TLSv1.3", True, "")
    assert (found.subject, found.issuer) == ("localhost", "Test Authority")
    assert isinstance(found.expires_at, float) and abs(found.expires_at - (time.time() + 20 * DAY)) < 120


async def test_no_user_and_no_password_is_sent(secured: Secured) -> None:
    await shake_hands(secured.target())
    with psycopg.connect(secured.server.conninfo()) as connection:
        said = connection.execute("SELECT sessions FROM pg_stat_database WHERE datname = 'postgres'").fetchone()
        before = said[0] if said else 0
        await shake_hands(secured.target())
        after = connection.execute("SELECT sessions FROM pg_stat_database WHERE datname = 'postgres'").fetchone()
    assert after is not None and after[0] == before


async def test_a_certificate_that_nobody_vouches_for(secured: Secured) -> None:
    secured.wear(make("localhost", organisation="Self"))
    found = await shake_hands(secured.target(ca=False))
    assert found.verified is False and "self" in found.problem and found.protocol == "TLSv1.3"
    assert found.subject == found.issuer == "localhost", "self-signed"


async def test_a_certificate_that_is_over(secured: Secured) -> None:
    secured.wear(make("localhost", secured.authority, days=-2), secured.authority)
    found = await shake_hands(secured.target())
    assert found.verified is False and "expired" in found.problem
    assert isinstance(found.expires_at, float), "told though it is not trusted"
    assert abs(found.expires_at - (time.time() - 2 * DAY)) < 120


async def test_a_certificate_for_another_name(secured: Secured) -> None:
    secured.wear(make("elsewhere.example", secured.authority), secured.authority)
    found = await shake_hands(secured.target())
    assert found.verified is False and "mismatch" in found.problem.lower()


async def test_the_name_that_is_asked_for(secured: Secured) -> None:
    secured.wear(make("localhost", secured.authority), secured.authority)
    assert (await shake_hands(secured.target(server_name="localhost"))).verified is True
    other = await shake_hands(secured.target(server_name="other.example"))
    assert other.verified is False


async def test_without_cryptography_a_certificate_is_not_known_and_no_failure(
    secured: Secured, monkeypatch: pytest.MonkeyPatch
) -> None:
    secured.wear(make("localhost", secured.authority), secured.authority)
    monkeypatch.setitem(sys.modules, "cryptography.x509", None)
    found = await shake_hands(secured.target())
    assert (found.protocol, found.verified) == ("TLSv1.3", True)
    assert isinstance(found.expires_at, Unread) and "install neonmeter[posture]" in found.expires_at.why
    judged = evaluate(Facts(handshakes=(found,)), policy(), time.time())
    assert {finding.outcome for finding in judged} == {Outcome.UNKNOWN}


async def test_a_server_without_tls(postgres18: Cluster) -> None:
    found = await shake_hands(TlsTarget("plain", "127.0.0.1", postgres18.port))
    assert (found.protocol, found.verified) == ("", False), "known, and bad: never not applicable"
    assert "no TLS" in found.problem


async def test_a_server_with_tls_from_the_first_byte(tmp_path: Path) -> None:
    pair = make("localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    (tmp_path / "server.pem").write_bytes(pair.pem + pair.key_pem)
    context.load_cert_chain(tmp_path / "server.pem")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        port = server.sockets[0].getsockname()[1]
        (tmp_path / "ca.pem").write_bytes(pair.pem)
        target = TlsTarget("vault", "127.0.0.1", port, direct=True, ca_file=tmp_path / "ca.pem")
        found = await shake_hands(target)
    assert found.verified is True and found.protocol == "TLSv1.3"


async def test_where_nothing_answers(tmp_path: Path) -> None:
    gone = await shake_hands(TlsTarget("gone", "127.0.0.1", free_port()))
    assert isinstance(gone.protocol, Unread) and gone.protocol.status is Status.UNREACHABLE
    unknown = await shake_hands(TlsTarget("unknown", "no-such-host.invalid", 5432))
    assert isinstance(unknown.protocol, Unread) and unknown.protocol.status is Status.UNREACHABLE
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]
        for direct in (True, False):
            late = await shake_hands(TlsTarget("late", "127.0.0.1", port, direct=direct), deadline_seconds=0.3)
            assert isinstance(late.protocol, Unread) and late.protocol.status is Status.TIMEOUT
    bad = await shake_hands(TlsTarget("bad", "127.0.0.1", 1, ca_file=tmp_path / "none.pem"))
    assert isinstance(bad.protocol, Unread) and bad.protocol.status is Status.BUG


async def test_something_that_is_no_postgres(openssh_like: int) -> None:
    for direct in (True, False):
        found = await shake_hands(TlsTarget("ssh", "127.0.0.1", openssh_like, direct=direct))
        assert isinstance(found.verified, Unread) and found.verified.status is Status.UNREACHABLE


@pytest.fixture
async def openssh_like() -> Iterator[int]:  # type: ignore[misc]
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-Something\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


# --- certificates from their bytes ---------------------------------------------------------------------------------


def test_names_and_times() -> None:
    far = datetime(2049, 12, 1, tzinfo=UTC)
    pair = make("", begins=far, days=60, organisation="Nur Organisation mit Umlaut: Müller")
    found = read_certificate(pair.der)
    assert found.subject == "Nur Organisation mit Umlaut: Müller"
    assert (found.not_before, found.expires_at) == (far.timestamp(), far.timestamp() + 60 * DAY), "past 2049"
    old = read_certificate(make("old", begins=datetime(1985, 3, 1, tzinfo=UTC), days=1).der)
    assert old.not_before == datetime(1985, 3, 1, tzinfo=UTC).timestamp()


@given(cut=st.integers(0, 700), noise=st.binary(max_size=12))
def test_broken_bytes_are_refused_or_read_but_never_crash(cut: int, noise: bytes) -> None:
    der = DER[:cut] + noise + DER[cut + len(noise) :]
    for bytes_ in (der, DER[:cut], noise):
        with contextlib.suppress(ValueError):
            assert isinstance(read_certificate(bytes_), Certificate)


DER = make("localhost").der
