"""Who holds keys to the platform itself: API keys and members of an organisation (P38-P41)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from ipaddress import ip_address, ip_network

from collectors.neon.domain.security import ApiKey, Member, OrganizationFacts
from exporter.posture.domain.finding import object_id
from exporter.posture.domain.policy import DAY
from exporter.posture.domain.rule import Context, RuleResult, absent, control_over, days, failed, unclear, verdict

Keys = tuple[ApiKey, ...]


def _of_keys(
    facts: OrganizationFacts, keys: Keys, says: Callable[[ApiKey], str], otherwise: str
) -> Iterable[RuleResult]:
    if not keys:
        return (absent(facts.id, "no API key"),)
    found = (failed(object_id(facts.id, "key", key.id), f"key {key.name or key.id} {text}")
             for key in keys if (text := says(key)))  # fmt: skip
    return verdict(facts.id, found, otherwise)


@control_over("P38", OrganizationFacts, lambda facts: facts.keys)
def api_key_age(facts: OrganizationFacts, keys: Keys, context: Context) -> Iterator[RuleResult]:
    """An API key is old."""
    most = context.policy.key_age_days
    for key in keys:
        if key.created_at is None:
            yield unclear(object_id(facts.id, "key", key.id), f"Neon does not say how old {key.name} is")

    def says(key: ApiKey) -> str:
        age = 0.0 if key.created_at is None else context.now - key.created_at
        return f"is {days(age)} old" if age > most * DAY else ""

    yield from _of_keys(facts, keys, says, f"no key is older than {most} d")


@control_over("P39", OrganizationFacts, lambda facts: facts.keys)
def key_unused(facts: OrganizationFacts, keys: Keys, context: Context) -> Iterable[RuleResult]:
    """An API key was never used, or not for long."""
    idle = context.policy.key_unused_days * DAY

    def says(key: ApiKey) -> str:
        if key.last_used_at is None:
            young = key.created_at is not None and context.now - key.created_at <= idle
            return "" if young else "was never used"
        unused = context.now - key.last_used_at
        return f"was last used {days(unused)} ago" if unused > idle else ""

    return _of_keys(facts, keys, says, "every key is used")


@control_over("P40", OrganizationFacts, lambda facts: facts.keys)
def key_scope(facts: OrganizationFacts, keys: Keys, context: Context) -> Iterable[RuleResult]:
    """A key works in every project, or is used from where it should not be."""
    ranges = [ip_network(text, strict=False) for text in context.policy.key_addresses]

    def outside(text: str) -> bool:
        try:
            address = ip_address(text)
        except ValueError:
            return bool(text)
        return not any(address in network for network in ranges)

    def says(key: ApiKey) -> str:
        parts = [] if key.project_id else ["works in every project" if not key.personal else "is a person's own"]
        if ranges and key.last_used_from and outside(key.last_used_from):
            parts.append("was used from outside the listed addresses")
        return " and ".join(parts)

    return _of_keys(facts, keys, says, "every key is for one project")


@control_over("P41", OrganizationFacts, lambda facts: facts.members)
def org_mfa(facts: OrganizationFacts, members: tuple[Member, ...], _context: Context) -> Iterator[RuleResult]:
    """A member signs in without a second factor, or is deactivated and still a member."""
    silent = [member for member in members if member.has_mfa is None and not member.deactivated]
    if silent:
        yield unclear(object_id(facts.id, "members"), f"Neon does not say of {len(silent)} members")
    found = [failed(object_id(facts.id, "member", member.id),
                    "is deactivated and still a member" if member.deactivated else "has no second factor")
             for member in members if member.deactivated or member.has_mfa is False]  # fmt: skip
    if found or len(silent) < len(members):
        yield from verdict(facts.id, found, f"{len(members)} members with a second factor")
    elif not members:
        yield absent(facts.id, "no member")
