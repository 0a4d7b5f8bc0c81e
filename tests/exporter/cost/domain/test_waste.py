"""Waste: every rule by its dollars and its command, and no dollar in two of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporter.cost.domain.waste.rules import RULES, by_rule, find
from exporter.cost.domain.waste.waste import (
    Account,
    BranchFacts,
    CheaperPlan,
    ComputeFacts,
    ComputeHours,
    Findings,
    Policy,
    Pool,
    ProjectFacts,
    Purse,
    SnapshotFacts,
    Transfer,
    Waste,
)
from exporter.pricing.domain.calendar import DAY, HOUR
from exporter.pricing.domain.components import GB, Component
from exporter.pricing.domain.usage import PROJECT_LEVEL
from exporter.sampling.domain.awake_shares import NOBODY, UNCOVERED, AwakeHolder

NOW = 1_795_000_000
POLICY = Policy()
COMPUTE, CHILD, RESTORE = Component.COMPUTE, Component.CHILD_STORAGE, Component.INSTANT_RESTORE
US_DAY = DAY * 10**6


def pool(branch: str, component: Component, project: str = "p1") -> Pool:
    return Pool(project, branch, component)


def judge(project: ProjectFacts, costs: Mapping[Pool, int | Fraction], policy: Policy = POLICY) -> Findings:
    return find(Account(NOW, (project,), {key: Fraction(usd) for key, usd in costs.items()}), policy)


def of(findings: Findings, rule: str) -> Waste:
    (one,) = [waste for waste in findings.found if waste.rule == rule]
    return one


def unknown(findings: Findings) -> set[str]:
    return {entry.rule for entry in findings.unknown}


def child(**facts: object) -> BranchFacts:
    plain: dict[str, object] = {"child": True, "created_at": NOW - DAY, "last_active": NOW, "size": 10 * GB}
    return BranchFacts("br-1", "dev", **{**plain, **facts})  # type: ignore[arg-type]


def project(*branches: BranchFacts, **facts: object) -> ProjectFacts:
    return ProjectFacts("p1", "shop", branches=branches, **{"snapshots": (), "history": DAY, **facts})  # type: ignore[arg-type]


def compute(**facts: object) -> ComputeFacts:
    plain: dict[str, object] = {"least_cu": Fraction(1, 4), "most_cu": Fraction(2)}
    return ComputeFacts("ep-1", "br-1", **{**plain, **facts})  # type: ignore[arg-type]


def seen(reason: str, part: Fraction, *, user: str = "", application: str = "", slot: str = "") -> dict[str, object]:
    amount = int(US_DAY * part)
    kept = {AwakeHolder(reason, user, application, slot): amount, NOBODY: US_DAY - amount}
    return {"awake": US_DAY, "watched": US_DAY, "kept": kept}


def test_an_idle_branch_owns_all_that_it_stores_and_is_to_be_deleted() -> None:
    idle = child(last_active=NOW - 30 * DAY, stored=Fraction(9 * GB))
    found = judge(project(idle), {pool("br-1", CHILD): 3, pool("br-1", RESTORE): 2, pool("br-1", COMPUTE): 7})
    one = of(found, "idle_branch")
    assert one.usd_per_month == 5
    assert one.command == "neonctl branches delete br-1 --project-id p1"
    assert "30 days" in one.evidence and "9 GB" in one.evidence
    # The same dollars are a diverged child's as well: it finds nothing left.
    assert of(found, "diverged_child").usd_per_month == 0
    assert found.total == 5


@pytest.mark.parametrize("facts", [{"default": True}, {"protected": True}, {"last_active": NOW - 6 * DAY}])
def test_what_is_default_protected_or_used_is_not_idle(facts: dict[str, object]) -> None:
    branch = child(**{"last_active": NOW - 30 * DAY, "stored": Fraction(GB), **facts})
    assert not [
        waste for waste in judge(project(branch), {pool("br-1", CHILD): 3}).found if waste.rule == "idle_branch"
    ]


def test_a_branch_with_children_is_not_deleted_before_them() -> None:
    found = judge(project(child(last_active=NOW - 30 * DAY, children=2)), {pool("br-1", CHILD): 3})
    assert of(found, "idle_branch").action.startswith("delete its 2 children first")


def test_unknown_activity_is_unknown_and_not_idle() -> None:
    found = judge(project(child(last_active=None, created_at=None)), {pool("br-1", CHILD): 3})
    assert {"idle_branch", "no_expiry"} <= unknown(found)
    assert not found.total


def test_a_child_without_an_expiry_costs_from_the_age_on_that_it_should_have_gone() -> None:
    costs = {pool("br-1", CHILD): 3}
    young, old = judge(project(child()), costs), judge(project(child(created_at=NOW - 8 * DAY)), costs)
    assert of(young, "no_expiry").usd_per_month == 0
    assert of(old, "no_expiry").usd_per_month == 3
    assert "branches set-expiration br-1 --expires-at 20" in of(old, "no_expiry").command
    assert not [e for e in judge(project(child(expires_at=NOW + DAY)), costs).found if e.rule == "no_expiry"]


def test_a_child_that_shares_too_little_is_to_be_reset() -> None:
    costs = {pool("br-1", CHILD): 3}
    assert of(judge(project(child(stored=Fraction(8 * GB))), costs), "diverged_child").usd_per_month == 3
    assert not [
        e for e in judge(project(child(stored=Fraction(79 * GB, 10))), costs).found if e.rule == "diverged_child"
    ]
    assert "diverged_child" in unknown(judge(project(child(stored=Fraction(GB), size=None)), costs))


def test_extra_branches_name_those_that_are_unused_for_longest() -> None:
    branches = [replace(child(), id=f"br-{n}", name=f"pr-{n}", last_active=NOW - n * HOUR) for n in range(12)]
    found = judge(project(*branches, free_branches=9), {pool(PROJECT_LEVEL, Component.EXTRA_BRANCHES): 4})
    one = of(found, "extra_branches")
    assert one.usd_per_month == 4
    assert "12 child branches now, 9 are free" in one.evidence
    assert "pr-11, pr-10, pr-9" in one.action
    assert one.command.count("neonctl branches delete") == 3


def test_an_old_snapshot_costs_its_bytes_at_the_rate_but_never_more_than_is_paid() -> None:
    snapshots = tuple(SnapshotFacts(f"s{n}", "weekly", "br-1", NOW - 40 * DAY, 100 * GB) for n in range(2))
    facts = project(snapshots=snapshots, snapshot_rate=Fraction("0.09"))
    found = judge(facts, {pool(PROJECT_LEVEL, Component.SNAPSHOT_STORAGE): 10})
    assert [waste.usd_per_month for waste in found.found] == [9, 1]
    assert found.found[0].command.startswith(
        'curl -X DELETE "https://console.neon.tech/api/v2/projects/p1/snapshots/s0"'
    )
    assert "old_snapshot" in unknown(judge(project(snapshots=None), {}))
    uncharged = replace(snapshots[0], charged=None)
    assert "old_snapshot" in unknown(judge(project(snapshots=(uncharged,), snapshot_rate=Fraction(1)), {}))


def test_a_slot_that_keeps_a_compute_awake_owns_its_share_of_the_time() -> None:
    facts = project(computes=(compute(**seen("walsender", Fraction(3, 4), slot="ware'house")),))
    one = of(judge(facts, {pool("br-1", COMPUTE): 20}), "slot_keeps_awake")
    assert one.usd_per_month == 15
    assert one.command == "SELECT pg_drop_replication_slot('ware''house');"


@pytest.mark.parametrize(
    ("reason", "command"),
    [
        ("idle_in_transaction", 'ALTER ROLE "ac""me" SET idle_in_transaction_session_timeout = \'1min\';'),
        ("idle_pool", "pgbouncer.ini: min_pool_size = 0, server_idle_timeout = 150"),
        ("other_monitor", "its interval: more than 300 s"),
        ("subscription", 'ALTER SUBSCRIPTION "app" DISABLE;'),
    ],
)
def test_who_keeps_a_compute_awake_for_nothing_is_named(reason: str, command: str) -> None:
    facts = project(computes=(compute(**seen(reason, Fraction(1, 2), user='ac"me', application="app")),))
    one = of(judge(facts, {pool("br-1", COMPUTE): 20}), "kept_awake")
    assert one.usd_per_month == 10
    assert one.command == command
    assert 'ac"me (app)' in one.evidence


def test_nobody_is_accused_of_working() -> None:
    facts = project(computes=(compute(**seen("client_active", Fraction(1))),))
    assert not judge(facts, {pool("br-1", COMPUTE): 20}).found


def test_without_a_visit_who_keeps_it_awake_is_unknown() -> None:
    for facts in ({}, {"awake": US_DAY, "watched": US_DAY, "kept": {UNCOVERED: US_DAY}}):
        found = judge(project(computes=(compute(**facts),)), {pool("br-1", COMPUTE): 20})
        assert {"slot_keeps_awake", "kept_awake"} <= unknown(found)


def test_a_compute_that_never_suspends_wastes_what_is_idle_of_it() -> None:
    never = compute(suspend_after=None, **seen("client_active", Fraction(1), user="cron"))
    hours = {"br-1": ComputeHours(busy=Fraction(1, 50), awake=Fraction(1))}
    one = of(judge(project(computes=(never,), hours=hours), {pool("br-1", COMPUTE): 100}), "never_suspended")
    assert one.usd_per_month == 98
    assert '"suspend_timeout_seconds": 300' in one.command and "endpoints/ep-1" in one.command
    assert "client active of cron" in one.evidence
    busy = {"br-1": ComputeHours(busy=Fraction(1, 10), awake=Fraction(1))}
    assert not judge(project(computes=(never,), hours=busy), {pool("br-1", COMPUTE): 100}).found
    blind = judge(project(computes=(never,), hours={}), {pool("br-1", COMPUTE): 100})
    assert "never_suspended" in unknown(blind)


def test_what_a_slot_was_charged_for_is_not_charged_again_for_never_suspending() -> None:
    kept = compute(**seen("walsender", Fraction(3, 4), slot="w"))
    hours = {"br-1": ComputeHours(busy=Fraction(0), awake=Fraction(1))}
    found = judge(project(computes=(kept,), hours=hours), {pool("br-1", COMPUTE): 100})
    assert of(found, "slot_keeps_awake").usd_per_month == 75
    assert of(found, "never_suspended").usd_per_month == 25


def test_a_minimum_above_what_is_needed_costs_the_difference_in_its_small_hours() -> None:
    large = compute(least_cu=Fraction(2), most_cu=Fraction(8))
    hours = {"br-1": ComputeHours(Fraction(1, 2), Fraction(1, 2), Fraction("0.4"), Fraction(1, 2))}
    one = of(judge(project(computes=(large,), hours=hours), {pool("br-1", COMPUTE): 80}), "autoscale_minimum")
    assert one.usd_per_month == 80 * Fraction(1, 2) * Fraction(3, 4)
    assert '"autoscaling_limit_min_cu": 0.5' in one.command
    unmeasured = {"br-1": ComputeHours(awake=Fraction(1, 2))}
    blind = judge(project(computes=(large,), hours=unmeasured), {pool("br-1", COMPUTE): 80})
    assert "autoscale_minimum" in unknown(blind)


def test_past_ten_cu_the_minimum_is_not_lowered_below_an_eighth() -> None:
    large = compute(least_cu=Fraction(4), most_cu=Fraction(16))
    hours = {"br-1": ComputeHours(Fraction(1, 2), Fraction(1, 2), Fraction("0.1"), Fraction(1))}
    one = of(judge(project(computes=(large,), hours=hours), {pool("br-1", COMPUTE): 80}), "autoscale_minimum")
    assert '"autoscaling_limit_min_cu": 2,' in one.command
    assert one.usd_per_month == 40


def test_a_replica_that_nobody_reads_owns_its_part_of_the_branch() -> None:
    main = replace(compute(cost_share=Fraction(2, 3)), id="ep-0")
    replica = compute(replica=True, cost_share=Fraction(1, 3), calls=0)
    facts = project(computes=(main, replica))
    one = of(judge(facts, {pool("br-1", COMPUTE): 30}), "idle_replica")
    assert (one.usd_per_month, one.subject) == (Fraction(10), "ep-1")
    read = project(computes=(main, replace(replica, calls=1)))
    assert not [e for e in judge(read, {pool("br-1", COMPUTE): 30}).found if e.rule == "idle_replica"]
    blind = project(computes=(main, replace(replica, calls=None)))
    assert "idle_replica" in unknown(judge(blind, {pool("br-1", COMPUTE): 30}))


def test_the_history_window_tells_its_price_a_day_and_what_is_past_the_policy() -> None:
    costs = {pool("br-1", RESTORE): 30}
    within = of(judge(project(child(), history=5 * DAY), costs), "history_window")
    assert (within.usd_per_month, within.command) == (Fraction(), "")
    assert "a day of them costs about $6" in within.evidence
    past = of(judge(project(child(), history=30 * DAY), costs), "history_window")
    assert past.usd_per_month == 23
    assert '{"project": {"history_retention_seconds": 604800}}' in past.command
    assert "history_window" in unknown(judge(project(child(), history=None), costs))


def test_transfer_near_its_cliff_is_told_before_it_costs() -> None:
    def transfer(expected: int) -> Transfer:
        return Transfer(Fraction(300), Fraction(expected), 500, Fraction("0.10"))

    near = of(judge(project(transfer=transfer(450)), {}), "egress_cliff")
    assert near.usd_per_month == 0
    assert "the next GB costs 0 USD" in near.evidence
    costs = {pool(PROJECT_LEVEL, Component.PUBLIC_TRANSFER): 20}
    assert of(judge(project(transfer=transfer(700)), costs), "egress_cliff").usd_per_month == 20
    assert not judge(project(transfer=transfer(399)), {}).found


def test_a_plan_without_its_features_wastes_the_difference_of_the_rates() -> None:
    cheaper = CheaperPlan("Launch", Fraction(1, 2), Fraction(6), ())
    found = judge(project(computes=(compute(),), cheaper=cheaper), {pool("br-1", COMPUTE): 40})
    assert of(found, "plan_features").usd_per_month == 14
    for facts in (replace(cheaper, needs=("HIPAA",)), replace(cheaper, branches_added=Fraction(20))):
        assert not judge(project(computes=(compute(),), cheaper=facts), {pool("br-1", COMPUTE): 40}).found
    blind = project(computes=(compute(),), cheaper=replace(cheaper, needs=None))
    assert "plan_features" in unknown(judge(blind, {pool("br-1", COMPUTE): 40}))


def test_a_project_that_neon_could_not_tell_is_unknown_to_every_rule() -> None:
    found = judge(project(child(last_active=NOW - 30 * DAY), readable=False), {pool("br-1", CHILD): 3})
    assert unknown(found) == set(RULES)
    assert not found.found
    assert by_rule(found) == dict.fromkeys(RULES, (0, Fraction()))


def test_a_purse_gives_no_more_than_it_holds() -> None:
    purse = Purse({pool("br-1", CHILD): Fraction(3)})
    assert purse.take_at_most(pool("br-1", CHILD), Fraction(2)) == 2
    assert purse.take_at_most(pool("br-1", CHILD), Fraction(2)) == 1
    assert purse.take(pool("br-1", CHILD)) == 0
    assert purse.take_at_most(pool("br-1", CHILD), Fraction(-1)) == 0
    with pytest.raises(ValueError, match="below 0"):
        Purse({pool("br-1", CHILD): Fraction(-1)})


money = st.integers(0, 10**6).map(lambda n: Fraction(n, 997))
parts = st.integers(0, 60).map(lambda n: Fraction(n, 60))
few = settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow])
instants = st.one_of(st.none(), st.integers(NOW - 60 * DAY, NOW))
holders = st.builds(
    AwakeHolder,
    st.sampled_from(["walsender", "idle_pool", "idle_in_transaction", "client_active", "nobody"]),
    slot=st.just("s"),
)


@st.composite
def accounts(draw: st.DrawFn) -> Account:
    projects, costs = [], {}
    for p in range(draw(st.integers(1, 2))):
        branches = [
            BranchFacts(
                f"b{n}", f"b{n}", draw(st.booleans()), draw(st.booleans()), draw(st.booleans()),
                draw(st.integers(0, 2)),
                draw(instants), draw(instants), draw(instants), draw(st.one_of(st.none(), st.integers(0, 10 * GB))),
                Fraction(draw(st.integers(0, 10 * GB)), 3),
            )
            for n in range(draw(st.integers(0, 2)))
        ]  # fmt: skip
        computes, hours = [], {}
        for branch in branches:
            kept = draw(st.dictionaries(holders, st.integers(0, US_DAY), max_size=3))
            count = draw(st.integers(1, 2))
            for n in range(count):
                computes.append(  # noqa: PERF401 - drawn in turn
                    ComputeFacts(
                        f"{branch.id}-e{n}", branch.id, draw(st.booleans()), draw(st.sampled_from([None, 60, 300])),
                        Fraction(draw(st.integers(1, 16)), 4), Fraction(draw(st.integers(4, 56))),
                        draw(st.sampled_from([None, Fraction(1, count)])),
                        draw(st.sampled_from([None, sum(kept.values()) + draw(st.integers(0, US_DAY))])), US_DAY, kept,
                        draw(st.sampled_from([None, 0, 5])),
                    )
                )  # fmt: skip
            hours[branch.id] = ComputeHours(
                draw(st.one_of(st.none(), parts)), draw(st.one_of(st.none(), parts)),
                draw(st.one_of(st.none(), parts)), draw(parts),
            )  # fmt: skip
        snapshots = (SnapshotFacts("s", "s", "b0", NOW - 60 * DAY, draw(st.integers(0, 10**12))),)
        projects.append(
            ProjectFacts(
                f"p{p}", f"p{p}", draw(st.booleans()), draw(st.sampled_from([None, 0, DAY, 30 * DAY])), tuple(branches),
                tuple(computes), hours, snapshots, Fraction("0.09"), draw(st.sampled_from([None, 0, 9])),
                Transfer(draw(money), draw(money), 500, Fraction("0.1")),
                draw(st.sampled_from([None, CheaperPlan("Launch", Fraction(1, 2), Fraction(1), ())])),
            )
        )  # fmt: skip
        for branch_id in [*(branch_facts.id for branch_facts in branches), PROJECT_LEVEL]:
            for component in Component:
                if draw(st.booleans()):
                    costs[Pool(f"p{p}", branch_id, component)] = draw(money)
    return Account(NOW, tuple(projects), costs)


def by_project(found: Iterable[Waste]) -> dict[str, Fraction]:
    sums: dict[str, Fraction] = {}
    for waste in found:
        sums[waste.project_id] = sums.get(waste.project_id, Fraction()) + waste.usd_per_month
    return sums


@few
@given(accounts())
def test_no_dollar_is_wasted_twice(account: Account) -> None:
    found = find(account, POLICY)
    assert all(waste.usd_per_month >= 0 for waste in found.found)
    assert found.total <= found.cost == account.cost
    for key, usd in by_project(found.found).items():
        assert usd <= sum(cost for pool, cost in account.costs.items() if pool.project_id == key)
    assert sum(usd for _, usd in by_rule(found).values()) == found.total


@few
@given(accounts())
def test_the_order_of_projects_changes_nothing(account: Account) -> None:
    turned = replace(account, projects=account.projects[::-1])
    assert find(turned, POLICY).found == find(account, POLICY).found


@few
@given(accounts(), st.integers(1, 5))
def test_waste_grows_with_its_cost(account: Account, times: int) -> None:
    plans = tuple(replace(project_facts, cheaper=None, snapshot_rate=None) for project_facts in account.projects)
    once = find(replace(account, projects=plans), POLICY)
    more = {key: cost * times for key, cost in account.costs.items()}
    assert find(replace(account, projects=plans, costs=more), POLICY).total == once.total * times
