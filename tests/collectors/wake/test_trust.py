"""Whether ``last_active`` is believed: what a suspend says of it, row by row."""

from __future__ import annotations

from dataclasses import replace

import pytest

from collectors.postgres.evidence import CLIENT_ACTIVE, IDLE, Evidence, Holder
from collectors.wake.policy import EndpointFacts, WakePolicy, WakeState, decide
from collectors.wake.trust import evidence_proof, long_life

API = WakePolicy()
NOW = 100_000.0
STARTED = NOW - 5000
AWAKE = EndpointFacts("ep-1", "active", "", False, NOW - 20, STARTED, 300, 2.0)
KNOWN = WakeState(
    "ep-1", own_end=NOW - 100, last_visit=NOW - 101, visited_start=STARTED, seen_start=STARTED, seen_at=NOW - 4000,
    confirmed=1,
)  # fmt: skip


def facts(**changes: object) -> EndpointFacts:
    return replace(AWAKE, **changes)  # type: ignore[arg-type]


def state(**changes: object) -> WakeState:
    return replace(KNOWN, **changes)  # type: ignore[arg-type]


def ended(**changes: object) -> WakeState:
    """The state after a look that finds it suspended since NOW."""
    told = facts(current_state="idle", suspended_at=NOW, last_active=NOW - 300)
    return decide(API, told, state(**changes), NOW + 30).state


SUSPENDS = [
    ("what stood still until T before bears it out", {"confirmed": 0, "stood": NOW - 300}, (1, 0)),
    ("what was shown later than T before was false", {"confirmed": 9, "stood": NOW - 200}, (0, 1)),
    ("what never stood still tells nothing", {"confirmed": 0, "stood": 0.0}, (0, 0)),
    ("a suspend by hand tells nothing", {"confirmed": 9, "stood": NOW - 200, "proof": NOW - 210}, (9, 0)),
    ("doubt ends after twice as many as it asks for", {"confirmed": 3, "doubt": 1, "stood": NOW - 300}, (4, 0)),
    ("and not before", {"confirmed": 2, "doubt": 1, "stood": NOW - 300}, (3, 1)),
]


@pytest.mark.parametrize(("changes", "expected"), [e[1:] for e in SUSPENDS], ids=[e[0] for e in SUSPENDS])
def test_a_suspend_says_whether_last_active_was_right(changes: dict[str, object], expected: tuple[int, int]) -> None:
    kept = ended(**changes)
    assert (kept.confirmed, kept.doubt) == expected
    assert kept.awake_seconds == 5000.0
    told = facts(current_state="idle", suspended_at=NOW, last_active=NOW - 300)
    assert decide(API, told, kept, NOW + 90).state == kept, "each suspend counts once"


def test_last_active_stands_when_it_is_seen_to_be_old_and_no_more_when_it_moves() -> None:
    stands = decide(API, facts(last_active=NOW - 10), KNOWN, NOW).state
    assert stands.stood == NOW - 10
    assert decide(API, facts(last_active=NOW - 10), stands, NOW + 60).state == stands
    assert decide(API, facts(last_active=NOW + 59), stands, NOW + 60).state.stood == 0.0


@pytest.mark.parametrize(
    ("holders", "proof"),
    [
        ((), 0.0),
        ((Holder(CLIENT_ACTIVE, "app", "web", "shop", 1, 900.0),), NOW),
        ((Holder(IDLE, "app", "web", "shop", 3, 970.0), Holder(IDLE, "app", "web", "shop", 1, 940.0)), NOW - 30),
        ((Holder(IDLE, "app", "web", "shop", 1, 1003.0),), NOW),
    ],
    ids=["sums tell no time", "a query that runs", "the newest of the idle ones", "never later than the visit"],
)
def test_what_a_visit_proves(holders: tuple[Holder, ...], proof: float) -> None:
    """The server's clock is 99,000 s behind, and does not matter."""
    assert evidence_proof(Evidence(500.0, 1000.0, 10, 5.0, holders), NOW) == proof


@pytest.mark.parametrize(("t", "seconds"), [(60, 3600), (300, 3600), (3600, 43200)])
def test_without_proof_a_visit_is_an_hour_apart_or_twelve_t(t: float, seconds: float) -> None:
    assert long_life(t) == seconds
