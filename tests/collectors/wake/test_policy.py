"""The wake rules one by one: each row is a sentence about when SQL may be sent. The bound as a whole: *_properties."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from collectors.postgres.evidence import CLIENT_ACTIVE, SUBSCRIPTION, WALSENDER, Evidence, Holder
from collectors.wake.cost import added_awake_seconds
from collectors.wake.policy import (
    EndpointFacts,
    WakePolicy,
    WakeState,
    after_user_visits,
    after_visit,
    before_visit,
    bound_seconds,
    close_breaker,
    decide,
    fresh_seconds,
    may_enter_user_databases,
    pace_seconds,
    unproved_bound_seconds,
)

API = WakePolicy()
DATABASE = WakePolicy("database")
NOW = 100_000.0
STARTED = NOW - 5000
DAY = 86400.0

AWAKE = EndpointFacts("ep-1", "active", "", False, NOW - 20, STARTED, 300, 2.0)
VISITED = WakeState(
    "ep-1", own_end=NOW - 100, last_visit=NOW - 101, visited_start=STARTED, seen_start=STARTED, seen_at=NOW - 4000
)
BASE = Evidence(STARTED, NOW - 100, sessions=10, active_seconds=5.0, connect_clock=NOW - 100)
KNOWN = replace(VISITED, baseline=BASE.baseline(), server_end=NOW - 99, confirmed=1)
"""A suspend has borne out what its last_active shows."""


def looked(*kinds: str, sessions: int = 10, start: float = STARTED, peers: int = 0, clock: float = NOW) -> Evidence:
    holders = tuple(Holder(kind, "app", "web", "shop", 1, clock) for kind in kinds)
    return Evidence(start, clock, sessions, 5.0, holders, peers, connect_clock=clock)


def facts(**changes: object) -> EndpointFacts:
    return replace(AWAKE, **changes)  # type: ignore[arg-type]


def state(**changes: object) -> WakeState:
    return replace(KNOWN, **changes)  # type: ignore[arg-type]


ANSWERS = [
    ("R4 someone else was active after our last session", API, AWAKE, KNOWN, True, "R4"),
    ("R1 an idle endpoint is asleep", API, facts(current_state="idle"), KNOWN, False, "R1"),
    ("R1 an endpoint that initialises is not awake", API, facts(current_state="init"), KNOWN, False, "R1"),
    ("R1 a state nobody has heard of is not awake", API, facts(current_state="dreaming"), KNOWN, False, "R1"),
    ("R1 a pending state is a suspend under way", API, facts(pending_state="idle"), KNOWN, False, "R1"),
    ("R1 a disabled endpoint is left alone", API, facts(disabled=True), KNOWN, False, "R1"),
    ("R1 a stale answer is asked again", API, facts(read_at=NOW - 16), KNOWN, False, "R1"),
    ("R1 a fresh answer is taken", API, facts(read_at=NOW - 14), KNOWN, True, "R4"),
    ("R1 outranks a pin", API, facts(current_state="idle", suspend_timeout_seconds=-1), KNOWN, False, "R1"),
    ("R2 never suspended means full rate", API, facts(suspend_timeout_seconds=-1, last_active=None), KNOWN, True, "R2"),
    ("R2 above 16 CU means full rate", API, facts(max_cu=17, last_active=None), KNOWN, True, "R2"),
    ("R2 16 CU still suspends", API, facts(max_cu=16, last_active=NOW - 200), KNOWN, False, "R3"),
    ("R2 never suspended needs no silence", API, facts(suspend_timeout_seconds=-1),
     state(quiet_until=NOW + 9), True, "R2"),
    ("R2 never suspended needs no state", API, facts(suspend_timeout_seconds=-1), None, True, "R2"),
    ("R2 a walsender at our last sample pins", API, facts(last_active=None),
     state(pinned_by=WALSENDER, last_visit=NOW - 60), True, "R2"),
    ("R2 a subscription at our last sample pins", API, facts(last_active=None),
     state(pinned_by=SUBSCRIPTION, last_visit=NOW - 60), True, "R2"),
    ("R2 a pin is believed for G only", API, facts(last_active=None, started_at=STARTED),
     state(pinned_by=WALSENDER, last_visit=NOW - 61), False, "R3"),
    ("R2 an unknown pin is none", API, facts(last_active=None), state(pinned_by="hope"), False, "R3"),
    ("R3 an activity of G ago is fresh", API, facts(last_active=NOW - 60), KNOWN, True, "R4"),
    ("R3 an older activity is not", API, facts(last_active=NOW - 60.1), KNOWN, False, "R3"),
    ("R3 G is 12 s at T = 60", API, facts(last_active=NOW - 12.1, suspend_timeout_seconds=60), KNOWN, False, "R3"),
    ("R3 nothing is known", API, facts(last_active=None, started_at=None), state(visited_start=None, seen_start=None),
     False, "R3"),
    ("R3 a grain ahead of the Date header is now", API, facts(last_active=NOW + 1.5), KNOWN, True, "R4"),
    ("R3 a last_active that ran ahead has the lead taken off", API, facts(last_active=NOW + 200),
     state(lead=300.0, lead_at=NOW - 60, skew=300.0, server_end=NOW - 700), False, "R3"),
    ("R3 and is believed once a visit measured how far", API, facts(last_active=NOW + 270),
     state(lead=300.0, lead_at=NOW - 60, skew=300.0, server_end=NOW - 700), True, "R4"),
    ("R3 ahead by nobody knows how much is no age", API, facts(last_active=NOW + 270), KNOWN, False, "R3"),
    ("R3 a start is an activity, where last_active is frozen", API,
     facts(last_active=NOW - 9000, started_at=NOW - 20), KNOWN, True, "R3"),
    ("R3 a start longer ago than G is not fresh", API, facts(last_active=None, started_at=NOW - 61), KNOWN,
     False, "R3"),
    ("R3 a start is visited once", API, facts(last_active=None, started_at=NOW - 40),
     state(visited_start=NOW - 40, seen_start=NOW - 40, seen_at=NOW - 38, own_end=NOW - 30), False, "R4"),
    ("R3 nor again when a clock that runs behind comes to it", API, facts(last_active=None, started_at=NOW - 40),
     state(visited_start=NOW - 40, seen_start=NOW - 40, seen_at=NOW - 340, own_end=NOW - 330), False, "R3"),
    ("R3 a start that the clocks put after our first look at it proves nothing", API,
     facts(last_active=None, started_at=NOW - 20),
     state(seen_start=NOW - 20, seen_at=NOW - 30, confirmed=0), False, "R4"),
    ("R3 what our last sample saw is fresh for G", API, facts(last_active=None),
     state(foreign=True, last_visit=NOW - 60, proof=NOW - 60), True, "R3"),
    ("R3 and no longer", API, facts(last_active=None),
     state(foreign=True, last_visit=NOW - 62.1, proof=NOW - 62.1), False, "R3"),
    ("R4 eps behind our own end is foreign", API, AWAKE, state(own_end=NOW - 35), True, "R4"),
    ("R4 less than eps may be ourselves", API, AWAKE, state(own_end=NOW - 34.9), False, "R4"),
    ("R4 an echo of another sampler is not foreign", API, AWAKE,
     state(own_end=NOW - 80, echo_until=NOW + 1), False, "R4"),
    ("R4 with another sampler about last_active is not believed", API, AWAKE,
     state(own_end=NOW - 88, echo_until=NOW + 1), False, "R4"),
    ("R4 but once in an hour that no visit saw", API, AWAKE,
     state(own_end=NOW - 3600, last_visit=NOW - 3601, echo_until=NOW + 1), True, "R4"),
    ("R4 what no suspend bore out is not believed", API, AWAKE, state(confirmed=0), False, "R4"),
    ("R4 except in the life in which it was first seen", API, AWAKE,
     state(confirmed=0, met_start=STARTED), True, "R4"),
    ("R4 not even there once it was contradicted", API, AWAKE,
     state(confirmed=0, doubt=1, met_start=STARTED), False, "R4"),
    ("R4 after a contradiction one suspend is not enough", API, AWAKE, state(confirmed=1, doubt=1), False, "R4"),
    ("R4 but two are", API, AWAKE, state(confirmed=2, doubt=1), True, "R4"),
    ("R10 our share of its awake time is not exceeded", API, AWAKE, state(added_seconds=200.1), False, "R10"),
    ("R10 a visit while somebody is there is never too dear", API, facts(last_active=NOW - 2),
     state(added_seconds=999.0), True, "R4"),
    ("R10 but used", API, AWAKE, state(added_seconds=199.9), True, "R4"),
    ("R10 earlier lives count", API, AWAKE, state(added_seconds=299.9, awake_seconds=5000.0), True, "R4"),
    ("R10 holds for proofs too", API, facts(last_active=None, started_at=NOW - 50),
     state(added_seconds=172.0), False, "R10"),
    ("R5 silence holds", API, AWAKE, state(quiet_until=NOW + 1), False, "R5"),
    ("R5 silence ends", API, AWAKE, state(quiet_until=NOW), True, "R4"),
    ("R5 silence ends when someone else starts it anew", API, facts(started_at=NOW - 20),
     state(quiet_until=NOW + 500), True, "R3"),
    ("R5 a start before our end is no new activity", API, facts(started_at=NOW - 20, last_active=None),
     state(own_end=NOW - 10), False, "R4"),
    ("R6 the first sight samples nothing", API, facts(last_active=NOW), None, False, "R6"),
    ("R6 the first sight samples nothing in database mode", DATABASE, facts(last_active=NOW), None, False, "R6"),
    ("R6 a clock that was set back starts anew", API, AWAKE, state(last_visit=NOW + 61), False, "R6"),
    ("R7 a visit under way is not doubled", API, AWAKE, state(in_flight=NOW - 2, own_end=NOW + 4), False, "R7"),
    ("R7 a visit that died in a crash is over after its budget", API, AWAKE,
     state(in_flight=NOW - 106, own_end=NOW - 100), True, "R4"),
    ("R8 the breaker holds", API, AWAKE, state(breaker_until=NOW + 1), False, "R8"),
    ("R8 the breaker holds for a pinned compute too", API, facts(suspend_timeout_seconds=-1),
     state(breaker_until=NOW + 1), False, "R8"),
    ("R8 the breaker ends", API, AWAKE, state(breaker_until=NOW), True, "R4"),
    ("R8 a compute that starts is left alone for a moment", API, facts(started_at=NOW - 4, last_active=NOW), KNOWN,
     False, "R8"),
    ("R8 a start during a visit without answer was ours", API, facts(started_at=NOW - 29),
     state(in_flight=NOW - 30, own_end=NOW - 24), False, "R8"),
    ("R8 a start long after a visit without answer was not", API, facts(started_at=NOW - 10, last_active=NOW - 5),
     state(in_flight=NOW - 60, own_end=NOW - 54), True, "R3"),
    ("database: a start by someone else is sampled", DATABASE, facts(started_at=NOW - 30, last_active=None), KNOWN,
     True, "R3"),
    ("database: not when it is longer ago than G", DATABASE, facts(started_at=NOW - 61, last_active=None), KNOWN,
     False, "R5"),
    ("database: evidence of someone else is followed at the pace", DATABASE, facts(last_active=None),
     state(foreign=True, last_visit=NOW - 60, proof=NOW - 60), True, "R3"),
    ("database: also when the round comes a moment early", DATABASE, facts(last_active=None),
     state(foreign=True, last_visit=NOW - 59, proof=NOW - 59), True, "R3"),
    ("database: and not faster", DATABASE, facts(last_active=None),
     state(foreign=True, last_visit=NOW - 57, proof=NOW - 57), False, "R5"),
    ("database: sums that moved do not tell when", DATABASE, facts(last_active=None),
     state(foreign=True, last_visit=NOW - 60, proof=NOW - 120), False, "R5"),
    ("database: nobody there, silence", DATABASE, AWAKE, state(quiet_until=NOW + 1), False, "R5"),
    ("database: what outlasts an hour is someone else's", DATABASE, facts(last_active=None),
     state(visits=1, last_visit=NOW - 3600), True, "R5"),
    ("database: not what outlasts less", DATABASE, facts(last_active=None),
     state(visits=1, last_visit=NOW - 3599), False, "R5"),
    ("database: except once in the life in which it was first seen", DATABASE, facts(last_active=None),
     state(met_start=STARTED, last_visit=0.0, seen_at=NOW - 625), True, "R5"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("policy", "told", "kept", "allow", "rule"),
    [answer[1:] for answer in ANSWERS],
    ids=[answer[0] for answer in ANSWERS],
)
def test_may_we_connect(
    policy: WakePolicy, told: EndpointFacts, kept: WakeState | None, allow: bool, rule: str
) -> None:
    decision = decide(policy, told, kept, NOW)
    assert (decision.allow, decision.rule) == (allow, rule), decision.why
    assert decision.why
    assert "\n" not in decision.why
    assert decision.due_again is None or (decision.due_again > NOW and not allow)


@pytest.mark.parametrize(
    ("told", "kept"), [(answer[2], answer[3]) for answer in ANSWERS], ids=[answer[0] for answer in ANSWERS]
)
def test_a_state_survives_the_disk_and_asking_twice_changes_nothing(
    told: EndpointFacts, kept: WakeState | None
) -> None:
    once = decide(API, told, kept, NOW)
    stored = WakeState.from_dict(json.loads(json.dumps(once.state.as_dict())))
    assert stored == once.state
    if once.rule != "R6":
        again = decide(API, told, stored, NOW)
        assert (again.allow, again.rule, again.state) == (once.allow, once.rule, once.state)


def test_a_newer_state_on_disk_is_read_without_what_is_unknown() -> None:
    assert WakeState.from_dict({**KNOWN.as_dict(), "of_tomorrow": 1}) == KNOWN
    with pytest.raises(TypeError):
        WakeState.from_dict({"endpoint_id": "ep-1"})


def test_r6_after_the_first_sight_only_activity_after_it_counts() -> None:
    kept = decide(API, facts(last_active=NOW), None, NOW).state
    for later, last_active, allow in ((5, NOW + 1, False), (40, NOW + 14, False), (40, NOW + 16, True)):
        assert decide(API, facts(last_active=last_active), kept, NOW + later).allow is allow


def test_r6_without_a_state_a_crash_loop_never_samples() -> None:
    for turn in range(1000):
        assert not decide(API, facts(last_active=NOW + turn), None, NOW + turn).allow


def visit(
    kept: WakeState, evidence: Evidence | None, policy: WakePolicy = API, told: EndpointFacts = AWAKE
) -> WakeState:
    return after_visit(policy, before_visit(policy, kept, NOW), told, evidence, NOW + 0.2)


def test_before_a_visit_its_whole_budget_counts_as_ours() -> None:
    kept = before_visit(API, KNOWN, NOW)
    assert (kept.own_end, kept.in_flight, kept.last_visit) == (NOW + 6, NOW, NOW)


def test_after_a_visit_its_real_end_counts() -> None:
    kept = visit(KNOWN, looked(CLIENT_ACTIVE))
    assert (kept.own_end, kept.in_flight, kept.foreign, kept.visits) == (NOW + 1.2, 0.0, True, 1)
    assert kept.reasons == (CLIENT_ACTIVE,)


def test_the_servers_clock_is_kept_apart_from_the_apis() -> None:
    kept = visit(KNOWN, looked(CLIENT_ACTIVE, clock=NOW + 300))
    assert kept.skew == pytest.approx(299.8)
    assert kept.server_end == pytest.approx(NOW + 301.2)
    assert kept.own_end == NOW + 1.2


def test_r5_nobody_there_means_more_than_2t_of_silence_and_doubles() -> None:
    kept = KNOWN
    silences = []
    for _ in range(7):
        kept = visit(kept, looked())
        silences.append(kept.quiet_until - NOW - 0.2)
    assert silences[0] > 2 * 300 + API.session
    assert [round(silence / silences[0]) for silence in silences] == [1, 2, 4, 8, 16, 16, 16]
    assert visit(kept, looked(CLIENT_ACTIVE)).silence == 0
    assert visit(kept, looked(CLIENT_ACTIVE)).quiet_until == 0.0


def test_r5_an_api_that_the_database_contradicts_is_not_believed_for_ever_more_suspends() -> None:
    led = replace(KNOWN, claimed=True, confirmed=9)
    once = visit(led, looked())
    assert (once.confirmed, once.doubt) == (0, 1)
    assert visit(replace(once, confirmed=9), looked()).doubt == 2
    assert visit(replace(led, claimed=False), looked()).doubt == 0


def test_a_round_that_comes_late_gets_a_shorter_session() -> None:
    for late, left in ((0.0, 5.0), (1.5, 3.5)):
        kept = state(foreign=True, last_visit=NOW - 60 - late, proof=NOW - 60 - late)
        assert decide(DATABASE, facts(last_active=None), kept, NOW).end_by == NOW + left


def test_r5_the_first_look_has_nothing_to_compare_and_is_followed_by_another() -> None:
    kept = visit(replace(KNOWN, baseline=None), looked())
    assert (kept.foreign, kept.quiet_until, kept.baseline is not None) == (True, 0.0, True)


def test_r7_another_sampler_in_sight_makes_echoes_expected() -> None:
    assert visit(KNOWN, looked(CLIENT_ACTIVE, peers=1)).echo_until > NOW
    assert visit(KNOWN, looked(CLIENT_ACTIVE)).echo_until == 0.0


def test_r8_a_wake_of_ours_is_counted_and_ends_all_sql_for_a_day() -> None:
    kept = visit(KNOWN, looked(start=NOW - 1))
    assert (kept.wakes, kept.breaker_until) == (1, NOW + 0.2 + DAY)
    assert not decide(API, facts(last_active=NOW + 3600), kept, NOW + 3600).allow
    assert decide(API, facts(last_active=NOW + 3600), close_breaker(kept), NOW + 3600).allow


def test_r8_a_wake_is_counted_once_even_when_only_the_api_tells() -> None:
    lost = visit(KNOWN, None)
    first = decide(API, facts(started_at=NOW + 1), lost, NOW + 30)
    second = decide(API, facts(started_at=NOW + 1), first.state, NOW + 60)
    assert (first.rule, first.state.wakes, second.state.wakes) == ("R8", 1, 1)


@pytest.mark.parametrize(("policy", "seconds"), [(API, 60.0), (DATABASE, 625.0)])
def test_a_visit_that_failed_is_not_repeated_at_once(policy: WakePolicy, seconds: float) -> None:
    kept = visit(KNOWN, None, policy)
    assert kept.quiet_until == NOW + 0.2 + seconds
    assert not kept.foreign


def test_r2_a_pin_lasts_until_a_sample_without_it() -> None:
    pinned = visit(KNOWN, looked(WALSENDER))
    assert pinned.pinned_by == WALSENDER
    assert visit(pinned, looked(sessions=11)).pinned_by == ""
    assert visit(pinned, None).pinned_by == ""


R9 = [
    ("the first time in a life of the compute", {}, AWAKE, True),
    ("not again within the hour", {"user_visit_at": NOW - 3599, "user_visit_start": STARTED}, AWAKE, False),
    ("again after an hour", {"user_visit_at": NOW - 3601, "user_visit_start": STARTED}, AWAKE, True),
    ("again in another life", {"user_visit_at": NOW - 60, "user_visit_start": STARTED - 900}, AWAKE, True),
    ("not when the sample found nobody", {"foreign": False}, AWAKE, False),
    ("a pinned compute needs nobody", {"foreign": False}, facts(suspend_timeout_seconds=-1), True),
    ("not without a sample under way", {"own_end": NOW - 6}, AWAKE, False),
]


@pytest.mark.parametrize(("changes", "told", "allow"), [row[1:] for row in R9], ids=[entry[0] for entry in R9])
def test_r9_work_in_user_databases(changes: dict[str, object], told: EndpointFacts, allow: bool) -> None:
    kept = state(**{"foreign": True, "own_end": NOW + 1, **changes})
    decision = may_enter_user_databases(API, told, kept, NOW)
    assert (decision.allow, decision.rule) == (allow, "R9")


def test_r9_our_own_sessions_in_user_databases_are_not_someone_else() -> None:
    kept = after_user_visits(visit(KNOWN, looked(CLIENT_ACTIVE)), AWAKE, sessions=3, seconds=2.0, now=NOW + 3)
    assert kept.own_end == NOW + 4
    assert not may_enter_user_databases(API, AWAKE, kept, NOW + 3).allow
    assert not visit(kept, looked(sessions=13)).foreign
    assert visit(kept, looked(sessions=14)).foreign
    assert visit(visit(kept, looked(CLIENT_ACTIVE, sessions=13)), looked(sessions=16)).foreign


@pytest.mark.parametrize(("t", "g", "pace"), [(60, 12, 12), (120, 24, 24), (300, 60, 60), (3600, 60, 60)])
def test_the_window_and_the_pace_follow_from_t(t: float, g: float, pace: float) -> None:
    assert (fresh_seconds(t), pace_seconds(DATABASE, t)) == (g, pace)


@pytest.mark.parametrize(("t", "bound"), [(300, 65.5), (60, 17.5)])
@pytest.mark.parametrize("policy", [API, DATABASE])
def test_the_bound_is_what_the_promise_says(policy: WakePolicy, t: float, bound: float) -> None:
    assert bound_seconds(policy, t) == bound
    assert unproved_bound_seconds(policy, t) == t + 5.5


@pytest.mark.parametrize(("setting", "seconds"), [(0, 300), (60, 60), (10, 60), (7200, 7200), (-1, None)])
def test_t_comes_from_the_setting(setting: int, seconds: float | None) -> None:
    assert facts(suspend_timeout_seconds=setting).suspend_after == seconds


ADDED = [
    ("nothing where it never suspends", None, 1000, 1050, None, 0.0),
    ("until the end of our session and one look", 300, 1000, 1050, None, 50.5),
    ("nothing when a user was back before it would have slept", 300, 1000, 1050, 1299, 0.0),
    ("only until a user was back", 300, 1000, 1050, 1320, 20.0),
    ("never more than our hold", 300, 1000, 1050, 9999, 50.5),
    ("nothing when the user outlasted us", 300, 1100, 1050, None, 0.0),
]


@pytest.mark.parametrize(("t", "last", "end", "back", "added"), [e[1:] for e in ADDED], ids=[e[0] for e in ADDED])
def test_what_we_added(t: float | None, last: float, end: float, back: float | None, added: float) -> None:
    assert added_awake_seconds(t, last, end, back) == added


def test_what_we_added_is_booked_when_it_falls_asleep_and_only_once() -> None:
    allowed = decide(API, AWAKE, KNOWN, NOW).state
    kept = visit(allowed, looked(sessions=11))
    assert kept.added_seconds == 0.0
    asleep = decide(API, facts(current_state="idle"), kept, NOW + 400).state
    assert asleep.added_seconds == pytest.approx(20.7)
    assert decide(API, facts(current_state="idle"), asleep, NOW + 500).state.added_seconds == asleep.added_seconds


def test_a_crash_in_mid_visit_is_booked_with_its_whole_budget() -> None:
    allowed = decide(API, AWAKE, KNOWN, NOW).state
    died = before_visit(API, allowed, NOW)
    asleep = decide(API, facts(current_state="idle"), died, NOW + 400).state
    assert asleep.added_seconds == pytest.approx(25.5)
