"""Certificates of our own for tests: an authority, and servers that it vouches for, for any time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Any

import pytest


@dataclass
class Pair:
    """A certificate and its key; ``der`` is what a handshake sends."""

    certificate: Any
    key: Any

    @property
    def pem(self) -> bytes:
        from cryptography.hazmat.primitives.serialization import Encoding

        return bytes(self.certificate.public_bytes(Encoding.PEM))

    @property
    def der(self) -> bytes:
        from cryptography.hazmat.primitives.serialization import Encoding

        return bytes(self.certificate.public_bytes(Encoding.DER))

    @property
    def key_pem(self) -> bytes:
        from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

        return bytes(self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def make(
    name: str, issuer: Pair | None = None, *, days: float = 30, begins: datetime | None = None, organisation: str = ""
) -> Pair:
    """A certificate for a name (and for 127.0.0.1 and localhost when it is localhost); without issuer an authority."""
    pytest.importorskip("cryptography")
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.x509.oid import NameOID

    key = rsa.generate_private_key(65537, 2048)
    what = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation)] if organisation else []
    subject = x509.Name([*what, *([x509.NameAttribute(NameOID.COMMON_NAME, name)] if name else [])])
    start = begins or datetime.now(UTC) - timedelta(days=abs(days) + 1)
    ends = datetime.now(UTC) + timedelta(days=days) if begins is None else begins + timedelta(days=days)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(ends)
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    )
    if name == "localhost":
        names = x509.SubjectAlternativeName([x509.DNSName(name), x509.IPAddress(ip_address("127.0.0.1"))])
        builder = builder.add_extension(names, critical=False)
    return Pair(builder.sign(key if issuer is None else issuer.key, hashes.SHA256()), key)
