"""From what Neon's API told of security to the facts that are judged; a part that was refused stays refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from collectors.neon import security
from collectors.neon.security import BranchSecurity, OrganizationSecurity, ProjectSecurity
from collectors.neon.security_models import AnonymizedStatus, MaskingRule
from collectors.neon.security_models import ApiKey as KeyRead
from collectors.postgres.database.security import NotRead
from exporter.posture.domain.facts_platform import (
    ApiKey,
    ApiRole,
    BranchFacts,
    Credential,
    Jwks,
    Masking,
    Member,
    OrganizationFacts,
    Permission,
    ProjectFacts,
    Snapshot,
)
from exporter.posture.domain.finding import NOT_ASKED, Known, Unread

CHANGED_SECONDS = 300.0
"""A status that was updated so long after its last run was changed since: the run itself updates it too."""
Read = TypeVar("Read")
Made = TypeVar("Made")


@dataclass(frozen=True, slots=True)
class Snapshots:
    """The snapshots of a project, by the branch that they are of."""

    by_branch: Known[Mapping[str, tuple[Snapshot, ...]]] = NOT_ASKED

    def of(self, branch_id: str) -> Known[tuple[Snapshot, ...]]:
        """Those of one branch."""
        return self.by_branch if isinstance(self.by_branch, Unread) else self.by_branch.get(branch_id, ())


def organization_facts(found: OrganizationSecurity) -> OrganizationFacts:
    """Keys of the organisation, and those of the person whose key we use, where Neon tells them."""
    keys = _each(found.keys, lambda key: _key(key, personal=False))
    personal = _each(found.personal_keys, lambda key: _key(key, personal=True))
    if not isinstance(keys, Unread) and not isinstance(personal, Unread):
        keys = (*keys, *personal)
    members = _each(
        found.members, lambda member: Member(member.id, member.role, member.has_mfa, member.deactivated_at is not None)
    )  # fmt: skip
    return OrganizationFacts(found.org_id, keys=keys, members=members)


def project_facts(found: ProjectSecurity) -> ProjectFacts:
    """Whom it is shared with, and which key sets may sign in."""
    return ProjectFacts(
        found.project_id,
        permissions=_each(
            found.permissions,
            lambda permission: Permission(
                permission.id, permission.domain, permission.granted_at, permission.revoked_at
            ),
        ),
        jwks=_each(found.jwks, lambda jwks: Jwks(jwks.id, jwks.url, jwks.provider)),
    )


def snapshots_of(found: ProjectSecurity) -> Snapshots:
    """By branch."""
    if isinstance(found.snapshots, NotRead):
        return Snapshots(_unread(found.snapshots))
    by_branch: dict[str, list[Snapshot]] = {}
    for snapshot in found.snapshots:
        by_branch.setdefault(snapshot.source_branch_id, []).append(
            Snapshot(snapshot.id, snapshot.created_at, snapshot.expires_at)
        )
    return Snapshots({branch: tuple(row) for branch, row in sorted(by_branch.items())})


def branch_facts(found: BranchSecurity) -> BranchFacts:
    """Roles, schedule, mask and credentials; what the inventory tells is put in at every look."""
    return BranchFacts(
        found.project_id,
        found.branch_id,
        roles=_each(found.roles, lambda role: ApiRole(role.name, role.updated_at, bool(role.protected), role.no_login)),
        schedule=_each(found.schedule, lambda frequency: frequency.frequency),
        masking=_masking(found.masking),
        credentials=_each(
            found.credentials,
            lambda credential: Credential(
                credential.token_id,
                credential.principal_type,
                credential.expires_at,
                credential.last_used_at,
                tuple(credential.scopes),
            ),
            keep=lambda credential: credential.revoked_at is None,
        ),
    )


def _key(key: KeyRead, *, personal: bool) -> ApiKey:
    return ApiKey(
        key.id, key.name, key.created_at, key.last_used_at, key.last_used_from_addr, key.project_id, personal
    )  # fmt: skip


def _masking(found: security.Masking | NotRead | None) -> Known[Masking | None]:
    if found is None:
        return None
    if isinstance(found, NotRead):
        return _unread(found)
    status: AnonymizedStatus = found.status
    run = status.last_run
    done = run.completed_at if run is not None else None
    changed = status.updated_at
    if changed is not None and done is not None and changed <= done + CHANGED_SECONDS:
        changed = None
    rules: tuple[MaskingRule, ...] | None = None if isinstance(found.rules, NotRead) else found.rules
    return Masking(
        state=status.state,
        rules=None if rules is None else len(rules),
        masked_columns=run.masked_columns if run is not None else None,
        completed_at=done,
        rules_changed_at=changed,
        covered=None if rules is None else tuple(sorted(rule.column for rule in rules)),
    )


def _each(
    found: tuple[Read, ...] | NotRead, make: Callable[[Read], Made], *, keep: Callable[[Read], bool] | None = None
) -> Known[tuple[Made, ...]]:
    if isinstance(found, NotRead):
        return _unread(found)
    return tuple(make(read) for read in found if keep is None or keep(read))


def _unread(found: NotRead) -> Unread:
    return Unread(found.status, found.why)
