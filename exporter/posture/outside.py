"""The sources of off-site copies, TLS handshakes and poolers: what they told, as the facts that are judged."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

from collectors.base import Status
from collectors.neon.inventory import Inventory
from collectors.neon.models import Endpoint
from collectors.pgbouncer.config import read_pooler
from collectors.pgbouncer.console import PoolerTarget
from collectors.platforms.s3 import BucketSecurity, BucketTarget, read_bucket
from collectors.platforms.tls import Handshake, TlsTarget, shake_hands
from collectors.postgres.database.security import NotRead
from exporter.posture.domain.facts_platform import BucketFacts, HandshakeFacts, PoolerFacts, StoredObject
from exporter.posture.domain.finding import Known, Unread
from exporter.posture.fact_cache import FactCache
from exporter.posture.settings import BucketSettings
from exporter.posture.sources import Outcome
from exporter.settings.sections import PoolerSettings

NEON_HOSTS = ".neon.tech"
"""Computes under it are behind Neon's proxy: one handshake for each region speaks for all of them."""
Part = TypeVar("Part")


class Buckets:
    """All that the settings name."""

    name = "s3"

    def __init__(self, buckets: list[BucketSettings], every: float) -> None:
        self._buckets = tuple(buckets)
        self.every = every

    async def read(self, inventory: Inventory, fact_cache: FactCache, now: float) -> Outcome:
        """Look at each."""
        targets = [
            BucketTarget(bucket.bucket, bucket.prefix, bucket.region, bucket.endpoint_url) for bucket in self._buckets
        ]
        found = await asyncio.gather(*(read_bucket(target) for target in targets))
        facts = {
            f"{bucket.bucket}/{bucket.prefix}": bucket_facts(bucket, told, inventory)
            for bucket, told in zip(self._buckets, found, strict=True)
        }
        await fact_cache.put("s3", facts, now)
        await fact_cache.keep_only("s3", facts)
        return _said([security.newest for security in found], "a bucket could not be read")


class Handshakes:
    """HOST:PORT of the settings, and in each of Neon's regions a compute that is awake anyway.

    No start-up packet is sent; but whether a greeting alone wakes a compute is not documented, so a sleeping one is
    left alone, and what was last seen there stays.
    """

    name = "tls"

    def __init__(self, hosts: list[str], dsn: str | None, every: float) -> None:
        self._hosts = tuple(hosts)
        self._sslmode = _sslmode(dsn)
        self.every = every

    async def read(self, inventory: Inventory, fact_cache: FactCache, now: float) -> Outcome:
        """Greet each."""
        targets = [TlsTarget(host, *_host(host)) for host in self._hosts]
        regions: dict[str, TlsTarget] = {}
        for endpoint in sorted(inventory.endpoints.values(), key=lambda entry: entry.id):
            awake = endpoint.current_state == "active" and not endpoint.pending_state
            if awake and endpoint.host.endswith(NEON_HOSTS) and self._sslmode:
                regions.setdefault(endpoint.region_id, TlsTarget(_name(endpoint), endpoint.host))
        own = {region.name for region in regions.values()}
        found = await asyncio.gather(*(shake_hands(target) for target in [*targets, *regions.values()]))
        facts = {
            handshake.name: handshake_facts(handshake, self._sslmode if handshake.name in own else "")
            for handshake in found
        }
        await fact_cache.put("tls", facts, now)
        await fact_cache.keep_only("tls", {*facts, *map(_name, inventory.endpoints.values())})
        return _said([handshake.protocol for handshake in found], "a handshake failed")


def _name(endpoint: Endpoint) -> str:
    return f"{endpoint.project_id}/{endpoint.branch_id}/{endpoint.id}"


class Poolers:
    """The self-run PgBouncers."""

    name = "pooler"

    def __init__(self, poolers: list[PoolerSettings], conninfo: Callable[[PoolerSettings], str], every: float) -> None:
        self._poolers = tuple(poolers)
        self._conninfo = conninfo
        self.every = every

    async def read(self, inventory: Inventory, fact_cache: FactCache, now: float) -> Outcome:
        """Ask each instance."""
        del inventory
        told = [
            instance
            for pooler in self._poolers
            for instance in await read_pooler(
                PoolerTarget(pooler.name, lambda console=pooler: self._conninfo(console))  # type: ignore[misc]
            )
        ]
        facts = {
            security.name: PoolerFacts(security.name, _part(security.version), _part(security.config))
            for security in told
        }
        await fact_cache.put("pooler", facts, now)
        await fact_cache.keep_only("pooler", facts)
        return _said([security.config for security in told], "a pooler could not be read")


def bucket_facts(settings: BucketSettings, found: BucketSecurity, inventory: Inventory) -> BucketFacts:
    """One bucket; a project by its name is told by its id."""
    ids = [project.id for project in inventory.projects.values() if settings.project in (project.id, project.name)]
    newest: Known[tuple[StoredObject, ...]]
    newest = (
        _unread(found.newest)
        if isinstance(found.newest, NotRead)
        else tuple(
            StoredObject(stored_object.key, stored_object.at, stored_object.size) for stored_object in found.newest
        )
    )
    return BucketFacts(
        settings.bucket,
        prefix=settings.prefix,
        project_id=ids[0] if ids else settings.project,
        region=_part(found.region),
        newest=newest,
        encryption=_part(found.encryption),
        kms_key=found.kms_key,
        expected_kms_key=settings.kms_key,
        lock_mode=_part(found.lock_mode),
        versioning=_part(found.versioning),
        public_blocked=_part(found.public_blocked),
    )


def handshake_facts(found: Handshake, sslmode: str) -> HandshakeFacts:
    """One handshake. A server without TLS has no certificate, which is as bad as one that has ended."""
    certificate, expires = found.certificate, Unread(Status.NO_DATA, "no certificate was read")
    ends: Known[float] = expires
    if not isinstance(certificate, NotRead):
        ends = certificate.expires_at
    elif found.protocol == "":
        ends = 0.0
    elif isinstance(certificate, NotRead):
        ends = _unread(certificate)
    return HandshakeFacts(
        found.name,
        sslmode=sslmode,
        protocol=_part(found.protocol),
        verified=_part(found.verified),
        expires_at=ends,
        issuer="" if isinstance(certificate, NotRead) else certificate.issuer,
    )


def bucket_age(buckets: list[BucketSettings], facts: BucketFacts) -> float | None:
    """How old the newest copy in a bucket may be, in hours; None when the settings do not name it any more."""
    return next(
        (bucket.max_age_hours for bucket in buckets if (bucket.bucket, bucket.prefix) == (facts.name, facts.prefix)),
        None,
    )


def _sslmode(dsn: str | None) -> str:
    """How our own DSN checks whom it talks to; libpq's default where it does not say."""
    if dsn is None:
        return ""
    try:
        return str(conninfo_to_dict(dsn.replace("{", "").replace("}", "")).get("sslmode") or "prefer")
    except ProgrammingError:
        return ""


def _host(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


def _said(parts: list[Part | NotRead], what: str) -> Outcome:
    failed = [part for part in parts if isinstance(part, NotRead)]
    return Outcome(failed[0].status, f"{what}: {failed[0].why}") if failed else Outcome()


def _part(found: Part | NotRead) -> Known[Part]:
    return _unread(found) if isinstance(found, NotRead) else found


def _unread(found: NotRead) -> Unread:
    return Unread(found.status, found.why)
