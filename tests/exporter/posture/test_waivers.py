"""Waivers: what they cover, until when, and what becomes of a failure after that."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.posture.domain.finding import Finding, Outcome, Severity
from exporter.posture.waivers import Evaluation, Waiver, WaiverState, WaiverUse

NOW = 1_800_000_000.0


def with_waivers(
    findings: Sequence[Finding],
    waivers: Sequence[Waiver],
    now: float,
    since: Mapping[str, float] | None = None,
    *,
    name_of: Callable[[str], str] = str,
) -> Evaluation:
    use = WaiverUse(waivers, now, since, name_of=name_of)
    return Evaluation(use.states(findings), use.waivers())


def finding(object_id: str = "p1/br1/app/t.a", outcome: Outcome = Outcome.FAIL, control: str = "P11") -> Finding:
    return Finding(control, object_id, outcome, Severity.CRITICAL, "acme", "evidence")


def waiver(object_: str = "p1/*", expires: float = NOW + 1, control: str = "P11") -> Waiver:
    return Waiver(control, object_, "reason", "approver", expires)


@pytest.mark.parametrize(
    ("glob", "covered"),
    [("*", True), ("p1/*", True), ("p1/br1/app/t.a", True), ("p2/*", False), ("shop/main/*", True), ("shop", False),
     ("p1/br1/app/t.A", False)],
)  # fmt: skip
def test_a_glob_is_matched_with_ids_and_with_names(glob: str, covered: bool) -> None:
    found = with_waivers([finding()], [waiver(glob)], NOW, name_of=lambda path: path.replace("p1/br1", "shop/main"))
    assert found.states[0].waived is covered


def test_only_failures_are_waived() -> None:
    for outcome in set(Outcome) - {Outcome.FAIL}:
        (state,) = with_waivers([finding(outcome=outcome)], [waiver("*")], NOW).states
        assert not state.waived
        assert state.waiver is None
        assert state.status == outcome.value


@given(st.floats(min_value=NOW - 1e6, max_value=NOW + 1e6))
def test_the_day_it_ends_it_fails_again_and_says_so(expires: float) -> None:
    found = with_waivers([finding()], [waiver(expires=expires)], NOW)
    (state,) = found.states
    assert state.waiver is not None
    assert state.waived == (expires > NOW)
    assert state.open == state.expired == (expires <= NOW)
    assert found.waivers[0][1] is (WaiverState.ACTIVE if expires > NOW else WaiverState.EXPIRED)


def test_one_in_force_wins_over_one_that_is_over() -> None:
    found = with_waivers([finding()], [waiver(expires=NOW - 1), waiver("*")], NOW)
    assert found.states[0].waived
    assert [standing for _, standing, _ in found.waivers] == [WaiverState.EXPIRED, WaiverState.ACTIVE]


def test_another_controls_failure_is_not_covered_and_the_waiver_is_unused() -> None:
    found = with_waivers([finding(control="P12")], [waiver("*")], NOW)
    assert found.states[0].open
    assert found.waivers == ((waiver("*"), WaiverState.UNUSED, 0),)


def test_since_is_kept_for_known_failures_and_begins_now_for_new_ones() -> None:
    old, new = finding(), finding("p1/br1/app/t.b")
    found = with_waivers([old, new], [], NOW, {old.cache_key: 5.0})
    assert [state.since for state in found.states] == [5.0, NOW]
