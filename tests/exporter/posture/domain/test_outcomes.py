"""The six outcomes are never blurred: what was not read never passes, and every object is spoken of."""

from __future__ import annotations

from dataclasses import fields, replace
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.base import NOT_ASKED, Status, Unread
from collectors.neon.domain import security as neon
from collectors.platforms.domain import security as platforms
from collectors.postgres.domain import security as catalogues
from collectors.postgres.domain.security import DatabaseFacts, Group
from exporter.posture.domain import facts as tenants
from exporter.posture.domain.evaluate import Score, by_project, by_tenant, evaluate, scores, worst
from exporter.posture.domain.facts import Facts
from exporter.posture.domain.finding import Finding, Outcome, Severity
from exporter.posture.domain.policy import Policy
from tests.exporter.posture.policies import SEVERITIES, policy

POLICY = policy()
NOW = 1_800_000_000.0
SUBJECTS: dict[str, Any] = {
    "organizations": neon.OrganizationFacts("org"),
    "projects": neon.ProjectFacts("p"),
    "branches": neon.BranchFacts("p", "br", default=True, logical_size=1),
    "servers": catalogues.ServerFacts("p", "br"),
    "databases": catalogues.DatabaseFacts("p", "br", "app"),
    "registries": tenants.RegistryFacts("p", "br"),
    "poolers": platforms.PoolerFacts("pool"),
    "vaults": platforms.VaultFacts("bao"),
    "buckets": platforms.BucketFacts("copies"),
    "handshakes": platforms.HandshakeFacts("ep"),
    "drills": platforms.DrillFacts("p"),
}
TELLS_WITHOUT_READING = {"P35", "P36", "P37", "P58"}
"""They need only what the inventory has of a project or a branch."""


def told(facts: Facts, policy: Policy = POLICY) -> tuple[Finding, ...]:
    return evaluate(facts, policy, NOW)


def unread(subject: Any, why: Unread) -> Any:
    return replace(subject, **{field.name: why for field in fields(subject) if field.default is NOT_ASKED})


@pytest.mark.parametrize("status", list(Status))
def test_what_could_not_be_read_never_passes(status: Status) -> None:
    why = Unread(status, "for a reason")
    facts = Facts(**{name: (unread(subject, why),) for name, subject in SUBJECTS.items()})
    found = told(facts)
    assert {finding.control for finding in found} == set(SEVERITIES), "every control says something"
    wrong = [
        finding for finding in found
        if finding.outcome in (Outcome.PASS, Outcome.FAIL) and finding.control not in TELLS_WITHOUT_READING
    ]  # fmt: skip
    assert not wrong
    expected = {
        Status.ASLEEP: Outcome.UNKNOWN, Status.NO_DATA: Outcome.UNKNOWN, Status.BREAKER_OPEN: Outcome.UNKNOWN,
        Status.RATE_LIMITED: Outcome.UNKNOWN, Status.UNSUPPORTED: Outcome.NOT_APPLICABLE,
    }.get(status, Outcome.ERROR)  # fmt: skip
    about = [finding for finding in found if "for a reason" in finding.evidence]
    assert len(about) >= 60
    assert {finding.outcome for finding in about} == {expected}


def test_nothing_asked_is_unknown() -> None:
    found = told(Facts(**{name: (subject,) for name, subject in SUBJECTS.items()}))
    outcomes = {finding.outcome for finding in found if finding.control not in TELLS_WITHOUT_READING}
    assert outcomes <= {Outcome.UNKNOWN, Outcome.NOT_APPLICABLE}


def test_every_field_that_can_be_missing_is_told_so_by_default() -> None:
    for subject in SUBJECTS.values():
        for field in fields(subject):
            if "Known" in str(field.type):
                assert field.default is NOT_ASKED, (type(subject).__name__, field.name)


def database(**checks: Any) -> DatabaseFacts:
    every = dict.fromkeys(CHECKS, ())
    return DatabaseFacts("p", "br", "app", checks={**every, **checks}, extensions=(), tables=5, tenant_tables=2,
                         tenants_told=True)  # fmt: skip


CHECKS = (
    "xtenant_grant", "xtenant_latent", "xtenant_member", "xtenant_owner", "shared_schema_create", "public_table_grant",
    "public_table_latent", "default_acl_public", "db_public_connect", "rls_off", "rls_off_latent", "rls_not_forced",
    "rls_no_policy", "policy_rls_off", "policy_rls_off_latent", "view_definer", "view_definer_latent",
    "matview_over_rls", "matview_over_rls_latent", "agent_reads", "policy_true",
    "policy_true_read", "policy_no_tenant_ref",
    "policy_guc_missing_ok", "xtenant_fk_view", "secdef_search_path", "secdef_search_path_latent", "secdef_temp_path",
    "secdef_public_exec", "secdef_public_latent", "definers", "publication_all", "publications", "personal", "unmasked",
    "sealed", "unsealed", "cdc_no_pk", "publication_crossing", "published",
)  # fmt: skip


def test_the_checks_are_those_of_the_scan() -> None:
    from collectors.postgres.database import security

    assert set(CHECKS) == security.every_check()


@pytest.mark.parametrize("check", CHECKS)
def test_a_check_that_was_not_read_is_no_pass_of_its_control(check: str) -> None:
    whole = {finding.control for finding in told(Facts(databases=(database(),))) if finding.outcome is Outcome.PASS}
    part = told(Facts(databases=(database(**{check: Unread(Status.TIMEOUT, "late")}),)))
    used = {finding.control for finding in part if "late" in finding.evidence}
    still = {finding.control for finding in part if finding.outcome is Outcome.PASS}
    assert used or check in ("definers", "publications", "published", "sealed", "unsealed", "unmasked", "personal")
    assert not used & still, "what is half read does not hold"
    assert still <= whole


def test_counts_are_exact_and_objects_have_findings_of_their_own() -> None:
    group = Group("b", "role_a", 480, ("t_b.x", "t_b.y"), "SELECT by a")
    found = [
        finding for finding in told(Facts(databases=(database(xtenant_grant=(group,)),))) if finding.control == "P01"
    ]
    assert [finding.outcome for finding in found] == [Outcome.FAIL] * 3
    assert sum(finding.count for finding in found) == 480
    assert {finding.object_id for finding in found} == {
        "p/br/app/t_b.x/role_a", "p/br/app/t_b.y/role_a", "p/br/app/b/role_a/more"}  # fmt: skip
    assert len({finding.cache_key for finding in found}) == 3
    assert {finding.tenant for finding in found} == {"b"}


def test_cache_keys_stay_when_the_evidence_moves() -> None:
    one = Finding("P01", "p/x", Outcome.FAIL, Severity.HIGH, "b", "SELECT")
    assert one.cache_key == replace(one, evidence="SELECT, UPDATE", count=3, outcome=Outcome.PASS).cache_key
    assert one.cache_key != replace(one, control="P02").cache_key
    assert one.cache_key != replace(one, object_id="p/y").cache_key


def test_another_severity_of_the_policy_holds_for_full_failures_only() -> None:
    groups = {"public_table_grant": (Group("", "PUBLIC", 1, ("app.x",), "SELECT"),),
              "public_table_latent": (Group("", "PUBLIC", 1, ("shut.x",), "SELECT"),)}  # fmt: skip
    facts = Facts(databases=(database(**groups),))
    raised = told(facts, policy(severities={**SEVERITIES, "P08": Severity.CRITICAL}))
    lowered = told(facts, policy(severities={**SEVERITIES, "P08": Severity.INFO}))
    assert [finding.severity for finding in raised if finding.control == "P08"] == [Severity.CRITICAL, Severity.LOW]
    assert [finding.severity for finding in lowered if finding.control == "P08"] == [Severity.INFO, Severity.INFO]


outcomes = st.sampled_from(list(Outcome))
made = st.builds(
    Finding, st.sampled_from(sorted(SEVERITIES)), st.sampled_from(["p/a", "p/b", "q/a"]), outcomes,
    st.sampled_from(list(Severity)), st.sampled_from(["", "a", "b"]), st.just(""),
)  # fmt: skip


@given(st.lists(made, max_size=40), st.data())
def test_the_score_counts_each_control_once_and_nothing_twice(findings: list[Finding], data: st.DataObject) -> None:
    waived = set(data.draw(st.lists(st.sampled_from([finding.cache_key for finding in findings] or [""]))))
    for project, score in scores(findings, by=by_project, waived=waived).items():
        mine = [finding for finding in findings if by_project(finding) == project]
        whole = score.passed + score.failed + score.waived + score.unknown + score.not_applicable + score.manual
        assert whole == len({finding.control for finding in mine})
        if score.ratio is not None:
            assert 0 <= score.ratio <= 1
            assert (score.ratio < 1) == (score.failed_weight > 0)
        if score.known is not None:
            assert (score.known < 1) == (score.unknown_weight > 0)
        bad = {
            finding.control for finding in mine if finding.outcome is Outcome.FAIL and finding.cache_key not in waived
        }
        assert score.failed == len(bad)


def test_unknown_and_waived_are_shown_apart() -> None:
    findings = [
        Finding("P01", "p/a", Outcome.FAIL, Severity.CRITICAL, "a", ""),
        Finding("P08", "p/a", Outcome.PASS, Severity.HIGH, "", ""),
        Finding("P10", "p/a", Outcome.UNKNOWN, Severity.MEDIUM, "", ""),
        Finding("P13", "p/a", Outcome.ERROR, Severity.LOW, "", ""),
        Finding("P05", "p/a", Outcome.NOT_APPLICABLE, Severity.CRITICAL, "", ""),
        Finding("P46", "p/a", Outcome.MANUAL, Severity.HIGH, "", ""),
    ]
    (score,) = scores(findings, by=by_project).values()
    assert score == Score(1, 1, 0, 2, 1, 1, passed_weight=5, failed_weight=10, unknown_weight=3)
    assert (score.ratio, score.known) == (Fraction(1, 3), Fraction(5, 6))
    (waived,) = scores(findings, by=by_project, waived={findings[0].cache_key}).values()
    assert (waived.failed, waived.waived, waived.ratio) == (0, 1, 1)
    assert scores(findings, by=by_tenant).keys() == {"a"}
    assert scores([findings[2]], by=by_project)["p"].ratio is None


def test_a_failure_decides_before_what_is_not_known() -> None:
    fail = Finding("P01", "p/a", Outcome.FAIL, Severity.MEDIUM, "", "")
    error = Finding("P01", "p/b", Outcome.ERROR, Severity.CRITICAL, "", "")
    good = Finding("P01", "p/c", Outcome.PASS, Severity.CRITICAL, "", "")
    assert worst([good, error, fail]) is fail
    assert worst([good, error]) is error
    assert worst([good, replace(good, outcome=Outcome.NOT_APPLICABLE)]) is good
    assert worst([]) is None
