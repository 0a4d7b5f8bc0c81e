"""What stands beside the databases: key stores, off-site copies, TLS handshakes and poolers, each read at its pace."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

from collectors.base import Status, Unread
from collectors.neon.client import NeonClient
from collectors.neon.inventory import Inventory
from collectors.neon.models import Endpoint
from collectors.pgbouncer.console import PoolerTarget, read_pooler
from collectors.platforms.domain.security import BucketFacts
from collectors.platforms.s3 import BucketTarget, read_bucket
from collectors.platforms.tls import TlsTarget, shake_hands
from collectors.platforms.vault import Token, VaultTarget, read_vault
from collectors.platforms.vault_login import approle, fixed, from_environment, kubernetes
from exporter.feature.ports import RestoreDrills
from exporter.posture.fact_cache import FactCache
from exporter.posture.settings import BucketSettings, PostureTree, VaultSettings
from exporter.posture.sources import NeonApi, Outcome, Source
from exporter.settings.dsn import pooler_conninfo
from exporter.settings.secret import read_secret
from exporter.settings.sections import PoolerSettings

NEON_HOSTS = ".neon.tech"
"""Computes under it are behind Neon's proxy: one handshake for each region speaks for all of them."""


class KeyStores:
    """Every Vault and OpenBao of the settings."""

    name = "vault"

    def __init__(self, vaults: list[VaultSettings], every: float) -> None:
        self._vaults = tuple(vaults)
        self._targets = tuple(target_of(vault) for vault in vaults)
        self.every = every

    async def read(self, inventory: Inventory, fact_cache: FactCache, now: float) -> Outcome:
        """Look at each."""
        del inventory
        found = await asyncio.gather(*(read_vault(target) for target in self._targets))
        facts = {
            vault.name: replace(store, region=vault.region) for vault, store in zip(self._vaults, found, strict=True)
        }
        await fact_cache.put("vault", facts, now)
        await fact_cache.keep_only("vault", facts)
        for name, store in facts.items():
            if isinstance(store.key_names, Unread) and isinstance(store.sealed, Unread):
                return Outcome(Status.UNREACHABLE, f"{name} could not be read: {store.sealed.why}")
        return Outcome()


class Drills:
    """The restore drills, as whoever runs them knows them; reads a file, asks nobody."""

    name = "drill"
    every = 60.0

    def __init__(self, drills: Callable[[], RestoreDrills | None]) -> None:
        self._drills = drills

    async def read(self, inventory: Inventory, fact_cache: FactCache, now: float) -> Outcome:
        """Every project that must have been drilled."""
        drills = self._drills()
        if drills is None:
            return Outcome()
        projects = [(project.id, project.name) for project in inventory.projects.values()]
        facts = await asyncio.to_thread(drills.drill_facts, projects)
        await fact_cache.put("drill", facts, now)
        failed = [fact.last_success_at for fact in facts.values() if isinstance(fact.last_success_at, Unread)]
        return Outcome(Status.NO_DATA, failed[0].why) if failed else Outcome()


def target_of(settings: VaultSettings) -> VaultTarget:
    """Where it is; tokens and credentials are read at every look."""
    return VaultTarget(
        settings.name,
        settings.address,
        _token(settings),
        transit=settings.transit,
        database=settings.database,
        namespace=settings.namespace or "",
        ca_file=settings.ca_file,
    )


def _token(settings: VaultSettings) -> Token:
    namespace = settings.namespace or ""
    if settings.approle is not None:
        secret = settings.secret_id_file
        return approle(settings.address, settings.approle, lambda: read_secret(None, secret) or "",
                       namespace=namespace, ca_file=settings.ca_file)  # fmt: skip
    if settings.kubernetes is not None:
        return kubernetes(settings.address, settings.kubernetes, namespace=namespace, ca_file=settings.ca_file)
    if settings.token is None and settings.token_file is None:
        return from_environment()
    return fixed(lambda: read_secret(settings.token, settings.token_file) or "")


class Buckets:
    """Every bucket of the settings."""

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
            f"{bucket.bucket}/{bucket.prefix}": replace(
                read, project_id=_project_id(bucket.project, inventory), expected_kms_key=bucket.kms_key
            )
            for bucket, read in zip(self._buckets, found, strict=True)
        }
        await fact_cache.put("s3", facts, now)
        await fact_cache.keep_only("s3", facts)
        return _outcome([bucket.newest for bucket in found], "a bucket could not be read")


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
        for endpoint in sorted(inventory.endpoints.values(), key=lambda endpoint: endpoint.id):
            awake = endpoint.current_state == "active" and not endpoint.pending_state
            if awake and endpoint.host.endswith(NEON_HOSTS) and self._sslmode:
                regions.setdefault(endpoint.region_id, TlsTarget(_name(endpoint), endpoint.host))
        own = {region.name for region in regions.values()}
        found = await asyncio.gather(*(shake_hands(target) for target in [*targets, *regions.values()]))
        facts = {
            handshake.name: replace(handshake, sslmode=self._sslmode if handshake.name in own else "")
            for handshake in found
        }
        await fact_cache.put("tls", facts, now)
        await fact_cache.keep_only("tls", {*facts, *map(_name, inventory.endpoints.values())})
        return _outcome([handshake.protocol for handshake in found], "a handshake failed")


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
        found = [
            instance
            for pooler in self._poolers
            for instance in await read_pooler(
                PoolerTarget(pooler.name, lambda console=pooler: self._conninfo(console))  # type: ignore[misc]
            )
        ]
        facts = {pooler.name: pooler for pooler in found}
        await fact_cache.put("pooler", facts, now)
        await fact_cache.keep_only("pooler", facts)
        return _outcome([pooler.config for pooler in found], "a pooler could not be read")


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


def _project_id(text: str, inventory: Inventory) -> str:
    """The id of a project by its id or name; the text itself where there is none such."""
    ids = (project.id for project in inventory.projects.values() if text in (project.id, project.name))
    return next(ids, text)


def _outcome(parts: Sequence[object], what: str) -> Outcome:
    failed = [part for part in parts if isinstance(part, Unread)]
    return Outcome(failed[0].status, f"{what}: {failed[0].why}") if failed else Outcome()


def sources_of(
    settings: PostureTree, client: NeonClient, drills: Callable[[], RestoreDrills | None], *, account: bool = True
) -> tuple[Source, ...]:
    """Everything that the settings name; ``drills`` is asked at each look.

    ``account``: whether the organisation's own security is read here, and not by another shard.
    """
    posture, pace = settings.posture, settings.posture.pace
    found: list[Source] = [NeonApi(client, pace.api_seconds, account=account)]
    if posture.vaults:
        found.append(KeyStores(posture.vaults, pace.vault_seconds))
    if posture.s3:
        found.append(Buckets(posture.s3, pace.s3_seconds))
    if settings.pgbouncer:
        found.append(Poolers(settings.pgbouncer, pooler_conninfo, pace.pooler_seconds))
    if settings.recovery.enabled:
        found.append(Drills(drills))
    found.append(Handshakes(posture.tls, settings.postgres.dsn, pace.tls_seconds))
    return tuple(found)
