"""What the twin's control plane can write: make a branch at a past instant, and delete one. Only with the write key.

As on Neon, the answer comes at once and names operations that run afterwards; while they run, another write on the
project is refused with 423. A branch made here is a real PostgreSQL behind a door of its own; it ends at its
``expires_at``, and with the twin.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from exporter.demo.answers import Json, instant
from exporter.demo.compute import Compute
from exporter.demo.front import Front, RefusedError, Visitor
from exporter.demo.history import History
from exporter.demo.meter import Meter
from exporter.demo.plane import Plane
from exporter.demo.postgres import Cluster, PostgresStartError
from exporter.demo.request import ApiError, Request
from exporter.demo.statefile import MADE
from exporter.demo.world import TwinBranch, TwinEndpoint, TwinOperation, World

_RUNNING = frozenset({"scheduling", "running"})
_READ_ONLY = {"default_transaction_read_only": "on"}
_MOST_ENDPOINTS = 1


@dataclass(slots=True)
class Made:
    """One branch that was made here, with what serves it."""

    branch: TwinBranch
    history: History
    at: float
    compute: Compute | None = None
    operations: list[TwinOperation] = field(default_factory=list)


@dataclass(slots=True)
class Ground:
    """What branches are made from."""

    world: World
    meter: Meter
    front: Front
    holder: Executor
    """Runs what starts a server, because servers end with the thread that started them."""
    cluster: Callable[[str], Cluster]
    """The (not running) cluster of a branch id."""
    histories: Mapping[str, History]
    """By the branch id of the parent."""


class Branching:
    """Answers POST and DELETE on branches; thread-safe. ``stop`` ends every branch that was made."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._made: dict[str, Made] = {}
        self._lock = threading.RLock()
        self._work: list[threading.Thread] = []
        self._ended = threading.Event()
        self._watch = threading.Thread(target=self._expire, name="twin-expiry", daemon=True)
        self._watch.start()

    def write(self, method: str, request: Request, sent: bytes, plane: Plane) -> tuple[int, Any]:
        """Status and body.

        Raises:
            ApiError: the request is wrong, or there is no such route.
        """
        parts = request.path.strip("/").split("/")
        if len(parts) < 3 or parts[0] != "projects" or parts[2] != "branches":
            raise ApiError(405, "method not allowed: the twin writes branches only")
        plane.answer(replace(request, path=f"/projects/{parts[1]}"))  # There it is, and the key opens it.
        if method == "POST" and len(parts) == 3:
            return 201, self._create(parts[1], _object(sent), request, plane)
        if method == "DELETE" and len(parts) == 4:
            return self._delete(parts[1], parts[3], request, plane)
        raise ApiError(405, "method not allowed: the twin makes and deletes branches, nothing else")

    # Making.

    def _create(self, project_id: str, body: Mapping[str, Any], request: Request, plane: Plane) -> Json:
        wanted = _part(body, "branch", dict)
        endpoints = _part(body, "endpoints", list)
        if len(endpoints) > _MOST_ENDPOINTS:
            raise ApiError(400, "the twin gives a new branch one compute at most")
        with self._lock, self._ground.world.lock:
            self._not_busy(project_id)
            made = self._new(project_id, wanted)
            if endpoints:
                made.compute = self._door(made, endpoints[0])
            world = self._ground.world
            made.operations = [self._operation(made, "create_branch", "running")]
            if made.compute is not None:
                world.endpoints[made.compute.endpoint.id] = made.compute.endpoint
                made.operations.append(self._operation(made, "start_compute", "scheduling"))
            world.branches[made.branch.id] = made.branch
            for known in (world.databases, world.roles):
                known[made.branch.id] = list(known.get(made.branch.parent_id, ()))  # type: ignore[arg-type]
            self._ground.meter.branches_changed()
            self._made[made.branch.id] = made
            answer = self._answer(made, request, plane)
        self._begin(lambda: self._fill(made))
        return answer

    def _new(self, project_id: str, wanted: Mapping[str, Any]) -> Made:
        world, now = self._ground.world, self._ground.world.clock()
        mine = [twin_branch for twin_branch in world.branches.values() if twin_branch.project_id == project_id]
        parent_id = wanted.get("parent_id") or next((twin_branch.id for twin_branch in mine if twin_branch.default), "")
        parent = next((twin_branch for twin_branch in mine if twin_branch.id == parent_id), None)
        if parent is None:
            raise ApiError(404, f"branch {parent_id} not found")
        name = wanted.get("name") or f"branch-{secrets.token_hex(3)}"
        if not isinstance(name, str) or len(name) > 256:
            raise ApiError(400, "branch.name must have 1 to 256 characters")
        if any(twin_branch.name == name for twin_branch in mine):
            raise ApiError(409, f"branch with name {name!r} already exists", "BRANCH_ALREADY_EXISTS")
        expires = _time(wanted, "expires_at")
        if expires is not None and expires <= now:
            raise ApiError(400, "branch.expires_at must be in the future")
        history, at = self._at(parent, _time(wanted, "parent_timestamp"), now)
        branch = TwinBranch(
            id=f"br-{MADE}{secrets.token_hex(4)}",
            project_id=project_id,
            name=name,
            parent_id=parent.id,
            created_at=now,
            updated_at=now,
            expires_at=expires,
            logical_size=parent.logical_size,
        )
        return Made(branch, history, at)

    def _at(self, parent: TwinBranch, wanted: float | None, now: float) -> tuple[History, float]:
        at = now if wanted is None else wanted
        history = self._ground.histories.get(parent.id)
        since = history.since if history is not None else None
        if history is None or since is None:
            raise ApiError(422, f"the twin keeps no history of branch {parent.id}")
        window = now - self._ground.world.projects[parent.project_id].history_retention_seconds
        if at < max(since, window, parent.created_at):
            raise ApiError(400, "branch.parent_timestamp is before the history of the parent branch")
        if at > now:
            raise ApiError(400, "branch.parent_timestamp is in the future")
        return history, at

    def _door(self, made: Made, wanted: Mapping[str, Any]) -> Compute:
        kind = wanted.get("type")
        if kind not in ("read_write", "read_only"):
            raise ApiError(400, "endpoints[0].type must be read_write or read_only")
        now = self._ground.world.clock()
        endpoint = TwinEndpoint(
            id=made.branch.id.replace("br-", "ep-"),
            project_id=made.branch.project_id,
            branch_id=made.branch.id,
            type=kind,
            suspend_timeout_seconds=int(wanted.get("suspend_timeout_seconds") or 0),
            created_at=now,
            updated_at=now,
            pending_state="active",
        )
        cluster = self._ground.cluster(made.branch.id)
        cluster.settings |= _READ_ONLY if kind == "read_only" else {}
        compute = Compute(self._ground.world, self._ground.meter, endpoint, cluster)
        endpoint.host = f"127.0.0.1:{self._ground.front.listen(_Ready(made, compute), 0)}"
        return compute

    def _fill(self, made: Made) -> None:
        """Replay, then start: what the operations that were announced stand for."""
        clock = self._ground.world.clock
        began = clock()
        try:
            cluster = self._ground.cluster(made.branch.id)
            self._ground.holder.submit(made.history.restore, cluster, made.at).result()
        except (PostgresStartError, OSError) as problem:
            self._finish(made.operations[0], clock() - began, f"failed: {problem}")
            for operation in made.operations[1:]:
                self._finish(operation, 0.0, "cancelled")
            return
        self._finish(made.operations[0], clock() - began)
        if made.compute is not None:
            self._start(made, made.compute)

    def _start(self, made: Made, compute: Compute) -> None:
        world, operation = self._ground.world, made.operations[1]
        operation.status, operation.created_at = "running", world.clock()
        compute.endpoint.pending_state = ""
        try:
            self._ground.holder.submit(compute.wake, Visitor("", "", "")).result()
        except RefusedError:
            self._finish(operation, 0.0, "failed")
            return
        with world.lock:  # The start recorded itself: it is the one that was announced.
            for own in [
                twin_operation
                for twin_operation in world.operations
                if twin_operation.endpoint_id == compute.endpoint.id
            ]:
                if own is not operation and own.action == "start_compute":
                    world.operations.remove(own)
            self._finish(operation, world.clock() - operation.created_at)

    # Deleting.

    def _delete(self, project_id: str, branch_id: str, request: Request, plane: Plane) -> tuple[int, Any]:
        with self._lock, self._ground.world.lock:
            branch = self._ground.world.branches.get(branch_id)
            if branch is None or branch.project_id != project_id:
                return 204, None
            if branch.default or branch.protected or not branch.parent_id:
                raise ApiError(422, "cannot delete a root, default or protected branch")
            if any(twin_branch.parent_id == branch_id for twin_branch in self._ground.world.branches.values()):
                raise ApiError(422, "cannot delete a branch that has child branches")
            made = self._made.get(branch_id)
            if made is None:
                raise ApiError(422, "the twin deletes only branches that were made over its API")
            self._not_busy(project_id)
            answer = self._answer(made, request, plane)
            made.operations = [self._operation(made, "delete_timeline", "running")]
            if made.compute is not None:
                made.operations.insert(0, self._operation(made, "suspend_compute", "running"))
            told = [self._told(operation, plane, request) for operation in made.operations]
            self._forget(made)
        self._begin(lambda: self._remove(made))
        return 200, {"branch": answer["branch"], "operations": told}

    def _forget(self, made: Made) -> None:
        world = self._ground.world
        self._made.pop(made.branch.id, None)
        if made.compute is not None:
            self._ground.front.shut(int(made.compute.endpoint.host.rpartition(":")[2]))
            world.endpoints.pop(made.compute.endpoint.id, None)

    def _remove(self, made: Made) -> None:
        world = self._ground.world
        began = world.clock()
        if made.compute is not None:
            self._ground.holder.submit(made.compute.close).result()  # Its last figures need the branch to be there.
        with world.lock:
            for known in (world.branches, world.databases, world.roles):
                known.pop(made.branch.id, None)
        self._ground.meter.branch_ended(made.branch.id, world.clock())
        shutil.rmtree(self._ground.cluster(made.branch.id).data_dir, ignore_errors=True)
        for operation in made.operations:
            self._finish(operation, world.clock() - began)

    # Both.

    def _not_busy(self, project_id: str) -> None:
        if any(
            operation.project_id == project_id and operation.status in _RUNNING
            for operation in self._ground.world.operations
        ):
            raise ApiError(
                423, "project already has running conflicting operations, scheduling of new ones is prohibited"
            )

    def _operation(self, made: Made, action: str, status: str) -> TwinOperation:
        compute = made.compute.endpoint.id if made.compute is not None and action.endswith("compute") else ""
        operation = TwinOperation(
            id=f"{secrets.token_hex(4)}-0000-4000-8000-{secrets.token_hex(6)}",
            project_id=made.branch.project_id,
            branch_id=made.branch.id,
            endpoint_id=compute,
            action=action,
            created_at=self._ground.world.clock(),
            status=status,
        )
        self._ground.world.operations.append(operation)
        return operation

    def _finish(self, operation: TwinOperation, seconds: float, how: str = "finished") -> None:
        with self._ground.world.lock:
            operation.status, operation.duration_seconds = how.partition(":")[0], max(0.0, seconds)

    def _answer(self, made: Made, request: Request, plane: Plane) -> Json:
        at = f"/projects/{made.branch.project_id}/branches/{made.branch.id}"

        def said(path: str) -> Json:
            return plane.answer(replace(request, path=path, query={}))

        return {
            "branch": said(at)["branch"] | {"parent_timestamp": instant(made.at)},
            "endpoints": said(f"{at}/endpoints")["endpoints"],
            "operations": [self._told(operation, plane, request) for operation in made.operations],
            "roles": said(f"{at}/roles")["roles"],
            "databases": said(f"{at}/databases")["databases"],
        }

    def _told(self, operation: TwinOperation, plane: Plane, request: Request) -> Json:
        path = f"/projects/{operation.project_id}/operations"
        listed: list[Json] = plane.answer(replace(request, path=path, query={}))["operations"]
        return next(item for item in listed if item["id"] == operation.id)

    def _begin(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, name="twin-branching", daemon=True)
        self._work = [worker for worker in self._work if worker.is_alive()] + [thread]
        thread.start()

    def _expire(self) -> None:
        while not self._ended.wait(1.0):
            now = self._ground.world.clock()
            for made in list(self._made.values()):
                if made.compute is not None:
                    made.compute.account()
                if made.branch.expires_at is not None and made.branch.expires_at <= now:
                    with self._lock, self._ground.world.lock:
                        if any(operation.status in _RUNNING for operation in made.operations):
                            continue
                        self._forget(made)
                    self._remove(made)

    def stop(self) -> None:
        """End every branch that was made; nothing of them stays."""
        self._ended.set()
        self._watch.join()
        for thread in self._work:
            thread.join(60)
        for made in list(self._made.values()):
            self._forget(made)
            self._remove(made)


class _Ready:
    """A door that opens when the branch is there: who knocks while it is being made waits for it to start."""

    def __init__(self, made: Made, compute: Compute) -> None:
        self._made = made
        self._compute = compute
        self.server_port = compute.server_port
        self.connected = compute.connected
        self.sent = compute.sent

    def wake(self, visitor: Visitor) -> int:
        """As the compute, once it has something to start.

        Raises:
            RefusedError: the branch is still being made, or could not be.
        """
        if self._made.operations[0].action == "create_branch" and self._made.operations[0].status != "finished":
            raise RefusedError("the branch is not ready")
        return self._compute.wake(visitor)


def clear_made(folder: Path) -> None:
    """Remove what branches of an earlier twin, that was killed, left in the folder of the clusters."""
    for path in folder.glob(f"br-{MADE}*"):
        shutil.rmtree(path, ignore_errors=True)


def _object(sent: bytes) -> Mapping[str, Any]:
    try:
        body = json.loads(sent) if sent.strip() else {}
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise ApiError(400, "the request body is not a JSON object")
    return body


def _part(body: Mapping[str, Any], name: str, kind: type) -> Any:
    found = body.get(name)
    if found is None:
        return kind()
    if not isinstance(found, kind):
        raise ApiError(400, f"{name} has an error: it must be a JSON {'object' if kind is dict else 'array'}")
    return found


def _time(wanted: Mapping[str, Any], name: str) -> float | None:
    text = wanted.get(name)
    if text is None:
        return None
    with contextlib.suppress(ValueError, TypeError):
        found = datetime.fromisoformat(text)
        if found.tzinfo is not None:
            return found.timestamp()
    raise ApiError(400, f"branch.{name} must be an RFC 3339 timestamp")
