"""Whether it could all be brought back (P61-P67)."""

from __future__ import annotations

from collections.abc import Iterator

from collectors.base import Unread
from collectors.neon.domain.security import BranchFacts, ProjectFacts
from collectors.platforms.domain.security import BucketFacts, DrillFacts
from exporter.posture.domain.finding import object_id
from exporter.posture.domain.network import is_production
from exporter.posture.domain.policy import DAY
from exporter.posture.domain.rule import (
    Context,
    RuleResult,
    absent,
    control,
    control_over,
    days,
    failed,
    passed,
    unclear,
    unread,
    verdict,
)


@control_over("P61", ProjectFacts, lambda facts: facts.history_seconds)
def pitr_window(facts: ProjectFacts, history_seconds: int, context: Context) -> Iterator[RuleResult]:
    """The restore window is shorter than wanted."""
    text = f"{days(history_seconds)} of history; wanted are {days(context.policy.history_seconds)}"
    yield (failed if history_seconds < context.policy.history_seconds else passed)(facts.id, text)


@control("P62", BranchFacts)
def snapshot_fresh(facts: BranchFacts, context: Context) -> Iterator[RuleResult]:
    """A production root branch has no fresh snapshot, or none that stays."""
    where = object_id(facts.project_id, facts.id)
    if not _is_root(facts, context):
        yield absent(where, "no production root branch")
        return
    if isinstance(facts.snapshots, Unread):
        yield unread(where, facts.snapshots)
        return
    made = [snapshot for snapshot in facts.snapshots if snapshot.created_at is not None]
    if not made:
        yield failed(where, "there is no snapshot")
        return
    age = context.now - max(snapshot.created_at or 0.0 for snapshot in made)
    found = []
    if age > context.policy.snapshot_age_seconds:
        found.append(failed(where, f"the newest snapshot is {days(age)} old"))
    keep = context.policy.snapshot_keep_seconds
    lasting = [
        snapshot
        for snapshot in made
        if snapshot.expires_at is None or snapshot.expires_at - (snapshot.created_at or 0.0) >= keep
    ]
    if not lasting:
        found.append(failed(object_id(where, "kept"), f"no snapshot is kept for {days(keep)}"))
    yield from verdict(where, found, f"the newest snapshot is {days(age)} old")


@control("P63", BranchFacts)
def backup_schedule(facts: BranchFacts, context: Context) -> Iterator[RuleResult]:
    """Nothing makes snapshots of a production root branch by itself."""
    where = object_id(facts.project_id, facts.id)
    if not _is_root(facts, context):
        yield absent(where, "no production root branch")
    elif isinstance(facts.schedule, Unread):
        yield unread(where, facts.schedule)
    elif facts.schedule:
        yield passed(where, f"snapshots {', '.join(facts.schedule)}")
    else:
        yield failed(where, "there is no snapshot schedule")


def _is_root(facts: BranchFacts, context: Context) -> bool:
    return not facts.parent_id and is_production(facts, context)


@control("P64", BucketFacts)
def offsite_fresh(facts: BucketFacts, context: Context) -> Iterator[RuleResult]:
    """The newest copy outside is old, or much smaller than those before."""
    where = object_id("s3", facts.name, facts.prefix.strip("/"))
    if isinstance(facts.newest, Unread):
        yield unread(where, facts.newest)
        return
    if not facts.newest:
        yield failed(where, "there is no object")
        return
    newest, before = facts.newest[0], sorted(stored_object.size for stored_object in facts.newest[1:8])
    age = context.now - newest.at
    found = []
    if age > context.policy.offsite_age_seconds:
        found.append(failed(where, f"the newest object is {days(age)} old"))
    if before and newest.size * 2 < before[len(before) // 2]:
        text = f"the newest object has {newest.size} bytes, the median before it {before[len(before) // 2]}"
        found.append(failed(object_id(where, "size"), text))
    yield from verdict(where, found, f"the newest object is {days(age)} old")


@control("P65", BucketFacts)
def offsite_protect(facts: BucketFacts, _context: Context) -> Iterator[RuleResult]:
    """Copies outside could be read, changed or deleted by whoever gets at the bucket."""
    where = object_id("s3", facts.name)
    for what in ("encryption", "lock_mode", "versioning", "public_blocked"):
        value = getattr(facts, what)
        path = object_id(where, what)
        if isinstance(value, Unread):
            yield unread(path, value)
            continue
        text, good = _protects(what, value, facts)
        yield (passed if good else failed)(path, text)


def _protects(what: str, value: str | bool, facts: BucketFacts) -> tuple[str, bool]:
    if what == "encryption":
        right = not facts.expected_kms_key or facts.kms_key.endswith(facts.expected_kms_key)
        if value == "aws:kms" and not right:
            return "encrypted with another KMS key than the one in the settings", False
        return f"encryption is {value or 'off'}", value in ("aws:kms", "aws:kms:dsse")
    if what == "lock_mode":
        return f"object lock is {value or 'off'}", value == "COMPLIANCE"
    words = {"versioning": "versioning", "public_blocked": "the block of public access"}
    return f"{words[what]} is {'on' if value else 'off'}", bool(value)


@control("P66", DrillFacts)
def restore_drill(facts: DrillFacts, context: Context) -> Iterator[RuleResult]:
    """Nobody proved lately that it can be restored, or it took too long, or lost too much."""
    where = object_id(facts.project_id, facts.kind)
    last = facts.last_success_at
    if isinstance(last, Unread):
        yield unread(where, last)
        return
    if last is None:
        yield failed(where, f"no {facts.kind} drill ever succeeded")
        return
    policy, age = context.policy, context.now - last
    found = []
    if age > policy.drill_age_days * DAY:
        found.append(failed(where, f"the last drill that succeeded was {days(age)} ago"))
    if facts.rto_seconds is not None and facts.rto_seconds > policy.rto_seconds:
        text = f"it took {facts.rto_seconds:.0f} s; the target is {policy.rto_seconds} s"
        found.append(failed(object_id(where, "rto"), text))
    if facts.rpo_seconds is not None and facts.rpo_seconds > policy.rpo_seconds:
        text = f"it lost {facts.rpo_seconds:.0f} s; the target is {policy.rpo_seconds} s"
        found.append(failed(object_id(where, "rpo"), text))
    yield from verdict(where, found, f"proven {days(age)} ago")


@control("P67", BranchFacts)
def replica(facts: BranchFacts, context: Context) -> Iterator[RuleResult]:
    """Production has no read replica, or it lags. It shares the storage: it takes load, it is no second copy."""
    where = object_id(facts.project_id, facts.id)
    if not is_production(facts, context):
        yield absent(where, "no production branch")
        return
    if isinstance(facts.computes, Unread):
        yield unread(where, facts.computes)
        return
    replicas = [compute for compute in facts.computes if compute.read_only]
    if not replicas:
        yield failed(where, "there is no read replica")
        return
    most = context.policy.replica_lag_seconds
    found = [failed(object_id(where, compute.id), f"replica {compute.id} is {compute.replay_lag:.0f} s behind")
             for compute in replicas if compute.replay_lag is not None and compute.replay_lag > most]  # fmt: skip
    if not found and all(compute.replay_lag is None for compute in replicas):
        yield unclear(where, "how far the replica is behind is not known")
    else:
        yield from verdict(where, found, f"{len(replicas)} replicas, none far behind")
