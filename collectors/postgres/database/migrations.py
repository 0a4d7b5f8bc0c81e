"""Migration histories of a user database: what each tool says is applied, failed or in progress, schema by schema.

One round trip finds every history table by its columns and reads it, because a schema-per-tenant system has one per
tenant. What a tool cannot know stays unknown: Flyway leaves no row for a failed transactional migration, Alembic keeps
only its heads, TypeORM and Drizzle no time of apply.
Source: the tools' own tables; pg_locks for those that lock by an advisory lock.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from collectors.base import Epoch, NoDataError, Query, Reading, Result, Server, SqlCollector, Status
from collectors.metric import Families, Kind, Metric, Scope, Unit
from collectors.postgres import query
from collectors.postgres.domain.migrations import History, Lock, Migration, MigrationFacts, majority

NAME = "migrations"
SCHEMAS_SHOWN = 20
"""Schemas of one tool and database with series of their own, unless their history deviates from the others'."""
MAJORITY = "__majority__"
_RAILS_SALT = 2053462845
_ADVISORY = {75474063: "sqitch", 72707369: "prisma"}
"""Keys of session locks that do not depend on the database's name."""
_MANY = 300
_LABELS = ("datname", "tool", "schema")

APPLIED = Metric(
    "neon_migrations_applied", Kind.GAUGE, Unit.NONE, Scope.ENDPOINT,
    "Migrations that the tool's own table says are applied (Alembic: heads). Schemas that agree with most others "
    "share one series.",
    _LABELS, max_series=_MANY,
)  # fmt: skip
FAILED = Metric(
    "neon_migrations_failed", Kind.GAUGE, Unit.NONE, Scope.ENDPOINT,
    "Migrations that the tool's own table says failed, or began long ago and never ended. Flyway leaves no row for a "
    "failed transactional migration, and Alembic, Django, TypeORM, Drizzle, Knex and Rails never do: 0 proves nothing "
    "for them.",
    _LABELS, worse="up", max_series=_MANY,
)  # fmt: skip
LAST_APPLIED = Metric(
    "neon_migrations_last_applied_timestamp_seconds", Kind.GAUGE, Unit.TIMESTAMP, Scope.ENDPOINT,
    "When the newest migration was applied, by the client's or the server's clock as the tool writes it.",
    _LABELS, max_series=_MANY,
)  # fmt: skip
ROLLED_BACK = Metric(
    "neon_migrations_rolled_back", Kind.GAUGE, Unit.NONE, Scope.ENDPOINT,
    "Rollbacks that the tool records (Sqitch reverts, Flyway undos, Prisma resolved as rolled back, Goose); "
    "for Liquibase, TypeORM, Django, Rails, Knex, Drizzle and Atlas, migrations missing from a later scan.",
    _LABELS, max_series=_MANY,
)  # fmt: skip
HISTORIES = Metric(
    "neon_migrations_histories", Kind.GAUGE, Unit.NONE, Scope.ENDPOINT,
    "History tables of the tool in this database, one per tenant schema in a schema-per-tenant system.",
    ("datname", "tool"),
)  # fmt: skip
DEVIATING = Metric(
    "neon_migrations_histories_deviating", Kind.GAUGE, Unit.NONE, Scope.ENDPOINT,
    "History tables of the tool in this database that differ from the majority.",
    ("datname", "tool"), worse="up",
)  # fmt: skip
UNREADABLE = Metric(
    "neon_migrations_unreadable", Kind.GAUGE, Unit.NONE, Scope.ENDPOINT,
    "History tables that could not be read (no_privilege, timeout behind a lock, unsupported): their state is unknown.",
    ("datname", "tool", "status"), worse="up",
)  # fmt: skip
LOCK_HELD = Metric(
    "neon_migrations_lock_held", Kind.GAUGE, Unit.NONE, Scope.ENDPOINT,
    "1 while the tool's lock is held in this database: a migration is running, or one that died left it behind.",
    ("datname", "tool"), worse="up",
)  # fmt: skip
LOCK_AGE = Metric(
    "neon_migrations_lock_age_seconds", Kind.GAUGE, Unit.SECONDS, Scope.ENDPOINT,
    "How long the tool's lock has been held: from its own row (by the client's clock), or at most this long, from the "
    "session that holds it.",
    ("datname", "tool"), worse="up",
)  # fmt: skip
METRICS = (
    APPLIED, FAILED, LAST_APPLIED, ROLLED_BACK, HISTORIES, DEVIATING, UNREADABLE, LOCK_HELD, LOCK_AGE
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class MigrationsCollector(SqlCollector):
    """Reads one user database (rule R9)."""

    datname: str

    name = NAME
    title = "Migrations"
    source = "the history tables of thirteen tools in the user databases, pg_locks (rule R9)"
    metrics = METRICS
    interval = 3600.0

    def queries(self, server: Server) -> tuple[Query, ...]:
        """Two blocks that find and read, two statements that hand over, and the advisory locks."""
        major = server.version_num // 10000
        return (
            Query("read", query.load("migrations", major)),
            Query("told", query.load("migrations_told", major)),
            Query("read_locks", query.load("migrations_tables", major)),
            Query("held", query.load("migrations_held", major)),
            Query("advisory", query.load("migrations_locks", major)),
        )

    def read(self, results: Mapping[str, Result], epoch: Epoch) -> Reading:
        """Series per tool and schema; :class:`MigrationFacts` as facts.

        Raises:
            NoDataError: the histories could not be read, or no migration tool was ever at work here.
        """
        tables = _tables(results.get("told"))
        if tables is None:
            raise NoDataError("the migration histories were not handed over in this visit")
        facts = MigrationFacts(self.datname, tuple(_histories(tables)), tuple(_locks(results, self.datname)))
        if not facts.histories:
            raise NoDataError("no migration tool's history table is in this database")
        return Reading(families_of(facts, epoch.server_clock), len(facts.histories), facts)


def families_of(
    facts: MigrationFacts, server_clock: float, vanished: Mapping[tuple[str, str], int] | None = None
) -> Families:
    """The series of one database; ``vanished`` counts, by tool and schema, what was gone at a later look."""
    families = Families()
    for tool in sorted({history.tool for history in facts.histories}):
        of_tool = [history for history in facts.histories if history.tool == tool]
        _fill(families, facts.datname, tool, of_tool, server_clock)
        _fill_lock(families, facts.datname, tool, facts.locks)
    for (tool, schema), count in (vanished or {}).items():
        families.add(ROLLED_BACK, (facts.datname, tool, schema), count)
    return families


def _fill(families: Families, datname: str, tool: str, histories: list[History], clock: float) -> None:
    readable = [history for history in histories if history.status is Status.OK]
    most = majority(readable)
    deviating = [history for history in readable if history.digest != most]
    families.set(HISTORIES, (datname, tool), len(histories))
    families.set(DEVIATING, (datname, tool), len(deviating))
    for history in histories:
        if history.status is not Status.OK:
            families.add(UNREADABLE, (datname, tool, history.status.value), 1)
    if len(readable) <= SCHEMAS_SHOWN:
        shown = [(history.schema, history) for history in readable]
    else:
        usual = next(history for history in readable if history.digest == most)
        shown = [(MAJORITY, usual), *((history.schema, history) for history in deviating[: _MANY - 1])]
    for schema, history in shown:
        labels = (datname, tool, schema)
        families.set(APPLIED, labels, history.count("applied"))
        families.set(FAILED, labels, history.failed(clock))
        families.set(ROLLED_BACK, labels, history.rolled_back)
        last = max(
            (migration.at for migration in history.migrations if migration.state == "applied" and migration.at),
            default=None,
        )
        if last is not None:
            families.set(LAST_APPLIED, labels, last)


def _fill_lock(families: Families, datname: str, tool: str, locks: Iterable[Lock]) -> None:
    held = [lock for lock in locks if lock.tool == tool]
    families.set(LOCK_HELD, (datname, tool), 1 if held else 0)
    ages = [lock.seconds for lock in held if lock.seconds is not None]
    if ages:
        families.set(LOCK_AGE, (datname, tool), max(0.0, *ages) if len(ages) > 1 else max(0.0, ages[0]))


def _tables(result: Result | None) -> list[dict[str, Any]] | None:
    for row in query.records(result):
        if row["told"]:
            parsed: list[dict[str, Any]] = json.loads(row["told"])
            return parsed
    return None


def _histories(tables: list[dict[str, Any]]) -> Iterator[History]:
    """Of histories with one digest the server sends the rows once: they are shared here."""
    rows: dict[tuple[str, str], tuple[Migration, ...]] = {}
    for table in tables:
        if "rows" in table:
            rows[table["tool"], table["digest"]] = tuple(Migration(*row) for row in table["rows"])
    for table in tables:
        status = Status(table["error"]) if table.get("error") else Status.OK
        yield History(
            table["tool"],
            table["schema"],
            table["table"],
            rows.get((table["tool"], table.get("digest", "")), ()),
            table.get("digest", ""),
            int(table.get("rollbacks", 0)),
            status,
        )


def _locks(results: Mapping[str, Result], datname: str) -> Iterator[Lock]:
    for table in _tables(results.get("held")) or ():
        if table.get("held"):
            since = table.get("since")
            age = None if since is None else float(table["now"]) - float(since)
            yield Lock(table["tool"], table["schema"], age, str(table.get("by") or ""))
    known = {**_ADVISORY, rails_key(datname): "rails"}
    for row in query.records(results.get("advisory")):
        tool = known.get(int(row["key"]))
        if tool is not None and row["granted"]:
            yield Lock(tool, "", row["age"], str(row["application"]))


def rails_key(datname: str) -> int:
    """The advisory lock of Rails' migrator in a database: a salt times the CRC-32 of its name."""
    return _RAILS_SALT * zlib.crc32(datname.encode())
