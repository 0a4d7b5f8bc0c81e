"""The fingerprint of a database: every object of its schemas as a digest, and what changed since the last look.

Fingerprints compare within one major version only: the texts that PostgreSQL gives differ between them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

FORMAT = 1
KINDS = (
    "schema", "table", "column", "index", "constraint", "view", "matview", "sequence", "function", "procedure",
    "aggregate", "trigger", "policy", "type", "rule", "statistics", "collation", "grant", "extension", "publication",
    "event_trigger", "order",
)  # fmt: skip
"""Every kind of object of a fingerprint. ``order`` is the order of a table's columns, which is read only on demand."""
DATABASE = ""
"""The schema of what belongs to the database as a whole: extensions, publications, event triggers."""


class ObjectKey(NamedTuple):
    """What an object is called: columns, constraints, triggers and policies after their table (``orders.id``)."""

    kind: str
    schema: str
    identity: str


class ObjectFingerprint(NamedTuple):
    """One object. ``relative`` is the digest with its own schema, and its tenant's role, taken out."""

    digest: str
    relative: str
    definition: str
    """What PostgreSQL says of it, cut to 400 characters: for a person to read, never to compare."""


@dataclass(frozen=True, slots=True)
class SchemaFingerprint:
    """One schema: equal digests hold the same objects; equal ``relative`` ones the same but for the schema's name."""

    digest: str
    relative: str
    objects: int


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """A whole database. ``objects`` is complete: a delta has been applied to what was known."""

    pg_major: int
    database: str
    taken_at: float
    """Unix seconds, by the server's clock."""
    schemas: Mapping[str, SchemaFingerprint]
    objects: Mapping[ObjectKey, ObjectFingerprint] = field(repr=False)

    @property
    def digest(self) -> str:
        """Of everything: 32 hexadecimal digits, of which 12 are shown."""
        return digest_of(f"{name}\x1f{schema.digest}" for name, schema in sorted(self.schemas.items()))

    @property
    def relative(self) -> str:
        """The same of the relative digests."""
        return digest_of(f"{name}\x1f{schema.relative}" for name, schema in sorted(self.schemas.items()))

    def digests(self) -> dict[str, str]:
        """The known digests by schema, as the server gets them. A tenant's new role changes only the relative one."""
        return {
            schema: fingerprint.digest + fingerprint.relative
            for schema, fingerprint in self.schemas.items()
            if schema != DATABASE
        }

    def to_json(self) -> str:
        """A file for git: stable, sorted, one object a line, without the time it was taken."""
        head = {"format": FORMAT, "pg_major": self.pg_major, "database": self.database, "digest": self.digest}
        lines = [json.dumps([*key, *row], ensure_ascii=False) for key, row in sorted(self.objects.items())]
        schemas = {name: [s.digest, s.relative, s.objects] for name, s in sorted(self.schemas.items())}
        text = json.dumps({**head, "schemas": schemas}, ensure_ascii=False, indent=1)
        return text[:-2] + ',\n "objects": [\n  ' + ",\n  ".join(lines) + "\n ]\n}\n"

    @classmethod
    def from_json(cls, text: str, *, taken_at: float = 0.0) -> Fingerprint:
        """Read such a file.

        Raises:
            ValueError: it is none, or of a newer format; the message says what to do.
        """
        try:
            tree = json.loads(text)
            found, schemas, rows = tree["format"], tree["schemas"], tree["objects"]
            objects = {ObjectKey(*row[:3]): ObjectFingerprint(*row[3:]) for row in rows}
            fingerprints = {name: SchemaFingerprint(*schema) for name, schema in schemas.items()}
            made = cls(int(tree["pg_major"]), str(tree["database"]), taken_at, fingerprints, objects)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise ValueError("not a fingerprint; create one with `neonmeter fingerprint -o FILE`") from None
        if found != FORMAT:
            raise ValueError(f"format {found} is not {FORMAT}; create it again with this version of neonmeter")
        if made.digest != tree["digest"]:
            raise ValueError("its digest does not match its schemas: the file was edited; create it again")
        return made


@dataclass(frozen=True, slots=True)
class FingerprintDelta:
    """The answer to one scan: the digests of every schema, and the objects of those whose digests were not known."""

    pg_major: int
    database: str
    taken_at: float
    schemas: Mapping[str, SchemaFingerprint]
    objects: Mapping[ObjectKey, ObjectFingerprint]
    seconds: float = 0.0
    """What the scan took on the server."""

    def onto(self, known: Fingerprint | None) -> Fingerprint:
        """The whole fingerprint now, given the one whose digests were sent to the server."""
        read = {key.schema for key in self.objects}
        unchanged = {
            key: row
            for key, row in (known.objects.items() if known else ())
            if key.schema in self.schemas and key.schema not in read
        }
        return Fingerprint(self.pg_major, self.database, self.taken_at, self.schemas, {**unchanged, **self.objects})


def digest_of(parts: Iterable[str]) -> str:
    """One digest of many parts, in their order."""
    whole = hashlib.md5(usedforsecurity=False)
    for part in parts:
        whole.update(part.encode() + b"\x1e")
    return whole.hexdigest()
