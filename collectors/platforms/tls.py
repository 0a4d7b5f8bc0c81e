"""A TLS handshake as our own connections make it: which protocol, whose certificate, until when, and whether it holds.

It stops after the handshake: no user, no password and no start-up packet is sent, so Neon's proxy, which learns from
that packet what to start, starts nothing. On Neon the proxy ends TLS; pg_stat_ssl does not describe this hop.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from collectors.base import Status, Unread
from collectors.neon.errors import one_line
from collectors.platforms.domain.security import HandshakeFacts

DEADLINE_SECONDS = 10.0
_SSL_REQUEST = struct.pack(">ii", 8, 80877103)
_CLOSE_SECONDS = 0.2
_COMMON_NAME, _ORGANISATION = "2.5.4.3", "2.5.4.10"
NOT_INSTALLED = "cryptography is not installed, so no certificate can be read: install neonmeter[posture]"


@dataclass(frozen=True, slots=True)
class Certificate:
    """Names are the common name, or else the organisation; times are unix seconds."""

    subject: str
    issuer: str
    not_before: float
    expires_at: float


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


async def shake_hands(target: TlsTarget, *, deadline_seconds: float = DEADLINE_SECONDS) -> HandshakeFacts:
    """Greet once, and once more without trust where that fails. Never raises: each part says why it is not there."""
    try:
        async with asyncio.timeout(deadline_seconds):
            try:
                trusting = ssl.create_default_context(cafile=None if target.ca_file is None else str(target.ca_file))
            except (OSError, ssl.SSLError) as problem:
                raise _FailedError(
                    Status.BUG, f"the CA file of {target.name} cannot be used ({one_line(str(problem), 120)})"
                ) from None
            trusting.verify_flags &= ~ssl.VERIFY_X509_STRICT  # libpq is not that strict: no Python may say otherwise
            return await _greet(target, trusting)
    except TimeoutError:
        return _failed(target, Unread(Status.TIMEOUT, f"{target.name}: no handshake within {deadline_seconds:g} s"))
    except _PlainError as problem:
        # It has no certificate, which is as bad as one that has ended.
        return HandshakeFacts(target.name, protocol="", verified=False, expires_at=0.0, problem=problem.why.why)
    except _FailedError as problem:
        return _failed(target, problem.why)


def _failed(target: TlsTarget, why: Unread) -> HandshakeFacts:
    return HandshakeFacts(target.name, protocol=why, verified=why, expires_at=why)


class _FailedError(Exception):
    def __init__(self, status: Status, text: str) -> None:
        super().__init__(text)
        self.why = Unread(status, text)


class _PlainError(_FailedError):
    """The server says that it has no TLS."""


async def _greet(target: TlsTarget, trusting: ssl.SSLContext) -> HandshakeFacts:
    try:
        return await _handshake(target, trusting, verified=True, problem="")
    except ssl.SSLCertVerificationError as problem:
        text = one_line(problem.verify_message or str(problem), 200)
    doubting = ssl.create_default_context()
    doubting.check_hostname = False
    doubting.verify_mode = ssl.CERT_NONE  # only to look at what is not trusted; nothing is sent through it
    return await _handshake(target, doubting, verified=False, problem=text)


async def _handshake(target: TlsTarget, context: ssl.SSLContext, *, verified: bool, problem: str) -> HandshakeFacts:
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
        found = HandshakeFacts(target.name, protocol=str(secured.version()), verified=verified, problem=problem)
        return _with_certificate(found, der)


def _with_certificate(found: HandshakeFacts, der: bytes) -> HandshakeFacts:
    try:
        certificate = read_certificate(der)
    except ImportError:
        return replace(found, expires_at=Unread(Status.NO_DATA, NOT_INSTALLED))
    except ValueError as problem:
        return replace(found, expires_at=Unread(Status.BUG, str(problem)))
    return replace(
        found, expires_at=certificate.expires_at, issuer=certificate.issuer, subject=certificate.subject
    )  # fmt: skip


def read_certificate(der: bytes) -> Certificate:
    """What a certificate says of itself, also when nobody trusts it: Python's ssl decodes only those it has verified.

    Raises:
        ImportError: cryptography is not installed.
        ValueError: these bytes are not an X.509 certificate.
    """
    x509 = importlib.import_module("cryptography.x509")
    try:
        found = x509.load_der_x509_certificate(der)
        return Certificate(
            _name(found.subject),
            _name(found.issuer),
            found.not_valid_before_utc.timestamp(),
            found.not_valid_after_utc.timestamp(),
        )
    except ValueError as problem:
        raise ValueError(f"not an X.509 certificate ({one_line(str(problem), 120)})") from None


def _name(name: Any) -> str:
    """Its common name, or else its organisation, or else what stands first."""
    found = {attribute.oid.dotted_string: str(attribute.value) for attribute in reversed(list(name))}
    return one_line(found.get(_COMMON_NAME) or found.get(_ORGANISATION) or next(reversed(found.values()), ""), 200)


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
        raise _FailedError(Status.UNREACHABLE, f"{target.name}: this is not a Postgres server")
