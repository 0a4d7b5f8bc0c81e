"""Reads in user databases what their catalogues say of security.

At most hourly; of a branch that sleeps, what was read last stays. The first scan reads the names of schemas and roles,
the next one can tell the server whose each is.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from collectors.base import Reading, SqlCollector, Status, Unread
from collectors.neon.models import Branch, Project
from collectors.postgres.database import security
from collectors.postgres.database.security import (
    SecurityCollector,
    SecurityFacts,
    SecurityScope,
    TenantMap,
    TenantNamesCollector,
)
from collectors.postgres.domain.security import DatabaseFacts, ServerFacts, TenantNames
from exporter.core.clock import is_recent
from exporter.posture.fact_cache import FactCache
from exporter.posture.registry import Registry
from exporter.posture.settings import PostureSettings
from exporter.sampling.computes import Compute, DatabaseRef, database_ref

_log = logging.getLogger("neonmeter.posture")


@dataclass(slots=True)
class Scan:
    """The last attempt at one database."""

    at: float
    status: Status
    error: str = ""


class PostureScanner:
    """A `DatabaseScanner`; what it reads goes into the fact cache."""

    def __init__(
        self,
        settings: PostureSettings,
        registry: Registry,
        fact_cache: FactCache,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._every = settings.pace.sql_seconds
        self._registry = registry
        self._fact_cache = fact_cache
        self._clock = clock
        self._wanted = SecurityScope(
            tenant_columns=tuple(settings.tenant_columns),
            owners=tuple(settings.allow.migration_roles),
            encrypted_columns=tuple(settings.encrypted_columns),
            personal_columns=settings.classified_columns,
        )
        self._told: dict[DatabaseRef, TenantMap | None] = {}
        """What the last scan was told, to scan again at once when there is more to tell."""
        self.scans: dict[DatabaseRef, Scan] = {}

    async def recall(self, compute: Compute) -> None:
        """Load the stored facts before the first scan."""
        del compute
        await self._fact_cache.load()

    def wants(self, compute: Compute, datname: str, now: float) -> Sequence[SqlCollector]:
        """The names and the scan, when an hour is over or when it can be told more than the last time."""
        key = database_ref(compute, datname)
        tenants = self._tenants(compute, key)
        before = self._fact_cache.get("database", "/".join(key), DatabaseFacts)
        due = before is None or not is_recent(before[0], now, self._every) or self._told.get(key) != tenants
        if not due:
            return ()
        server = self._fact_cache.get("server", "/".join(key[:2]), ServerFacts)
        cluster = server is None or not is_recent(server[0], now, self._every)
        self._told[key] = tenants
        return (TenantNamesCollector(), SecurityCollector(datname, tenants, self._wanted, cluster))

    async def take(
        self, compute: Compute, datname: str, readings: dict[str, Reading], failures: dict[str, tuple[Status, str]]
    ) -> None:
        """Put what was told onto what was known, and write it down."""
        key, now = database_ref(compute, datname), self._clock()
        names = readings.get(security.NAMES)
        if names is not None and isinstance(names.facts, TenantNames):
            await self._fact_cache.put("names", {"/".join(key): names.facts}, now)
        reading = readings.get(security.NAME)
        if reading is None or not isinstance(reading.facts, SecurityFacts):
            status, why = failures.get(security.NAME, (Status.NO_DATA, "nothing was answered"))
            self._note(key, status, why)
            self._told.pop(key, None)
            return
        known = self._fact_cache.get("database", "/".join(key), DatabaseFacts)
        facts = database_facts(key, reading.facts, known[1] if known else None)
        await self._fact_cache.put("database", {"/".join(key): facts}, now)
        if not isinstance(reading.facts.server, Unread):
            await self._take_server(compute, key, reading.facts.server, now)
        self._note(key, Status.OK, "")

    async def _take_server(self, compute: Compute, key: DatabaseRef, found: ServerFacts, now: float) -> None:
        where = "/".join(key[:2])
        known = self._fact_cache.get("server", where, ServerFacts)
        tenants = self._tenants(compute, key)
        server = server_facts(key, found, known[1] if known else None, tenants.roles if tenants is not None else {})
        if known is None or server != known[1]:
            await self._fact_cache.put("server", {where: server}, now)

    async def finish(self, compute: Compute, names: Sequence[str], status: Status, error: str, seconds: float) -> None:
        """Databases that were dropped are forgotten."""
        del status, error, seconds
        below = f"{compute.place.project_id}/{compute.place.branch_id}/"
        for source in ("database", "names"):
            await self._fact_cache.keep_only(source, [below + name for name in names], below=below)

    def _tenants(self, compute: Compute, key: DatabaseRef) -> TenantMap | None:
        """Whose each schema of the database and each role is; None before their names were read."""
        known = self._fact_cache.get("names", "/".join(key), TenantNames)
        if known is None:
            return None
        project, branch = _place(compute)
        names, where = known[1], "/".join(key[:2])
        everywhere = {name: tenant.schemas for name, tenant in self._fact_cache.below("names", where, TenantNames)}
        schemas = self._registry.of_schemas(project, branch, key.datname, names.schemas)
        roles = self._registry.of_roles(project, branch, names.roles, everywhere)
        return TenantMap(schemas, roles)

    def _note(self, key: DatabaseRef, status: Status, why: str) -> None:
        before = self.scans.get(key)
        if status is not Status.OK and (before is None or before.status is not status):
            _log.info("%s/%s: security not read (%s: %s); the last result stays", *key[1:], status.value, why)
        self.scans[key] = Scan(self._clock(), status, why)


def _place(compute: Compute) -> tuple[Project, Branch]:
    """The two as far as tenant rules look at them."""
    place = compute.place
    project = Project(id=place.project_id, name=place.project_name)
    return project, Branch(id=place.branch_id, project_id=place.project_id, name=place.branch_name)


def database_facts(key: DatabaseRef, found: SecurityFacts, before: DatabaseFacts | None) -> DatabaseFacts:
    """One database, as read.

    What could not be read this time keeps what it said before: a lock in the way is no news.
    """
    facts = replace(found.database, **key._asdict())
    if before is None:
        return facts
    checks, known = facts.checks, before.checks
    if not isinstance(checks, Unread) and not isinstance(known, Unread):
        checks = {name: known.get(name, row) if isinstance(row, Unread) else row for name, row in checks.items()}
    return replace(
        facts,
        checks=checks,
        extensions=before.extensions if isinstance(facts.extensions, Unread) else facts.extensions,
        platform=before.platform if isinstance(found.server, Unread) else facts.platform,
    )


def server_facts(
    key: DatabaseRef, found: ServerFacts, before: ServerFacts | None, tenants: Mapping[str, str]
) -> ServerFacts:
    """The server of a database, as read; ``tenants`` by role. Roles that could not be read are those known before."""
    roles = found.roles
    if not isinstance(roles, Unread):
        roles = tuple(replace(role, tenant=tenants.get(role.name, "")) for role in roles)
    elif before is not None:
        roles = before.roles
    return replace(found, project_id=key.project_id, branch_id=key.branch_id, roles=roles)
