"""What the twin's control plane knows of security: keys, people, who may connect, what is masked. Plain data.

Tests change it in place (``world.security``); its instants are unix seconds. No secret and no real address is in it.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class TwinAccess:
    """Who may connect to a project, and what is recorded of it. An empty ``allowed_ips`` allows every address."""

    allowed_ips: list[str] = field(default_factory=list)
    protected_branches_only: bool = False
    block_public: bool = False
    block_vpc: bool = False
    audit_log_level: str = "base"
    hipaa: bool = False
    store_passwords: bool = True


@dataclass(slots=True)
class TwinShare:
    """A project shared with the account behind an address."""

    email: str
    granted_at: float
    revoked_at: float | None = None


@dataclass(slots=True)
class TwinJwks:
    """A key set that may sign in to a project; ``branch_id`` empty: to all of its branches."""

    url: str
    provider: str
    created_at: float
    branch_id: str = ""


@dataclass(slots=True)
class TwinApiKey:
    """An API key, without its secret: such a key opens nothing here. ``project_id`` empty: the whole organisation."""

    name: str
    created_at: float
    last_used_at: float | None = None
    last_used_from: str = ""
    project_id: str = ""
    personal: bool = False


@dataclass(slots=True)
class TwinMember:
    """A member of the organisation."""

    role: str
    email: str
    has_mfa: bool
    joined_at: float
    deactivated_at: float | None = None


@dataclass(slots=True)
class TwinMasking:
    """An anonymised branch. ``rules``: database, schema, table, column and masking function."""

    state: str
    created_at: float
    updated_at: float
    rules: list[tuple[str, str, str, str, str]] = field(default_factory=list)
    masked_columns: int | None = None
    completed_at: float | None = None


@dataclass(slots=True)
class TwinCredential:
    """A credential of a branch for storage, functions or the AI gateway."""

    token_id: str
    scopes: list[str]
    created_at: float
    last_used_at: float | None = None
    expires_at: float | None = None
    revoked_at: float | None = None


@dataclass(slots=True)
class TwinSecurity:
    """All of it; what is not here is as Neon makes it: open to every address, shared with nobody, not masked."""

    members: list[TwinMember] = field(default_factory=list)
    """Empty: two of them, by role, one without MFA."""
    keys: list[TwinApiKey] = field(default_factory=list)
    """Beside those that open this control plane."""
    access: dict[str, TwinAccess] = field(default_factory=dict)
    """By project id, as the four below by project or branch id."""
    shares: dict[str, list[TwinShare]] = field(default_factory=dict)
    jwks: dict[str, list[TwinJwks]] = field(default_factory=dict)
    masking: dict[str, TwinMasking] = field(default_factory=dict)
    credentials: dict[str, list[TwinCredential]] = field(default_factory=dict)
