"""The rules of waste about branches, snapshots and history: what is stored and could be gone."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from exporter.cost.domain.allocate import Confidence
from exporter.cost.domain.waste.waste import BranchFacts, Policy, Pool, ProjectFacts, Purse, Unknown, Waste
from exporter.cost.domain.waste.words import call, dollars, instant, neonctl, percent, size, span
from exporter.pricing.domain.calendar import DAY
from exporter.pricing.domain.components import GB, Component, Level
from exporter.pricing.domain.usage import PROJECT_LEVEL

STORED = tuple(c for c in Component if c.spec.stored and c.spec.level is Level.BRANCH)
"""What goes with a branch that is deleted."""


def _idle_for(branch: BranchFacts, now: int) -> int | None:
    return None if branch.last_active is None else max(0, now - branch.last_active)


def _is_idle(branch: BranchFacts, policy: Policy, now: int) -> bool:
    idle = _idle_for(branch, now)
    return not branch.default and not branch.protected and idle is not None and idle >= policy.idle


def idle_branch(project: ProjectFacts, policy: Policy, purse: Purse, now: int) -> Iterator[Waste | Unknown]:
    """A branch that nobody used for days still stores. Its storage and its restore history are this rule's."""
    for branch in project.branches:
        if branch.default or branch.protected:
            continue
        if branch.last_active is None:
            yield Unknown("idle_branch", project.id, f"Neon does not say when branch {branch.name} was last used")
            continue
        if not _is_idle(branch, policy, now):
            continue
        usd = purse.take_all(project.id, branch.id, STORED)
        if not usd and not branch.stored:
            continue
        first = f"delete its {branch.children} children first, then it" if branch.children else "delete it"
        yield Waste(
            "idle_branch", project.id, branch.id, usd,
            f"nobody used it for {span(now - branch.last_active)}; it stores {size(branch.stored)}",
            f"{first}, if nobody needs it", neonctl("branches", "delete", branch.id, project_id=project.id),
            Confidence.EXACT,
        )  # fmt: skip


def no_expiry(project: ProjectFacts, policy: Policy, purse: Purse, now: int) -> Iterator[Waste | Unknown]:
    """A child in use that never expires. Older than branches should get, what it stores is this rule's."""
    for branch in project.branches:
        if not branch.child or branch.default or branch.protected or branch.expires_at is not None:
            continue
        if _is_idle(branch, policy, now):
            continue  # To be deleted, not to be dated.
        if branch.created_at is None:
            yield Unknown("no_expiry", project.id, f"Neon does not say when branch {branch.name} was created")
            continue
        age = now - branch.created_at
        late = age >= policy.branch_ttl
        usd = purse.take_all(project.id, branch.id, STORED) if late else Fraction()
        yield Waste(
            "no_expiry", project.id, branch.id, usd,
            f"a child of {span(age)}, no expiry" + ("" if late else f"; counts from {span(policy.branch_ttl)} on"),
            "give it an expiry: Neon deletes it then",
            neonctl("branches", "set-expiration", branch.id, "--expires-at",
                    instant(max(now + DAY, branch.created_at + policy.branch_ttl)), project_id=project.id),
            Confidence.EXACT,
        )  # fmt: skip


def diverged_child(project: ProjectFacts, policy: Policy, purse: Purse, now: int) -> Iterator[Waste | Unknown]:
    """A child that changed most of itself is billed like a copy; reset from its parent it shares again."""
    del now
    for branch in project.branches:
        if not branch.child or not branch.stored:
            continue
        if branch.size is None:
            yield Unknown("diverged_child", project.id, f"Neon does not say the size of branch {branch.name}")
            continue
        part = Fraction(branch.stored, branch.size) if branch.size else Fraction(1)
        if part < policy.diverged:
            continue
        usd = purse.take(Pool(project.id, branch.id, Component.CHILD_STORAGE))
        yield Waste(
            "diverged_child", project.id, branch.id, usd,
            f"it is billed for {size(branch.stored)} of its own, {percent(min(part, Fraction(1)))} of its size",
            "reset it from its parent (its own changes are lost), or make it a project",
            neonctl("branches", "reset", branch.id, "--parent", project_id=project.id), Confidence.EXACT,
        )  # fmt: skip


def extra_branches(project: ProjectFacts, policy: Policy, purse: Purse, now: int) -> Iterator[Waste | Unknown]:
    """Branch-hours past the allowance; the children that were idle longest are those to delete."""
    del policy
    usd = purse.take(Pool(project.id, PROJECT_LEVEL, Component.EXTRA_BRANCHES))
    if not usd or project.free_branches is None:
        return
    over = max(1, project.children - project.free_branches)
    childless = [branch for branch in project.branches if branch.child and not branch.protected and not branch.children]
    oldest = sorted(childless, key=lambda branch: (-(_idle_for(branch, now) or 0), branch.created_at or 0, branch.id))[
        :over
    ]
    commands = [neonctl("branches", "delete", branch.id, project_id=project.id) for branch in oldest]
    yield Waste(
        "extra_branches", project.id, "", usd,
        f"{project.children} child branches now, {project.free_branches} are free; paid by the hour",
        f"delete {over}; unused for longest: {', '.join(branch.name for branch in oldest[:5]) or 'none can go'}"
        + (f" and {len(oldest) - 5} more" if len(oldest) > 5 else ""),
        " && ".join(commands[:5]), Confidence.EXACT,
    )  # fmt: skip


def old_snapshot(project: ProjectFacts, policy: Policy, purse: Purse, now: int) -> Iterator[Waste | Unknown]:
    """A snapshot older than the policy. Its bytes at the rate, within what the project pays for snapshots."""
    pool = Pool(project.id, PROJECT_LEVEL, Component.SNAPSHOT_STORAGE)
    if project.snapshots is None:
        yield Unknown("old_snapshot", project.id, "its snapshots could not be listed")
        return
    for snapshot in sorted(project.snapshots, key=lambda snapshot: (snapshot.created_at, snapshot.id)):
        age = now - snapshot.created_at
        if age < policy.snapshot_age:
            continue
        if snapshot.charged is None or project.snapshot_rate is None:
            yield Unknown(
                "old_snapshot", project.id, f"Neon does not say yet what snapshot {snapshot.name} is charged for"
            )
            continue
        usd = purse.take_at_most(pool, Fraction(snapshot.charged, GB) * project.snapshot_rate)
        yield Waste(
            "old_snapshot", project.id, snapshot.branch_id, usd,
            f"snapshot {snapshot.name} is {span(age)} old and holds {size(snapshot.charged)}", "delete it",
            call("DELETE", f"{policy.api_url}/projects/{project.id}/snapshots/{snapshot.id}"), Confidence.EXACT,
            snapshot.id,
        )  # fmt: skip


def history_window(project: ProjectFacts, policy: Policy, purse: Purse, now: int) -> Iterator[Waste | Unknown]:
    """What a day of the history window costs, and what the days past the policy cost, taken as equal."""
    del now
    pools = [Pool(project.id, branch.id, Component.INSTANT_RESTORE) for branch in project.branches]
    left = sum((purse.left(pool) for pool in pools), Fraction())
    if not left:
        return
    if project.history is None:
        yield Unknown("history_window", project.id, "Neon does not say how long its history window is")
        return
    past = max(Fraction(), 1 - Fraction(policy.history, project.history)) if project.history else Fraction()
    usd = sum((purse.take(pool, past) for pool in pools), Fraction())
    body = {"project": {"history_retention_seconds": policy.history}}
    days = Fraction(project.history, DAY) or Fraction(1)
    yield Waste(
        "history_window", project.id, "", usd,
        f"{span(project.history)} of history are kept; a day of them costs about ${dollars(left / days)} a month",
        f"keep {span(policy.history)}" if past else "nothing: it is within the policy (waste.history_days)",
        call("PATCH", f"{policy.api_url}/projects/{project.id}", body) if past else "", Confidence.ESTIMATED,
    )  # fmt: skip
