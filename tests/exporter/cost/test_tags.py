"""Tags by glob: whose project or branch it is."""

from __future__ import annotations

from exporter.cost.tags import Tagging
from exporter.pricing.domain.usage import PROJECT_LEVEL
from exporter.settings.report import TagRuleSettings

NAMES = {"p1": "shop", "p2": "crm", "b1": "main", "b2": "dev/anna"}
RULES = (
    TagRuleSettings(branch="dev/*", tags={"env": "dev"}),
    TagRuleSettings(project="shop", tags={"team": "web", "env": "prod"}),
    TagRuleSettings(project="p?", tags={"cost_center": "4711", "team": "other"}),
)


def test_the_first_rule_that_gives_a_key_wins() -> None:
    tagging = Tagging(RULES, NAMES)
    assert tagging.of("p1", "b1") == {"cost_center": "4711", "env": "prod", "team": "web"}
    assert tagging.of("p1", "b2") == {"cost_center": "4711", "env": "dev", "team": "web"}
    assert tagging.of("p2", "b1") == {"cost_center": "4711", "team": "other"}
    assert tagging.of("p3") == {"cost_center": "4711", "team": "other"}
    assert tagging.of("q") == {}
    assert tagging.keys == ("cost_center", "env", "team")


def test_a_charge_of_the_whole_project_has_the_tags_of_the_project() -> None:
    tagging = Tagging((TagRuleSettings(branch="*e*", tags={"env": "x"}), *RULES), NAMES)
    assert tagging.of("p1", PROJECT_LEVEL) == tagging.of("p1") == {"cost_center": "4711", "env": "prod", "team": "web"}
