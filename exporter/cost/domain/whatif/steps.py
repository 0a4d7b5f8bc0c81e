"""The steps of a replay: what each setting would have changed in the stored buckets.

A step answers twice, for the lowest and for the highest bill that the facts allow. CU-seconds stay whole numbers: what
is saved is rounded down, what is added is rounded up. Sizes are fractions of whole numbers, and the arithmetic is done
on those: there are as many hours as branches times 744.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from fractions import Fraction

from exporter.cost.domain.whatif.scenario import Changes, Scenario, StoredMonth, seconds_of, spread
from exporter.pricing.domain.calendar import HOUR
from exporter.pricing.domain.components import Component
from exporter.pricing.domain.usage import UsageFact

MICRO = 10**6
RESTORE = Component.INSTANT_RESTORE.spec.metric
Notes = dict[str, None]
Hours = tuple[list[UsageFact], Changes]
"""The hours as they would have been, and what that changes in the sums of the month."""


class Bound(Enum):
    """Which end of the range is asked for: the lowest or the highest bill."""

    LOW = 0
    HIGH = 1


def branch_ttl(scene: Scenario, hours: Sequence[UsageFact], ttl: int, notes: Notes) -> tuple[Hours, str]:
    """Branches end at an age: their usage after that hour is gone, and so are the branch-hours of that time."""
    ended = scene.ended(ttl)
    notes.update(dict.fromkeys(ended.notes))
    ends = ended.ends
    kept = [fact for fact in hours if fact.branch_id not in ends or fact.start < ends[fact.branch_id]]
    return (kept, ended.changes), ended.exact


def suspend(scene: Scenario, hours: list[UsageFact], after: int, side: Bound, notes: Notes) -> Hours:
    """Another suspend timeout: the idle end of each time awake is shorter or longer.

    Shorter, the ends are cut for sure (the highest bill), and computes may also sleep in pauses that nobody stored: at
    the lowest bill they are awake only while they were measured busy. Longer, a compute stays up until its next wake at
    most, which its stored wakes tell.
    """
    stored = scene.stored
    by_branch = _by_branch(stored, hours)
    changed: dict[tuple[str, int], int] = {}
    for branch, own in by_branch.items():
        computes = stored.computes.get(branch)
        if computes is None:
            notes["branches that no longer exist keep their suspend timeout"] = None
            continue
        old = computes.suspend_after
        if old == after:
            continue
        if computes.lives is None or old is None:
            notes["times awake are not stored for some computes: between no saving and all of their idle time"] = None
            if side is Bound.LOW and (old is None or after < old):
                changed.update({(branch, hour): _busy(stored, branch, fact) for hour, fact in own.items()})
            continue
        if after < old:
            changed.update(_shorter(scene, branch, own, old - after, side))
        else:
            changed.update(_longer(scene, branch, own, after - old, side))
    return _rewritten(scene, hours, by_branch, changed)


def _shorter(
    scene: Scenario, branch: str, own: Mapping[int, UsageFact], less: int, side: Bound
) -> Iterator[tuple[tuple[str, int], int]]:
    stored = scene.stored
    computes, awake = stored.computes[branch], scene.awake(branch)
    lives = [life for live in computes.lives or () for life in live]
    tails = seconds_of([life._replace(start=max(life.start, life.end - less)) for life in lives if life.end], 0)
    least = computes.least_cu or Fraction()
    for hour, fact in own.items():
        tail, up = tails.get(hour, 0), awake.get(hour, 0)
        saved = tail * fact.value // up if up else 0
        if side is Bound.HIGH:
            # An idle compute has scaled down: its end was no larger than the hour's mean.
            saved = min(saved, tail * least.numerator // least.denominator)
        value = max(0, fact.value - saved)
        if side is Bound.LOW:
            value = min(value, _busy(stored, branch, fact))
        if value != fact.value:
            yield (branch, hour), value


def _longer(
    scene: Scenario, branch: str, own: Mapping[int, UsageFact], more: int, side: Bound
) -> Iterator[tuple[tuple[str, int], int]]:
    end, least = scene.stored.end, scene.stored.computes[branch].least_cu
    added: dict[int, dict[int, int]] = {}  # By hour and denominator of the size: CU-seconds times that.
    for lives in scene.stored.computes[branch].lives or ():
        awake = seconds_of(lives, end)
        for life, following in zip(lives, [*lives[1:], None], strict=True):
            if life.end is None:
                continue
            hour = (life.end - 1) // HOUR * HOUR
            if hour not in own:  # Its usage is not stored: what is before the ledger stays out of it.
                continue
            cu = least
            if side is Bound.HIGH or cu is None:
                cu = max(Fraction(own[hour].value, awake[hour]) if awake.get(hour) else Fraction(), cu or Fraction())
            for at, seconds in spread(life.end, min(life.end + more, following.start if following else end)):
                parts = added.setdefault(at, {})
                parts[cu.denominator] = parts.get(cu.denominator, 0) + seconds * cu.numerator
    for at, parts in added.items():
        extra = sum((Fraction(part, below) for below, part in parts.items()), Fraction())
        before = own[at].value if at in own else 0
        yield (branch, at), before - int(-extra // 1)


def min_cu(scene: Scenario, hours: list[UsageFact], least: Fraction, side: Bound, notes: Notes) -> Hours:
    """Another autoscaling minimum: hours at or below it follow.

    Lower, an hour at the old minimum shrinks to what it was measured to need, but not below the new one; unmeasured it
    shrinks fully at the lowest bill and not at all at the highest. Higher, all time awake is at least that large.
    """
    stored = scene.stored
    by_branch = _by_branch(stored, hours)
    changed: dict[tuple[str, int], int] = {}
    for branch, own in by_branch.items():
        computes = stored.computes.get(branch)
        old = computes.least_cu if computes else None
        if computes is None or not old:
            notes["branches that no longer exist, or whose computes differ, keep their minimum"] = None
            continue
        if old == least:
            continue
        size, awake = Sizes(old, least), scene.awake(branch)
        for hour, fact in own.items():
            busy = stored.busy_us.get((branch, hour))
            value = size.of(fact.value, awake.get(hour, 0), busy, side)
            if value != fact.value:
                changed[branch, hour] = value
    return _rewritten(scene, hours, by_branch, changed)


class Sizes:
    """An hour at another minimum, in whole CU-seconds, rounded up."""

    def __init__(self, old: Fraction, least: Fraction) -> None:
        """Both in CU, over 0 and not the same."""
        self._below = old.denominator * least.denominator
        self._old = old.numerator * least.denominator
        self._least = least.numerator * old.denominator

    def of(self, value: int, awake: int, busy: int | None, side: Bound) -> int:
        """``awake`` in seconds, 0 when it is not stored: then no longer than the hour, nor than its CU-seconds tell."""
        old, least, below = self._old, self._least, self._below
        up, per = awake, 1  # Seconds awake = up / per.
        if not awake:
            up, per = (HOUR, 1) if value * below >= HOUR * old else (value * below, old)
        if least > old:
            if side is Bound.LOW:
                return max(value, -(-up * least // (per * below)))
            return value - -up * (least - old) // (per * below)
        at_least = value * per * below * 100 <= up * old * 101
        floor = -(-value * least // old)
        if side is Bound.LOW:
            return floor if at_least else max(floor, value - up * (old - least) // (per * below))
        if at_least and busy is not None:
            return max(floor, min(-(-busy // MICRO), value))
        return value


def history(stored: StoredMonth, facts: Sequence[UsageFact], window: int, notes: Notes) -> list[UsageFact]:
    """Another history window: restore storage in proportion, as if every day of it had written as much."""
    notes["restore storage is taken as linear in the window; bursts of writes make it more or less"] = None
    changed = []
    for fact in facts:
        old = stored.history.get(fact.project_id)
        chosen = stored.projects is None or fact.project_id in stored.projects
        if fact.metric == RESTORE and chosen:
            if old:
                changed.append(fact._replace(value=fact.value * window // old))
                continue
            notes["projects without a known history window keep what they have"] = None
        changed.append(fact)
    return changed


def _by_branch(stored: StoredMonth, hours: Sequence[UsageFact]) -> dict[str, dict[int, UsageFact]]:
    """Hours by branch; an hour that a change of plan cut in two is one here, under the first."""
    found: dict[str, dict[int, UsageFact]] = {}
    for fact in hours:
        if stored.projects is None or fact.project_id in stored.projects:
            own = found.setdefault(fact.branch_id, {})
            held = own.get(fact.start)
            own[fact.start] = fact if held is None else held._replace(value=held.value + fact.value)
    return found


def _rewritten(
    scene: Scenario,
    hours: Sequence[UsageFact],
    by_branch: Mapping[str, Mapping[int, UsageFact]],
    changed: Mapping[tuple[str, int], int],
) -> Hours:
    """The hours with their new values; new hours take the names of their branch's last one."""
    rest = dict(changed)
    found: list[UsageFact] = []
    changes: Changes = {}
    for fact in hours:
        key = (fact.branch_id, fact.start)
        if key not in changed:
            found.append(fact)
            continue
        # Of the second half of an hour nothing is left: its share went with the first.
        target = rest.pop(key, 0)
        value = target if by_branch[fact.branch_id][fact.start].value else 0
        found.append(fact._replace(value=value))
        scene.add(changes, fact, value - fact.value)
    for (branch, hour), value in rest.items():
        own = by_branch[branch]
        if value and hour not in own:
            like = own[max((at for at in own if at <= hour), default=min(own))]._replace(start=hour, value=value)
            found.append(like)
            scene.add(changes, like, value)
    return found, changes


def _busy(stored: StoredMonth, branch: str, fact: UsageFact) -> int:
    """CU-seconds that the statements of an hour were measured busy; 0 where none were."""
    return min(fact.value, -(-stored.busy_us.get((branch, fact.start), 0) // MICRO))
