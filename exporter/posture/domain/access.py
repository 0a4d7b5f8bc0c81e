"""Who holds keys to the platform itself: API keys and members of an organisation (P38-P41)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from ipaddress import ip_address, ip_network

from exporter.posture.domain.facts_platform import ApiKey, OrganizationFacts
from exporter.posture.domain.finding import Finding, Unread, object_id
from exporter.posture.domain.judging import Context, Judges, absent, days, failed, unclear, unread, verdict
from exporter.posture.domain.policy import DAY


def _of_keys(
    control: str, facts: OrganizationFacts, says: Callable[[ApiKey], str], otherwise: str
) -> Iterator[Finding]:
    if isinstance(facts.keys, Unread):
        yield unread(control, facts.id, facts.keys)
    elif not facts.keys:
        yield absent(control, facts.id, "no API key")
    else:
        found = (failed(control, object_id(facts.id, "key", key.id), f"key {key.name or key.id} {text}")
                 for key in facts.keys if (text := says(key)))  # fmt: skip
        yield from verdict(control, facts.id, found, otherwise)


def api_key_age(facts: OrganizationFacts, context: Context) -> Iterator[Finding]:
    """P38: an API key is old."""
    most = context.policy.key_age_days
    if not isinstance(facts.keys, Unread):
        for key in facts.keys:
            if key.created_at is None:
                yield unclear("P38", object_id(facts.id, "key", key.id), f"Neon does not say how old {key.name} is")

    def says(key: ApiKey) -> str:
        age = 0.0 if key.created_at is None else context.now - key.created_at
        return f"is {days(age)} old" if age > most * DAY else ""

    yield from _of_keys("P38", facts, says, f"no key is older than {most} d")


def key_unused(facts: OrganizationFacts, context: Context) -> Iterator[Finding]:
    """P39: an API key was never used, or not for long."""
    idle = context.policy.key_unused_days * DAY

    def says(key: ApiKey) -> str:
        if key.last_used_at is None:
            young = key.created_at is not None and context.now - key.created_at <= idle
            return "" if young else "was never used"
        unused = context.now - key.last_used_at
        return f"was last used {days(unused)} ago" if unused > idle else ""

    yield from _of_keys("P39", facts, says, "every key is used")


def key_scope(facts: OrganizationFacts, context: Context) -> Iterator[Finding]:
    """P40: a key works in every project, or is used from where it should not be."""
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

    yield from _of_keys("P40", facts, says, "every key is for one project")


def org_mfa(facts: OrganizationFacts, _context: Context) -> Iterator[Finding]:
    """P41: a member signs in without a second factor, or is deactivated and still a member."""
    if isinstance(facts.members, Unread):
        yield unread("P41", facts.id, facts.members)
        return
    silent = [member for member in facts.members if member.has_mfa is None and not member.deactivated]
    if silent:
        yield unclear("P41", object_id(facts.id, "members"), f"Neon does not say of {len(silent)} members")
    found = [failed("P41", object_id(facts.id, "member", member.id),
                    "is deactivated and still a member" if member.deactivated else "has no second factor")
             for member in facts.members if member.deactivated or member.has_mfa is False]  # fmt: skip
    if found or len(silent) < len(facts.members):
        yield from verdict("P41", facts.id, found, f"{len(facts.members)} members with a second factor")
    elif not facts.members:
        yield absent("P41", facts.id, "no member")


ORGANIZATION: Judges[OrganizationFacts] = {"P38": api_key_age, "P39": key_unused, "P40": key_scope, "P41": org_mfa}
