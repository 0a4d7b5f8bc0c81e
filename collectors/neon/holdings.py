"""The state of an account as it was read: projects with their branches and computes, and the series of all of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from collectors.base import Observation, Status, Target
from collectors.metric import Families, Scope
from collectors.neon.account import Account
from collectors.neon.models import Branch, Endpoint, Organization, Project
from collectors.neon.project_metrics import KNOWN_PROJECTS, UNKNOWN_PROJECTS, UNREAD_PROJECTS, observe_organizations

NAME = "inventory"
UNREAD = "known from before the last start of neonmeter; it was not read since"


@dataclass(frozen=True, slots=True, eq=False)
class Holding:
    """One project with its branches and computes, and when which part was read (unix seconds of this machine).

    ``families`` is the same object as long as nothing in it changed, so that publishing can see that at once.
    """

    project: Project
    branches: tuple[Branch, ...]
    endpoints: tuple[Endpoint, ...]
    families: Families
    branches_at: float
    branches_marks: tuple[object, ...]
    read_at: float
    """When Neon last said what its computes do: they were read, or nothing had moved since they were read asleep."""


@dataclass(frozen=True, slots=True, eq=False)
class Inventory:
    """The account at one refresh.

    ``projects``, ``branches`` and ``endpoints`` are by id and hold the last known state also of what is in
    ``unknown_project_ids``: such a state is no ground for connecting to a compute. ``notes`` are degradations, each a
    sentence for a person. ``excluded_project_ids`` are those that the key can see and the settings leave out.
    ``server_now`` is the API's clock at the end of the round, ``skew`` that clock minus ours, both to about a second.
    ``taken_at`` is our clock. ``org_id``, ``org_name`` and ``plan`` are empty when the key does not show them, and of
    several organisations: then ``organizations`` names them.
    """

    org_id: str
    org_name: str
    plan: str
    projects: Mapping[str, Project]
    branches: Mapping[str, Branch]
    endpoints: Mapping[str, Endpoint]
    unknown_project_ids: frozenset[str]
    notes: tuple[str, ...]
    server_now: float
    skew: float
    taken_at: float
    requests: int
    holdings: Mapping[str, Holding] = field(repr=False, default_factory=dict)
    account: Account = field(repr=False, default_factory=Account)
    excluded_project_ids: frozenset[str] = frozenset()
    complete: bool = True
    """Whether these are all projects; else it is a part of a reading that is under way, and all others are unknown."""
    listed: Mapping[str, Project] = field(repr=False, default_factory=dict)
    """Every project that the settings select, as listed, also those that another shard reads; by id."""
    reread_seconds: float = 0.0
    """The age at which a project is read again though nothing in its list row moved."""
    unread_project_ids: frozenset[str] = frozenset()
    """Those of the unknown ones that were never read since our start: what is known of them is from before."""
    recalled: bool = False
    """Whether all of it is from before our start."""

    @property
    def of_account(self) -> Inventory:
        """The same with every listed project; branches and computes only of those that are read here."""
        missing = self.listed.keys() - self.projects.keys()
        return self if not missing else replace(self, projects={**self.listed, **self.projects})

    @property
    def organizations(self) -> tuple[Organization, ...]:
        """Every organisation that is watched, by id."""
        only = (Organization(id=self.org_id, name=self.org_name, plan=self.plan),) if self.org_id else ()
        return self.account.organizations or only

    @property
    def title(self) -> str:
        """The organisations for a person; empty when there is none."""
        return ", ".join(org.name or org.id for org in self.organizations)


def by_id(
    holdings: Mapping[str, Holding],
) -> tuple[dict[str, Project], dict[str, Branch], dict[str, Endpoint]]:
    """All projects, branches and computes."""
    projects = {project_id: holding.project for project_id, holding in holdings.items()}
    branches = {branch.id: branch for holding in holdings.values() for branch in holding.branches}
    endpoints = {endpoint.id: endpoint for holding in holdings.values() for endpoint in holding.endpoints}
    return projects, branches, endpoints


def observe(inventory: Inventory, *, account: bool = True) -> list[Observation]:
    """One observation for each project, one for each organisation, one of the inventory itself (scope AGENT).

    ``account``: whether the whole account's figures are shown here, and not by another shard.
    """
    at = inventory.taken_at
    # A project that Neon failed to show in a whole look is unknown, read before or not.
    unread = inventory.unread_project_ids if inventory.recalled else frozenset[str]()
    unknown = inventory.unknown_project_ids - unread
    observations = []
    for project_id, holding in inventory.holdings.items():
        if project_id in unknown:
            continue
        target = Target(Scope.PROJECT, (project_id,), holding.project.name)
        rows = 1 + len(holding.branches) + len(holding.endpoints)
        observation = Observation(NAME, target, Status.OK, at, families=holding.families, rows=rows)
        if project_id in unread:
            observation = replace(observation, status=Status.NO_DATA, at=holding.read_at, error=UNREAD)
        observations.append(observation)
    if not inventory.complete:
        return observations
    for project_id in sorted(unknown):
        name = inventory.projects[project_id].name if project_id in inventory.projects else ""
        error = "Neon did not return the project's state in the last round; the data shown is older"
        target = Target(Scope.PROJECT, (project_id,), name)
        observations.append(Observation(NAME, target, Status.UNREACHABLE, at, error=error))
    if account:
        observations += observe_organizations(inventory.organizations, inventory.plan, at)
    observations.append(observe_counts(inventory, account=account))
    return observations


def observe_counts(inventory: Inventory, *, account: bool = True) -> Observation:
    """How many projects there are, and how much is known of them (scope AGENT)."""
    failed = 0 if inventory.recalled or not inventory.complete else len(inventory.unknown_project_ids)
    families = Families()
    if account:
        families.set(KNOWN_PROJECTS, (), len(inventory.of_account.projects))
    if account or failed:  # Once for the account; by another shard only when it is trouble.
        families.set(UNKNOWN_PROJECTS, (), failed)
    if account or inventory.unread_project_ids:
        families.set(UNREAD_PROJECTS, (), len(inventory.unread_project_ids))
    target = Target(Scope.AGENT, ())
    return Observation(NAME, target, Status.OK, inventory.taken_at, families=families, rows=1)


def merged(base: Inventory | None, part: Inventory) -> Inventory:
    """What is known while a reading is under way: a part of it over what was known before.

    ``taken_at`` stays that of the last whole reading.
    """
    if base is None:
        return part
    holdings = {**base.holdings, **part.holdings}
    projects, branches, endpoints = by_id(holdings)
    arrived = part.holdings.keys()
    return replace(
        part,
        projects=projects,
        branches=branches,
        endpoints=endpoints,
        holdings=holdings,
        taken_at=base.taken_at,
        unknown_project_ids=(base.unknown_project_ids | (part.unknown_project_ids - base.holdings.keys())) - arrived,
        unread_project_ids=(base.unread_project_ids | part.unread_project_ids) - arrived,
    )
