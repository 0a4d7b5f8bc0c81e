"""What we read of Neon's answers: only the fields that something uses, so that nothing else can break or leak.

Unknown fields are ignored and enumerations stay strings, because Neon adds to both. One item that does not fit is
dropped and counted, and its page survives. No model has a field for a password: it is gone with the parse.
Times are unix seconds. Sizes are bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Generic, TypeVar

from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from collectors.neon.domain.security import instant

NEVER = float("inf")
DEFAULT_SUSPEND_SECONDS = 300.0
"""What Neon does with ``suspend_timeout_seconds`` 0."""
ALWAYS_ON_CU = 16.0
"""A compute that may grow past this is never suspended."""


def _or_none(value: object, handler: ValidatorFunctionWrapHandler) -> object:
    try:
        return handler(value)
    except ValidationError:
        return None


Id = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,100}$")]
"""Ids become parts of paths and labels, so one with any other character is refused with its item."""
Host = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._:\[\]-]{1,255}$")]
"""A password is sent there, through a connection string: nothing but a host name may stand here."""
Item = TypeVar("Item")
Tolerant = Annotated[Item | None, WrapValidator(_or_none)]
"""An item that does not fit becomes None, to be counted."""
STORED = {"stored": True}
"""The context in which models are read that we wrote ourselves (``model_dump_json``): instants are numbers there."""


def _instant(value: object, info: ValidationInfo) -> float | None:
    return float(value) if info.context == STORED and isinstance(value, int | float) else instant(value)


Instant = Annotated[float | None, BeforeValidator(_instant)]
Text = Annotated[str, BeforeValidator(lambda value: "" if value is None else value)]
Flag = Annotated[bool, BeforeValidator(lambda value: bool(value) if value is None else value)]


def under_way(current: str, pending: str) -> str:
    """A state for a person: ``idle``, or ``init -> active`` while it changes."""
    return f"{current} -> {pending}" if pending and pending != current else current


class Model(BaseModel):
    """Frozen, tolerant of unknown fields, and silent about its input in errors."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True, populate_by_name=True)


class Organization(Model):
    """``Organization`` of the API."""

    id: Id
    name: Text = ""
    plan: Text = ""
    managed_by: Text = ""
    """``console``, or who else made it, such as ``vercel``."""
    allow_hipaa_projects: Flag = False
    require_mfa: Flag = False


class KeyDetails(Model):
    """``AuthDetailsResponse``: whose key it is; ``account_id`` is a person's or an organisation's."""

    account_id: Text = ""
    auth_method: Text = ""

    @property
    def text(self) -> str:
        """In plain words."""
        kind = {"api_key_user": "a personal key", "api_key_org": "a key of an organisation"}.get(self.auth_method)
        return f"{kind or self.auth_method or 'a key'} of account {self.account_id or 'unknown'}"


class AllowedIps(Model):
    """``AllowedIps``: an empty list allows every address."""

    ips: tuple[str, ...] | None = None
    protected_branches_only: Flag = False


class ProjectQuota(Model):
    """``ProjectQuota``: limits of a project; 0 is none."""

    active_time_seconds: int = 0
    compute_time_seconds: int = 0
    written_data_bytes: int = 0
    data_transfer_bytes: int = 0
    logical_size_bytes: int = 0

    @property
    def limits(self) -> dict[str, int]:
        """Those that are set, by name."""
        return {name: limit for name, limit in self if limit > 0}


class ProjectSettings(Model):
    """``ProjectSettingsData``, as far as the posture checks read it."""

    allowed_ips: AllowedIps | None = None
    quota: Tolerant[ProjectQuota] = None
    enable_logical_replication: Flag = False
    block_public_connections: Flag = False
    block_vpc_connections: Flag = False
    audit_log_level: Text = ""
    hipaa: Flag = False


class Owner(Model):
    """``ProjectOwnerData``: only in a project's detail. The name and the address of the person are not read."""

    subscription_type: Text = ""


class Project(Model):
    """``ProjectListItem``, and ``Project`` (the detail), which alone has ``owner`` and what it used in its period."""

    id: Id
    name: Text = ""
    org_id: Text = ""
    org_name: Text = ""
    platform_id: Text = ""
    region_id: Text = ""
    pg_version: int | None = None
    history_retention_seconds: int | None = None
    synthetic_storage_size: int | None = None
    active_time: int | None = None
    active_time_seconds: int | None = None
    compute_time_seconds: int | None = None
    written_data_bytes: int | None = None
    data_transfer_bytes: int | None = None
    store_passwords: bool | None = None
    created_at: Instant = None
    updated_at: Instant = None
    compute_last_active_at: Instant = None
    hipaa_enabled_at: Instant = None
    deleted_at: Instant = None
    recoverable_until: Instant = None
    settings: ProjectSettings | None = None
    owner: Owner | None = None
    consumption_period_start: Instant = None
    consumption_period_end: Instant = None

    @property
    def marks(self) -> tuple[object, ...]:
        """What moves when something inside the project moved.

        The storage size is not among it: Neon recomputes it for sleeping projects too.
        """
        return (self.name, self.updated_at, self.compute_last_active_at, self.active_time,
                self.history_retention_seconds, self.settings)  # fmt: skip


class Branch(Model):
    """``Branch``. The four usage figures count from the start of the billing period and lag."""

    id: Id
    project_id: Id
    parent_id: Text = ""
    name: Text = ""
    current_state: Text = ""
    pending_state: Text = ""
    default: Flag = False
    protected: Flag = False
    logical_size: int | None = None
    init_source: Text = ""
    restored_from: Text = ""
    active_time_seconds: int | None = None
    compute_time_seconds: int | None = None
    written_data_bytes: int | None = None
    data_transfer_bytes: int | None = None
    parent_timestamp: Instant = None
    created_at: Instant = None
    updated_at: Instant = None
    expires_at: Instant = None
    last_reset_at: Instant = None

    @property
    def role(self) -> str:
        """``default``, ``root`` (no parent, not the default) or ``child``."""
        if self.default:
            return "default"
        return "child" if self.parent_id else "root"

    @property
    def state(self) -> str:
        """The state for a person; an archived branch that is brought back is ``unarchiving``."""
        if self.current_state == "archived" and self.pending_state:
            return "unarchiving"
        return under_way(self.current_state, self.pending_state)

    @property
    def settled(self) -> bool:
        """Whether no change of state is under way."""
        return not self.pending_state and self.current_state in ("ready", "archived")


class EndpointSettings(Model):
    """``EndpointSettingsData``."""

    pg_settings: dict[str, str] | None = None


class Endpoint(Model):
    """``Endpoint``: a compute."""

    id: Id
    project_id: Id
    branch_id: Id
    host: Host
    name: Text = ""
    type: Text = ""
    region_id: Text = ""
    current_state: Text = ""
    pending_state: Text = ""
    disabled: Flag = False
    passwordless_access: Flag = False
    last_active: Instant = None
    started_at: Instant = None
    suspended_at: Instant = None
    created_at: Instant = None
    updated_at: Instant = None
    suspend_timeout_seconds: int = 0
    autoscaling_limit_min_cu: float = 0.0
    autoscaling_limit_max_cu: float = 0.0
    compute_release_version: Text = ""
    settings: EndpointSettings | None = None

    @property
    def pg_settings(self) -> dict[str, str]:
        """Postgres settings that the user changed for this compute."""
        return (self.settings.pg_settings if self.settings else None) or {}

    @property
    def state(self) -> str:
        """The state for a person, with the one that it is going to."""
        return under_way(self.current_state, self.pending_state)

    @property
    def replica(self) -> bool:
        """Whether it is a read replica of its branch."""
        return self.type == "read_only"

    @property
    def effective_suspend_seconds(self) -> float:
        """Seconds without activity until Neon suspends it; infinite when it never does."""
        if self.suspend_timeout_seconds < 0 or self.autoscaling_limit_max_cu > ALWAYS_ON_CU:
            return NEVER
        return float(self.suspend_timeout_seconds) or DEFAULT_SUSPEND_SECONDS

    @property
    def settled(self) -> bool:
        """Whether it sleeps and stays so, so that there is nothing new to learn until its project moves."""
        return self.current_state == "idle" and not self.pending_state


class Operation(Model):
    """``Operation``: one step of the control plane, such as start_compute. Its error text is not read."""

    id: Id
    project_id: Id
    branch_id: Text = ""
    endpoint_id: Text = ""
    action: Text = ""
    status: Text = ""
    failures_count: int = 0
    created_at: Instant = None
    updated_at: Instant = None
    total_duration_ms: int = 0


@dataclass(frozen=True, slots=True)
class MetricValue:
    """``ConsumptionMetricValue``, in the raw unit of the metric. No model: they come by the hundred thousand."""

    metric_name: str
    value: int


class Timeframe(Model):
    """``ConsumptionHistoryPerTimeframeV2``: one bucket. A metric that is zero is left out by Neon."""

    timeframe_start: Instant = None
    timeframe_end: Instant = None
    metrics: tuple[Tolerant[MetricValue], ...] = ()


class Period(Model):
    """``ConsumptionHistoryPerPeriodV2``: a part of a billing period under one plan."""

    period_id: Text = ""
    period_plan: Text = ""
    period_start: Instant = None
    period_end: Instant = None
    consumption: tuple[Tolerant[Timeframe], ...] = ()


class UsageHistory(Model):
    """``ConsumptionHistoryPerProjectV2`` and ``ConsumptionHistoryPerBranchV2``."""

    project_id: Id
    branch_id: Text = ""
    periods: tuple[Tolerant[Period], ...] = ()


class Cursor(Model):
    """``Pagination`` and ``CursorPagination``: two names for the same schema."""

    cursor: str | None = Field(default=None, validation_alias=AliasChoices("cursor", "next"))


class Page(Model, Generic[Item]):
    """One page of a list. The list itself must be there: an answer without it is no page, not an empty one."""

    items: tuple[Tolerant[Item], ...]
    pagination: Cursor | None = None
    unavailable_project_ids: tuple[str, ...] | None = None


class ProjectPage(Page[Project]):
    """GET /projects."""

    items: tuple[Tolerant[Project], ...] = Field(validation_alias="projects")


class BranchPage(Page[Branch]):
    """GET /projects/{project_id}/branches."""

    items: tuple[Tolerant[Branch], ...] = Field(validation_alias="branches")


class EndpointPage(Page[Endpoint]):
    """GET /projects/{project_id}/endpoints."""

    items: tuple[Tolerant[Endpoint], ...] = Field(validation_alias="endpoints")


class OperationPage(Page[Operation]):
    """GET /projects/{project_id}/operations."""

    items: tuple[Tolerant[Operation], ...] = Field(validation_alias="operations")


class OrganizationPage(Page[Organization]):
    """GET /users/me/organizations."""

    items: tuple[Tolerant[Organization], ...] = Field(validation_alias="organizations")


class ProjectUsagePage(Page[UsageHistory]):
    """GET /consumption_history/v2/projects."""

    items: tuple[Tolerant[UsageHistory], ...] = Field(validation_alias="projects")


class BranchUsagePage(Page[UsageHistory]):
    """GET /consumption_history/v2/branches."""

    items: tuple[Tolerant[UsageHistory], ...] = Field(validation_alias="branches")


class ProjectAnswer(Model):
    """GET /projects/{project_id}."""

    project: Project


class ErrorAnswer(Model):
    """``GeneralError``."""

    message: Text = ""
    code: Text = ""
    request_id: Text = ""
