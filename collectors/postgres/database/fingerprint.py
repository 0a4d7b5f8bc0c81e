"""The fingerprint of a database: every object of its schemas as a digest, and what changed since we last looked.

Read in one round trip on the back of an allowed visit (rule R9). The server is told the digests that we know, and sends
objects only of schemas that differ from them, so that a database that did not change costs a few hundred bytes. It
reads nothing while somebody holds or awaits an exclusive lock: a scan must never stand in a migration's way.
Source: the system catalogues. Fingerprints compare within one major version only: the texts that PostgreSQL gives
differ between them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from collectors.base import Epoch, NoDataError, Query, Reading, Result, Server, SqlCollector
from collectors.metric import Families
from collectors.postgres import query

NAME = "fingerprint"
FORMAT = 1
KINDS = (
    "schema", "table", "column", "index", "constraint", "view", "matview", "sequence", "function", "procedure",
    "aggregate", "trigger", "policy", "type", "rule", "statistics", "collation", "grant", "extension", "publication",
    "event_trigger", "order",
)  # fmt: skip
"""Every kind of object that a fingerprint tells apart. ``order`` is the order of a table's columns, only on demand."""
DATABASE = ""
"""The schema of what belongs to the database as a whole: extensions, publications, event triggers."""
_VERSION = (
    "SELECT current_setting('server_version_num')::int4 / 10000 AS major, extract(epoch FROM clock_timestamp())::float8"
    " - nullif(current_setting('neonmeter.began', true), '')::float8 AS seconds"
)


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
        return _digest(f"{schema}\x1f{entry.digest}" for schema, entry in sorted(self.schemas.items()))

    @property
    def relative(self) -> str:
        """The same of the relative digests."""
        return _digest(f"{schema}\x1f{entry.relative}" for schema, entry in sorted(self.schemas.items()))

    def digests(self) -> dict[str, str]:
        """By schema: what the server is to be told that we know. A tenant's new role moves the relative one only."""
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
            fingerprints = {name: SchemaFingerprint(*entry) for name, entry in schemas.items()}
            made = cls(int(tree["pg_major"]), str(tree["database"]), taken_at, fingerprints, objects)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise ValueError("not a fingerprint; make one with `neonmeter fingerprint -o FILE`") from None
        if found != FORMAT:
            raise ValueError(f"format {found} is not {FORMAT}; make it again with this version of neonmeter")
        if made.digest != tree["digest"]:
            raise ValueError("its digest does not fit its schemas: the file was edited; make it again")
        return made


@dataclass(frozen=True, slots=True)
class FingerprintDelta:
    """What one look told: every schema's digests, and the objects of those that were not known by them."""

    pg_major: int
    database: str
    taken_at: float
    schemas: Mapping[str, SchemaFingerprint]
    objects: Mapping[ObjectKey, ObjectFingerprint]
    seconds: float = 0.0
    """What the scan took on the server."""

    def onto(self, known: Fingerprint | None) -> Fingerprint:
        """The whole fingerprint now, given the one whose digests the server was told."""
        told = {key.schema for key in self.objects}
        kept = {
            key: row
            for key, row in (known.objects.items() if known else ())
            if key.schema in self.schemas and key.schema not in told
        }
        return Fingerprint(self.pg_major, self.database, self.taken_at, self.schemas, {**kept, **self.objects})


class BusyError(NoDataError):
    """Somebody holds or awaits an exclusive lock on a table: nothing was read, what was known stays."""


@dataclass(frozen=True, slots=True)
class FingerprintCollector(SqlCollector):
    """Reads one user database. ``known`` are the digests by schema, ``own`` the role of each tenant's schema.

    ``column_order`` makes the order of each table's columns an object of its own.
    """

    datname: str
    known: Mapping[str, str] = field(default_factory=dict)
    own: Mapping[str, str] = field(default_factory=dict)
    column_order: bool = False

    name = NAME
    interval = 3600.0

    def queries(self, server: Server) -> tuple[Query, ...]:
        """The settings that the scan reads, then the scan: with an empty search_path every name is qualified."""
        major = server.version_num // 10000
        return (
            Query("prepare", prepare_sql(self.known, self.own, column_order=self.column_order)),
            Query("schemas", query.load("fingerprint", major)),
            Query("globals", query.load("fingerprint_globals", major)),
            Query("version", _VERSION),
        )

    def read(self, results: Mapping[str, Result], epoch: Epoch) -> Reading:
        """:class:`FingerprintDelta` as facts; the series are worked out from what it is compared with.

        Raises:
            BusyError: an exclusive lock stood in the way.
            NoDataError: a part of it failed or was not run.
        """
        if not {"schemas", "globals", "version"} <= results.keys():
            raise NoDataError("the fingerprint was not read as a whole")
        schemas: dict[str, SchemaFingerprint] = {}
        objects: dict[ObjectKey, ObjectFingerprint] = {}
        state = ""
        for row in query.records(results["schemas"]):
            if row["row"] == "schema":
                schemas[row["schema"]] = SchemaFingerprint(row["digest"], row["relative"], int(row["objects"]))
            elif row["row"] == "object":
                key = ObjectKey(row["kind"], row["schema"], row["ident"])
                objects[key] = ObjectFingerprint(row["digest"], row["relative"], row["def"])
            else:
                state = row["row"]
        states = {state, *(str(row["kind"]) for row in query.records(results["globals"]) if not row["ident"])}
        if states != {"quiet"}:
            raise BusyError("a table is, or is about to be, locked exclusively: nothing was read")
        whole = dict(_globals(results["globals"]))
        objects |= whole
        schemas[DATABASE] = _print_of(whole)
        told = next(iter(query.records(results["version"])))
        delta = FingerprintDelta(
            int(told["major"]), self.datname, epoch.server_clock, schemas, objects, float(told["seconds"] or 0)
        )
        return Reading(Families(), len(results["schemas"].rows), delta)


def prepare_sql(known: Mapping[str, str], own: Mapping[str, str], *, column_order: bool = False) -> str:
    """Hands over what the scan reads from settings of its transaction, and notes when it began."""
    values = {
        "search_path": "",
        "neonmeter.known": json.dumps(dict(known)),
        "neonmeter.own": json.dumps(dict(own)),
        "neonmeter.order": "on" if column_order else "",
    }
    calls = [f"set_config('{name}', {_literal(value)}, true)" for name, value in values.items()]
    calls.append("set_config('neonmeter.began', extract(epoch FROM clock_timestamp())::text, true)")
    return "SELECT " + ", ".join(calls)


def _literal(value: str) -> str:
    return "'" + value.replace("'", "''") + "'" if "\\" not in value else "E'" + _escaped(value) + "'"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("'", "''")


def _globals(result: Result) -> Iterable[tuple[ObjectKey, ObjectFingerprint]]:
    for row in query.records(result):
        if not row["ident"]:
            continue
        digest = hashlib.md5(str(row["def"]).encode(), usedforsecurity=False).hexdigest()
        yield ObjectKey(row["kind"], DATABASE, row["ident"]), ObjectFingerprint(digest, digest, str(row["def"])[:400])


def _print_of(objects: Mapping[ObjectKey, Any]) -> SchemaFingerprint:
    whole = _digest(f"{key.kind}\x1f{key.identity}\x1f{entry.digest}" for key, entry in sorted(objects.items()))
    return SchemaFingerprint(whole, whole, len(objects))


def _digest(parts: Iterable[str]) -> str:
    whole = hashlib.md5(usedforsecurity=False)
    for part in parts:
        whole.update(part.encode() + b"\x1e")
    return whole.hexdigest()
