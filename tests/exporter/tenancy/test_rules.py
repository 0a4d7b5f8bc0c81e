"""Whose work it is: the five models, what a rule must not do, and what a person is told about it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.tenancy.domain.rules import (
    AGENT,
    SHARED,
    UNATTRIBUTED,
    TenantRule,
    TenantRules,
    TenantRulesError,
    check_rules,
)

Rule = TenantRule


@pytest.mark.parametrize(
    ("rule", "facts", "tenant"),
    [
        pytest.param(
            Rule(project="crm-(?P<tenant>.+)"), {"project": ("wispy-sun-1", "crm-acme")}, "acme", id="project"
        ),
        pytest.param(Rule(project="(?P<tenant>.+)"), {"project": ("wispy-sun-1", "acme")}, "acme", id="name over id"),
        pytest.param(Rule(project="wispy-sun-1", tenant="x"), {"project": ("wispy-sun-1", "acme")}, "x", id="by id"),
        pytest.param(Rule(branch="tenant/(?P<tenant>.+)"), {"branch": ("br-1", "tenant/acme")}, "acme", id="branch"),
        pytest.param(Rule(database="^app_(?P<tenant>[a-z]+)$"), {"database": "app_acme"}, "acme", id="database"),
        pytest.param(Rule(schema="^t_(?P<tenant>[a-z0-9]+)$"), {"schema": "t_acme"}, "acme", id="schema"),
        pytest.param(Rule(schema="t_(?P<tenant>.+)"), {"schema": ["public", "t_acme"]}, "acme", id="role's schemas"),
        pytest.param(Rule(role="u_(?P<tenant>.+)"), {"role": "u_acme"}, "acme", id="role"),
        pytest.param(
            Rule(application_name="a:(?P<tenant>.+)"), {"application_name": "a:acme"}, "acme", id="application"
        ),
        pytest.param(Rule(role="postgres", tenant=SHARED), {"role": "postgres"}, SHARED, id="shared"),
        pytest.param(Rule(role=".*", map={"alice": "acme"}), {"role": "alice"}, "acme", id="map over a field"),
        pytest.param(
            Rule(database="d_(?P<tenant>.+)", map={"7": "acme"}), {"database": "d_7"}, "acme", id="captured map"
        ),
        pytest.param(Rule(role=".*", map={"alice": "acme"}), {"role": "bob"}, UNATTRIBUTED, id="not in the map"),
        pytest.param(Rule(role="app", tenant="x"), {"role": "webapp"}, UNATTRIBUTED, id="a part is no match"),
        pytest.param(Rule(role="a|b", tenant="x"), {"role": "ab"}, UNATTRIBUTED, id="alternatives are whole"),
        pytest.param(
            Rule(role="app", database="x", tenant="t"), {"role": "app", "database": "y"}, UNATTRIBUTED, id="and"
        ),
        pytest.param(
            Rule(schema=".*", tenant="x"), {"role": "app"}, UNATTRIBUTED, id="an unknown field matches nothing"
        ),
        pytest.param(Rule(role="u_(?P<tenant>.*)"), {"role": "u_"}, UNATTRIBUTED, id="an empty capture is no tenant"),
        pytest.param(
            Rule(role="(?P<tenant>.*)"), {"role": "__idle__"}, UNATTRIBUTED, id="a reserved name is no tenant"
        ),
        pytest.param(
            Rule(schema="t_(?P<tenant>.)"), {"schema": ["t_a", "t_b"]}, UNATTRIBUTED, id="two tenants' schemas"
        ),
    ],
)
def test_one_rule(rule: TenantRule, facts: dict[str, str], tenant: str) -> None:
    rules = TenantRules([rule])
    assert rules.resolve(**facts) == tenant
    assert rules.resolve(**facts) == tenant, "from memory"


def test_the_first_rule_wins() -> None:
    rules = TenantRules(
        [Rule(role="admin", tenant=SHARED), Rule(role="(?P<tenant>.+)"), Rule(database="x", tenant="x")]
    )
    assert rules.resolve(role="admin", database="x") == SHARED
    assert rules.resolve(role="bob", database="x") == "bob"
    assert rules.resolve(database="x") == "x"


def test_our_own_role_is_the_agents_whatever_the_rules_say() -> None:
    rules = TenantRules([Rule(role="(?P<tenant>.+)")], own_roles=["monitor"])
    assert rules.resolve(role="monitor") == AGENT
    assert rules.resolve(role="monitor2") == "monitor2"


def test_without_rules_nothing_is_attributed() -> None:
    assert TenantRules().resolve(role="x", database="y") == UNATTRIBUTED


@pytest.mark.parametrize(
    ("rules", "problem"),
    [
        ([Rule(tenant="a")], "tenants[0]: has no pattern"),
        ([Rule(role="x")], "tenants[0]: names no tenant"),
        ([Rule(role="(", tenant="a")], "tenants[0].role: '(' is not a regular expression"),
        ([Rule(role="", tenant="a")], "tenants[0].role: the pattern is empty"),
        ([Rule(role="(?P<tenat>.)")], "tenants[0].role: '(?P<tenat>.)' captures tenat"),
        ([Rule(role="(?P<tenant>.)", tenant="a")], "tenants[0].role: captures a tenant, but `tenant: a`"),
        ([Rule(role="(?P<tenant>.)", schema="(?P<tenant>.)")], "tenants[0]: the tenant is captured twice"),
        ([Rule(role="a", tenant="__idle__")], "tenants[0].tenant: '__idle__' cannot be"),
        ([Rule(role="a", tenant="")], "tenants[0].tenant: '' cannot be"),
        ([Rule(role="a", map={})], "tenants[0].map: is empty"),
        ([Rule(role="a", map={"a": "b"}, tenant="c")], "tenants[0].tenant: the map names"),
        ([Rule(role="a", database="b", map={"a": "b"})], "tenants[0].map: which field"),
        ([Rule(role="a", map={"a": "__idle__"})], "tenants[0].map[a]: '__idle__'"),
        ([Rule(role=".*", tenant="a"), Rule(role="b", tenant="b")], "tenants[1]: can never match, tenants[0]"),
        ([Rule(role="^(.+)$", tenant="a"), Rule(role="b", tenant="b")], "tenants[1]: can never match, tenants[0]"),
        ([Rule(role="(?P<tenant>.+)"), Rule(role="b", tenant="b")], "tenants[1]: can never match, tenants[0]"),
        (
            [Rule(role="b", tenant="a"), Rule(role="b", database="x", tenant="b")],
            "tenants[1]: can never match, tenants[0]",
        ),
    ],
)
def test_a_rule_that_cannot_work_is_one_clear_error(rules: list[TenantRule], problem: str) -> None:
    (found,) = check_rules(rules)
    assert found.startswith(problem)
    with pytest.raises(TenantRulesError, match=r"^tenants\["):
        TenantRules(rules)


def test_all_problems_come_at_once() -> None:
    with pytest.raises(TenantRulesError) as caught:
        TenantRules([Rule(role="("), Rule(role="a", tenant="a"), Rule(tenant="b")])
    assert [problem.split(":")[0] for problem in caught.value.problems] == ["tenants[0].role", "tenants[2]"]


@pytest.mark.parametrize(
    "rules",
    [
        [Rule(role=".*", map={"a": "b"}), Rule(role="c", tenant="c")],
        [Rule(schema="(?P<tenant>.*)"), Rule(role="c", tenant="c")],
        [Rule(role="a", tenant="a"), Rule(role="b", tenant="b")],
        [Rule(role=".*", database="a", tenant="a"), Rule(role="b", tenant="b")],
        [Rule(schema="(?P<tenant>.*)"), Rule(schema="a", tenant="a")],
    ],
)
def test_a_rule_that_may_still_match_is_left_alone(rules: list[TenantRule]) -> None:
    assert check_rules(rules) == ()


def test_a_person_is_told_what_statements_cannot_match() -> None:
    rules = TenantRules(
        [
            Rule(schema="t_(?P<tenant>.+)"),
            Rule(application_name="(?P<tenant>.+)"),
            Rule(database=".*", tenant="x"),
            Rule(role="y", tenant="y"),
        ]
    )
    notes = rules.unmatchable()
    assert [note.split(":")[0] for note in notes] == ["tenants[0].schema", "tenants[1].application_name", "tenants[3]"]
    known = {"project", "branch", "database", "schema", "role", "application_name"}
    assert [note.split(":")[0] for note in rules.unmatchable(known)] == ["tenants[2]", "tenants[3]"]


names = st.sampled_from(["a", "b", "t_a", "__idle__", ""])


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["project", "branch", "database", "role"]), st.sampled_from("abc")), max_size=4),
    st.fixed_dictionaries({"project": st.tuples(names, names), "database": names, "role": names}),
)
def test_every_fact_has_exactly_one_tenant(rules: list[tuple[str, str]], facts: dict[str, str]) -> None:
    made = [Rule(**{field: pattern}, tenant=f"{field}={pattern}") for field, pattern in dict.fromkeys(rules)]
    expected = UNATTRIBUTED
    for rule in reversed(made):
        ((field, pattern),) = rule.patterns.items()
        value = facts.get(field, "")
        if pattern in ((value,) if isinstance(value, str) else value):
            expected = str(rule.tenant)
    assert TenantRules(made).resolve(**facts) == expected
