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
from exporter.posture.fact_cache import Shelf
from exporter.posture.sources import Outcome
from exporter.settings.posture import BucketSettings
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

    async def read(self, inventory: Inventory, shelf: Shelf, now: float) -> Outcome:
        """Look at each."""
        targets = [BucketTarget(each.bucket, each.prefix, each.region, each.endpoint_url) for each in self._buckets]
        found = await asyncio.gather(*(read_bucket(each) for each in targets))
        facts = {
            f"{each.bucket}/{each.prefix}": bucket_facts(each, told, inventory)
            for each, told in zip(self._buckets, found, strict=True)
        }
        await shelf.put("s3", facts, now)
        await shelf.keep_only("s3", facts)
        return _said([each.newest for each in found], "a bucket could not be read")


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

    async def read(self, inventory: Inventory, shelf: Shelf, now: float) -> Outcome:
        """Greet each."""
        targets = [TlsTarget(each, *_host(each)) for each in self._hosts]
        regions: dict[str, TlsTarget] = {}
        for each in sorted(inventory.endpoints.values(), key=lambda each: each.id):
            awake = each.current_state == "active" and not each.pending_state
            if awake and each.host.endswith(NEON_HOSTS) and self._sslmode:
                regions.setdefault(each.region_id, TlsTarget(_name(each), each.host))
        own = {each.name for each in regions.values()}
        found = await asyncio.gather(*(shake_hands(each) for each in [*targets, *regions.values()]))
        facts = {each.name: handshake_facts(each, self._sslmode if each.name in own else "") for each in found}
        await shelf.put("tls", facts, now)
        await shelf.keep_only("tls", {*facts, *map(_name, inventory.endpoints.values())})
        return _said([each.protocol for each in found], "a handshake failed")


def _name(endpoint: Endpoint) -> str:
    return f"{endpoint.project_id}/{endpoint.branch_id}/{endpoint.id}"


class Poolers:
    """The self-run PgBouncers."""

    name = "pooler"

    def __init__(self, poolers: list[PoolerSettings], conninfo: Callable[[PoolerSettings], str], every: float) -> None:
        self._poolers = tuple(poolers)
        self._conninfo = conninfo
        self.every = every

    async def read(self, inventory: Inventory, shelf: Shelf, now: float) -> Outcome:
        """Ask each instance."""
        del inventory
        told = [
            instance
            for each in self._poolers
            for instance in await read_pooler(PoolerTarget(each.name, lambda each=each: self._conninfo(each)))  # type: ignore[misc]
        ]
        facts = {each.name: PoolerFacts(each.name, _part(each.version), _part(each.config)) for each in told}
        await shelf.put("pooler", facts, now)
        await shelf.keep_only("pooler", facts)
        return _said([each.config for each in told], "a pooler could not be read")


def bucket_facts(settings: BucketSettings, found: BucketSecurity, inventory: Inventory) -> BucketFacts:
    """One bucket; a project by its name is told by its id."""
    ids = [each.id for each in inventory.projects.values() if settings.project in (each.id, each.name)]
    newest: Known[tuple[StoredObject, ...]]
    newest = (
        _unread(found.newest)
        if isinstance(found.newest, NotRead)
        else tuple(StoredObject(each.key, each.at, each.size) for each in found.newest)
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
    return next((each.max_age_hours for each in buckets if (each.bucket, each.prefix) == (facts.name, facts.prefix)),
                None)  # fmt: skip


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
    failed = [each for each in parts if isinstance(each, NotRead)]
    return Outcome(failed[0].status, f"{what}: {failed[0].why}") if failed else Outcome()


def _part(found: Part | NotRead) -> Known[Part]:
    return _unread(found) if isinstance(found, NotRead) else found


def _unread(found: NotRead) -> Unread:
    return Unread(found.status, found.why)
