"""The schemas and roles of a database by name: tenant rules are asked about them, so that a scan knows whose each is.

Source: pg_namespace, pg_roles; two small questions without a lock that anybody could wait for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from collectors.base import Epoch, NoDataError, Query, Reading, Result, Server, SqlCollector
from collectors.metric import Families
from collectors.postgres import query

NAME = "tenant_names"
_SCHEMAS = """SELECT n.nspname::text AS name, pg_catalog.pg_get_userbyid(n.nspowner)::text AS owner
    FROM pg_catalog.pg_namespace AS n
    WHERE n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'neon', 'neon_migration') ORDER BY 1"""
_ROLES = r"""SELECT r.rolname::text AS name FROM pg_catalog.pg_roles AS r
    WHERE r.rolname !~ '^pg_' ORDER BY 1 LIMIT 20000"""


@dataclass(frozen=True, slots=True)
class TenantNames:
    """What one database told."""

    schemas: Mapping[str, str]
    """With the owner of each."""
    roles: tuple[str, ...]


class TenantNamesCollector(SqlCollector):
    """Reads the names."""

    name = NAME
    interval = 3600.0

    def queries(self, server: Server) -> tuple[Query, ...]:
        """Two lists."""
        del server
        return (Query("schemas", _SCHEMAS), Query("roles", _ROLES))

    def read(self, results: Mapping[str, Result], epoch: Epoch) -> Reading:
        """:class:`TenantNames`.

        Raises:
            NoDataError: one of the lists was not answered.
        """
        del epoch
        if results.keys() != {"schemas", "roles"}:
            raise NoDataError("the names of schemas and roles were not answered")
        schemas = {str(row["name"]): str(row["owner"]) for row in query.records(results["schemas"])}
        roles = tuple(str(row["name"]) for row in query.records(results["roles"]))
        return Reading(Families(), len(schemas) + len(roles), TenantNames(schemas, roles))
