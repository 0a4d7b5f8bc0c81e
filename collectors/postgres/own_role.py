"""Privileges of our own role that it does not need: for `neonmeter check`, before anything is set up.

Source: pg_roles and pg_auth_members. Roles that it could become count, because SET ROLE is one statement away.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from collectors.base import Epoch, NoDataError, Query, Reading, Result, Server, SqlCollector
from collectors.metric import Families
from collectors.postgres import query

NAME = "own_role"
NEEDED = frozenset({"pg_monitor", "pg_read_all_settings", "pg_read_all_stats", "pg_stat_scan_tables"})
"""pg_monitor and the roles that it includes."""
_SQL = """WITH RECURSIVE mine (oid) AS (
    SELECT oid FROM pg_catalog.pg_roles WHERE rolname = current_user
    UNION SELECT m.roleid FROM mine JOIN pg_catalog.pg_auth_members AS m ON m.member = mine.oid
)
SELECT r.rolname::text AS name, r.rolname = current_user AS own, r.rolsuper AS superuser, r.rolcreaterole AS createrole,
       r.rolcreatedb AS createdb, r.rolreplication AS replication, r.rolbypassrls AS bypassrls
  FROM mine JOIN pg_catalog.pg_roles AS r ON r.oid = mine.oid ORDER BY own DESC, name"""


@dataclass(frozen=True, slots=True)
class OwnRole:
    """The name of our role, and in words each privilege that it does not need."""

    name: str
    excess: tuple[str, ...]


class OwnRoleCollector(SqlCollector):
    """Reads which roles ours is a member of, and what they may do."""

    name = NAME
    interval = 3600.0

    def queries(self, server: Server) -> tuple[Query, ...]:
        """One statement."""
        del server
        return (Query("roles", _SQL),)

    def read(self, results: Mapping[str, Result], epoch: Epoch) -> Reading:
        """The facts are an `OwnRole`.

        Raises:
            NoDataError: the query failed.
        """
        del epoch
        rows = list(query.records(results.get("roles")))
        if not rows:
            raise NoDataError("our own role could not be read")
        excess = []
        for row in rows:
            has = [name for name in ("superuser", "createrole", "createdb", "replication", "bypassrls") if row[name]]
            if row["own"]:
                excess += has
            elif row["name"] not in NEEDED:
                excess.append(f"member of {row['name']}" + (f" ({', '.join(has)})" if has else ""))
        return Reading(Families(), len(rows), OwnRole(str(rows[0]["name"]), tuple(excess)))
