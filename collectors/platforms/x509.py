"""Who a certificate is for, who signed it, and until when: read from its DER bytes, also when nobody trusts it.

Python's ssl decodes only certificates that it has verified; the expired or self-signed one is what has to be told.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from collectors.neon.errors import one_line

_SEQUENCE, _SET, _CONTEXT_0, _OID = 0x30, 0x31, 0xA0, 0x06
_UTC_TIME, _GENERALIZED_TIME = 0x17, 0x18
_COMMON_NAME, _ORGANISATION = bytes.fromhex("550403"), bytes.fromhex("55040a")
_WIDE = {0x1E: "utf-16-be", 0x1C: "utf-32-be"}


@dataclass(frozen=True, slots=True)
class Certificate:
    """Names are the common name, or else the organisation; times are unix seconds."""

    subject: str
    issuer: str
    not_before: float
    expires_at: float

    @property
    def self_signed(self) -> bool:
        """It names itself as its issuer."""
        return self.subject == self.issuer


def read_certificate(der: bytes) -> Certificate:
    """What it says of itself.

    Raises:
        ValueError: these bytes are no X.509 certificate.
    """
    try:
        certificate = _content(der, _SEQUENCE)
        parts = list(_elements(_content(certificate, _SEQUENCE)))
        if parts[0][0] == _CONTEXT_0:  # the version, absent in version 1
            parts = parts[1:]
        _, _, issuer, validity, subject = parts[:5]
        begins, ends = (_time(tag, value) for tag, value in _elements(validity[1]))
        return Certificate(_name(subject[1]), _name(issuer[1]), begins, ends)
    except (IndexError, UnicodeDecodeError) as problem:
        raise ValueError(f"no X.509 certificate ({problem})") from None


def _elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and content of each element that follows another."""
    at = 0
    while at < len(data):
        tag, length, at = data[at], data[at + 1], at + 2
        if length & 0x80:
            count = length & 0x7F
            if not 0 < count <= 4:
                raise ValueError("no X.509 certificate (a length of no DER)")
            length, at = int.from_bytes(data[at : at + count], "big"), at + count
        if at + length > len(data):
            raise ValueError("no X.509 certificate (cut off)")
        yield tag, data[at : at + length]
        at += length


def _content(data: bytes, wanted: int) -> bytes:
    tag, content = next(_elements(data), (0, b""))
    if tag != wanted:
        raise ValueError("no X.509 certificate (another structure)")
    return content


def _name(data: bytes) -> str:
    found: dict[bytes, str] = {}
    for _, attributes in _elements(data):
        for _, attribute in _elements(attributes):
            (_, oid), (tag, value) = _elements(attribute)
            found.setdefault(oid, value.decode(_WIDE.get(tag, "utf-8"), "replace"))
    return one_line(found.get(_COMMON_NAME) or found.get(_ORGANISATION) or next(iter(found.values()), ""), 200)


def _time(tag: int, value: bytes) -> float:
    text = value.decode("ascii")
    if tag == _UTC_TIME:  # two digits of the year: 50 and more are of the last century
        text = ("19" if int(text[:2]) >= 50 else "20") + text
    elif tag != _GENERALIZED_TIME:
        raise ValueError("no X.509 certificate (a time of another kind)")
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()
