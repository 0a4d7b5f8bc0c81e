"""A day of usage, split by tenant: whatever is known and whatever the policies, every unit is somebody's, once."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.cost.domain.allocate import AGENT, IDLE, SHARED, Confidence, Use, Weights
from exporter.cost.domain.day import BranchSpan, DayKey, DayWeights, Policies, SnapshotSpan, split_day
from exporter.cost.domain.policy import IdlePolicy, SharedPolicy
from exporter.pricing.domain.calendar import DAY, HOUR
from exporter.pricing.domain.components import MICRO, Component
from exporter.pricing.domain.usage import PROJECT_LEVEL, UNATTRIBUTED, UsageFact

DAY_ONE = 20_000 * DAY
CU, ROOT, CHILD = "compute_unit_seconds", "root_branch_bytes_month", "child_branch_bytes_month"
RESTORE, PUBLIC, EXTRA = "instant_restore_bytes_month", "public_network_transfer_bytes", "extra_branches_month"
SNAPSHOT, PLAN = "snapshot_storage_bytes_month", "launch_v3"
B1 = ("p1", "b1")


@dataclass(frozen=True)
class Hour:
    project_id: str
    branch_id: str
    tenant: str
    hour: int
    busy_us: int
    wal_bytes: int = 0
    rows: int = 0


def fact(metric: str, value: int, branch: str = "b1", *, hour: int = 0, granularity: str = "hourly") -> UsageFact:
    return UsageFact("org", "p1", branch, DAY_ONE + hour * HOUR, granularity, PLAN, metric, value)


def busy(tenant: str, seconds: float, hour: int = 0, **more: int) -> Hour:
    return Hour("p1", "b1", tenant, DAY_ONE + hour * HOUR, int(seconds * MICRO), **more)


def key(component: Component, branch: str = "b1") -> DayKey:
    return DayKey("p1", branch, PLAN, component)


def test_storage_goes_by_size_restore_by_wal_and_transfer_by_rows() -> None:
    usage = [fact(ROOT, 100), fact(RESTORE, 100), fact(PUBLIC, 100), fact(CHILD, 100, "b2")]
    sizes = {B1: Weights({"a": 3, SHARED: 1}), ("p1", "b2"): Weights({"a": 1})}
    hours = [busy("a", 1, rows=1, wal_bytes=4), busy("b", 1, rows=3)]
    split = split_day(usage, [], hours, DayWeights(DAY_ONE, sizes=sizes))
    assert split[key(Component.ROOT_STORAGE)] == Use(100, 0, {"a": 75, SHARED: 25})
    assert split[key(Component.INSTANT_RESTORE)] == Use(100, 0, {"a": 100})
    transfer = split[key(Component.PUBLIC_TRANSFER)]
    assert transfer.tenants == {"a": 25, "b": 75}
    assert transfer.soft == {("a", Confidence.ESTIMATED): 25, ("b", Confidence.ESTIMATED): 75}
    # Nothing says which tenant made a child differ from its parent.
    assert split[key(Component.CHILD_STORAGE, "b2")].soft == {("a", Confidence.ESTIMATED): 100}


def test_restore_goes_by_the_wal_of_all_the_days_that_it_keeps_and_else_by_size() -> None:
    weights = DayWeights(DAY_ONE, sizes={B1: Weights({"a": 1})}, wal={B1: {"a": 1, "b": 3}})
    split = split_day([fact(RESTORE, 100)], [], [], weights)
    assert split[key(Component.INSTANT_RESTORE)].tenants == {"a": 25, "b": 75}
    split = split_day([fact(RESTORE, 100)], [], [], replace(weights, wal={}))
    assert split[key(Component.INSTANT_RESTORE)].soft == {("a", Confidence.ESTIMATED): 100}


def test_what_has_no_measure_is_shared_until_weights_are_declared() -> None:
    usage = [fact(ROOT, 100), fact(SNAPSHOT, 100, "")]
    split = split_day(usage, [], [], DayWeights(DAY_ONE))
    assert [(k.branch_id, u.tenants, u.soft) for k, u in split.items()] == [
        ("b1", {SHARED: 100}, {(SHARED, Confidence.EXACT): 100}),
        (PROJECT_LEVEL, {SHARED: 100}, {(SHARED, Confidence.EXACT): 100}),
    ]
    declared = DayWeights(
        DAY_ONE, declared=lambda project, branch, component: {"a": Fraction(1, 2), "b": Fraction(3, 2)}
    )
    split = split_day(usage, [], [], declared)
    assert {tuple(u.tenants.items()) for u in split.values()} == {(("a", 25), ("b", 75))}
    assert set(split[key(Component.ROOT_STORAGE)].soft) == {("a", Confidence.DECLARED), ("b", Confidence.DECLARED)}


def test_a_measure_is_not_overridden_by_what_is_declared() -> None:
    weights = DayWeights(
        DAY_ONE,
        sizes={B1: Weights({"a": 60, SHARED: 30, UNATTRIBUTED: 10})},
        declared=lambda project, branch, component: {"b": 1},
    )
    split = split_day([fact(ROOT, 100)], [fact(CU, 100)], [busy("a", 30), busy(UNATTRIBUTED, 20)], weights)
    assert split[key(Component.ROOT_STORAGE)].tenants == {"a": 60, SHARED: 30, "b": 10}
    compute = split[key(Component.COMPUTE)]
    assert compute.tenants == {"a": 30 * MICRO, "b": 20 * MICRO, IDLE: 50 * MICRO}
    assert compute.soft == {("b", Confidence.DECLARED): 20 * MICRO}


def test_row_level_tenants_are_known_by_the_sessions_that_visits_met() -> None:
    samples = {("p1", "b1", DAY_ONE): {"a": 3, "b": 1}}
    hours = [busy(UNATTRIBUTED, 40, rows=100), busy("c", 10), busy(UNATTRIBUTED, 40, hour=1)]
    usage, compute = [fact(PUBLIC, 100)], [fact(CU, 100), fact(CU, 100, hour=1)]
    split = split_day(usage, compute, hours, DayWeights(DAY_ONE, samples=samples))
    use = split[key(Component.COMPUTE)]
    # In the second hour nobody was met: what ran then stays unattributed.
    assert use.tenants == {
        "a": 30 * MICRO, "b": 10 * MICRO, "c": 10 * MICRO, UNATTRIBUTED: 40 * MICRO, IDLE: 110 * MICRO,
    }  # fmt: skip
    assert use.soft == {("a", Confidence.SAMPLED): 30 * MICRO, ("b", Confidence.SAMPLED): 10 * MICRO}
    assert split[key(Component.PUBLIC_TRANSFER)].tenants == {"a": 75, "b": 25}


def test_an_owner_gets_all_of_a_branch_and_pays_no_other() -> None:
    weights = DayWeights(DAY_ONE, owner=lambda project, branch: "acme" if branch == "b1" else None)
    compute = [fact(CU, 100), fact(CU, 100, "b2")]
    split = split_day([fact(ROOT, 100), fact(ROOT, 50, "b2")], compute, [busy("x", 10)], weights)
    assert split[key(Component.COMPUTE)].tenants == {"acme": 100 * MICRO}
    assert split[key(Component.COMPUTE)].coverage == Fraction(1, 10)
    assert split[key(Component.ROOT_STORAGE)].soft == {("acme", Confidence.EXACT): 100}
    assert split[key(Component.ROOT_STORAGE, "b2")].tenants == {SHARED: 50}


def test_extra_branches_go_by_the_life_of_each_child_in_the_hours_past_the_allowance() -> None:
    lives = {"p1": [BranchSpan(f"c{n}", DAY_ONE - HOUR, DAY_ONE + HOUR) for n in range(3)]}
    lives["p1"].append(BranchSpan("late", DAY_ONE + HOUR // 2, DAY_ONE + 9 * HOUR))
    lives["p1"].append(BranchSpan("gone", DAY_ONE - 9 * HOUR, DAY_ONE - HOUR))
    weights = DayWeights(DAY_ONE, children=lives, free_children=lambda plan: 2)
    usage = [fact(EXTRA, 4, ""), fact(EXTRA, 1, "", hour=1)]
    split = split_day(usage, [], [], weights)
    billed = {k.branch_id: u.total for k, u in split.items()}
    # 4 - 2 branch-hours over 3.5 hours of life. The second hour is within the allowance: it costs the late one nothing.
    assert billed == {"c0": 571429, "c1": 571429, "c2": 571428, "late": 285714}
    assert sum(billed.values()) == 2 * MICRO
    measured = split_day([fact(EXTRA, 4, "")], [], [], replace(weights, children={"p1": lives["p1"][:1]}))
    assert measured[key(Component.EXTRA_BRANCHES, "c0")].soft == {(SHARED, Confidence.ESTIMATED): 2 * MICRO}
    unknown = split_day([fact(EXTRA, 4, "")], [], [], replace(weights, children={}))
    assert unknown[key(Component.EXTRA_BRANCHES, PROJECT_LEVEL)].tenants == {SHARED: 2 * MICRO}


def test_snapshots_go_to_the_branch_they_were_taken_of_and_then_by_its_sizes() -> None:
    noon, end = DAY_ONE + DAY // 2, DAY_ONE + 9 * DAY
    held = [
        SnapshotSpan("b1", 0, end, 10),
        SnapshotSpan("b1", noon, end, 20),
        SnapshotSpan("b2", 0, noon, 40),
        SnapshotSpan("", 0, end, 99),
    ]
    weights = DayWeights(DAY_ONE, snapshots={"p1": held}, sizes={B1: Weights({"a": 3, "b": 1})})
    split = split_day([fact(SNAPSHOT, 200, "", granularity="daily")], [], [], weights)
    assert split[key(Component.SNAPSHOT_STORAGE)].soft == {
        ("a", Confidence.ESTIMATED): 75, ("b", Confidence.ESTIMATED): 25,
    }  # fmt: skip
    assert split[key(Component.SNAPSHOT_STORAGE, "b2")].soft == {(SHARED, Confidence.ESTIMATED): 100}


@pytest.mark.parametrize(
    ("policy", "tenants"),
    [
        (IdlePolicy.SEPARATE, {"a": 30, "b": 10, AGENT: 10, IDLE: 50}),
        (IdlePolicy.PROPORTIONAL, {"a": 67.5, "b": 22.5, AGENT: 10}),
        (IdlePolicy.EVEN, {"a": 55, "b": 35, AGENT: 10}),
        (IdlePolicy.FIXED, {"a": 30, "b": 10, AGENT: 10, "c": 50}),
        (IdlePolicy.WAKE, {"a": 30, "b": 20, AGENT: 10, IDLE: 40}),
    ],
)
def test_who_pays_for_idle_time(policy: IdlePolicy, tenants: dict[str, float]) -> None:
    weights = DayWeights(
        DAY_ONE,
        holders={("p1", "b1", DAY_ONE): {"b": 1, IDLE: 4}},
        declared=lambda project, branch, component: {"c": 7} if policy is IdlePolicy.FIXED else {},
    )
    hours = [busy("a", 30), busy("b", 10), busy(AGENT, 10)]
    split = split_day([], [fact(CU, 100)], hours, weights, policies=Policies(idle=policy))
    assert split[key(Component.COMPUTE)].tenants == {name: part * MICRO for name, part in tenants.items()}


def test_proportional_idle_time_does_not_charge_a_tenant_for_what_another_ran() -> None:
    hours = [busy("a", 10), busy(UNATTRIBUTED, 30)]
    compute = [fact(CU, 100), fact(CU, 100, hour=1)]
    split = split_day([], compute, hours, DayWeights(DAY_ONE), policies=Policies(idle=IdlePolicy.PROPORTIONAL))
    # The hour in which nothing was seen is no busy time of anybody.
    assert split[key(Component.COMPUTE)].tenants == {"a": 25 * MICRO, UNATTRIBUTED: 175 * MICRO}


@pytest.mark.parametrize(
    ("policy", "storage", "snapshots"),
    [
        (SharedPolicy.SEPARATE, {SHARED: 100}, {SHARED: 90}),
        (SharedPolicy.PROPORTIONAL, {"a": 75, "b": 25}, {"a": 30, "b": 10, "c": 50}),
        (SharedPolicy.EVEN, {"a": 50, "b": 50}, {"a": 30, "b": 30, "c": 30}),
        (SharedPolicy.FIXED, {"z": 100}, {"z": 90}),
    ],
)
def test_who_pays_for_what_is_shared(
    policy: SharedPolicy, storage: Mapping[str, int], snapshots: Mapping[str, int]
) -> None:
    weights = DayWeights(
        DAY_ONE,
        # A rule says that it is shared: declared weights alone leave it so.
        sizes={B1: Weights({SHARED: 1})},
        declared=lambda project, branch, component: (
            {"z": 1} if policy is SharedPolicy.FIXED and component is not Component.COMPUTE else {}
        ),
        rate=lambda plan, component: Fraction(1) if component is Component.COMPUTE else Fraction(),
    )
    usage = [fact(ROOT, 100), fact(SNAPSHOT, 90, "")]
    hours = [busy("a", 30), busy("b", 10), Hour("p1", "b2", "c", DAY_ONE, 50 * MICRO)]
    compute = [fact(CU, 100), fact(CU, 100, "b2")]
    split = split_day(usage, compute, hours, weights, policies=Policies(shared=policy))
    assert split[key(Component.ROOT_STORAGE)].tenants == storage
    found = split[key(Component.SNAPSHOT_STORAGE, PROJECT_LEVEL)].tenants
    assert found == snapshots


def test_an_open_day_waits_where_its_weights_still_move() -> None:
    usage = [fact(ROOT, 100), fact(RESTORE, 100), fact(PUBLIC, 100)]
    hours = [busy("a", 30, wal_bytes=1, rows=1)]
    now = DAY_ONE + 2 * HOUR
    for policies in (Policies(), Policies(idle=IdlePolicy.PROPORTIONAL)):
        sized = DayWeights(DAY_ONE, sizes={B1: Weights({"a": 1})})
        split = split_day(usage, [fact(CU, 100)], hours, sized, policies=policies, open_from=now)
        assert split[key(Component.ROOT_STORAGE)].pending == {}
        assert split[key(Component.INSTANT_RESTORE)].pending == {"a": 100}
        assert split[key(Component.PUBLIC_TRANSFER)].pending == {"a": 100}
        idle = {"a": 70 * MICRO} if policies.idle is IdlePolicy.PROPORTIONAL else {}
        assert split[key(Component.COMPUTE)].pending == idle
    # Statements are seen, so sizes will be: until then what is shared waits. Where nothing is ever seen it does not.
    split = split_day(usage, [], hours, DayWeights(DAY_ONE), open_from=now)
    assert split[key(Component.ROOT_STORAGE)].pending == {SHARED: 100}
    split = split_day(usage, [], [], DayWeights(DAY_ONE), open_from=now)
    assert split[key(Component.ROOT_STORAGE)].pending == {}
    closed = split_day(usage, [fact(CU, 100)], hours, DayWeights(DAY_ONE), open_from=DAY_ONE + DAY)
    assert not any(use.pending for use in closed.values())


NAMES = st.sampled_from(["a", "b", "c", AGENT, UNATTRIBUTED, SHARED])
AMOUNTS = st.integers(0, 10**9)
SHARES = st.dictionaries(NAMES, AMOUNTS, max_size=4)
TENANTS = st.dictionaries(st.sampled_from(["a", "b", "c"]), st.integers(0, 1000), max_size=3)


@dataclass
class World:
    usage: list[UsageFact]
    compute: list[UsageFact]
    hours: list[Hour]
    weights: DayWeights
    policies: Policies
    open_from: int


@st.composite
def worlds(draw: st.DrawFn) -> World:
    branches = ["b1", "b2"]
    usage = [
        fact(metric, draw(AMOUNTS), branch) for branch in branches for metric in (ROOT, CHILD, RESTORE, PUBLIC)
    ] + [fact(SNAPSHOT, draw(AMOUNTS), "")]
    usage += [fact(EXTRA, draw(st.integers(0, 60)), "", hour=hour) for hour in range(3)]
    compute = [fact(CU, draw(st.integers(0, 7200)), branch, hour=hour) for branch in branches for hour in range(3)]
    hours = [
        Hour("p1", branch, tenant, DAY_ONE + hour * HOUR, us, draw(AMOUNTS), draw(AMOUNTS))
        for branch in branches
        for hour in range(3)
        for tenant, us in draw(st.dictionaries(NAMES, st.integers(0, 8 * 10**9), max_size=3)).items()
    ]
    sightings = st.dictionaries(st.sampled_from([("p1", "b1", DAY_ONE), ("p1", "b2", DAY_ONE + HOUR)]), TENANTS)
    declared, owned = draw(TENANTS), draw(st.booleans())
    lives = [
        BranchSpan(f"b{n}", DAY_ONE + start, DAY_ONE + start + length)
        for n, (start, length) in enumerate(
            draw(st.lists(st.tuples(st.integers(-HOUR, HOUR), st.integers(0, 3 * HOUR)), max_size=4))
        )
    ]
    held = [
        SnapshotSpan(branch, DAY_ONE + start, DAY_ONE + 2 * DAY, size)
        for branch, (start, size) in draw(
            st.dictionaries(st.sampled_from(["b1", "b2"]), st.tuples(st.integers(-DAY, 2 * DAY), AMOUNTS))
        ).items()
    ]
    sizes = {("p1", branch): Weights(shares) for branch in branches if (shares := draw(SHARES))}
    weights = DayWeights(
        DAY_ONE,
        sizes=sizes,
        samples=draw(sightings),
        holders=draw(sightings),
        children={"p1": lives},
        snapshots={"p1": held},
        owner=lambda project, branch: "owner" if owned and branch == "b2" else None,
        declared=lambda project, branch, component: declared,
        free_children=lambda plan: 9,
        rate=lambda plan, component: Fraction(1, 3),
    )
    policies = Policies(draw(st.sampled_from(IdlePolicy)), draw(st.sampled_from(SharedPolicy)))
    return World(usage, compute, hours, weights, policies, DAY_ONE + draw(st.integers(0, 2 * DAY)))


def split(world: World) -> dict[DayKey, Use]:
    return split_day(
        world.usage, world.compute, world.hours, world.weights, policies=world.policies, open_from=world.open_from
    )


@given(worlds())
def test_every_unit_is_somebodys_once(world: World) -> None:
    found = split(world)
    for use in found.values():
        assert sum(use.tenants.values()) == use.total
        assert all(part >= 0 for part in (*use.tenants.values(), *use.soft.values(), *use.pending.values()))
        assert 0 <= use.coverage <= 1
        for tenant, part in use.tenants.items():
            assert sum(soft for (name, _), soft in use.soft.items() if name == tenant) <= part
            assert use.pending.get(tenant, 0) <= part
        assert use.pending.keys() <= use.tenants.keys()
    for metric, component in ((ROOT, Component.ROOT_STORAGE), (PUBLIC, Component.PUBLIC_TRANSFER)):
        assert sum(f.value for f in world.usage if f.metric == metric) == sum(
            use.total for name, use in found.items() if name.component is component
        )
    assert sum(f.value for f in world.compute) * MICRO == sum(
        use.total for name, use in found.items() if name.component is Component.COMPUTE
    )
    assert sum(f.value for f in world.usage if f.metric == SNAPSHOT) == sum(
        use.total for name, use in found.items() if name.component is Component.SNAPSHOT_STORAGE
    )
    past = sum(max(0, f.value - 9) for f in world.usage if f.metric == EXTRA)
    assert past * MICRO == sum(u.total for name, u in found.items() if name.component is Component.EXTRA_BRANCHES)


def amounts(found: dict[DayKey, Use]) -> dict[DayKey, dict[str, int]]:
    return {name: {t: part for t, part in use.tenants.items() if part} for name, use in found.items() if use.total}


@given(worlds(), st.randoms())
def test_the_order_of_what_is_known_does_not_matter(world: World, shuffler: random.Random) -> None:
    before = split(world)
    for listed in (world.usage, world.compute, world.hours):
        shuffler.shuffle(listed)
    assert amounts(split(world)) == amounts(before)


@given(worlds(), st.integers(2, 1000))
def test_the_scale_of_weights_does_not_matter(world: World, scale: int) -> None:
    before = split(world)
    world.weights = replace(
        world.weights,
        sizes={
            place: Weights({name: part * scale for name, part in weights.shares.items()})
            for place, weights in world.weights.sizes.items()
        },
        rate=lambda plan, component: Fraction(scale, 3),
    )
    world.hours = [replace(hour, wal_bytes=hour.wal_bytes * scale, rows=hour.rows * scale) for hour in world.hours]
    assert amounts(split(world)) == amounts(before)


@given(worlds())
def test_a_tenant_that_did_nothing_changes_nothing(world: World) -> None:
    before = split(world)
    seen = {(hour.project_id, hour.branch_id, hour.hour) for hour in world.hours}
    world.hours += [Hour(*where[:2], "nothing", where[2], 0) for where in seen]
    world.weights = replace(
        world.weights,
        sizes={p: Weights({**w.shares, "nothing": 0}) for p, w in world.weights.sizes.items()},
    )
    assert amounts(split(world)) == amounts(before)


@given(worlds(), st.integers(0, 10**10), st.integers(0, 10**9))
def test_a_tenant_that_does_more_never_pays_less(world: World, more_us: int, more_bytes: int) -> None:
    """To the unit: what policies add is rounded apart from what was measured."""

    def of_a(found: dict[DayKey, Use], component: Component) -> int:
        return sum(use.tenants.get("a", 0) for name, use in found.items() if name.component is component)

    # Who is met at work, or keeps a compute awake, is measured apart; so is the price of other components.
    world.weights = replace(world.weights, samples={}, holders={})
    world.policies = replace(world.policies, shared=SharedPolicy.SEPARATE)
    before = split(world)
    grown = next(((n, h) for n, h in enumerate(world.hours) if h.tenant == "a"), None)
    if grown is not None:
        number, hour = grown
        world.hours[number] = replace(
            hour, busy_us=hour.busy_us + more_us, wal_bytes=hour.wal_bytes + more_bytes, rows=hour.rows + more_bytes
        )
    after = split(world)
    for component in (Component.COMPUTE, Component.INSTANT_RESTORE, Component.PUBLIC_TRANSFER):
        assert of_a(after, component) >= of_a(before, component) - 2


@given(worlds())
def test_hours_in_which_the_same_children_lived_split_as_each_alone(world: World) -> None:
    world.weights = replace(world.weights, owner=lambda project, branch: None, declared=lambda *_: {})
    world.policies = Policies()
    together = {k: u for k, u in split(world).items() if k.component is Component.EXTRA_BRANCHES}
    apart: dict[DayKey, Use] = {}
    for one in [row for row in world.usage if row.metric == EXTRA]:
        for name, use in split_day([one], [], [], world.weights, open_from=world.open_from).items():
            apart.setdefault(name, Use()).add(use)
    assert together == apart
