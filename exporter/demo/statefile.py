"""What a twin keeps on disk so that a restart, clean or after kill -9, continues the same world.

One file, replaced whole: world, meter and secrets of the same instant. The clusters' data directories lie beside it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from operator import attrgetter
from pathlib import Path
from typing import Any

from collectors.errors import UsageError
from exporter.demo.world import Clock, TwinOperation, World
from exporter.demo.worldfile import WorldSpec, build_world

_FORMAT = 1
MADE = "made-"
"""In the ids of branches and computes that were made over the API, after their prefix: they end with the twin."""
# The history is written every second and only grows: rows, not objects.
_OPERATION = attrgetter(*(field.name for field in fields(TwinOperation)))


class StateError(UsageError):
    """The state folder is another world's, or damaged; the message says what to do."""


@dataclass(slots=True)
class TwinState:
    """Everything but the clusters; ``saved_at`` is the last heartbeat in unix seconds."""

    spec: str
    api_key: str = field(default_factory=lambda: f"napi_{secrets.token_hex(20)}")
    password: str = field(default_factory=lambda: secrets.token_hex(12))
    """Of the superuser and of every application role."""
    monitor_password: str = field(default_factory=lambda: secrets.token_hex(12))
    stats_password: str = field(default_factory=lambda: secrets.token_hex(12))
    """Of the statistics user of the poolers."""
    ports: dict[str, int] = field(default_factory=dict)
    """Of the API ("api") and of the poolers (by endpoint id), so that a restart is found where it was."""
    wal_base: dict[str, int] = field(default_factory=dict)
    saved_at: float = 0.0
    world: dict[str, Any] = field(default_factory=dict)
    meter: dict[str, Any] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Replace the file: a kill at any moment leaves the old one or the new one."""
        spare = path.with_name(f"{path.name}.new")
        with os.fdopen(os.open(spare, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            json.dump({"format": _FORMAT, **asdict(self)}, file, separators=(",", ":"))
        spare.replace(path)


@contextlib.contextmanager
def only_twin(folder: Path) -> Iterator[None]:
    """Hold the folder: two twins on it would stop each other's servers. A kill lets go of it.

    Raises:
        StateError: another twin holds it.
    """
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StateError(f"another twin runs on {folder}: stop it, or choose another folder") from None
        yield


def spec_digest(spec: WorldSpec) -> str:
    """A fingerprint of a description: a state folder belongs to one."""
    return hashlib.sha256(repr(spec).encode()).hexdigest()[:16]


def load_state(path: Path, spec: WorldSpec) -> TwinState | None:
    """The state of this world; None when there is none.

    Raises:
        StateError: it is another world's, or not readable.
    """
    try:
        raw = json.loads(path.read_text("utf-8"))
        if raw.pop("format") != _FORMAT:
            raise StateError(f"{path} is of another version: remove the folder to start anew")
        state = TwinState(**raw)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError, AttributeError) as problem:
        raise StateError(f"{path} is damaged ({problem}): remove the folder to start anew") from None
    if state.spec != spec_digest(spec):
        raise StateError(f"{path} holds another world: remove the folder, or choose another")
    return state


def world_to_json(world: World) -> dict[str, Any]:
    """What moves in a world: the rest follows from its description."""
    with world.lock:
        return {
            "created_at": min(project.created_at for project in world.projects.values()),
            "plan": world.plan,
            "projects": [asdict(project) for project in world.projects.values()],
            "branches": [asdict(branch) for branch in world.branches.values() if not _made(branch.id)],
            "endpoints": [asdict(endpoint) for endpoint in world.endpoints.values() if not _made(endpoint.id)],
            "operations": [_OPERATION(operation) for operation in world.operations],
        }


def _made(identifier: str) -> bool:
    return identifier[3:].startswith(MADE)


def restore_world(spec: WorldSpec, data: Mapping[str, Any], clock: Clock) -> World:
    """The world of a description as ``world_to_json`` left it.

    Raises:
        StateError: something is missing or unknown.
    """
    try:
        created_at = float(data["created_at"])
        world = build_world(spec, lambda: created_at)
        world.clock = clock
        world.plan = data["plan"]
        for kind, known in (("projects", world.projects), ("branches", world.branches), ("endpoints", world.endpoints)):
            for saved in data[kind]:
                there = known[saved["id"]]
                for name in there.__dataclass_fields__.keys() & saved.keys():
                    setattr(there, name, saved[name])
        world.operations = [TwinOperation(*row) for row in data["operations"]]
    except (KeyError, TypeError, ValueError) as problem:
        raise StateError(f"the state of the twin is damaged ({problem}): remove the folder to start anew") from None
    return world
