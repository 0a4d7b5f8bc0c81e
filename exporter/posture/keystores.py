"""The source of key stores: what OpenBao or Vault told, as the facts that are judged."""

from __future__ import annotations

import asyncio

from collectors.base import Status
from collectors.neon.inventory import Inventory
from collectors.platforms import vault as reader
from collectors.platforms.vault import Token, VaultSecurity, VaultTarget, read_vault
from collectors.platforms.vault_login import approle, fixed, from_environment, kubernetes
from collectors.postgres.database.security import NotRead
from exporter.posture.domain.facts_platform import StaticRole, TransitKey, VaultFacts
from exporter.posture.domain.finding import Known, Unread
from exporter.posture.fact_cache import FactCache
from exporter.posture.settings import VaultSettings
from exporter.posture.sources import Outcome
from exporter.settings.secret import read_secret


class KeyStores:
    """All that the settings name."""

    name = "vault"

    def __init__(self, vaults: list[VaultSettings], every: float) -> None:
        self._vaults = tuple(vaults)
        self._targets = tuple(target_of(vault) for vault in vaults)
        self.every = every

    async def read(self, inventory: Inventory, fact_cache: FactCache, now: float) -> Outcome:
        """Look at each."""
        del inventory
        found = await asyncio.gather(*(read_vault(target) for target in self._targets))
        regions = {vault.name: vault.region for vault in self._vaults}
        await fact_cache.put(
            "vault", {security.name: vault_facts(security, regions[security.name]) for security in found}, now
        )
        await fact_cache.keep_only("vault", regions)
        silent = [
            security
            for security in found
            if isinstance(security.key_names, NotRead) and isinstance(security.health, NotRead)
        ]
        if not silent:
            return Outcome()
        told = silent[0].health
        why = told.why if isinstance(told, NotRead) else ""
        return Outcome(Status.UNREACHABLE, f"{silent[0].name} could not be read: {why}")


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


def vault_facts(found: VaultSecurity, region: str) -> VaultFacts:
    """One store; a key that could not be read stays in the list, unread."""
    health = found.health
    keys: Known[tuple[Known[TransitKey], ...]]
    roles: Known[tuple[Known[StaticRole], ...]]
    keys = (
        _unread(found.keys)
        if isinstance(found.keys, NotRead)
        else tuple(_key(transit_key) for transit_key in found.keys)
    )
    roles = (
        _unread(found.static_roles)
        if isinstance(found.static_roles, NotRead)
        else tuple(_role(static_role) for static_role in found.static_roles)
    )
    return VaultFacts(
        found.name,
        keys=keys,
        key_names=_unread(found.key_names) if isinstance(found.key_names, NotRead) else found.key_names,
        static_roles=roles,
        audits=_unread(found.audits) if isinstance(found.audits, NotRead) else found.audits,
        sealed=_unread(health) if isinstance(health, NotRead) else health.sealed,
        standby=not isinstance(health, NotRead) and health.standby,
        region=region,
    )


def _key(found: reader.TransitKey | NotRead) -> Known[TransitKey]:
    if isinstance(found, NotRead):
        return _unread(found)
    return TransitKey(
        found.name,
        found.latest_version,
        found.rotated_at,
        min_decryption_version=found.min_decryption_version,
        min_encryption_version=found.min_encryption_version,
        auto_rotate_seconds=found.auto_rotate_seconds,
        exportable=found.exportable,
        plaintext_backup=found.plaintext_backup,
        deletion_allowed=found.deletion_allowed,
        imported=found.imported,
        soft_deleted=found.soft_deleted,
    )


def _role(found: reader.StaticRole | NotRead) -> Known[StaticRole]:
    if isinstance(found, NotRead):
        return _unread(found)
    return StaticRole(found.name, found.username, found.rotation_seconds, found.rotated_at, found.schedule)


def _unread(found: NotRead) -> Unread:
    return Unread(found.status, found.why)
