"""Computes of an inventory, in the terms of settings, labels and the wake policy; databases and their names."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

from collectors.base import Target
from collectors.metric import Scope
from collectors.neon.inventory import Inventory
from collectors.neon.models import Endpoint
from collectors.wake.policy import EndpointFacts
from exporter.settings.dsn import EndpointRef


@dataclass(frozen=True, slots=True)
class Compute:
    """One compute of an inventory: its address, the target of its series, and its facts for the wake policy."""

    endpoint: Endpoint
    place: EndpointRef
    target: Target
    facts: EndpointFacts

    @property
    def asleep(self) -> bool:
        """Whether the control plane says that it is suspended and stays so."""
        return self.facts.current_state == "idle" and not self.facts.pending_state


class DatabaseRef(NamedTuple):
    """One database of one branch."""

    project_id: str
    branch_id: str
    datname: str

    @property
    def branch(self) -> tuple[str, str]:
        """Project id and branch id."""
        return self.project_id, self.branch_id


def database_ref(compute: Compute, datname: str) -> DatabaseRef:
    """A database by its branch: computes come and go."""
    return DatabaseRef(compute.place.project_id, compute.place.branch_id, datname)


@lru_cache(maxsize=2)
def computes(inventory: Inventory) -> tuple[Compute, ...]:
    """Every compute of the inventory; of a project that Neon does not answer for, the state is unknown.

    Made once for each inventory: whoever reads a new one calls this in a worker thread before anybody else.
    """
    found = []
    for endpoint in inventory.endpoints.values():
        project, branch = inventory.projects.get(endpoint.project_id), inventory.branches.get(endpoint.branch_id)
        project_name = project.name if project else endpoint.project_id
        branch_name = branch.name if branch else endpoint.branch_id
        place = EndpointRef(
            endpoint.id, endpoint.host, endpoint.project_id, project_name, endpoint.branch_id, branch_name
        )  # fmt: skip
        labels = (endpoint.project_id, endpoint.branch_id, endpoint.id)
        target = Target(Scope.ENDPOINT, labels, f"{project_name}/{branch_name}")
        holding = inventory.holdings.get(endpoint.project_id)
        read_at = (inventory.taken_at if holding is None else holding.read_at) + policy_offset(inventory)
        facts = _facts(endpoint, read_at, unknown=endpoint.project_id in inventory.unknown_project_ids)
        if endpoint.project_id in inventory.unread_project_ids:
            # What was so before our start is no evidence of anything now.
            facts = replace(facts, pending_state="", last_active=None, started_at=None, suspended_at=None, read_at=None)
        found.append(Compute(endpoint, place, target, facts))
    return tuple(found)


def policy_offset(inventory: Inventory) -> float:
    """What the wake policy adds to our clock: it goes by the later of our clock and the API's.

    An activity is then never taken for younger than it is, whichever of the two is behind. Both ahead of the truth
    only means fewer visits.
    """
    return max(0.0, inventory.skew)


def _facts(endpoint: Endpoint, read_at: float, *, unknown: bool) -> EndpointFacts:
    return EndpointFacts(
        endpoint_id=endpoint.id,
        current_state="unknown" if unknown else endpoint.current_state,
        pending_state=endpoint.pending_state,
        disabled=endpoint.disabled,
        last_active=endpoint.last_active,
        started_at=endpoint.started_at,
        suspend_timeout_seconds=endpoint.suspend_timeout_seconds,
        max_cu=endpoint.autoscaling_limit_max_cu,
        read_at=read_at,
        suspended_at=endpoint.suspended_at,
    )
