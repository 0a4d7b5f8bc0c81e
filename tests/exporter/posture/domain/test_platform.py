"""Each control over the platform, the key store and the copies: what holds, what fails, what is left open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from collectors.base import Status, Unread
from collectors.neon.domain.security import (
    Access,
    ApiKey,
    ApiRole,
    BranchFacts,
    ComputeFacts,
    Credential,
    Jwks,
    Masking,
    Member,
    OrganizationFacts,
    Permission,
    ProjectFacts,
    ProjectMember,
    Snapshot,
)
from collectors.platforms.domain.security import (
    BucketFacts,
    DrillFacts,
    HandshakeFacts,
    PoolerFacts,
    StaticRole,
    StoredObject,
    TransitKey,
    VaultFacts,
)
from collectors.postgres.domain.security import AgentRole, DatabaseFacts, Extension, Role, ServerFacts, Slot
from exporter.posture.domain.evaluate import evaluate
from exporter.posture.domain.facts import Facts, RegistryFacts, TenantEntry
from exporter.posture.domain.finding import Finding, Outcome
from exporter.posture.domain.policy import DAY, Policy
from tests.exporter.posture.policies import policy

NOW = 1_800_000_000.0
POLICY = policy(email_domains=("example.org",), key_addresses=("203.0.113.0/24",), expected_slots=("cdc",),
                jwks_urls=("https://id.example.org/*",))  # fmt: skip
ROOMS: dict[type, str] = {
    OrganizationFacts: "organizations", ProjectFacts: "projects", BranchFacts: "branches", ServerFacts: "servers",
    DatabaseFacts: "databases", RegistryFacts: "registries", PoolerFacts: "poolers", VaultFacts: "vaults",
    BucketFacts: "buckets", HandshakeFacts: "handshakes", DrillFacts: "drills",
}  # fmt: skip


def told(control: str, *subjects: Any, policy: Policy = POLICY) -> list[Finding]:
    rooms: dict[str, list[Any]] = {}
    for subject in subjects:
        rooms.setdefault(ROOMS[type(subject)], []).append(subject)
    facts = Facts(**{name: tuple(found) for name, found in rooms.items()})
    return [finding for finding in evaluate(facts, policy, NOW) if finding.control == control]


def org(**more: Any) -> OrganizationFacts:
    return OrganizationFacts("org", **more)


def key(**more: Any) -> OrganizationFacts:
    usual = {"id": "1", "name": "ci", "created_at": NOW - DAY, "last_used_at": NOW, "project_id": "p"}
    return org(keys=(ApiKey(**{**usual, **more}),))


def project(**more: Any) -> ProjectFacts:
    return ProjectFacts("p", **{"members": (), **more})


def access(**more: Any) -> ProjectFacts:
    return project(access=Access(**more))


def branch(**more: Any) -> BranchFacts:
    return BranchFacts("p", "br", name="dev", **more)


MAIN = BranchFacts("p", "main", name="main", default=True, protected=True)


def server(**more: Any) -> ServerFacts:
    return ServerFacts("p", "br", **more)


def settings(**more: str) -> ServerFacts:
    usual = {
        "ssl": "on", "ssl_min_protocol_version": "TLSv1.2", "log_connections": "on", "log_disconnections": "on",
        "log_statement": "ddl", "log_min_error_statement": "error", "log_line_prefix": "%m %u@%d ",
        "log_parameter_max_length": "-1", "log_parameter_max_length_on_error": "0",
        "password_encryption": "scram-sha-256", "shared_preload_libraries": "pgaudit, x",
        "pgaudit.log": "ddl, role, write",
    }  # fmt: skip
    return server(settings={**usual, **{name.replace("__", "."): value for name, value in more.items()}}, sessions=3)


def transit(**more: Any) -> VaultFacts:
    usual = {"name": "tenant-a", "latest_version": 3, "rotated_at": NOW - DAY, "min_decryption_version": 2,
             "auto_rotate_seconds": 90 * DAY}  # fmt: skip
    return VaultFacts("bao", keys=(TransitKey(**{**usual, **more}),))


def static(**more: Any) -> VaultFacts:
    usual = {"name": "app", "username": "app", "rotation_seconds": DAY, "rotated_at": NOW - 3600}
    return VaultFacts("bao", static_roles=(StaticRole(**{**usual, **more}),))


def child(**more: Any) -> BranchFacts:
    return branch(**{"parent_id": "main", "logical_size": 9, "masking": None, **more})


def bucket(**more: Any) -> BucketFacts:
    safe = {"region": "eu-central-1", "encryption": "aws:kms", "lock_mode": "COMPLIANCE", "versioning": True,
            "public_blocked": True}  # fmt: skip
    return BucketFacts("copies", **{**safe, **more})


def copies(*ages_and_sizes: tuple[float, int]) -> BucketFacts:
    return bucket(newest=tuple(StoredObject("k", NOW - age, size) for age, size in ages_and_sizes))


def shake(**more: Any) -> HandshakeFacts:
    usual = {"sslmode": "verify-full", "protocol": "TLSv1.3", "verified": True, "expires_at": NOW + 60 * DAY}
    return HandshakeFacts("ep", **{**usual, **more})


def role(**more: Any) -> ServerFacts:
    return server(roles=(Role(**{"name": "app", "tenant": "a", **more}),), platform="neon")


P, F, N, U, M, E = (Outcome.PASS, Outcome.FAIL, Outcome.NOT_APPLICABLE, Outcome.UNKNOWN, Outcome.MANUAL, Outcome.ERROR)
REGISTRY = RegistryFacts("p", "br", tenants=(TenantEntry("a", ("t_a",), ("a",), ("tenant-a",)),), schemas=("t_a",),
                         roles=("a",), keys=("tenant-a",))  # fmt: skip
SHARED = replace(REGISTRY, tenants=(TenantEntry("a", keys=("shared",)), TenantEntry("b", keys=("shared",))))
MISSING: Sequence[dict[str, Any]] = ({"schemas": ()}, {"roles": ("a", "z")}, {"keys": ()})
CASES: Sequence[tuple[str, Outcome, tuple[Any, ...]]] = [
    ("P05", P, (role(),)),
    ("P05", F, (role(acts_as_neon_superuser=True),)),
    ("P05", N, (replace(role(acts_as_neon_superuser=True), platform="postgres"),)),
    ("P05", P, (role(name="neondb_owner", tenant="", acts_as_neon_superuser=True),)),
    ("P06", P, (REGISTRY,)),
    *(("P06", F, (replace(REGISTRY, **missing),)) for missing in MISSING),
    ("P06", N, (replace(REGISTRY, tenants=()),)),
    ("P29", P, (branch(roles=(ApiRole("app", NOW - DAY),)),)),
    ("P29", F, (branch(roles=(ApiRole("app", NOW - 91 * DAY),)),)),
    ("P29", U, (branch(roles=(ApiRole("app", None),)),)),
    ("P29", N, (branch(roles=(ApiRole("app", 0.0, no_login=True),)),)),
    ("P30", F, (role(seen=False),)),
    ("P30", P, (role(seen=True),)),
    ("P30", U, (role(),)),
    ("P30", N, (role(tenant=""),)),
    ("P31", P, (branch(computes=(ComputeFacts("ep"),)),)),
    ("P31", F, (branch(computes=(ComputeFacts("ep", passwordless=True),)),)),
    ("P31", F, (access(store_passwords=True),)),
    ("P31", P, (access(store_passwords=False),)),
    ("P31", U, (access(),)),
    ("P32", P, (settings(),)),
    ("P32", F, (settings(ssl="off"),)),
    ("P32", F, (settings(ssl_min_protocol_version="TLSv1.1"),)),
    ("P32", F, (replace(settings(), sessions_plain=1),)),
    ("P32", N, (replace(settings(), platform="neon"),)),
    ("P32", P, (shake(),)),
    ("P32", F, (shake(protocol="TLSv1.1"),)),
    ("P32", F, (shake(verified=False),)),
    ("P32", F, (shake(expires_at=NOW + DAY),)),
    ("P32", F, (shake(sslmode="require"),)),
    ("P32", P, (PoolerFacts("b", config={"client_tls_sslmode": "require", "server_tls_sslmode": "verify-full"}),)),
    ("P32", F, (PoolerFacts("b", config={"client_tls_sslmode": "disable", "server_tls_sslmode": "verify-full"}),)),
    ("P32", F, (PoolerFacts("b", config={"client_tls_sslmode": "require"}),)),
    ("P33", P, (settings(),)),
    ("P33", F, (settings(password_encryption="md5"),)),
    ("P33", P, (PoolerFacts("b", config={"auth_type": "scram-sha-256"}),)),
    ("P33", F, (PoolerFacts("b", config={}),)),
    ("P34", F, (access(),)),
    ("P34", P, (access(block_public=True),)),
    ("P34", P, (access(allowed_ips=("203.0.113.0/24",)),)),
    ("P34", F, (access(allowed_ips=("0.0.0.0/0",)),)),
    ("P34", F, (access(allowed_ips=("10.0.0.0/23",)),)),
    ("P34", P, (access(allowed_ips=("203.0.113.7", "2001:db8::/48")),)),
    ("P34", F, (access(allowed_ips=("2001:db8::/32",)),)),
    ("P34", P, (access(allowed_ips=("203.0.113.0-203.0.113.9",)),)),
    ("P34", F, (access(allowed_ips=("10.0.0.0-10.9.0.0",)),)),
    ("P34", F, (access(allowed_ips=("everywhere",)),)),
    ("P34", F, (access(allowed_ips=("203.0.113.0/24",), protected_branches_only=True), child())),
    (
        "P34",
        P,
        (access(allowed_ips=("203.0.113.0/24",), protected_branches_only=True), child(masking=Masking("anonymized"))),
    ),
    ("P35", P, (project(region="aws-eu-central-1"),)),
    ("P35", P, (project(region="azure-gwc"),)),
    ("P35", F, (project(region="aws-eu-west-2"),)),
    ("P35", F, (project(region="aws-us-east-1"),)),
    ("P35", U, (project(region="aws-eu-new-9"),)),
    ("P35", U, (project(),)),
    ("P35", P, (bucket(),)),
    ("P35", F, (bucket(region="us-east-1"),)),
    ("P36", P, (MAIN,)),
    ("P36", F, (replace(MAIN, protected=False),)),
    ("P36", N, (branch(),)),
    ("P37", N, (MAIN,)),
    ("P37", P, (branch(expires_at=NOW + DAY),)),
    ("P37", F, (branch(last_active=NOW - 30 * DAY),)),
    ("P37", P, (branch(last_active=NOW - DAY, created_at=NOW - 90 * DAY),)),
    ("P37", U, (branch(),)),
    ("P38", P, (key(),)),
    ("P38", F, (key(created_at=NOW - 91 * DAY),)),
    ("P38", N, (org(keys=()),)),
    ("P39", P, (key(),)),
    ("P39", F, (key(last_used_at=NOW - 31 * DAY),)),
    ("P39", P, (key(last_used_at=None),)),
    ("P39", F, (key(last_used_at=None, created_at=NOW - 40 * DAY),)),
    ("P40", P, (key(),)),
    ("P40", F, (key(project_id=""),)),
    ("P40", F, (key(last_used_from="198.51.100.1"),)),
    ("P40", P, (key(last_used_from="203.0.113.9"),)),
    ("P40", F, (key(last_used_from="somewhere"),)),
    ("P41", P, (org(members=(Member("m", has_mfa=True),)),)),
    ("P41", F, (org(members=(Member("m", has_mfa=False),)),)),
    ("P41", F, (org(members=(Member("m", has_mfa=True, deactivated=True),)),)),
    ("P41", U, (org(members=(Member("m"),)),)),
    ("P42", P, (project(permissions=()),)),
    ("P42", P, (project(permissions=(Permission("1", "example.org"),)),)),
    ("P42", F, (project(permissions=(Permission("1", "elsewhere.test"),)),)),
    ("P42", P, (project(permissions=(Permission("1", "elsewhere.test", revoked_at=NOW),)),)),
    ("P42", F, (project(permissions=(), members=(ProjectMember("m", "elsewhere.test", "ADMIN"),)),)),
    ("P42", F, (project(permissions=(), members=(ProjectMember("m", "elsewhere.test", "EDITOR"),)),)),
    ("P42", P, (project(permissions=(), members=(ProjectMember("m", "elsewhere.test", "VIEWER"),)),)),
    ("P42", P, (project(permissions=(), members=(ProjectMember("m", "example.org", "ADMIN"),)),)),
    ("P42", P, (project(permissions=(), members=Unread(Status.UNSUPPORTED, "no permissions by project")),)),
    ("P42", U, (project(permissions=(), members=Unread(Status.NO_PRIVILEGE, "the key may not see them")),)),
    ("P43", P, (branch(credentials=()),)),
    ("P43", F, (branch(credentials=(Credential("c"),)),)),
    ("P43", P, (branch(credentials=(Credential("c", expires_at=NOW + DAY, scopes=("read",)),)),)),
    ("P43", F, (branch(credentials=(Credential("c", expires_at=NOW + DAY, scopes=("storage:*",)),)),)),
    ("P44", P, (project(jwks=(Jwks("1", "https://id.example.org/keys"),)),)),
    ("P44", P, (project(jwks=()),)),
    ("P44", F, (project(jwks=(Jwks("1", "https://evil.test/keys"),)),)),
    ("P45", P, (settings(),)),
    ("P45", N, (replace(settings(), platform="neon"),)),
    ("P45", F, (settings(log_connections=""),)),
    ("P45", P, (settings(log_connections="receipt,authorization"),)),
    ("P45", F, (settings(log_connections="off"),)),
    ("P45", F, (settings(log_disconnections="off"),)),
    ("P45", F, (settings(log_statement="none"),)),
    ("P45", F, (settings(log_min_error_statement="panic"),)),
    ("P45", F, (settings(log_line_prefix="%m [%p] "),)),
    ("P45", P, (settings(log_line_prefix="%t %u %d"),)),
    ("P45", F, (settings(log_statement="all"),)),
    ("P45", F, (settings(log_parameter_max_length_on_error="-1"),)),
    ("P46", P, (settings(),)),
    ("P46", F, (settings(shared_preload_libraries="pg_stat_statements"),)),
    ("P46", F, (settings(pgaudit__log="ddl"),)),
    ("P46", P, (settings(pgaudit__log="all, -misc"),)),
    ("P46", F, (settings(pgaudit__log="all, -role"),)),
    ("P46", N, (replace(settings(), platform="neon"),)),
    ("P46", M, (access(),)),
    ("P46", P, (access(hipaa=True, audit_log_level="full"),)),
    ("P46", F, (access(hipaa=True, audit_log_level="base"),)),
    ("P47", P, (DatabaseFacts("p", "br", "d", extensions=(Extension("citext", "1.6", "1.6", "public"),)),)),
    ("P47", F, (DatabaseFacts("p", "br", "d", extensions=(Extension("citext", "1.4", "1.6", "public"),)),)),
    ("P48", F, (DatabaseFacts("p", "br", "d", extensions=(Extension("dblink", "1.2", "1.2", "public"),)),)),
    ("P48", F, (DatabaseFacts("p", "br", "d", extensions=(Extension("citext", "1.6", "1.6", "public", open=True),)),)),
    ("P49", P, (server(version_num=180006),)),
    ("P49", F, (server(version_num=150001),)),
    ("P49", F, (server(version_num=130099),)),
    ("P49", U, (server(version_num=190000),)),
    ("P49", P, (PoolerFacts("b", version="PgBouncer 1.25.2"),)),
    ("P49", F, (PoolerFacts("b", version="PgBouncer 1.18.0"),)),
    ("P49", U, (PoolerFacts("b", version="odd"),)),
    ("P50", P, (server(agent=AgentRole("monitor", (), ("pg_monitor", "pg_read_all_stats"))),)),
    ("P50", F, (server(agent=AgentRole("app", ("bypassrls",), ("pg_monitor",))),)),
    ("P50", F, (server(agent=AgentRole("app", (), ("neon_superuser",))),)),
    ("P51", P, (VaultFacts("bao", key_names=("tenant-a",)), REGISTRY)),
    ("P51", F, (VaultFacts("bao", key_names=()), REGISTRY)),
    ("P51", F, (VaultFacts("bao", key_names=("shared",)), SHARED)),
    ("P51", N, (VaultFacts("bao", key_names=("tenant-a",)),)),
    ("P52", P, (transit(),)),
    ("P52", F, (transit(rotated_at=NOW - 91 * DAY),)),
    ("P52", F, (transit(auto_rotate_seconds=0),)),
    ("P52", N, (VaultFacts("bao", keys=()),)),
    ("P52", F, (transit(rotated_at=None),)),
    ("P53", P, (transit(),)),
    ("P53", F, (transit(exportable=True),)),
    ("P53", F, (transit(soft_deleted=True),)),
    ("P54", P, (transit(),)),
    ("P54", F, (transit(latest_version=9),)),
    ("P54", F, (transit(min_encryption_version=2),)),
    ("P55", P, (static(),)),
    ("P55", F, (static(rotated_at=NOW - 2 * DAY),)),
    ("P55", F, (static(rotated_at=None),)),
    ("P55", U, (static(rotation_seconds=0, schedule="0 0 * * 0"),)),
    ("P55", N, (VaultFacts("bao", static_roles=()),)),
    ("P56", P, (VaultFacts("bao", sealed=False, audits=("file/",)),)),
    ("P56", F, (VaultFacts("bao", sealed=False, audits=()),)),
    ("P56", F, (VaultFacts("bao", sealed=True, audits=("file/",)),)),
    ("P58", N, (MAIN,)),
    ("P58", F, (child(), MAIN)),
    ("P58", P, (child(masking=Masking("anonymized")), MAIN)),
    ("P58", F, (child(masking=Masking("initialization_error")), MAIN)),
    ("P58", P, (child(init_source="schema-only"), MAIN)),
    ("P58", P, (child(logical_size=0), MAIN)),
    ("P58", F, (child(),)),
    ("P58", N, (branch(logical_size=9),)),
    (
        "P58",
        P,
        (
            child(parent_id="m"),
            branch(masking=Masking("anonymized")),
            replace(child(masking=Masking("anonymized")), id="m"),
        ),
    ),
    ("P59", N, (branch(masking=None),)),
    ("P59", U, (branch(masking=Masking("anonymizing")),)),
    ("P59", U, (branch(masking=Masking("anonymized")),)),
    ("P59", P, (branch(masking=Masking("anonymized", covered=("s.t.email",)), personal_columns=("s.t.email",)),)),
    ("P59", F, (branch(masking=Masking("anonymized", covered=()), personal_columns=("s.t.email",)),)),
    ("P59", F, (branch(masking=Masking("anonymized", rules=3, masked_columns=2)),)),
    ("P59", F, (branch(masking=Masking("anonymized", completed_at=NOW - DAY), last_reset_at=NOW),)),
    ("P61", P, (project(history_seconds=7 * DAY),)),
    ("P61", F, (project(history_seconds=DAY),)),
    ("P62", P, (replace(MAIN, snapshots=(Snapshot("s", NOW - DAY),)),)),
    ("P62", F, (replace(MAIN, snapshots=()),)),
    ("P62", F, (replace(MAIN, snapshots=(Snapshot("s", NOW - 3 * DAY),)),)),
    ("P62", F, (replace(MAIN, snapshots=(Snapshot("s", NOW - DAY, NOW + DAY),)),)),
    ("P62", N, (child(),)),
    ("P63", P, (replace(MAIN, schedule=("daily",)),)),
    ("P63", F, (replace(MAIN, schedule=()),)),
    ("P63", N, (child(),)),
    ("P64", P, (copies((3600, 100), (90000, 100)),)),
    ("P64", F, (copies((3 * DAY, 100)),)),
    ("P64", F, (copies(),)),
    ("P64", F, (copies((3600, 10), (90000, 100), (180000, 90)),)),
    ("P65", P, (bucket(),)),
    ("P65", F, (bucket(encryption="AES256"),)),
    ("P65", F, (bucket(lock_mode="GOVERNANCE"),)),
    ("P65", F, (bucket(versioning=False),)),
    ("P65", F, (bucket(public_blocked=False),)),
    ("P65", F, (bucket(kms_key="arn:k/1", expected_kms_key="k/2"),)),
    ("P65", E, (bucket(versioning=Unread(Status.NO_PRIVILEGE, "denied")),)),
    ("P66", P, (DrillFacts("p", last_success_at=NOW - DAY, rto_seconds=60, rpo_seconds=1),)),
    ("P66", F, (DrillFacts("p", last_success_at=None),)),
    ("P66", F, (DrillFacts("p", last_success_at=NOW - 91 * DAY),)),
    ("P66", F, (DrillFacts("p", last_success_at=NOW, rto_seconds=9999),)),
    ("P66", F, (DrillFacts("p", last_success_at=NOW, rpo_seconds=9999),)),
    ("P67", P, (replace(MAIN, computes=(ComputeFacts("ep", read_only=True, replay_lag=1.0),)),)),
    ("P67", N, (branch(),)),
    ("P67", F, (replace(MAIN, computes=(ComputeFacts("ep"),)),)),
    ("P67", F, (replace(MAIN, computes=(ComputeFacts("ep", read_only=True, replay_lag=900.0),)),)),
    ("P67", U, (replace(MAIN, computes=(ComputeFacts("ep", read_only=True),)),)),
    ("P70", P, (server(slots=(Slot("cdc", active=True),)),)),
    ("P70", F, (server(slots=()),)),
    ("P70", F, (server(slots=(Slot("cdc", inactive_since=NOW - 2 * DAY),)),)),
    ("P70", P, (server(slots=(Slot("cdc", inactive_since=NOW - 3600),)),)),
    ("P70", U, (server(slots=(Slot("cdc"),)),)),
    ("P70", F, (server(slots=(Slot("cdc", active=True, wal_status="lost"),)),)),
    ("P70", F, (server(slots=(Slot("cdc", active=True, invalid="wal_removed"),)),)),
]


@pytest.mark.parametrize(
    ("control", "outcome", "subjects"), CASES, ids=lambda entry: entry if isinstance(entry, str) else None
)
def test_each_case(control: str, outcome: Outcome, subjects: tuple[Any, ...]) -> None:
    found = told(control, *subjects)
    mine = [finding for finding in found if not finding.object_id.startswith("p/main") or len(subjects) == 1]
    outcomes = {finding.outcome for finding in mine}
    worst = next(entry for entry in (F, E, U, M, P, N) if entry in outcomes)
    assert worst is outcome, [(finding.object_id, finding.outcome, finding.evidence) for finding in mine]
    assert (P in outcomes) <= (F not in outcomes) or control in ("P31", "P56", "P65"), "no pass beside a failure"


def test_every_control_of_the_platform_has_a_case_that_holds_and_one_that_fails() -> None:
    for outcome in (P, F):
        controls = {control for control, expected, _ in CASES if expected is outcome}
        needed = {f"P{number}" for number in (*range(29, 47), *range(51, 57), 58, 59, *range(61, 68), 70, 49)} | {
            "P05",
            "P06",
        }
        assert needed <= controls, needed - controls


def test_masking_that_neon_cannot_do_there_says_what_can_be_done() -> None:
    found = told("P58", child(), MAIN, access(allowed_ips=("203.0.113.0/24",)))
    (finding,) = [finding for finding in found if finding.outcome is F]
    assert "schema-only" in finding.evidence


def test_production_is_what_the_policy_says() -> None:
    wanted = policy(production_branches=("p/dev",))
    assert [finding.outcome for finding in told("P36", branch(), policy=wanted)] == [F]
    assert [finding.outcome for finding in told("P36", MAIN, policy=wanted)] == [N]
