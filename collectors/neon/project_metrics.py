"""The series that describe an organisation, its projects, branches and computes, from what the inventory read.

They hold instants, never ages: a project that did not move gives the same series, and costs nothing to publish again.
Names of things stand only on ``_info`` metrics; everything else carries ids and joins.
"""

from __future__ import annotations

from collections.abc import Sequence

from collectors.base import Observation, Status, Target
from collectors.metric import Families, Kind, Metric, Scope, Unit, Value
from collectors.neon.models import Branch, Endpoint, Organization, Project

_MANY = 20_000
"""A project may hold thousands of branches, and each has its series."""


def _gauge(scope: Scope, name: str, unit: Unit, text: str, *labels: str, worse: str = "") -> Metric:
    return Metric(name, Kind.GAUGE, unit, scope, text, labels, worse=worse, max_series=_MANY)


def _branch(name: str, unit: Unit, text: str, *labels: str) -> Metric:
    return _gauge(Scope.PROJECT, name, unit, text, "branch_id", *labels)


def _usage(name: str, unit: Unit, text: str) -> Metric:
    return Metric(name, Kind.COUNTER, unit, Scope.PROJECT, text, ("branch_id",), worse="up", max_series=_MANY)


def _endpoint(name: str, unit: Unit, text: str, *labels: str) -> Metric:
    return _gauge(Scope.PROJECT, name, unit, text, "branch_id", "endpoint_id", *labels)


ORG_INFO = _gauge(Scope.ORG, "neon_org_info", Unit.NONE, "The Neon organisation and its plan.", "org", "plan")
KNOWN_PROJECTS = _gauge(Scope.AGENT, "neon_inventory_projects", Unit.NONE, "Projects in the inventory.")
UNKNOWN_PROJECTS = _gauge(
    Scope.AGENT, "neon_inventory_unknown_projects", Unit.NONE,
    "Projects that exist but could not be read in the last round; their data is older.", worse="up",
)  # fmt: skip
UNREAD_PROJECTS = _gauge(
    Scope.AGENT, "neon_inventory_unread_projects", Unit.NONE,
    "Projects that were not read since the agent started; their data is from before.", worse="up",
)  # fmt: skip

PROJECT_INFO = _gauge(
    Scope.PROJECT, "neon_project_info", Unit.NONE, "A Neon project, for joins on project_id.",
    "project", "org_id", "region_id", "pg_version",
)  # fmt: skip
PROJECT_RETENTION = _gauge(
    Scope.PROJECT, "neon_project_history_retention_seconds", Unit.SECONDS,
    "How far back the project's branches can be restored.", worse="down",
)  # fmt: skip
PROJECT_STORAGE = _gauge(
    Scope.PROJECT, "neon_project_storage_bytes", Unit.BYTES,
    "Storage of all branches with their history (synthetic_storage_size); absent where Neon leaves it at 0.",
    worse="up",
)  # fmt: skip
PROJECT_CREATED = _gauge(
    Scope.PROJECT, "neon_project_created_timestamp_seconds", Unit.TIMESTAMP, "When the project was created."
)
PROJECT_ACTIVE = _gauge(
    Scope.PROJECT, "neon_project_last_active_timestamp_seconds", Unit.TIMESTAMP,
    "When any compute of the project was last active.",
)  # fmt: skip

BRANCH_INFO = _branch(
    "neon_branch_info", Unit.NONE, "A branch, for joins on branch_id; role is default, root or child.",
    "branch", "parent_id", "role", "protected", "init_source",
)  # fmt: skip
BRANCH_STATE = _branch(
    "neon_branch_state", Unit.NONE,
    "State of the branch (init, resetting, ready, archived); only the current one is exposed, as 1.", "state",
)  # fmt: skip
BRANCH_SIZE = _branch("neon_branch_logical_size_bytes", Unit.BYTES, "Logical size of the branch's data.")
BRANCH_CREATED = _branch("neon_branch_created_timestamp_seconds", Unit.TIMESTAMP, "When the branch was created.")
BRANCH_EXPIRES = _branch(
    "neon_branch_expires_timestamp_seconds", Unit.TIMESTAMP, "When Neon will delete the branch; absent when never."
)
BRANCH_RESET = _branch(
    "neon_branch_last_reset_timestamp_seconds", Unit.TIMESTAMP, "When the branch was last reset to its parent."
)
_PERIOD = "since the billing period began; Neon updates it with a lag, and fills it in on some plans only."
BRANCH_ACTIVE = _usage(
    "neon_branch_active_seconds_total", Unit.SECONDS, f"Wall-clock time the branch's computes were awake {_PERIOD}"
)
BRANCH_COMPUTE = _usage("neon_branch_compute_unit_seconds_total", Unit.SECONDS, f"CU-seconds of the branch {_PERIOD}")
BRANCH_WRITTEN = _usage("neon_branch_written_bytes_total", Unit.BYTES, f"WAL written by the branch {_PERIOD}")
BRANCH_TRANSFER = _usage("neon_branch_data_transfer_bytes_total", Unit.BYTES, f"Egress of the branch {_PERIOD}")

ENDPOINT_INFO = _endpoint(
    "neon_endpoint_info", Unit.NONE, "A compute endpoint, for joins on endpoint_id.",
    "endpoint", "type", "compute_release_version",
)  # fmt: skip
ENDPOINT_STATE = _endpoint(
    "neon_endpoint_state", Unit.NONE, "State of the compute: 1 for the current one (active, idle or init).", "state"
)
ENDPOINT_PENDING = _endpoint(
    "neon_endpoint_pending", Unit.NONE, "Whether the compute is changing its state at this moment."
)
ENDPOINT_DISABLED = _endpoint("neon_endpoint_disabled", Unit.NONE, "Whether connections to the compute are refused.")
ENDPOINT_ACTIVE = _endpoint(
    "neon_endpoint_last_active_timestamp_seconds", Unit.TIMESTAMP, "When Neon last saw activity in the compute."
)
ENDPOINT_STARTED = _endpoint(
    "neon_endpoint_started_timestamp_seconds", Unit.TIMESTAMP, "When the compute was last started."
)
ENDPOINT_SUSPENDED = _endpoint(
    "neon_endpoint_suspended_timestamp_seconds", Unit.TIMESTAMP, "When the compute was last suspended."
)
ENDPOINT_TIMEOUT = _endpoint(
    "neon_endpoint_suspend_timeout_seconds", Unit.SECONDS,
    "Inactivity after which Neon suspends the compute; +Inf when it never does.",
)  # fmt: skip
ENDPOINT_MIN_CU = _endpoint("neon_endpoint_autoscaling_min_cu", Unit.NONE, "Minimum compute units of the endpoint.")
ENDPOINT_MAX_CU = _endpoint("neon_endpoint_autoscaling_max_cu", Unit.NONE, "Maximum compute units of the endpoint.")

METRICS: tuple[Metric, ...] = (
    ORG_INFO, KNOWN_PROJECTS, UNKNOWN_PROJECTS, UNREAD_PROJECTS,
    PROJECT_INFO, PROJECT_RETENTION, PROJECT_STORAGE, PROJECT_CREATED, PROJECT_ACTIVE,
    BRANCH_INFO, BRANCH_STATE, BRANCH_SIZE, BRANCH_CREATED, BRANCH_EXPIRES, BRANCH_RESET,
    BRANCH_ACTIVE, BRANCH_COMPUTE, BRANCH_WRITTEN, BRANCH_TRANSFER,
    ENDPOINT_INFO, ENDPOINT_STATE, ENDPOINT_PENDING, ENDPOINT_DISABLED, ENDPOINT_ACTIVE, ENDPOINT_STARTED,
    ENDPOINT_SUSPENDED, ENDPOINT_TIMEOUT, ENDPOINT_MIN_CU, ENDPOINT_MAX_CU,
)  # fmt: skip

_ENDPOINT_STATES = ("active", "idle", "init")


def observe_organizations(organizations: Sequence[Organization], plan: str, at: float) -> list[Observation]:
    """One observation for each organisation, read ``at`` (unix seconds); ``plan`` of one that tells none."""
    found = []
    for org in organizations:
        families = Families()
        families.set(ORG_INFO, (org.name, org.plan or plan), 1)
        target = Target(Scope.ORG, (org.id,), org.name)
        found.append(Observation("inventory", target, Status.OK, at, families=families, rows=1))
    return found


def project_families(project: Project, branches: Sequence[Branch], endpoints: Sequence[Endpoint]) -> Families:
    """The series of one project. What Neon did not say is absent, never zero."""
    families = Families()
    version = "" if project.pg_version is None else str(project.pg_version)
    families.set(PROJECT_INFO, (project.name, project.org_id, project.region_id, version), 1)
    _known(families, PROJECT_RETENTION, (), project.history_retention_seconds)
    _known(families, PROJECT_STORAGE, (), project.synthetic_storage_size or None)  # 0 on paid plans: not filled in
    _known(families, PROJECT_CREATED, (), project.created_at)
    _known(families, PROJECT_ACTIVE, (), project.compute_last_active_at)
    for branch in branches:
        _add_branch(families, branch)
    for endpoint in endpoints:
        _add_endpoint(families, endpoint)
    return families


def _known(families: Families, metric: Metric, labels: tuple[str, ...], value: Value | None) -> None:
    if value is not None:
        families.set(metric, labels, value)


def _add_branch(families: Families, branch: Branch) -> None:
    """The series of one branch.

    Of the usage figures, Neon leaves some at 0 on paid plans whatever was used. A time of 0 is therefore no fact, and
    bytes of 0 are one only beside a time that was counted: nobody writes or reads while no compute is awake.
    """
    key = (branch.id,)
    protected = "true" if branch.protected else "false"
    families.set(BRANCH_INFO, (branch.id, branch.name, branch.parent_id, branch.role, protected, branch.init_source), 1)
    if branch.current_state:
        families.set(BRANCH_STATE, (branch.id, branch.current_state), 1)
    counted = bool(branch.active_time_seconds or branch.compute_time_seconds)
    for metric, value in (
        (BRANCH_SIZE, branch.logical_size),
        (BRANCH_CREATED, branch.created_at),
        (BRANCH_EXPIRES, branch.expires_at),
        (BRANCH_RESET, branch.last_reset_at),
        (BRANCH_ACTIVE, branch.active_time_seconds or None),
        (BRANCH_COMPUTE, branch.compute_time_seconds or None),
        (BRANCH_WRITTEN, branch.written_data_bytes if counted else branch.written_data_bytes or None),
        (BRANCH_TRANSFER, branch.data_transfer_bytes if counted else branch.data_transfer_bytes or None),
    ):
        _known(families, metric, key, value)


def _add_endpoint(families: Families, endpoint: Endpoint) -> None:
    key = (endpoint.branch_id, endpoint.id)
    families.set(ENDPOINT_INFO, (*key, endpoint.name, endpoint.type, endpoint.compute_release_version), 1)
    # All known states are exposed, so that `changes()` and `== 0` work; one that Neon invents later is added.
    for state in dict.fromkeys((*_ENDPOINT_STATES, endpoint.current_state)):
        if state:
            families.set(ENDPOINT_STATE, (*key, state), int(state == endpoint.current_state))
    for metric, value in (
        (ENDPOINT_PENDING, int(bool(endpoint.pending_state))),
        (ENDPOINT_DISABLED, int(endpoint.disabled)),
        (ENDPOINT_ACTIVE, endpoint.last_active),
        (ENDPOINT_STARTED, endpoint.started_at),
        (ENDPOINT_SUSPENDED, endpoint.suspended_at),
        (ENDPOINT_TIMEOUT, endpoint.effective_suspend_seconds),
        (ENDPOINT_MIN_CU, endpoint.autoscaling_limit_min_cu),
        (ENDPOINT_MAX_CU, endpoint.autoscaling_limit_max_cu),
    ):
        _known(families, metric, key, value)
