"""A world written down: projects, branches, computes, tenants and their work, from YAML or JSON to a World.

The control plane half of the twin reads names, regions and limits from it; the compute half reads what runs inside
(tenants, drift, slots). Unknown keys and dangling names are refused with their path: a misspelt world that still
starts would be a test that proves nothing.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from collectors.errors import UsageError
from exporter.demo.security_spec import (
    DAY,
    AccessSpec,
    CredentialSpec,
    Days,
    JwksSpec,
    KeySpec,
    MaskingSpec,
    MemberSpec,
    ShareSpec,
    SnapshotSpec,
)
from exporter.demo.world import (
    ERAS,
    Clock,
    TwinBranch,
    TwinDatabase,
    TwinEndpoint,
    TwinProject,
    TwinRole,
    TwinSnapshot,
    World,
)
from exporter.tenancy.domain.rules import FIELDS

_CLOSED = ConfigDict(extra="forbid")
BUILT_IN = ("small", "posture")
"""Worlds that come with the twin: a bookshop at work, and the good and bad states of security (no tenants)."""
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,40}$")]
Identifier = Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_]{0,62}$")]
QuotaName = Literal[
    "active_time_seconds", "compute_time_seconds", "written_data_bytes", "data_transfer_bytes", "logical_size_bytes"
]
WorkKind = Literal["reader", "writer", "mixed", "batch", "heavy"]
"""reader: point SELECTs; writer: INSERT and UPDATE; mixed: both; batch: bursts once in a while; heavy: slow scans."""


class WorldFileError(UsageError):
    """The description of a world is wrong; the message names every place, one a line."""


@dataclass(frozen=True, slots=True)
class TenantSpec:
    """One tenant of a branch: its schema, its role, and the work it does while the demo runs."""

    __pydantic_config__ = _CLOSED
    name: Name
    schema: Identifier
    role: Identifier
    calls_per_second: Annotated[float, Field(ge=0)] = 1.0
    kind: WorkKind = "mixed"
    database: Identifier | None = None
    """A database of its own; else its schema is in the branch's."""


@dataclass(frozen=True, slots=True)
class EndpointSpec:
    """One compute; CU limits and T as the API has them (``suspend_timeout`` 0 means 300 s, -1 never)."""

    __pydantic_config__ = _CLOSED
    min_cu: Annotated[float, Field(ge=0.25, le=56)] = 0.25
    max_cu: Annotated[float, Field(ge=0.25, le=56)] = 2.0
    suspend_timeout: Annotated[int, Field(ge=-1, le=604800)] = 60
    type: Literal["read_write", "read_only"] = "read_write"
    disabled: bool = False
    passwordless: bool = True


@dataclass(frozen=True, slots=True)
class BranchSpec:
    """One branch. A child starts as a copy of its parent, then runs ``drift_sql`` in the user database.

    ``slot`` names a logical replication slot with a real consumer; ``pooled`` puts a self-run PgBouncer in front.
    No tenants means that nobody ever connects: its compute stays suspended.
    """

    __pydantic_config__ = _CLOSED
    name: Name
    parent: Name | None = None
    endpoint: EndpointSpec | None = field(default_factory=EndpointSpec)
    tenants: list[TenantSpec] = field(default_factory=list)
    drift_sql: list[str] = field(default_factory=list)
    slot: Identifier | None = None
    pooled: bool = False
    protected: bool = False
    database: Identifier = "app"
    """The user database. The control plane lists its owner alone: the tenants' roles are made by SQL."""
    owner: Identifier = "app_owner"
    setup_sql: list[str] = field(default_factory=list)
    """Runs once in the user database after the tenants' schemas exist, before any drift."""
    logical_size: Annotated[int, Field(ge=0)] = 30_000_000
    """Bytes to report until a real cluster says better."""
    backup: Literal["hourly", "daily", "weekly", "monthly"] | None = None
    snapshots: list[SnapshotSpec] = field(default_factory=list)
    masking: MaskingSpec | None = None
    credentials: list[CredentialSpec] = field(default_factory=list)
    password_days_ago: Days = 0
    """When the owner's password was changed last."""
    days_ago: Days = 0
    """When it was made; its use counts from the beginning of the world."""
    expires_in_days: Days | None = None
    schema_only: bool = False
    """Made of its parent's schema, without rows."""
    archived: bool = False
    replicas: Annotated[int, Field(ge=0, le=8)] = 0
    """Read replicas beside its compute; they are never used."""


@dataclass(frozen=True, slots=True)
class ProjectSpec:
    """One project: where it is, its PostgreSQL, its history window in seconds."""

    __pydantic_config__ = _CLOSED
    name: Name
    region: Annotated[str, Field(pattern=r"^[a-z]+-[a-z0-9-]+$")]
    branches: Annotated[list[BranchSpec], Field(min_length=1)]
    pg_version: Annotated[int, Field(ge=14, le=18)] = 18
    history_retention_seconds: Annotated[int, Field(ge=0, le=2592000)] = 86400
    access: AccessSpec = field(default_factory=AccessSpec)
    shares: list[ShareSpec] = field(default_factory=list)
    jwks: list[JwksSpec] = field(default_factory=list)
    quota: dict[QuotaName, Annotated[int, Field(ge=0)]] = field(default_factory=dict)
    """Limits as the API has them; 0 is none."""


@dataclass(frozen=True, slots=True)
class DeletedSpec:
    """A deleted project, and for how many more days it can be brought back."""

    __pydantic_config__ = _CLOSED
    name: Name
    region: str = "aws-eu-central-1"
    days_ago: Days = 1
    days_left: Days = 6


@dataclass(frozen=True, slots=True)
class WorldSpec:
    """A whole world; ``plan`` is the subscription type, as the API names it."""

    __pydantic_config__ = _CLOSED
    projects: Annotated[list[ProjectSpec], Field(min_length=1)]
    org_id: Annotated[str, Field(pattern=r"^org-[a-z0-9-]{1,56}$")] = "org-twin-00000001"
    org_name: str = "Twin"
    plan: str = "launch_v3"
    neon_of: Literal["2026-02", "2026-10"] = "2026-10"
    """How Neon answers: as it did in this month."""
    spending_limit_cents: Annotated[int, Field(ge=1)] | None = None
    managed_by: Literal["console", "vercel"] = "console"
    deleted: list[DeletedSpec] = field(default_factory=list)
    seed: int = 1
    members: list[MemberSpec] = field(default_factory=list)
    api_keys: list[KeySpec] = field(default_factory=list)
    tenancy: list[dict[str, str]] = field(default_factory=list)
    """The rules that a demo's agent knows the tenants by, as in its settings; without any, one for each role."""


def load(source: str | Path) -> WorldSpec:
    """Read a world: ``small`` or ``posture`` (built in), or the path of a YAML or JSON file.

    Raises:
        WorldFileError: it cannot be read, is malformed, or names something that is not there.
    """
    if source in BUILT_IN:
        text = resources.files("exporter.demo").joinpath("worlds", f"{source}.yaml").read_text("utf-8")
        where = str(source)
    else:
        where = str(source)
        try:
            text = Path(source).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as problem:
            raise WorldFileError(f"{where}: cannot be read: {problem}") from None
    return parse(text, where)


def parse(text: str, where: str = "world") -> WorldSpec:
    """Check the text of a world (YAML, of which JSON is a part).

    Raises:
        WorldFileError: every problem found, one a line, each with its path in the file.
    """
    try:
        raw: Any = yaml.safe_load(text)
    except yaml.YAMLError as problem:
        raise WorldFileError(f"{where}: not YAML: {' '.join(str(problem).split())}") from None
    try:
        spec = TypeAdapter(WorldSpec).validate_python(raw)
    except ValidationError as problem:
        lines = [f"{where}: {_path(error['loc'])}: {error['msg']}" for error in problem.errors(include_url=False)]
        raise WorldFileError("\n".join(lines)) from None
    problems = [f"{where}: {line}" for line in _dangling(spec)]
    if problems:
        raise WorldFileError("\n".join(problems))
    return spec


def _path(location: tuple[int | str, ...]) -> str:
    joined = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return joined.removeprefix(".") or "the top level"


def _dangling(spec: WorldSpec) -> Iterator[str]:
    for number, rule in enumerate(spec.tenancy):
        for key in sorted(rule.keys() - {"tenant", *FIELDS}):
            yield f"tenancy[{number}].{key}: unknown; a rule has tenant, {', '.join(FIELDS)}"
    seen_projects: set[str] = set()
    names = {project.name for project in spec.projects}
    for number, key_spec in enumerate(spec.api_keys):
        if key_spec.project is not None and key_spec.project not in names:
            yield f"api_keys[{number}].project: no such project: {key_spec.project!r}"
    for number, project in enumerate(spec.projects):
        at = f"projects[{number}]"
        if project.name in seen_projects:
            yield f"{at}.name: another project is called {project.name!r}"
        seen_projects.add(project.name)
        yield from _dangling_branches(project, at)


def _dangling_branches(project: ProjectSpec, at: str) -> Iterator[str]:
    known: set[str] = set()
    roots = 0
    for number, branch in enumerate(project.branches):
        here = f"{at}.branches[{number}]"
        if branch.name in known:
            yield f"{here}.name: another branch of {project.name} is called {branch.name!r}"
        roots += branch.parent is None
        if branch.parent is not None and branch.parent not in known:
            yield f"{here}.parent: no branch {branch.parent!r} above it in {project.name} (parents come first)"
        known.add(branch.name)
        if branch.endpoint is None and (branch.tenants or branch.slot or branch.pooled):
            yield f"{here}.endpoint: tenants, a slot or a pooler need a compute"
        if branch.endpoint is not None and branch.endpoint.min_cu > branch.endpoint.max_cu:
            yield f"{here}.endpoint: min_cu {branch.endpoint.min_cu:g} is over max_cu {branch.endpoint.max_cu:g}"
        for key in ("name", "schema", "role"):
            values = [getattr(tenant, key) for tenant in branch.tenants]
            for value in sorted({text for text in values if values.count(text) > 1}):
                yield f"{here}.tenants: two tenants have the {key} {value!r}"
    if roots != 1:
        yield f"{at}.branches: {roots} branches without a parent; a project has exactly one root"


def twin_id(prefix: str, *names: str) -> str:
    """A stable id in Neon's style: the name for people, a number that follows from the whole path."""
    slug = re.sub(r"[^a-z0-9]+", "-", names[-1]).strip("-")
    number = zlib.crc32("/".join((prefix, *names)).encode()) % 10**8
    return f"{prefix}-{slug}-{number:08d}".removeprefix("-")


def project_id(project: ProjectSpec) -> str:
    """The id that ``build_world`` gives a project."""
    return twin_id("", project.name)


def branch_id(project: ProjectSpec, branch: str) -> str:
    """The id that ``build_world`` gives the branch of this name."""
    return twin_id("br", project.name, branch)


def endpoint_id(project: ProjectSpec, branch: str) -> str:
    """The id that ``build_world`` gives the compute of the branch of this name."""
    return twin_id("ep", project.name, branch)


def build_world(spec: WorldSpec, clock: Clock) -> World:
    """The world as of now, everything just created and every compute suspended and never used."""
    now = clock()
    world = World(
        org_id=spec.org_id,
        org_name=spec.org_name,
        plan=spec.plan,
        clock=clock,
        era=ERAS[spec.neon_of],
        spending_limit_cents=spec.spending_limit_cents,
        managed_by=spec.managed_by,
        recoverable=[_recoverable(project, now) for project in spec.deleted],
    )
    for project in spec.projects:
        pid = project_id(project)
        world.projects[pid] = TwinProject(
            id=pid,
            name=project.name,
            region_id=project.region,
            pg_version=project.pg_version,
            history_retention_seconds=project.history_retention_seconds,
            created_at=now,
            updated_at=now,
            enable_logical_replication=any(branch.slot for branch in project.branches),
            quota={str(name): limit for name, limit in project.quota.items()},
        )
        for branch in project.branches:
            _add_branch(world, project, branch, now)
        world.security.access[pid] = project.access.made()
        world.security.shares[pid] = [share.made(now) for share in project.shares]
        world.security.jwks[pid] = [jwk.made(now) for jwk in project.jwks]
    ids = {project.name: project_id(project) for project in spec.projects}
    world.security.members = [member.made(now) for member in spec.members]
    world.security.keys = [api_key.made(now, ids.get(api_key.project or "", "")) for api_key in spec.api_keys]
    return world


def _recoverable(project: DeletedSpec, now: float) -> TwinProject:
    gone = now - project.days_ago * DAY
    return TwinProject(
        twin_id("", project.name), project.name, project.region, created_at=gone - 30 * DAY, updated_at=gone,
        deleted_at=gone, recoverable_until=now + project.days_left * DAY,
    )  # fmt: skip


def _add_branch(world: World, project: ProjectSpec, branch: BranchSpec, now: float) -> None:
    pid, bid = project_id(project), branch_id(project, branch.name)
    world.branches[bid] = TwinBranch(
        id=bid,
        project_id=pid,
        name=branch.name,
        parent_id=branch_id(project, branch.parent) if branch.parent else "",
        default=branch.parent is None,
        protected=branch.protected,
        created_at=now - branch.days_ago * DAY,
        updated_at=now - branch.days_ago * DAY,
        logical_size=branch.logical_size,
        schema_only=branch.schema_only,
        current_state="archived" if branch.archived else "ready",
        expires_at=None if branch.expires_in_days is None else now + branch.expires_in_days * DAY,
    )
    world.databases[bid] = [TwinDatabase(branch.database, branch.owner, now)]
    changed = now - branch.password_days_ago * DAY
    world.roles[bid] = [TwinRole(branch.owner, created_at=changed, updated_at=changed)]
    _secure_branch(world, branch, pid, bid, now)
    if branch.endpoint is not None:
        replicas = [f"{branch.name}-ro{number}" for number in range(branch.replicas)]
        for name in (branch.name, *replicas):
            eid = endpoint_id(project, name)
            _add_endpoint(world, bid, eid, branch.endpoint, replica=name in replicas, now=now)


def _add_endpoint(world: World, bid: str, eid: str, spec: EndpointSpec, *, replica: bool, now: float) -> None:
    world.endpoints[eid] = TwinEndpoint(
        id=eid,
        project_id=world.branches[bid].project_id,
        branch_id=bid,
        type="read_only" if replica else spec.type,
        min_cu=spec.min_cu,
        max_cu=spec.max_cu,
        suspend_timeout_seconds=spec.suspend_timeout,
        disabled=spec.disabled,
        passwordless_access=spec.passwordless,
        created_at=now,
        updated_at=now,
    )


def _secure_branch(world: World, branch: BranchSpec, pid: str, bid: str, now: float) -> None:
    if branch.backup is not None:
        world.backup_frequency[bid] = branch.backup
    for snapshot in branch.snapshots:
        made = now - snapshot.days_ago * DAY
        ends = None if snapshot.keep_days is None else made + snapshot.keep_days * DAY
        sid = twin_id("snap", bid, snapshot.name)
        world.snapshots[sid] = TwinSnapshot(
            sid, pid, bid, snapshot.name, made, snapshot.full_size, ends, snapshot.manual
        )
    if branch.masking is not None:
        world.security.masking[bid] = branch.masking.made(now, branch.database)
    world.security.credentials[bid] = [credential.made(now) for credential in branch.credentials]
