"""What the control plane says of security, in the shapes of Neon's OpenAPI document."""

from __future__ import annotations

import uuid
from typing import Any

from exporter.demo.answers import Json, Skewed, instant
from exporter.demo.request import ApiError
from exporter.demo.security import TwinApiKey, TwinMember
from exporter.demo.view import View


class SecurityAnswers:
    """Turns ``view.security`` into what the API says."""

    def __init__(self, view: View, settings: Skewed) -> None:
        """Answer from ``view``; the skew is added to every instant."""
        self._view = view
        self._settings = settings

    def _known(self, **instants: float | None) -> Json:
        skew = self._settings.skew_seconds
        return {name: instant(at, skew) for name, at in instants.items() if at is not None}

    def _id(self, *names: str) -> str:
        return str(uuid.uuid5(uuid.NAMESPACE_URL, "/".join((self._view.org_id, *names))))

    def members(self) -> list[Json]:
        """The organisation's people; without any described, two by role, one without MFA."""
        began = self._view.created_at
        standing = [TwinMember(role, f"{role}@twin.invalid", role == "admin", began) for role in ("admin", "member")]
        return [
            {
                "member": {
                    "id": self._id("member", member.email),
                    "user_id": self._id("user", member.email),
                    "org_id": self._view.org_id,
                    "role": member.role,
                    **self._known(joined_at=member.joined_at),
                },
                "user": {
                    "email": member.email,
                    "has_mfa": member.has_mfa,
                    **self._known(deactivated_at=member.deactivated_at),
                },
            }
            for member in self._view.security.members or standing
        ]

    def keys(self, opening: list[TwinApiKey], *, personal: bool) -> list[Json]:
        """Keys of the organisation or of a person, never their secrets; those that open this API come first."""
        described = [twin_api_key for twin_api_key in self._view.security.keys if twin_api_key.personal == personal]
        creator = {"id": self._id("user", "owner"), "name": "Owner", "image": ""}
        return [
            {
                "id": number,
                "name": twin_api_key.name,
                **self._known(created_at=twin_api_key.created_at),
                "created_by": creator,
                "last_used_at": None,
                **self._known(last_used_at=twin_api_key.last_used_at),
                "last_used_from_addr": twin_api_key.last_used_from,
                **({"project_id": twin_api_key.project_id} if twin_api_key.project_id else {}),
            }
            for number, twin_api_key in enumerate((*opening, *described), 1)
        ]

    def permissions(self, project_id: str) -> Json:
        """Who a project is shared with."""
        return {
            "project_permissions": [
                {
                    "id": self._id("permission", project_id, share.email),
                    "granted_to_email": share.email,
                    **self._known(granted_at=share.granted_at, revoked_at=share.revoked_at),
                }
                for share in self._view.security.shares.get(project_id, ())
            ]
        }

    def jwks(self, project_id: str) -> Json:
        """The key sets that may sign in to a project."""
        return {
            "jwks": [
                {
                    "id": self._id("jwks", project_id, twin_jwks.url),
                    "project_id": project_id,
                    **({"branch_id": twin_jwks.branch_id} if twin_jwks.branch_id else {}),
                    "jwks_url": twin_jwks.url,
                    "provider_name": twin_jwks.provider,
                    **self._known(created_at=twin_jwks.created_at, updated_at=twin_jwks.created_at),
                }
                for twin_jwks in self._view.security.jwks.get(project_id, ())
            ]
        }

    def anonymized_status(self, project_id: str, branch_id: str) -> Json:
        """How far the masking of a branch is.

        Raises:
            ApiError: 404 for a branch that is not anonymised.
        """
        masking = self._view.security.masking.get(branch_id)
        if masking is None:
            raise ApiError(404, "branch is not anonymized")
        run: Json = {} if masking.masked_columns is None else {"masked_columns": masking.masked_columns}
        failed = masking.updated_at if masking.state.endswith("error") else None
        return {
            "project_id": project_id,
            "branch_id": branch_id,
            "state": masking.state,
            "status_message": "",
            **self._known(created_at=masking.created_at, updated_at=masking.updated_at, failed_at=failed),
            "last_run": {**self._known(started_at=masking.created_at, completed_at=masking.completed_at), **run},
        }

    def masking_rules(self, branch_id: str) -> Json:
        """What is masked and how; nothing for a branch that is not anonymised."""
        masking = self._view.security.masking.get(branch_id)
        names = ("database_name", "schema_name", "table_name", "column_name", "masking_function")
        rules: list[Any] = [] if masking is None else masking.rules
        return {"masking_rules": [dict(zip(names, rule, strict=True)) for rule in rules]}

    def credentials(self, branch_id: str) -> Json:
        """The credentials of a branch, never their secrets."""
        return {
            "credentials": [
                {
                    "token_id": credential.token_id,
                    "token_id_short": credential.token_id[:12],
                    "name": credential.token_id.removeprefix("nak_twin_"),
                    "scopes": list(credential.scopes),
                    "branch_id": branch_id,
                    "principal_type": "user",
                    **self._known(
                        created_at=credential.created_at,
                        last_used_at=credential.last_used_at,
                        revoked_at=credential.revoked_at,
                        expires_at=credential.expires_at,
                    ),
                }
                for credential in self._view.security.credentials.get(branch_id, ())
            ]
        }
