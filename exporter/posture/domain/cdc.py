"""Change data capture: what is published, and whether its slots live (P68-P70)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from collectors.base import Unread
from collectors.postgres.domain.security import DatabaseFacts, ServerFacts, Slot
from exporter.posture.domain.finding import object_id
from exporter.posture.domain.rule import (
    Context,
    RuleResult,
    absent,
    control,
    days,
    failed,
    of_groups,
    place,
    sentence,
    unclear,
    unread,
    verdict,
)


@control("P68", DatabaseFacts)
def cdc_no_pk(facts: DatabaseFacts, _context: Context) -> Iterable[RuleResult]:
    """A published table has no key to tell rows by: its UPDATE and DELETE fail."""
    found, published = facts.check("cdc_no_pk"), facts.check("published")
    if isinstance(published, Unread):
        return (unread(place(facts), published),)
    if not isinstance(found, Unread) and not published:
        return (absent(place(facts), "nothing is published"),)
    says = sentence("is published ({detail}) and has no replica identity: UPDATE and DELETE on it fail")
    return of_groups(place(facts), found, says=says, otherwise="every published table has a replica identity")


@control("P69", DatabaseFacts)
def publication_scope(facts: DatabaseFacts, _context: Context) -> Iterator[RuleResult]:
    """A publication is of all tables, also of those to come, or crosses tenants."""
    where = place(facts)
    every, crossing, any_ = (facts.check(n) for n in ("publication_all", "publication_crossing", "publications"))
    for part in (every, crossing, any_):
        if isinstance(part, Unread):
            yield unread(where, part)
            return
    if not any_:
        yield absent(where, "there is no publication")
        return
    otherwise = "publications name their tables, and none crosses tenants"
    if every or not crossing:
        yield from of_groups(where, every, says=sentence("is FOR ALL TABLES"), otherwise=otherwise)
    if crossing:
        apart = object_id(where, "tenants")
        yield from of_groups(apart, crossing, says=sentence("publishes tables of {detail}"), otherwise=otherwise)


@control("P70", ServerFacts)
def slot_expected(facts: ServerFacts, context: Context) -> Iterator[RuleResult]:
    """A slot that should be there is gone, idle for long, or has lost its WAL. Neon drops idle ones after 40 h."""
    where = place(facts)
    if isinstance(facts.slots, Unread):
        yield unread(where, facts.slots)
        return
    there = {slot.name: slot for slot in facts.slots}
    missing = [name for name in context.policy.expected_slots if name not in there]
    if not there and not context.policy.expected_slots:
        yield absent(where, "no slot is there and none is expected")
        return
    found = [failed(object_id(where, name), f"slot {name} is expected and gone") for name in missing]
    found += [failed(object_id(where, slot.name), f"slot {slot.name} {text}")
              for slot in facts.slots if (text := _ails(slot, context))]  # fmt: skip
    silent = [
        slot.name
        for slot in facts.slots
        if not slot.active and slot.inactive_since is None and not _ails(slot, context)
    ]
    for name in silent:
        yield unclear(object_id(where, name), f"slot {name} is inactive; this server does not say since when")
    if found or not silent or len(silent) < len(there):
        yield from verdict(where, found, "every slot is there, and none is idle or invalid")


def _ails(slot: Slot, context: Context) -> str:
    if slot.invalid:
        return f"was invalidated: {slot.invalid}"
    if slot.wal_status in ("unreserved", "lost"):
        return f"has WAL that is {slot.wal_status}"
    idle = 0.0 if slot.active or slot.inactive_since is None else context.now - slot.inactive_since
    return f"has been inactive for {days(idle)}" if idle > context.policy.slot_inactive_seconds else ""
