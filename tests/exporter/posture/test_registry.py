"""Tenants against schemas, roles and keys, in both directions."""

from __future__ import annotations

from collectors.base import Status, Unread
from collectors.neon.models import Branch, Project
from exporter.posture.domain.evaluate import evaluate
from exporter.posture.domain.facts import Facts, RegistryFacts
from exporter.posture.domain.finding import Outcome
from exporter.posture.registry import Names, Registry
from exporter.tenancy.domain.rules import TenantRule, TenantRules
from tests.exporter.posture.policies import policy

SHOP = Project(id="p1", name="shop")
MAIN = Branch(id="br1", project_id="p1", name="main")
BY_SCHEMA = TenantRule(schema="t_(?P<tenant>.+)")


def registry(*rules: TenantRule, tenants: tuple[str, ...] = ()) -> Registry:
    return Registry(TenantRules(rules or (BY_SCHEMA,)), tenants=tenants)


def failures(facts: RegistryFacts) -> list[str]:
    found = evaluate(Facts(registries=(facts,)), policy(), 0)
    return [finding.evidence for finding in found if finding.control == "P06" and finding.outcome is Outcome.FAIL]


def names(schemas: dict[str, str], *roles: str) -> Names:
    return Names({"app": schemas}, roles)


def test_a_role_is_the_tenants_whose_schemas_alone_it_owns() -> None:
    found = registry().of_roles(
        SHOP,
        MAIN,
        ("acme", "birch", "migrator", "idle"),
        {"app": {"t_acme": "acme", "t_birch": "migrator", "t_cedar": "migrator", "public": "birch"}},
    )
    assert found == {"acme": "acme"}


def test_a_rule_over_roles_wins_over_what_a_role_owns() -> None:
    rules = (TenantRule(role="(?P<tenant>.+)_app"), BY_SCHEMA)
    found = registry(*rules).of_roles(SHOP, MAIN, ("acme_app", "x"), {"app": {"t_birch": "acme_app", "t_elm": "x"}})
    assert found == {"acme_app": "acme", "x": "elm"}


def test_a_schema_is_the_tenants_whose_named_role_owns_it() -> None:
    made = registry(TenantRule(role="(?P<tenant>acme|birch)"))
    assert made.of_schemas(SHOP, MAIN, "app", {"a": "acme", "b": "birch", "public": "postgres"}) == {
        "a": "acme",
        "b": "birch",
    }


def test_in_order_nothing_fails() -> None:
    facts = registry().facts(SHOP, MAIN, names({"t_acme": "acme", "t_birch": "birch"}, "acme", "birch"))
    assert failures(facts) == []
    assert facts.schema_tenants == {"t_acme": "acme", "t_birch": "birch"}


def test_a_tenant_without_its_role_and_one_without_its_schema_fail() -> None:
    rules = (TenantRule(role="(?P<tenant>.+)_app"), BY_SCHEMA)
    facts = registry(*rules).facts(SHOP, MAIN, names({"t_acme": "o", "t_birch": "o"}, "o", "acme_app", "cedar_app"))
    assert any("birch lacks its roles" in failure for failure in failures(facts))
    assert any("cedar lacks its schemas" in failure for failure in failures(facts))
    assert len(failures(facts)) == 2


def test_with_a_list_of_tenants_what_is_left_over_and_what_is_missing_fail() -> None:
    facts = registry(tenants=("acme", "dune")).facts(SHOP, MAIN, names({"t_acme": "acme", "t_gone": "g"}, "acme", "g"))
    told = failures(facts)
    assert any("t_gone" in name for name in told)
    assert any("dune lacks its schemas" in name for name in told)


def test_whole_projects_of_one_tenant_have_no_schemas_of_tenants() -> None:
    rules = (TenantRule(tenant="acme", project="shop"), BY_SCHEMA)
    facts = registry(*rules).facts(SHOP, MAIN, names({"t_birch": "birch"}, "birch"))
    assert facts.tenants == ()


def test_keys_are_told_by_their_name_and_one_without_a_tenant_was_forgotten() -> None:
    made = registry()
    assert made.of_key("tenant-acme") == "acme"
    assert made.of_key("signing") == ""
    facts = made.keys(("tenant-acme", "tenant-gone", "signing"), ("acme",))
    assert [failure for failure in failures(facts) if "tenant-gone" in failure]
    assert not [failure for failure in failures(facts) if "signing" in failure]


def test_what_could_not_be_read_is_no_empty_list() -> None:
    unread = Unread(Status.ASLEEP, "asleep")
    facts = registry().facts(SHOP, MAIN, Names(unread, unread))
    outcomes = {
        finding.outcome for finding in evaluate(Facts(registries=(facts,)), policy(), 0) if finding.control == "P06"
    }
    assert outcomes == {Outcome.UNKNOWN}
