"""Change data capture: what is published, and whether its slots live (P68-P70)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from collectors.base import Unread
from collectors.postgres.domain.security import DatabaseFacts, Group, ServerFacts, Slot
from exporter.posture.domain.finding import object_id
from exporter.posture.domain.rule import (
    Context,
    RuleResult,
    absent,
    control,
    control_over,
    days,
    failed,
    of_groups,
    place,
    unclear,
    unread,
    verdict,
)


@control_over("P68", DatabaseFacts, lambda facts: facts.check("published"))
def cdc_no_pk(facts: DatabaseFacts, published: tuple[Group, ...], _context: Context) -> Iterable[RuleResult]:
    """A published table has no key to tell rows by: its UPDATE and DELETE fail."""
    found = facts.check("cdc_no_pk")
    if not isinstance(found, Unread) and not published:
        return (absent(place(facts), "nothing is published"),)
    says = "is published ({detail}) and has no replica identity: UPDATE and DELETE on it fail"
    return of_groups(place(facts), found, says, "every published table has a replica identity")


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
        yield from of_groups(where, every, "is FOR ALL TABLES", otherwise)
    if crossing:
        yield from of_groups(object_id(where, "tenants"), crossing, "publishes tables of {detail}", otherwise)


@control_over("P70", ServerFacts, lambda facts: facts.slots)
def slot_expected(facts: ServerFacts, slots: tuple[Slot, ...], context: Context) -> Iterator[RuleResult]:
    """A slot that should be there is gone, idle for long, or has lost its WAL. Neon drops idle ones after 40 h."""
    where = place(facts)
    there = {slot.name: slot for slot in slots}
    missing = [name for name in context.policy.expected_slots if name not in there]
    if not there and not context.policy.expected_slots:
        yield absent(where, "no slot is there and none is expected")
        return
    found = [failed(object_id(where, name), f"slot {name} is expected and gone") for name in missing]
    found += [failed(object_id(where, slot.name), f"slot {slot.name} {text}")
              for slot in slots if (text := _fault(slot, context))]  # fmt: skip
    silent = [
        slot.name for slot in slots if not slot.active and slot.inactive_since is None and not _fault(slot, context)
    ]
    for name in silent:
        yield unclear(object_id(where, name), f"slot {name} is inactive; this server does not say since when")
    if found or not silent or len(silent) < len(there):
        yield from verdict(where, found, "every slot is there, and none is idle or invalid")


def _fault(slot: Slot, context: Context) -> str:
    if slot.invalid:
        return f"was invalidated: {slot.invalid}"
    if slot.wal_status in ("unreserved", "lost"):
        return f"has WAL that is {slot.wal_status}"
    idle = 0.0 if slot.active or slot.inactive_since is None else context.now - slot.inactive_since
    return f"has been inactive for {days(idle)}" if idle > context.policy.slot_inactive_seconds else ""
