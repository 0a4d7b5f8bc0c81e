"""How readings of the Neon API are reported: a status each, a sentence for people, a log line for a change."""

from __future__ import annotations

import logging

import pytest

from collectors.base import Status, Target
from collectors.metric import Scope
from collectors.neon.errors import NeonError
from exporter.core.feeds import Feeds
from exporter.core.state import State

AGENT = Target(Scope.AGENT, ())


def test_a_failure_is_a_status_a_note_and_one_log_line(caplog: pytest.LogCaptureFixture) -> None:
    state = State()
    feeds = Feeds(state, lambda: 100.0)
    problem = NeonError(Status.RATE_LIMITED, "too many requests")
    with caplog.at_level(logging.INFO, "neonmeter.neon"):
        feeds.failed("api", problem, 60, note="inventory")
        feeds.failed("api", problem, 60, note="inventory")
        entry = state.get("api", AGENT)
        assert entry is not None
        assert (entry.last.status, entry.last.error) == (Status.RATE_LIMITED, "too many requests")
        assert feeds.notes() == ("too many requests",)
        feeds.note("inventory", ())
        feeds.put("api", Status.OK, 99.0, 60)
    assert feeds.notes() == ()
    entry = state.get("api", AGENT)
    assert entry is not None
    assert (entry.last.status, entry.last.seconds) == (Status.OK, 1.0)
    assert caplog.messages == ["inventory: too many requests", "api: ok again, was rate_limited"]
