"""The control plane's answers as JSON objects: every field that Neon's OpenAPI document requires, in its types.

Pure shapes. Instants are RFC 3339 in whole seconds, as Neon answers them; an instant that is not known is left out.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

from exporter.demo.security import TwinAccess
from exporter.demo.view import View
from exporter.demo.world import (
    TwinBranch,
    TwinDatabase,
    TwinEndpoint,
    TwinOperation,
    TwinProject,
    TwinRole,
    TwinSnapshot,
)

Json = dict[str, Any]

REGIONS = {
    "aws-us-east-1": ("AWS US East 1 (N. Virginia)", "38.13", "-78.45"),
    "aws-us-east-2": ("AWS US East 2 (Ohio)", "39.96", "-83.00"),
    "aws-us-west-2": ("AWS US West 2 (Oregon)", "46.15", "-123.88"),
    "aws-eu-central-1": ("AWS Europe Central 1 (Frankfurt)", "50.11", "8.68"),
    "aws-eu-west-2": ("AWS Europe West 2 (London)", "51.51", "-0.13"),
    "aws-ap-southeast-1": ("AWS Asia Pacific 1 (Singapore)", "1.29", "103.85"),
    "aws-ap-southeast-2": ("AWS Asia Pacific 2 (Sydney)", "-33.87", "151.21"),
    "aws-sa-east-1": ("AWS South America East 1 (Sao Paulo)", "-23.55", "-46.63"),
    "azure-gwc": ("Azure Germany West Central (Frankfurt)", "50.11", "8.68"),
}


def instant(at: float, skew: float = 0.0) -> str:
    """RFC 3339 in UTC, cut to whole seconds."""
    return datetime.fromtimestamp(int(at + skew), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _uuid(*names: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, "/".join(names)))


def access_json(access: TwinAccess) -> Json:
    """The part of a project's settings that says who may connect."""
    return {
        "allowed_ips": {
            "ips": list(access.allowed_ips),
            "protected_branches_only": access.protected_branches_only,
        },
        "block_public_connections": access.block_public,
        "block_vpc_connections": access.block_vpc,
        "audit_log_level": access.audit_log_level,
        "hipaa": access.hipaa,
    }


class Skewed(Protocol):
    """Settings with a clock skew that may change at run time."""

    skew_seconds: float


class Answers:
    """Turns what the world has into what the API says; the skew is added to every instant that it stamps."""

    def __init__(self, view: View, settings: Skewed) -> None:
        """Shape the objects of ``view``."""
        self._view = view
        self.settings = settings

    def _at(self, at: float) -> str:
        return instant(at, self.settings.skew_seconds)

    def _known(self, **instants: float | None) -> Json:
        return {name: self._at(at) for name, at in instants.items() if at is not None}

    def user(self) -> Json:
        """/users/me of a personal key."""
        return {
            "active_seconds_limit": 0,
            "auth_accounts": [],
            "email": "owner@twin.invalid",
            "id": _uuid("user", self._view.org_id),
            "image": "",
            "login": "owner",
            "name": "Owner",
            "last_name": "",
            "projects_limit": 10000,
            "branches_limit": 5000,
            "max_autoscaling_limit": 56.0,
            "plan": self._view.plan,
        }

    def auth(self, *, personal: bool) -> Json:
        """Whose key it is: a person's, or the organisation's."""
        if personal:
            return {"account_id": _uuid("user", self._view.org_id), "auth_method": "api_key_user"}
        return {"account_id": self._view.org_id, "auth_method": "api_key_org"}

    def organization(self) -> Json:
        """The organisation; its plan is named without the suffix that subscription types have."""
        return {
            "id": self._view.org_id,
            "name": self._view.org_name,
            "handle": self._view.org_id.removeprefix("org-"),
            "plan": self._view.plan.removesuffix("_v3").removesuffix("_v2"),
            "created_at": self._at(self._view.created_at),
            "updated_at": self._at(self._view.created_at),
            "managed_by": self._view.managed_by,
            "require_mfa": False,
            "allow_hipaa_projects": False,
        }

    def _project(self, project: TwinProject, active: float | None) -> Json:
        where = project.region_id.partition("-")
        access = self._view.security.access.get(project.id, TwinAccess())
        return {
            "id": project.id,
            "platform_id": where[0],
            "region_id": project.region_id,
            "name": project.name,
            "provisioner": "k8s-neonvm",
            "default_endpoint_settings": {"autoscaling_limit_min_cu": 0.25, "autoscaling_limit_max_cu": 2},
            "settings": {
                "enable_logical_replication": project.enable_logical_replication,
                "maintenance_window": {"weekdays": [5], "start_time": "07:00", "end_time": "08:00"},
                **access_json(access),
                **({"quota": project.quota} if project.quota else {}),
            },
            "pg_version": project.pg_version,
            "proxy_host": f"{where[2]}.{where[0]}.neon.tech",
            "branch_logical_size_limit": 0,
            "branch_logical_size_limit_bytes": 0,
            "store_passwords": access.store_passwords,
            "cpu_used_sec": 0,
            "creation_source": "console",
            "history_retention_seconds": project.history_retention_seconds,
            "owner_id": self._view.org_id,
            "org_id": self._view.org_id,
            **self._known(
                created_at=project.created_at,
                updated_at=project.updated_at,
                compute_last_active_at=active,
                deleted_at=project.deleted_at,
                recoverable_until=project.recoverable_until,
            ),
        }

    def project_item(self, project: TwinProject, active: float | None) -> Json:
        """A row of the list; ``active`` is the newest last_active of its computes, as the API sees it."""
        return {**self._project(project, active), "active_time": 0, "org_name": self._view.org_name}

    def project_detail(self, project: TwinProject, active: float | None, used: Mapping[str, int]) -> Json:
        """One project with its owner; ``used`` is what this month's meter says."""
        now = datetime.fromtimestamp(self._view.now() + self.settings.skew_seconds, UTC)
        month = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        after = month.replace(year=month.year + month.month // 12, month=month.month % 12 + 1)
        storage = used.get("root_branch_bytes_month", 0) + used.get("child_branch_bytes_month", 0)
        return {
            **self._project(project, active),
            "data_storage_bytes_hour": storage,
            "data_transfer_bytes": used.get("public_network_transfer_bytes", 0),
            "written_data_bytes": 0,
            "compute_time_seconds": used.get("compute_unit_seconds", 0),
            "active_time_seconds": 0,
            "consumption_period_start": instant(month.timestamp()),
            "consumption_period_end": instant(after.timestamp()),
            "owner": {
                "email": "owner@twin.invalid",
                "name": self._view.org_name,
                "branches_limit": 5000,
                "subscription_type": self._view.plan,
            },
        }

    def branch(self, branch: TwinBranch, used: Mapping[str, int]) -> Json:
        """One branch; ``used`` is what this month's meter says, ``written_data_bytes`` its WAL."""
        child = bool(branch.parent_id) and not branch.schema_only
        parent = {"parent_id": branch.parent_id, "parent_lsn": "0/1E88E60"} if child else {}
        return {
            "id": branch.id,
            "project_id": branch.project_id,
            **parent,
            "name": branch.name,
            "current_state": branch.current_state,
            **({"pending_state": branch.pending_state} if branch.pending_state else {}),
            "logical_size": branch.logical_size,
            "creation_source": "console",
            "primary": branch.default,
            "default": branch.default,
            "protected": branch.protected,
            "cpu_used_sec": used.get("compute_unit_seconds", 0),
            "compute_time_seconds": used.get("compute_unit_seconds", 0),
            "active_time_seconds": 0,
            "written_data_bytes": branch.wal_bytes,
            "data_transfer_bytes": used.get("public_network_transfer_bytes", 0),
            "init_source": "schema-only" if branch.schema_only else "parent-data",
            "created_by": {"name": "Owner", "image": ""},
            **self._known(
                state_changed_at=branch.created_at,
                created_at=branch.created_at,
                updated_at=branch.updated_at,
                expires_at=branch.expires_at,
                last_reset_at=branch.last_reset_at,
                parent_timestamp=branch.created_at if child else None,
            ),
        }

    def endpoint(self, endpoint: TwinEndpoint, region_id: str, last_active: float | None) -> Json:
        """One compute; ``last_active`` is the compute's own instant and takes no skew."""
        where = region_id.partition("-")
        state = {"pending_state": endpoint.pending_state} if endpoint.pending_state else {}
        never = {"last_active": self._view.era.never} if self._view.era.never else {}
        seen = never if last_active is None else {"last_active": instant(last_active)}
        return {
            "host": endpoint.host or f"{endpoint.id}.{where[2]}.{where[0]}.neon.tech",
            "id": endpoint.id,
            "project_id": endpoint.project_id,
            "branch_id": endpoint.branch_id,
            "autoscaling_limit_min_cu": endpoint.min_cu,
            "autoscaling_limit_max_cu": endpoint.max_cu,
            "region_id": region_id,
            "type": endpoint.type,
            "current_state": endpoint.current_state,
            **state,
            "settings": {"pg_settings": {}},
            "pooler_enabled": False,
            "pooler_mode": "transaction",
            "disabled": endpoint.disabled,
            "passwordless_access": endpoint.passwordless_access,
            "creation_source": "console",
            "proxy_host": f"{where[2]}.{where[0]}.neon.tech",
            "suspend_timeout_seconds": endpoint.suspend_timeout_seconds,
            "provisioner": "k8s-neonvm",
            "compute_release_version": "10000",
            **seen,
            **self._known(
                created_at=endpoint.created_at,
                updated_at=endpoint.updated_at,
                started_at=endpoint.started_at,
                suspended_at=endpoint.suspended_at,
            ),
        }

    def operation(self, operation: TwinOperation) -> Json:
        """One entry of the history."""
        return {
            "id": operation.id,
            "project_id": operation.project_id,
            **({"branch_id": operation.branch_id} if operation.branch_id else {}),
            **({"endpoint_id": operation.endpoint_id} if operation.endpoint_id else {}),
            "action": operation.action,
            "status": operation.status,
            "failures_count": 0,
            "created_at": self._at(operation.created_at),
            "updated_at": self._at(operation.created_at + operation.duration_seconds),
            "total_duration_ms": round(operation.duration_seconds * 1000),
        }

    def database(self, number: int, branch_id: str, database: TwinDatabase) -> Json:
        """One database."""
        return {
            "id": number,
            "branch_id": branch_id,
            "name": database.name,
            "owner_name": database.owner,
            **self._known(created_at=database.created_at, updated_at=database.created_at),
        }

    def role(self, branch_id: str, role: TwinRole) -> Json:
        """One role; Neon may send a password here, so the twin does too: clients must drop it."""
        return {
            "branch_id": branch_id,
            "name": role.name,
            "password": "never-keep-this",
            "protected": role.protected,
            "authentication_method": role.authentication_method,
            **self._known(created_at=role.created_at, updated_at=role.updated_at),
        }

    def snapshot(self, snapshot: TwinSnapshot) -> Json:
        """One snapshot."""
        return {
            "id": snapshot.id,
            "name": snapshot.name,
            "source_branch_id": snapshot.branch_id,
            "manual": snapshot.manual,
            "full_size": snapshot.full_size,
            **self._known(created_at=snapshot.created_at, expires_at=snapshot.expires_at),
        }


def region(region_id: str) -> Json:
    """One region of the list."""
    name, latitude, longitude = REGIONS[region_id]
    return {
        "region_id": region_id,
        "name": name,
        "default": region_id == "aws-us-east-2",
        "geo_lat": latitude,
        "geo_long": longitude,
    }
