"""From evidence to keepers, by table: who counts, who does not, since when, and that every reason has advice."""

from __future__ import annotations

from dataclasses import replace

import pytest

from collectors.postgres.evidence import REASONS, STARTED, Evidence, Holder
from exporter.awake.holders import IDLE_POOL, OTHER_MONITOR, advice, sightings, who
from exporter.sampling.domain.awake_shares import NOBODY, UNCOVERED, AwakeHolder, Sighting

CLOCK = 1000.0
BEFORE = 900.0
"""The end of our visit before, on the server's clock."""
AT = 5_000_000_000


def holder(kind: str, app: str = "web", user: str = "acme", changed: float | None = 950.0, **more: object) -> Holder:
    return replace(Holder(kind, user, app, "shop", 1, changed), **more)  # type: ignore[arg-type]


def seen(*holders: Holder, reasons: tuple[str, ...] = (), peers: int = 0) -> list[Sighting] | None:
    evidence = Evidence(100.0, CLOCK, 10, 5.0, holders, peers)
    return sightings(evidence, previous_end=BEFORE, reasons=reasons, at=AT)


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        (holder("client_active"), [Sighting(AwakeHolder("client_active", "acme", "web"))]),
        (holder("idle_in_transaction"), [Sighting(AwakeHolder("idle_in_transaction", "acme", "web"), AT - 50_000_000)]),
        (
            holder("idle_in_transaction", changed=1001.0),
            [Sighting(AwakeHolder("idle_in_transaction", "acme", "web"), AT)],
        ),
        (holder("idle"), [Sighting(AwakeHolder("client_active", "acme", "web"))]),
        (holder("idle", changed=BEFORE), []),
        (holder("idle", changed=None), []),
        (holder("idle", app="", unused=True), [Sighting(AwakeHolder(IDLE_POOL, "acme"), AT - 50_000_000)]),
        (holder("idle", unused=True, changed=BEFORE - 1), []),
        (holder("hidden"), []),
        (holder("walsender", slot="feed"), [Sighting(AwakeHolder("walsender", "acme", "web", "feed"))]),
        (holder("subscription", user=""), [Sighting(AwakeHolder("subscription", "", "web"))]),
        (holder("autovacuum", user="", app=""), [Sighting(AwakeHolder("autovacuum"))]),
        (holder("client_active", app="datadog-agent"), [Sighting(AwakeHolder(OTHER_MONITOR, "acme", "datadog-agent"))]),
        (holder("idle", app="", user="pgwatch"), [Sighting(AwakeHolder(OTHER_MONITOR, "pgwatch", ""))]),
    ],
)
def test_who_counts(found: Holder, wanted: list[Sighting]) -> None:
    assert seen(found) == wanted


def test_without_the_right_to_see_nothing_is_said() -> None:
    assert (
        sightings(replace(Evidence(1.0, 2.0, 0, 0.0), privileged=False), previous_end=None, reasons=(), at=AT) is None
    )


def test_sessions_that_came_and_went_are_named_when_nobody_else_is_there() -> None:
    assert seen(reasons=("sessions", "active_time")) == [Sighting(AwakeHolder("sessions"))]
    assert seen(holder("client_active"), reasons=("sessions",)) == [
        Sighting(AwakeHolder("client_active", "acme", "web"))
    ]
    assert seen(reasons=(STARTED,)) == []


def test_another_neonmeter_is_another_monitor() -> None:
    assert seen(peers=1) == [Sighting(AwakeHolder(OTHER_MONITOR, "", "neonmeter"))]


def test_without_a_visit_before_everything_since_the_start_counts() -> None:
    evidence = Evidence(100.0, CLOCK, 10, 5.0, (holder("idle", changed=101.0), holder("idle", changed=99.0)))
    assert sightings(evidence, previous_end=None, reasons=(), at=AT) == [
        Sighting(AwakeHolder("client_active", "acme", "web"))
    ]


@pytest.mark.parametrize(
    "reason",
    [*sorted(set(REASONS) - {STARTED, "active_time"}), IDLE_POOL, OTHER_MONITOR, NOBODY.reason, UNCOVERED.reason],
)
def test_every_reason_has_advice(reason: str) -> None:
    assert len(advice(reason, 300.0)) > 20
    assert "{" not in advice(reason, 300.0)
    assert "never suspends" in advice(reason, None)


@pytest.mark.parametrize(
    ("keeper", "text"),
    [
        (AwakeHolder("walsender", "cdc", "Debezium", "feed"), "cdc (Debezium) slot feed"),
        (AwakeHolder("walsender", "cdc", "feed", "feed"), "cdc slot feed"),
        (AwakeHolder("client_active", "acme", ""), "acme"),
        (NOBODY, "-"),
    ],
)
def test_keepers_for_a_person(keeper: AwakeHolder, text: str) -> None:
    assert who(keeper) == text
