"""What a control answers when the policy leaves something open."""

from __future__ import annotations

from collectors.neon.domain.security import Permission, ProjectFacts
from exporter.posture.domain.evaluate import evaluate
from exporter.posture.domain.facts import Facts
from exporter.posture.domain.finding import Outcome
from tests.exporter.posture.policies import policy


def test_without_a_list_of_domains_a_share_is_left_open() -> None:
    facts = Facts(projects=(ProjectFacts("p", permissions=(Permission("1", "x.test"),), members=()),))
    (finding,) = [finding for finding in evaluate(facts, policy(), 1_800_000_000.0) if finding.control == "P42"]
    assert finding.outcome is Outcome.UNKNOWN
