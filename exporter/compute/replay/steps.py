"""The steps of a replay: what each setting would have changed in the stored buckets.

A step answers twice, for the lowest and for the highest bill that the facts allow. CU-seconds stay whole numbers: what
is saved is rounded down, what is added is rounded up.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from fractions import Fraction
from typing import TYPE_CHECKING, NamedTuple

from exporter.compute.cost import HOURLY, UsageFact
from exporter.compute.rates import HOUR

if TYPE_CHECKING:
    from exporter.compute.replay.whatif import Life, Stored

MICRO = 10**6
RESTORE = "instant_restore_bytes_month"
BRANCH_HOURS = "extra_branches_month"
Notes = dict[str, None]


class Side(Enum):
    """Which end of the range is asked for: the lowest or the highest bill."""

    LOW = 0
    HIGH = 1


class Delta(NamedTuple):
    """How much more (or less) a bucket holds; the fact names it."""

    fact: UsageFact
    value: int


def branch_ttl(
    stored: Stored, hours: list[UsageFact], ttl: int, notes: Notes
) -> tuple[list[Delta], list[UsageFact], str]:
    """Branches end at an age: their usage after that hour is gone, and so are the branch-hours of that time."""
    ends: dict[str, int] = {}
    exact = "exact"
    for branch in stored.ephemeral:
        if stored.projects is not None and branch.project_id not in stored.projects:
            continue
        gone = max(stored.start, -(-(branch.created + ttl) // HOUR) * HOUR)
        if gone < min(stored.end, branch.ended or stored.end):
            ends[branch.id] = gone
            if not branch.known:
                exact = "estimated"
                notes["deleted branches are as old as their first usage in the ledger"] = None
    past = (fact for fact in stored.branch_usage if fact.start >= ends.get(fact.branch_id, fact.start + 1))
    deltas = [*(Delta(fact, -fact.value) for fact in past), *_branch_hours(stored, ends)]
    kept = [fact for fact in hours if fact.start < ends.get(fact.branch_id, fact.start + 1)]
    notes[f"branches that end: {len(ends)}"] = None
    return deltas, kept, exact


def _branch_hours(stored: Stored, ends: Mapping[str, int]) -> Iterator[Delta]:
    fewer: dict[tuple[str, int], int] = {}
    for branch in stored.ephemeral:
        if branch.id in ends:
            last = (min(stored.end, branch.ended or stored.end)) // HOUR * HOUR
            for hour in range(ends[branch.id], last, HOUR):
                fewer[branch.project_id, hour] = fewer.get((branch.project_id, hour), 0) + 1
    for fact in stored.facts:
        if fact.metric == BRANCH_HOURS and fact.granularity == HOURLY:
            count = fewer.get((fact.project_id, fact.start), 0)
            if count:
                yield Delta(fact, -min(count, fact.value))


def suspend(stored: Stored, hours: list[UsageFact], after: int, side: Side, notes: Notes) -> list[UsageFact]:
    """Another suspend timeout: the idle end of each time awake is shorter or longer.

    Shorter, the ends are cut for sure (the highest bill), and computes may also sleep in pauses that nobody stored: at
    the lowest bill they are awake only while they were measured busy. Longer, a compute stays up until its next wake at
    most, which its stored wakes tell.
    """
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
            if side is Side.LOW and (old is None or after < old):
                changed.update({(branch, hour): _busy(stored, branch, fact) for hour, fact in own.items()})
            continue
        if after < old:
            changed.update(_shorter(stored, branch, own, old - after, side))
        else:
            changed.update(_longer(stored, branch, own, after - old, side))
    return _rewritten(hours, by_branch, changed)


def _shorter(
    stored: Stored, branch: str, own: Mapping[int, UsageFact], less: int, side: Side
) -> Iterator[tuple[tuple[str, int], int]]:
    computes = stored.computes[branch]
    lives = [life for each in computes.lives or () for life in each]
    awake = _seconds(lives, stored.end)
    tails = _seconds([life._replace(start=max(life.start, life.end - less)) for life in lives if life.end], stored.end)
    for hour, fact in own.items():
        tail = tails.get(hour, 0)
        mean = Fraction(fact.value, awake[hour]) if awake.get(hour) else Fraction()
        # An idle compute has scaled down: its end was no larger than the hour's mean.
        saved = tail * (min(mean, computes.least_cu or Fraction()) if side is Side.HIGH else mean)
        value = max(0, fact.value - int(saved))
        if side is Side.LOW:
            value = min(value, _busy(stored, branch, fact))
        if value != fact.value:
            yield (branch, hour), value


def _longer(
    stored: Stored, branch: str, own: Mapping[int, UsageFact], more: int, side: Side
) -> Iterator[tuple[tuple[str, int], int]]:
    least = stored.computes[branch].least_cu
    added: dict[int, Fraction] = {}
    for lives in stored.computes[branch].lives or ():
        awake = _seconds(lives, stored.end)
        for life, following in zip(lives, [*lives[1:], None], strict=True):
            if life.end is None:
                continue
            hour = (life.end - 1) // HOUR * HOUR
            if hour not in own:  # Its usage is not stored: what is before the ledger stays out of it.
                continue
            mean = Fraction(own[hour].value, awake[hour]) if awake.get(hour) else Fraction()
            cu = least if side is Side.LOW and least is not None else max(mean, least or Fraction())
            for at, seconds in _spread(life.end, min(life.end + more, following.start if following else stored.end)):
                added[at] = added.get(at, Fraction()) + seconds * cu
    for at, extra in added.items():
        before = own[at].value if at in own else 0
        yield (branch, at), before - int(-extra // 1)


def min_cu(stored: Stored, hours: list[UsageFact], least: Fraction, side: Side, notes: Notes) -> list[UsageFact]:
    """Another autoscaling minimum: hours at or below it follow.

    Lower, an hour at the old minimum shrinks to what it was measured to need, but not below the new one; unmeasured it
    shrinks fully at the lowest bill and not at all at the highest. Higher, all time awake is at least that large.
    """
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
        awake = _seconds([life for each in computes.lives or () for life in each], stored.end)
        for hour, fact in own.items():
            # Without stored wakes: no longer than the hour, and no longer than its CU-seconds at the minimum.
            most = Fraction(awake[hour]) if awake.get(hour) else min(Fraction(HOUR), fact.value / old)
            if least > old:
                value = _raised(fact.value, most, old, least, side)
            else:
                busy = stored.busy_us.get((branch, hour))
                value = _lowered(fact.value, most, (old, least), busy, side)
            if value != fact.value:
                changed[branch, hour] = value
    return _rewritten(hours, by_branch, changed)


def _raised(value: int, awake: Fraction, old: Fraction, least: Fraction, side: Side) -> int:
    new = max(Fraction(value), awake * least) if side is Side.LOW else value + awake * (least - old)
    return -(-new.numerator // new.denominator)


def _lowered(value: int, awake: Fraction, sizes: tuple[Fraction, Fraction], busy: int | None, side: Side) -> int:
    old, least = sizes
    at_least = value <= awake * old * Fraction(101, 100)
    floor = value * least / old
    new = Fraction(value)
    if side is Side.LOW:
        new = floor if at_least else max(floor, value - awake * (old - least))
    elif at_least and busy is not None:
        new = max(floor, min(Fraction(busy, MICRO), new))
    return value - int(value - new)


def history(stored: Stored, facts: Sequence[UsageFact], window: int, notes: Notes) -> list[UsageFact]:
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


def _by_branch(stored: Stored, hours: Sequence[UsageFact]) -> dict[str, dict[int, UsageFact]]:
    """Hours by branch; an hour that a change of plan cut in two is one here, under the first."""
    found: dict[str, dict[int, UsageFact]] = {}
    for fact in hours:
        if stored.projects is None or fact.project_id in stored.projects:
            own = found.setdefault(fact.branch_id, {})
            held = own.get(fact.start)
            own[fact.start] = fact if held is None else held._replace(value=held.value + fact.value)
    return found


def _rewritten(
    hours: Sequence[UsageFact],
    by_branch: Mapping[str, Mapping[int, UsageFact]],
    changed: Mapping[tuple[str, int], int],
) -> list[UsageFact]:
    """The hours with their new values; new hours take the names of their branch's last one."""
    rest = dict(changed)
    found = []
    for fact in hours:
        key = (fact.branch_id, fact.start)
        if key not in changed:
            found.append(fact)
            continue
        whole = by_branch[fact.branch_id][fact.start].value
        target = rest.pop(key, None)
        if target is None:  # The second half of an hour: its share went with the first.
            found.append(fact._replace(value=0))
        else:
            found.append(fact._replace(value=target if whole else 0))
    for (branch, hour), value in rest.items():
        own = by_branch[branch]
        if value and hour not in own:
            like = own[max((at for at in own if at <= hour), default=min(own))]
            found.append(like._replace(start=hour, value=value))
    return found


def _busy(stored: Stored, branch: str, fact: UsageFact) -> int:
    """CU-seconds that the statements of an hour were measured busy; 0 where none were."""
    return min(fact.value, -(-stored.busy_us.get((branch, fact.start), 0) // MICRO))


def _seconds(lives: Sequence[Life], end: int) -> dict[int, int]:
    """Awake seconds by hour, over all computes."""
    found: dict[int, int] = {}
    for life in lives:
        for hour, seconds in _spread(life.start, life.end if life.end is not None else end):
            found[hour] = found.get(hour, 0) + seconds
    return found


def _spread(start: int, end: int) -> Iterator[tuple[int, int]]:
    while start < end:
        hour = start // HOUR * HOUR
        until = min(end, hour + HOUR)
        yield hour, until - start
        start = until
