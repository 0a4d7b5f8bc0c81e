"""Encryption keys, rotated passwords and the key store itself (P51-P57)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from collectors.base import Known, Unread
from collectors.platforms.domain.security import StaticRole, TransitKey, VaultFacts
from collectors.postgres.domain.security import DatabaseFacts, Group
from exporter.posture.domain.finding import Severity, object_id
from exporter.posture.domain.policy import DAY
from exporter.posture.domain.rule import (
    Context,
    RuleResult,
    absent,
    control,
    control_over,
    days,
    failed,
    of_groups,
    passed,
    place,
    unclear,
    unread,
    verdict,
)


@control_over("P51", VaultFacts, lambda facts: facts.key_names)
def key_per_tenant(facts: VaultFacts, key_names: tuple[str, ...], context: Context) -> Iterator[RuleResult]:
    """A tenant has no key of its own, or two tenants have the same."""
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
        for name in sorted(names - set(key_names))
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


Item = TypeVar("Item", TransitKey, StaticRole)
Keys = tuple[Known[TransitKey], ...]


def _of_each(
    facts: VaultFacts,
    kind: str,
    items: tuple[Known[Item], ...],
    check: Callable[[str, Item], Iterator[RuleResult]],
    otherwise: str,
) -> Iterable[RuleResult]:
    """What ``check`` says of each item at its path; where it says nothing of any, that the control holds."""
    found: list[RuleResult] = []
    for item in items:
        if isinstance(item, Unread):
            found.append(unread(object_id(facts.name, kind), item))
        else:
            found += check(object_id(facts.name, kind, item.name), item)
    return found or [passed(facts.name, otherwise)]


def _of_keys(
    facts: VaultFacts, keys: Keys, says: Callable[[TransitKey], tuple[str, Severity | None]], otherwise: str
) -> Iterable[RuleResult]:
    """A failure for each key of which there is something to say, of the given severity (None: the control's)."""

    def check(path: str, key: TransitKey) -> Iterator[RuleResult]:
        text, severity = says(key)
        if text:
            yield failed(path, f"key {key.name} {text}", severity=severity)

    if not keys:
        return (absent(facts.name, "the key store has no key"),)
    return _of_each(facts, "key", keys, check, otherwise)


@control_over("P52", VaultFacts, lambda facts: facts.keys)
def key_age(facts: VaultFacts, keys: Keys, context: Context) -> Iterable[RuleResult]:
    """A key was not rotated for long, or nothing will rotate it."""
    most = context.policy.transit_key_age_days * DAY

    def says(key: TransitKey) -> tuple[str, Severity | None]:
        if key.rotated_at is None:
            return "does not say when it was rotated", Severity.MEDIUM
        if context.now - key.rotated_at > most:
            return f"was last rotated {days(context.now - key.rotated_at)} ago", None
        return "" if key.auto_rotate_seconds else "is rotated by hand only", Severity.MEDIUM

    return _of_keys(facts, keys, says, f"every key was rotated within {context.policy.transit_key_age_days} d")


@control_over("P53", VaultFacts, lambda facts: facts.keys)
def key_flags(facts: VaultFacts, keys: Keys, _context: Context) -> Iterable[RuleResult]:
    """A key can leave the store or be deleted, or came from outside."""

    def says(key: TransitKey) -> tuple[str, Severity | None]:
        flags = {
            "can be exported": key.exportable,
            "can be backed up in plain text": key.plaintext_backup,
            "can be deleted": key.deletion_allowed,
            "was imported": key.imported,
            "is deleted but for its restoration": key.soft_deleted,
        }
        return " and ".join(text for text, set_ in flags.items() if set_), None

    return _of_keys(facts, keys, says, "no key can leave the store or be deleted")


@control_over("P54", VaultFacts, lambda facts: facts.keys)
def key_versions(facts: VaultFacts, keys: Keys, context: Context) -> Iterable[RuleResult]:
    """Versions from long ago still decrypt, or an old version still encrypts."""

    def says(key: TransitKey) -> tuple[str, Severity | None]:
        behind = key.latest_version - key.min_decryption_version
        if behind > context.policy.transit_versions:
            return f"still decrypts with {behind} versions before the latest: data were not rewrapped", None
        old = 0 < key.min_encryption_version < key.latest_version
        return f"still lets version {key.min_encryption_version} encrypt" if old else "", None

    return _of_keys(facts, keys, says, "old versions are retired")


@control_over("P55", VaultFacts, lambda facts: facts.static_roles)
def db_static_role(
    facts: VaultFacts, static_roles: tuple[Known[StaticRole], ...], context: Context
) -> Iterable[RuleResult]:
    """A database password was not rotated when it should have been. A failed rotation shows by its age alone."""

    def check(path: str, role: StaticRole) -> Iterator[RuleResult]:
        text = _late(role, context)
        if text == "?":
            yield unclear(path, f"{role.username} is rotated by a schedule: its period is not shown")
        elif text:
            yield failed(path, f"the password of {role.username} {text}")

    if not static_roles:
        return (absent(facts.name, "no database password is the key store's to rotate"),)
    otherwise = f"{len(static_roles)} passwords are rotated in time"
    return _of_each(facts, "role", static_roles, check, otherwise)


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


@control_over("P57", DatabaseFacts, lambda facts: facts.check("sealed"))
def encrypted_columns(facts: DatabaseFacts, sealed: tuple[Group, ...], context: Context) -> Iterable[RuleResult]:
    """A column that the registry wants encrypted holds plain values."""
    where = place(facts)
    if not context.policy.encrypted_columns:
        return (absent(where, "the settings name no column that must be encrypted"),)
    if not sealed:
        return (absent(where, "no column here must be encrypted"),)
    says = "must be encrypted, and is {detail}"
    return of_groups(where, facts.check("unsealed"), says, "all such columns are encrypted")
