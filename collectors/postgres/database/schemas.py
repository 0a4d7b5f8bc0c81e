"""The schemas of a user database: how large each one is, and which roles work in it.

Neither is visible from database `postgres`, and a session in a user database moves the very counters that keep a
compute awake: so these are read only on the back of an allowed visit, rarely (rule R9 of `collectors.wake.policy`).
Source: pg_class, pg_namespace, pg_roles, pg_db_role_setting.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from collectors.base import Epoch, Query, Reading, Result, Server, SqlCollector
from collectors.metric import Families, Kind, Metric, Scope, Unit
from collectors.postgres import query

NAME = "schemas"
_MANY = 2_000

SIZE = Metric(
    "pg_schema_size_bytes", Kind.GAUGE, Unit.BYTES, Scope.ENDPOINT,
    "Size of the schema's tables, indexes and TOAST as of their last vacuum or analyze (pg_class.relpages).",
    ("datname", "schema"), worse="up", max_series=_MANY,
)  # fmt: skip
TABLES = Metric(
    "pg_schema_tables", Kind.GAUGE, Unit.NONE, Scope.ENDPOINT, "Tables and materialized views of the schema.",
    ("datname", "schema"), max_series=_MANY,
)  # fmt: skip
UNKNOWN = Metric(
    "pg_schema_tables_never_analyzed", Kind.GAUGE, Unit.NONE, Scope.ENDPOINT,
    "Tables of the schema that were never vacuumed or analyzed: their size is missing from pg_schema_size_bytes.",
    ("datname", "schema"), worse="up", max_series=_MANY,
)  # fmt: skip
METRICS = (SIZE, TABLES, UNKNOWN)


@dataclass(frozen=True, slots=True)
class SchemaFacts:
    """The schemas that each login role works in: those of its search_path, else those that it owns or was granted."""

    datname: str
    schemas: Mapping[str, tuple[str, ...]]


class UserDatabaseNames(SqlCollector):
    """Lists the databases that a visit could enter; runs in database `postgres`."""

    name = "user_databases"
    interval = 3600.0

    def queries(self, server: Server) -> tuple[Query, ...]:
        """One list, the oldest database first."""
        return (Query("names", query.load("schemas_databases", server.version_num // 10000)),)

    def read(self, results: Mapping[str, Result], epoch: Epoch) -> Reading:
        """The names, as facts: ``tuple[str, ...]``."""
        del epoch
        names = tuple(str(row["datname"]) for row in query.records(results.get("names")))
        return Reading(Families(), len(names), names)


@dataclass(frozen=True, slots=True)
class SchemasCollector(SqlCollector):
    """Reads the schemas of one user database."""

    datname: str

    name = NAME
    title = "Schemas"
    source = "pg_class, pg_namespace of the user databases, rarely (rule R9)"
    metrics = METRICS
    interval = 3600.0

    def queries(self, server: Server) -> tuple[Query, ...]:
        """Sizes of the schemas, and the roles that may use them."""
        major = server.version_num // 10000
        return (Query("sizes", query.load("schemas", major)), Query("roles", query.load("schemas_roles", major)))

    def read(self, results: Mapping[str, Result], epoch: Epoch) -> Reading:
        """Series by schema; the roles as `SchemaFacts`."""
        del epoch
        families = Families()
        rows = 0
        for row in query.records(results.get("sizes")):
            labels = (self.datname, str(row["schema"]))
            query.fill(families, _TABLE, labels, row)
            rows += 1
        facts = SchemaFacts(self.datname, _schemas(results["roles"])) if "roles" in results else None
        return Reading(families, rows, facts)


_TABLE = (query.Column("bytes", SIZE), query.Column("tables", TABLES), query.Column("unknown", UNKNOWN))


def _schemas(result: Result) -> dict[str, tuple[str, ...]]:
    """By role: the schemas of its search_path that it may use, or all that it owns or was granted."""
    usable: dict[str, list[str]] = {}
    paths: dict[str, list[str]] = {}
    for row in query.records(result):
        usable.setdefault(row["role"], []).append(row["schema"])
        if row["search_path"]:
            paths[row["role"]] = [part.strip().strip('"') for part in str(row["search_path"]).split(",")]
    return {
        role: tuple(name for name in paths.get(role, ()) if name in schemas) or tuple(schemas)
        for role, schemas in usable.items()
    }
