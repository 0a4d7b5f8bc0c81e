"""A TLS handshake as our own connections make it: which protocol, whose certificate, until when, and whether it holds.

It stops after the handshake: no user, no password and no start-up packet is sent, so Neon's proxy, which learns from
that packet what to start, starts nothing. On Neon the proxy ends TLS; pg_stat_ssl does not describe this hop.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, TypeVar

from collectors.base import Status
from collectors.neon.errors import one_line
from collectors.platforms.x509 import Certificate, read_certificate
from collectors.postgres.database.security import NotRead

DEADLINE_SECONDS = 10.0
_SSL_REQUEST = struct.pack(">ii", 8, 80877103)
_HANDSHAKE = 0x16
_CLOSE_SECONDS = 0.2

T = TypeVar("T")
Known: TypeAlias = T | NotRead


@dataclass(frozen=True, slots=True)
class TlsTarget:
    """Whom to greet. ``direct``: TLS from the first byte (HTTPS, Vault); else Postgres' SSLRequest comes first.

    ``ca_file`` None: the system's authorities. ``server_name`` empty: the host.
    """

    name: str
    host: str
    port: int = 5432
    direct: bool = False
    ca_file: Path | None = None
    server_name: str = ""


@dataclass(frozen=True, slots=True)
class Handshake:
    """One handshake."""

    name: str
    protocol: Known[str]
    """``TLSv1.3``; empty: the server has no TLS, and what is sent to it can be read."""
    cipher: str
    verified: Known[bool]
    """The chain ends at an authority that we trust, and the certificate is for this name and of today."""
    problem: str
    """Why it is not, as OpenSSL says it."""
    certificate: Known[Certificate]
    """Of the server itself."""
    chain: tuple[Certificate, ...]
    """All that were sent, the server's first; Python tells it from 3.13 on, before that it is the server's alone."""
    old_protocol: Known[bool]
    """It also takes TLS 1.1."""


async def shake_hands(target: TlsTarget, *, old: bool = True, deadline_seconds: float = DEADLINE_SECONDS) -> Handshake:
    """Greet once, once more without trust where that fails, and once with TLS 1.1 when ``old``. Never raises."""
    try:
        async with asyncio.timeout(deadline_seconds):
            try:
                trusting = ssl.create_default_context(cafile=None if target.ca_file is None else str(target.ca_file))
            except (OSError, ssl.SSLError) as problem:
                raise _FailedError(
                    Status.BUG, f"the CA file of {target.name} cannot be used ({one_line(str(problem), 120)})"
                ) from None
            trusting.verify_flags &= ~ssl.VERIFY_X509_STRICT  # libpq is not that strict: no Python may say otherwise
            found = await _greet(target, trusting)
    except TimeoutError:
        return _failed(target, NotRead(Status.TIMEOUT, f"{target.name}: no handshake within {deadline_seconds:g} s"))
    except _PlainError as problem:
        return Handshake(target.name, "", "", False, problem.why.why, problem.why, (), problem.why)
    except _FailedError as problem:
        return _failed(target, problem.why)
    if not old:
        return found
    try:
        async with asyncio.timeout(deadline_seconds):
            taken: Known[bool] = await _takes_tls11(target)
    except (TimeoutError, _FailedError):
        taken = NotRead(Status.NO_DATA, "the greeting with TLS 1.1 was not answered")
    return Handshake(
        found.name, found.protocol, found.cipher, found.verified, found.problem, found.certificate, found.chain, taken
    )


def _failed(target: TlsTarget, why: NotRead) -> Handshake:
    return Handshake(target.name, why, "", why, "", why, (), why)


class _FailedError(Exception):
    def __init__(self, status: Status, text: str) -> None:
        super().__init__(text)
        self.why = NotRead(status, text)


class _PlainError(_FailedError):
    """The server says that it has no TLS."""


async def _greet(target: TlsTarget, trusting: ssl.SSLContext) -> Handshake:
    try:
        return await _handshake(target, trusting, verified=True, problem="")
    except ssl.SSLCertVerificationError as problem:
        text = one_line(problem.verify_message or str(problem), 200)
    doubting = ssl.create_default_context()
    doubting.check_hostname = False
    doubting.verify_mode = ssl.CERT_NONE  # only to look at what is not trusted; nothing is sent through it
    return await _handshake(target, doubting, verified=False, problem=text)


async def _handshake(target: TlsTarget, context: ssl.SSLContext, *, verified: bool, problem: str) -> Handshake:
    async with _connected(target) as (_, writer):
        try:
            await writer.start_tls(context, server_hostname=target.server_name or target.host)
        except ssl.SSLCertVerificationError:
            raise
        except (ssl.SSLError, OSError, EOFError) as failure:
            text = getattr(failure, "reason", "") or str(failure) or type(failure).__name__
            raise _FailedError(
                Status.UNREACHABLE, f"{target.name}: no common TLS ({one_line(str(text), 160)}): is it TLS at all?"
            ) from None
        secured = writer.get_extra_info("ssl_object")
        der: bytes = secured.getpeercert(binary_form=True) or b""
        sent = secured.get_unverified_chain() if hasattr(secured, "get_unverified_chain") else [der]
        cipher = secured.cipher()
        return Handshake(
            target.name, str(secured.version()), cipher[0] if cipher else "", verified, problem,
            _read(der), tuple(entry for entry in map(_read, sent) if isinstance(entry, Certificate)),
            NotRead(Status.NO_DATA, "not asked"),
        )  # fmt: skip


def _read(der: bytes) -> Known[Certificate]:
    try:
        return read_certificate(der)
    except ValueError as problem:
        return NotRead(Status.BUG, str(problem))


@asynccontextmanager
async def _connected(target: TlsTarget) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection on which the next thing is TLS.

    Raises:
        _FailedError: there is none, or the server speaks without TLS only.
    """
    try:
        reader, writer = await asyncio.open_connection(target.host, target.port)
    except (OSError, UnicodeError) as problem:
        text = one_line(getattr(problem, "strerror", None) or str(problem), 120)
        raise _FailedError(
            Status.UNREACHABLE, f"{target.name}: no connection to {target.host}:{target.port} ({text})"
        ) from None
    try:
        if not target.direct:
            await _ask_postgres(target, reader, writer)
        yield reader, writer
    finally:
        writer.transport.abort()  # a farewell would wait for an answer
        with contextlib.suppress(OSError, ssl.SSLError, TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):  # a handshake that was given up never says that it is closed
                await writer.wait_closed()


async def _ask_postgres(target: TlsTarget, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        writer.write(_SSL_REQUEST)
        await writer.drain()
        answer = await reader.read(1)
    except OSError as problem:
        raise _FailedError(
            Status.UNREACHABLE, f"{target.name}: the connection ended ({one_line(str(problem), 120)})"
        ) from None
    if answer == b"N":
        raise _PlainError(Status.UNSUPPORTED, f"{target.name}: the server has no TLS")
    if answer != b"S":
        raise _FailedError(Status.UNREACHABLE, f"{target.name}: this is no Postgres")


async def _takes_tls11(target: TlsTarget) -> bool:
    """Whether a client that knows nothing newer than TLS 1.1 is let in.

    Written by hand because today's OpenSSL refuses to offer it.
    """
    async with _connected(target) as (reader, writer):
        try:
            writer.write(_hello_tls11(target.server_name or target.host))
            await writer.drain()
            head = await reader.readexactly(5)
            body = await reader.readexactly(min(int.from_bytes(head[3:5], "big"), 64))
        except (OSError, EOFError):
            return False  # hung up on, which is a refusal
    # A server hello, and of a version that old.
    return head[0] == _HANDSHAKE and body[:1] == b"\x02" and body[4:6] <= b"\x03\x02"


def _hello_tls11(name: str) -> bytes:
    ciphers = bytes.fromhex("c014 c00a c013 c009 0039 0033 0035 002f 000a 00ff".replace(" ", ""))
    extensions = _extension(10, _sized(bytes.fromhex("001700180019"), 2)) + _extension(11, b"\x01\x00")
    if not name.replace(".", "").isdigit() and ":" not in name:  # an address is no server name
        host = name.encode("idna") if not name.isascii() else name.encode()
        extensions += _extension(0, _sized(b"\x00" + _sized(host, 2), 2))
    hello = b"\x03\x02" + os.urandom(32) + b"\x00" + _sized(ciphers, 2) + b"\x01\x00" + _sized(extensions, 2)
    return b"\x16\x03\x01" + _sized(b"\x01" + _sized(hello, 3), 2)


def _extension(kind: int, content: bytes) -> bytes:
    return kind.to_bytes(2, "big") + _sized(content, 2)


def _sized(content: bytes, width: int) -> bytes:
    return len(content).to_bytes(width, "big") + content
