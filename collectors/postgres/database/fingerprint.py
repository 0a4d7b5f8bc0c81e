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
from typing import Any

from collectors.base import Epoch, NoDataError, Query, Reading, Result, Server, SqlCollector
from collectors.metric import Families
from collectors.postgres import query
from collectors.postgres.domain.fingerprint import (
    DATABASE,
    FingerprintDelta,
    ObjectFingerprint,
    ObjectKey,
    SchemaFingerprint,
    digest_of,
)

NAME = "fingerprint"
_VERSION = (
    "SELECT current_setting('server_version_num')::int4 / 10000 AS major, extract(epoch FROM clock_timestamp())::float8"
    " - nullif(current_setting('neonmeter.began', true), '')::float8 AS seconds"
)


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
        version = next(iter(query.records(results["version"])))
        delta = FingerprintDelta(
            int(version["major"]), self.datname, epoch.server_clock, schemas, objects, float(version["seconds"] or 0)
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
    whole = digest_of(f"{key.kind}\x1f{key.identity}\x1f{found.digest}" for key, found in sorted(objects.items()))
    return SchemaFingerprint(whole, whole, len(objects))
