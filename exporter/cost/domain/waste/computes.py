"""The rules of waste about computes: awake for nothing, larger than needed, or read by nobody."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from exporter.cost.domain.allocate import Confidence
from exporter.cost.domain.waste.waste import (
    ComputeFacts,
    ComputeHours,
    Policy,
    Pool,
    ProjectFacts,
    Purse,
    Unknown,
    Waste,
)
from exporter.cost.domain.waste.words import call, identifier, literal, number, percent, span
from exporter.pricing.domain.components import Component
from exporter.sampling.domain.awake_shares import NOBODY, UNCOVERED, AwakeHolder

MICRO = 10**6
WALSENDER, SUBSCRIPTION, IDLE_IN_TRANSACTION, IDLE_POOL, OTHER_MONITOR = (
    "walsender", "subscription", "idle_in_transaction", "idle_pool", "other_monitor",
)  # fmt: skip
_FOR_NOTHING = frozenset({SUBSCRIPTION, IDLE_IN_TRANSACTION, IDLE_POOL, OTHER_MONITOR})
_DEFAULT_SUSPEND = 300
_LARGEST_THAT_SUSPENDS = 16


def idle_replica(project: ProjectFacts, policy: Policy, purse: Purse, now: int) -> Iterator[Waste | Unknown]:
    """A read replica that nobody reads from: its part of the branch's compute cost."""
    del now
    for compute, cost in _paid(project, purse):
        if not compute.replica:
            continue
        if compute.calls is None or compute.cost_share is None:
            why = f"no visit saw the statements of replica {compute.id}, or how long it was awake"
            yield Unknown("idle_replica", project.id, why)
        elif compute.calls == 0:
            usd = purse.take_at_most(_pool(project, compute), cost * compute.cost_share)
            yield Waste(
                "idle_replica", project.id, compute.branch_id, usd, "a read replica that nobody asked anything",
                "delete the replica; the branch keeps its data",
                call("DELETE", _url(project, compute, policy)), Confidence.MEASURED, compute.id,
            )  # fmt: skip


def slot_keeps_awake(project: ProjectFacts, policy: Policy, purse: Purse, now: int) -> Iterator[Waste | Unknown]:
    """A replication slot whose consumer keeps the compute awake: its share of the awake time of the last day."""
    del now, policy
    for compute, cost in _paid(project, purse):
        if not _was_seen(compute):
            why = f"no visit saw who keeps {compute.id} awake"
            yield Unknown("slot_keeps_awake", project.id, why)
        elif compute.suspend_after is not None:
            for holder, share in _holders(compute):
                if holder.reason == WALSENDER:
                    slot = holder.slot or holder.application or "its slot"
                    usd = purse.take_at_most(_pool(project, compute), cost * share)
                    command = f"SELECT pg_drop_replication_slot({literal(holder.slot)});" if holder.slot else ""
                    yield Waste(
                        "slot_keeps_awake", project.id, compute.branch_id, usd,
                        f"slot {slot} kept it awake for {_of_day(compute, holder)}",
                        "drop the slot if nobody needs it (its consumer must then copy anew); else accept it",
                        command or "SELECT slot_name, active FROM pg_replication_slots WHERE slot_type = 'logical';",
                        Confidence.SAMPLED, holder.slot or compute.id,
                    )  # fmt: skip


def kept_awake(project: ProjectFacts, policy: Policy, purse: Purse, now: int) -> Iterator[Waste | Unknown]:
    """Somebody who does not work keeps the compute awake: a forgotten transaction, an unused pool, a monitor."""
    del now, policy
    for compute, cost in _paid(project, purse):
        if not _was_seen(compute):
            yield Unknown("kept_awake", project.id, f"no visit saw who keeps {compute.id} awake")
        elif compute.suspend_after is not None:
            for holder, share in _holders(compute):
                if holder.reason in _FOR_NOTHING:
                    usd = purse.take_at_most(_pool(project, compute), cost * share)
                    action, command = _ending(holder, compute.suspend_after)
                    yield Waste(
                        "kept_awake", project.id, compute.branch_id, usd,
                        f"{_named(holder)} kept it awake for {_of_day(compute, holder)}", action, command,
                        Confidence.SAMPLED, " ".join(filter(None, (holder.reason, holder.user, holder.application))),
                    )  # fmt: skip


def never_suspended(project: ProjectFacts, policy: Policy, purse: Purse, now: int) -> Iterator[Waste | Unknown]:
    """A compute that is always awake and hardly ever busy: the idle part of what no holder was charged for."""
    del now
    for compute, cost in _paid(project, purse):
        hours = project.hours.get(compute.branch_id, ComputeHours())
        if compute.suspend_after is not None and hours.awake is None:
            yield Unknown("never_suspended", project.id, f"less than a day of hours of {compute.id} is in the ledger")
            continue
        if compute.suspend_after is not None and (hours.awake or 0) < policy.always_awake:
            continue
        if hours.busy is None or compute.cost_share is None:
            yield Unknown("never_suspended", project.id, f"no visit measured how busy {compute.id} is")
            continue
        if hours.busy >= policy.busy:
            continue
        pool = _pool(project, compute)
        idle = 1 - hours.busy
        usd = purse.take_at_most(pool, min(cost * compute.cost_share, purse.left(pool)) * idle)
        holder = next((row for row, _ in _holders(compute) if row != UNCOVERED), None)
        who = f"; mostly {_named(holder)}" if holder and holder != NOBODY else ""
        action, command = _sleep(project, compute, policy, holder)
        evidence = (
            "it never suspends"
            if compute.suspend_after is None
            else f"awake {percent(hours.awake or idle)} of the time"
        )
        yield Waste(
            "never_suspended", project.id, compute.branch_id, usd,
            f"{evidence}, busy {percent(hours.busy)} of its awake time{who}", action, command,
            Confidence.MEASURED, compute.id,
        )  # fmt: skip


def autoscale_minimum(project: ProjectFacts, policy: Policy, purse: Purse, now: int) -> Iterator[Waste | Unknown]:
    """A minimum size above what 95 % of the hours need: those hours at the next size that would do."""
    del now
    for compute, cost in _paid(project, purse):
        hours = project.hours.get(compute.branch_id, ComputeHours())
        smallest = next(_sizes_from(Fraction(0), compute.most_cu))
        if compute.least_cu <= smallest:
            continue
        if hours.busy_p95 is None or compute.cost_share is None:
            yield Unknown("autoscale_minimum", project.id, f"less than a day of busy time of {compute.id} was measured")
            continue
        wanted = next(_sizes_from(hours.busy_p95, compute.most_cu))
        if wanted >= compute.least_cu:
            continue
        pool = _pool(project, compute)
        saved = hours.at_least * (1 - wanted / compute.least_cu)
        usd = purse.take_at_most(pool, min(cost * compute.cost_share, purse.left(pool)) * saved)
        body = {
            "endpoint": {
                "autoscaling_limit_min_cu": _plain(wanted),
                "autoscaling_limit_max_cu": _plain(compute.most_cu),
            }
        }
        yield Waste(
            "autoscale_minimum", project.id, compute.branch_id, usd,
            f"its minimum is {number(compute.least_cu, 2)} CU; {number(hours.busy_p95, 2)} CU do in 95 % of its hours",
            f"lower the minimum to {number(wanted, 2)} CU, if its memory is enough for the data in use",
            call("PATCH", _url(project, compute, policy), body), Confidence.ESTIMATED, compute.id,
        )  # fmt: skip


def _paid(project: ProjectFacts, purse: Purse) -> Iterator[tuple[ComputeFacts, Fraction]]:
    """Computes whose branch pays for compute, with the cost of the branch."""
    for compute in project.computes:
        cost = purse.cost(_pool(project, compute))
        if cost:
            yield compute, cost


def _pool(project: ProjectFacts, compute: ComputeFacts) -> Pool:
    return Pool(project.id, compute.branch_id, Component.COMPUTE)


def _url(project: ProjectFacts, compute: ComputeFacts, policy: Policy) -> str:
    return f"{policy.api_url}/projects/{project.id}/endpoints/{compute.id}"


def _was_seen(compute: ComputeFacts) -> bool:
    return (
        bool(compute.awake) and any(holder != UNCOVERED for holder in compute.kept) and compute.cost_share is not None
    )


def _holders(compute: ComputeFacts) -> list[tuple[AwakeHolder, Fraction]]:
    """Holders with their share of the branch's compute cost, the longest first."""
    if not compute.awake:
        return []
    own = compute.cost_share or Fraction()
    ranked = sorted(compute.kept.items(), key=lambda item: (-item[1], item[0]))
    return [(holder, own * Fraction(amount, compute.awake)) for holder, amount in ranked if amount]


def _of_day(compute: ComputeFacts, holder: AwakeHolder) -> str:
    kept = Fraction(compute.kept[holder], MICRO)
    return f"{span(kept)} of the last {span(Fraction(compute.watched, MICRO))}"


def _named(holder: AwakeHolder) -> str:
    what = {
        SUBSCRIPTION: "a subscription",
        IDLE_IN_TRANSACTION: "a transaction that nobody ends",
        IDLE_POOL: "a pool that nobody uses",
        OTHER_MONITOR: "another monitor",
        WALSENDER: "a replication slot",
    }.get(holder.reason, holder.reason.replace("_", " "))
    who = " ".join(filter(None, (holder.user, f"({holder.application})" if holder.application else "")))
    return f"{what} of {who}" if who else what


def _ending(holder: AwakeHolder, suspend_after: int) -> tuple[str, str]:
    """What to do about a holder, and the command or the setting."""
    if holder.reason == IDLE_IN_TRANSACTION:
        role = identifier(holder.user) if holder.user and holder.user != "other" else "<role>"
        sql = f"ALTER ROLE {role} SET idle_in_transaction_session_timeout = '1min';"
        return "end that session, and let Postgres end the next one", sql
    if holder.reason == IDLE_POOL:
        return (
            "let the pool close connections that nobody uses",
            f"pgbouncer.ini: min_pool_size = 0, server_idle_timeout = {max(1, suspend_after // 2)}",
        )
    if holder.reason == SUBSCRIPTION:
        name = identifier(holder.application) if holder.application and holder.application != "other" else "<name>"
        return "disable the subscription if it may lag", f"ALTER SUBSCRIPTION {name} DISABLE;"
    return "stop it here, or let it ask less often", f"its interval: more than {suspend_after} s"


def _sleep(project: ProjectFacts, compute: ComputeFacts, policy: Policy, holder: AwakeHolder | None) -> tuple[str, str]:
    if compute.suspend_after is None:
        body: dict[str, object] = {"suspend_timeout_seconds": _DEFAULT_SUSPEND}
        if compute.most_cu > _LARGEST_THAT_SUSPENDS:
            body |= {
                "autoscaling_limit_min_cu": _plain(compute.least_cu),
                "autoscaling_limit_max_cu": _LARGEST_THAT_SUSPENDS,
            }
        return "let it suspend", call("PATCH", _url(project, compute, policy), {"endpoint": body})
    who = _named(holder) if holder and holder not in (NOBODY, UNCOVERED) else "whoever connects"
    return (
        f"let {who} come less often than every {compute.suspend_after} s",
        f"its interval: more than {compute.suspend_after} s",
    )


def _sizes_from(least: Fraction, most_cu: Fraction) -> Iterator[Fraction]:
    """Sizes that Neon offers, from the first that is enough; past 10 CU the minimum is an eighth of the most."""
    floor = max(least, most_cu / 8 if most_cu > 10 else Fraction(0))
    for amount in (Fraction(1, 4), Fraction(1, 2)):
        if amount >= floor:
            yield amount
    whole = max(1, -(-floor.numerator // floor.denominator))
    while True:
        yield Fraction(whole)
        whole += 1


def _plain(cu: Fraction) -> int | float:
    """For JSON: CU are quarters, so a float holds them exactly."""
    return int(cu) if cu.denominator == 1 else float(cu)
