"""What really happened in a twin, for whoever checks an agent against it: wakes, visits, awake seconds, calls.

Served under /_twin beside the API, so that a program in another process can be held against it too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import psycopg

from exporter.demo.compute import Compute, Wake
from exporter.demo.life import Life
from exporter.demo.workload import Workload
from exporter.demo.world import World


class Account(Protocol):
    """A twin, as far as what happened in it goes."""

    @property
    def world(self) -> World:
        """Projects, branches, operations."""

    @property
    def computes(self) -> Mapping[str, Compute]:
        """The computes by endpoint id."""

    @property
    def workload(self) -> Workload:
        """What tenants did."""

    @property
    def life(self) -> Life:
        """Consumers and poolers."""


Answer = Callable[[Mapping[str, Any]], Any]


def awake_seconds(world: World, endpoint_id: str) -> float:
    """Seconds that a compute was awake by the operations history: from each start's end to the suspend's beginning."""
    total, since = 0.0, None
    with world.lock:
        mine = [operation for operation in world.operations if operation.endpoint_id == endpoint_id]
    for operation in mine:
        if operation.action == "start_compute":
            since = operation.created_at + operation.duration_seconds
        elif operation.action == "suspend_compute" and since is not None:
            total, since = total + operation.created_at - since, None
    return total if since is None else total + world.clock() - since


class Truth:
    """The twin's account of itself, since it started in this process."""

    def __init__(self, twin: Account) -> None:
        self._twin = twin

    def wakes(self, application_name: str | None = None) -> list[tuple[str, Wake]]:
        """Endpoint id and wake, oldest first; only those of one application when it is named."""
        found = [
            (compute.endpoint.id, wake) for compute in self._twin.computes.values() for wake in list(compute.wakes)
        ]
        chosen = [row for row in found if application_name in (None, row[1].application_name)]
        return sorted(chosen, key=lambda row: row[1].at)

    def paths(self) -> dict[str, Answer]:
        """What goes under /_twin: computes, workload, and the commands burst, suspend, consumers."""
        return {
            "computes": lambda _: [self._compute(compute) for compute in self._twin.computes.values()],
            "workload": lambda _: self._work(),
            "burst": self._burst,
            "suspend": self._suspend,
            "consumers": self._consumers,
        }

    def _compute(self, compute: Compute) -> dict[str, Any]:
        endpoint = compute.endpoint
        return {
            "endpoint_id": endpoint.id,
            "branch_id": endpoint.branch_id,
            "host": endpoint.host,
            "state": endpoint.current_state,
            "last_active": endpoint.last_active,
            "kept_awake_by": compute.kept_awake_by,
            "awake_seconds": awake_seconds(self._twin.world, endpoint.id),
            "wakes": [
                {"at": wake.at, "application_name": wake.application_name, "user": wake.user, "database": wake.database}
                for wake in list(compute.wakes)
            ],
            "visits": [
                {"application_name": who.application_name, "user": who.user, "database": who.database, "count": count}
                for who, count in dict(compute.visits).items()
            ],
        }

    def _work(self) -> dict[str, Any]:
        return {"done": self._twin.workload.done, "failed": self._twin.workload.failed}

    def _burst(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """``{"endpoint_id", "tenant", "calls"}``: make these calls now."""
        endpoint, tenant, calls = _named(asked, "endpoint_id"), _named(asked, "tenant"), int(asked.get("calls", 1))
        try:
            return {"done": self._twin.workload.run_burst(endpoint, tenant, calls)}
        except KeyError:
            raise ValueError(f"no tenant {tenant!r} at work on {endpoint!r}") from None
        except psycopg.Error as problem:
            raise ValueError(f"the burst broke off: {problem}") from None

    def _suspend(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """``{"endpoint_id"}``: suspend it now, whoever is connected."""
        endpoint = _named(asked, "endpoint_id")
        if endpoint not in self._twin.computes:
            raise ValueError(f"no compute {endpoint!r}")
        self._twin.computes[endpoint].suspend()
        return self._compute(self._twin.computes[endpoint])

    def _consumers(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """``{"run": true | false}``: start or stop the slots' consumers; without it, say which run."""
        life = self._twin.life
        if asked.get("run") is True:
            life.start_consumers()
        elif asked.get("run") is False:
            life.stop_consumers()
        return {"running": [endpoint for endpoint, consumer in life.consumers.items() if consumer.running]}


def _named(asked: Mapping[str, Any], name: str) -> str:
    if name not in asked:
        raise ValueError(f"send {name!r}")
    return str(asked[name])
