"""Encryption keys, rotated passwords and the key store itself (P51-P57)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from collectors.base import Unread
from collectors.platforms.domain.security import StaticRole, TransitKey, VaultFacts
from collectors.postgres.domain.security import DatabaseFacts
from exporter.posture.domain.finding import Severity, object_id
from exporter.posture.domain.policy import DAY
from exporter.posture.domain.rule import (
    Context,
    RuleResult,
    absent,
    control,
    days,
    failed,
    of_groups,
    passed,
    place,
    sentence,
    unclear,
    unread,
    verdict,
)


@control("P51", VaultFacts)
def key_per_tenant(facts: VaultFacts, context: Context) -> Iterator[RuleResult]:
    """A tenant has no key of its own, or two tenants have the same."""
    if isinstance(facts.key_names, Unread):
        yield unread(facts.name, facts.key_names)
        return
    keys: dict[str, set[str]] = {}
    for registry in context.facts.registries:
        if isinstance(registry.tenants, Unread):
            yield unread(facts.name, registry.tenants)
            return
        for owner in registry.tenants:
            named = owner.keys or (context.policy.transit_key.format(tenant=owner.tenant),)
            keys.setdefault(owner.tenant, set()).update(named)
    if not keys:
        yield absent(facts.name, "the registry names no tenant")
        return
    found = [
        failed(object_id(facts.name, tenant), f"tenant {tenant} has no key {name}", tenant=tenant)
        for tenant, names in sorted(keys.items())
        for name in sorted(names - set(facts.key_names))
    ]
    owners: dict[str, list[str]] = {}
    for tenant, names in sorted(keys.items()):
        for name in names:
            owners.setdefault(name, []).append(tenant)
    found += [
        failed(object_id(facts.name, "key", name), f"key {name} is of {' and of '.join(tenants)}")
        for name, tenants in sorted(owners.items())
        if len(tenants) > 1
    ]
    yield from verdict(facts.name, found, f"{len(keys)} tenants have a key of their own")


Says = Callable[[TransitKey], Iterator[tuple[str, Severity | None]]]


def _of_keys(facts: VaultFacts, says: Says, otherwise: str) -> Iterator[RuleResult]:
    if isinstance(facts.keys, Unread):
        yield unread(facts.name, facts.keys)
        return
    if not facts.keys:
        yield absent(facts.name, "the key store has no key")
        return
    bad = False
    for key in facts.keys:
        if isinstance(key, Unread):
            bad = True
            yield unread(object_id(facts.name, "key"), key)
            continue
        for text, severity in says(key):
            bad = True
            yield failed(object_id(facts.name, "key", key.name), f"key {key.name} {text}", severity=severity)
    if not bad:
        yield passed(facts.name, otherwise)


@control("P52", VaultFacts)
def key_age(facts: VaultFacts, context: Context) -> Iterator[RuleResult]:
    """A key was not rotated for long, or nothing will rotate it."""
    most = context.policy.transit_key_age_days * DAY

    def says(key: TransitKey) -> Iterator[tuple[str, Severity | None]]:
        if key.rotated_at is None:
            yield "does not say when it was rotated", Severity.MEDIUM
        elif context.now - key.rotated_at > most:
            yield f"was last rotated {days(context.now - key.rotated_at)} ago", None
        elif not key.auto_rotate_seconds:
            yield "is rotated by hand only", Severity.MEDIUM

    yield from _of_keys(facts, says, f"every key was rotated within {context.policy.transit_key_age_days} d")


@control("P53", VaultFacts)
def key_flags(facts: VaultFacts, _context: Context) -> Iterator[RuleResult]:
    """A key can leave the store or be deleted, or came from outside."""

    def says(key: TransitKey) -> Iterator[tuple[str, Severity | None]]:
        flags = {
            "can be exported": key.exportable,
            "can be backed up in plain text": key.plaintext_backup,
            "can be deleted": key.deletion_allowed,
            "was imported": key.imported,
            "is deleted but for its restoration": key.soft_deleted,
        }
        wrong = [text for text, set_ in flags.items() if set_]
        if wrong:
            yield " and ".join(wrong), None

    yield from _of_keys(facts, says, "no key can leave the store or be deleted")


@control("P54", VaultFacts)
def key_versions(facts: VaultFacts, context: Context) -> Iterator[RuleResult]:
    """Versions from long ago still decrypt, or an old version still encrypts."""

    def says(key: TransitKey) -> Iterator[tuple[str, Severity | None]]:
        behind = key.latest_version - key.min_decryption_version
        if behind > context.policy.transit_versions:
            yield f"still decrypts with {behind} versions before the latest: data were not rewrapped", None
        elif 0 < key.min_encryption_version < key.latest_version:
            yield f"still lets version {key.min_encryption_version} encrypt", None

    yield from _of_keys(facts, says, "old versions are retired")


@control("P55", VaultFacts)
def db_static_role(facts: VaultFacts, context: Context) -> Iterator[RuleResult]:
    """A database password was not rotated when it should have been. A failed rotation shows by its age alone."""
    if isinstance(facts.static_roles, Unread):
        yield unread(facts.name, facts.static_roles)
        return
    if not facts.static_roles:
        yield absent(facts.name, "no database password is the key store's to rotate")
        return
    bad = False
    for role in facts.static_roles:
        if isinstance(role, Unread):
            bad = True
            yield unread(object_id(facts.name, "role"), role)
            continue
        path = object_id(facts.name, "role", role.name)
        text = _late(role, context)
        bad = bad or bool(text)
        if text == "?":
            yield unclear(path, f"{role.username} is rotated by a schedule: its period is not shown")
        elif text:
            yield failed(path, f"the password of {role.username} {text}")
    if not bad:
        yield passed(facts.name, f"{len(facts.static_roles)} passwords are rotated in time")


def _late(role: StaticRole, context: Context) -> str:
    if role.rotated_at is None:
        return "was never rotated"
    age = context.now - role.rotated_at
    if not role.rotation_seconds:
        most = context.policy.password_age_days * DAY
        return f"was last rotated {days(age)} ago" if age > most else "?" if role.schedule else ""
    late = age > role.rotation_seconds * 1.25
    return f"was last rotated {days(age)} ago, and should be every {days(role.rotation_seconds)}" if late else ""


@control("P56", VaultFacts)
def vault_audit(facts: VaultFacts, _context: Context) -> Iterator[RuleResult]:
    """The key store writes no audit log, or is sealed."""
    if isinstance(facts.sealed, Unread):
        yield unread(object_id(facts.name, "seal"), facts.sealed)
    elif facts.sealed:
        yield failed(object_id(facts.name, "seal"), "the key store is sealed")
    else:
        yield passed(object_id(facts.name, "seal"), "the key store is open" + (", standby" * facts.standby))
    where = object_id(facts.name, "audit")
    if isinstance(facts.audits, Unread):
        yield unread(where, facts.audits)
    elif facts.audits:
        yield passed(where, f"audited to {', '.join(facts.audits)}")
    else:
        yield failed(where, "no audit device is enabled")


@control("P57", DatabaseFacts)
def encrypted_columns(facts: DatabaseFacts, context: Context) -> Iterator[RuleResult]:
    """A column that the registry wants encrypted holds plain values."""
    where = place(facts)
    sealed = facts.check("sealed")
    if isinstance(sealed, Unread):
        yield unread(where, sealed)
    elif not context.policy.encrypted_columns:
        yield absent(where, "the settings name no column that must be encrypted")
    elif not sealed:
        yield absent(where, "no column here must be encrypted")
    else:
        says = sentence("must be encrypted, and is {detail}")
        yield from of_groups(where, facts.check("unsealed"), says=says, otherwise="all such columns are encrypted")
