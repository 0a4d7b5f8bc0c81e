"""Faults on demand: what a control plane does on a bad day, by route, by chance or by count, from a seed.

A fault is one JSON object, so a test puts it with a method and a person with curl:
``{"kind": "status", "route": "/projects*", "status": 429, "retry_after": 2, "count": 3}``.
"""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError

from collectors.errors import UsageError

Kind = Literal["status", "latency", "drop", "cut", "garbage", "truncated", "repeat_cursor", "unavailable"]


class FaultError(UsageError):
    """The description of a fault is wrong."""


@dataclass(slots=True)
class Fault:
    """One fault.

    ``kind``: ``status`` answers with ``status`` (and ``retry_after`` when given); ``latency`` waits ``seconds`` first
    (a list of projects with a shorter ``timeout`` comes at that time, its second half unavailable); ``drop`` closes
    the connection without a byte; ``cut`` closes it in the middle of the body; ``garbage`` answers 200 with what is no
    JSON; ``truncated`` answers half of the JSON as if it were all; ``repeat_cursor`` answers with the cursor it was
    asked with; ``unavailable`` names projects of a list as unavailable (``project_ids``, or a ``share``).
    """

    __pydantic_config__ = ConfigDict(extra="forbid")
    kind: Kind
    route: str = "*"
    """A glob over the route (``/projects/{project_id}/branches``) or the path."""
    probability: float = 1.0
    count: int | None = None
    """How often it happens; None: until it is cleared."""
    status: int = 503
    retry_after: str | None = None
    """The header as it is sent: seconds or an HTTP date."""
    seconds: float = 0.0
    project_ids: list[str] = field(default_factory=list)
    share: float = 0.0
    late: bool = False
    """The second half of a list is unavailable."""
    happened: int = 0


class Faults:
    """The faults in force. Thread-safe."""

    def __init__(self, seed: int = 1) -> None:
        """Nothing goes wrong until a fault is put."""
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self._active: list[Fault] = []

    def put(self, fault: Fault | Mapping[str, Any]) -> Fault:
        """Add one.

        Raises:
            FaultError: a mapping that describes none.
        """
        if not isinstance(fault, Fault):
            try:
                fault = TypeAdapter(Fault).validate_python(dict(fault))
            except ValidationError as problem:
                lines = (f"{'.'.join(map(str, error['loc']))}: {error['msg']}" for error in problem.errors())
                raise FaultError("; ".join(lines)) from None
        with self._lock:
            self._active.append(fault)
        return fault

    def clear(self) -> None:
        """Nothing goes wrong any more."""
        with self._lock:
            self._active.clear()

    def listing(self) -> list[dict[str, Any]]:
        """The faults in force and how often each happened."""
        with self._lock:
            return [asdict(fault) for fault in self._active]

    def fire(self, route: str, path: str) -> dict[str, Fault]:
        """The faults that happen to this request, at most one of a kind."""
        fired: dict[str, Fault] = {}
        with self._lock:
            for fault in self._active:
                if fault.kind in fired or not (fnmatchcase(route, fault.route) or fnmatchcase(path, fault.route)):
                    continue
                if fault.count is not None and fault.happened >= fault.count:
                    continue
                if fault.probability < 1 and self._random.random() >= fault.probability:
                    continue
                fault.happened += 1
                fired[fault.kind] = fault
        return fired

    def patience(self, fired: dict[str, Fault], route: str, timeout: str) -> float:
        """Seconds to wait for a latency; a list of projects that runs into its ``timeout`` (ms) will be partial."""
        latency = fired["latency"].seconds
        if route != "/projects" or not timeout.isdigit() or latency * 1000 <= int(timeout):
            return latency
        fired.setdefault("unavailable", Fault("unavailable", late=True))
        return int(timeout) / 1000

    def bend(self, body: Any, fired: Mapping[str, Fault], cursor: str) -> Any:
        """Change the JSON of an answer; ``cursor`` is what the request was asked with."""
        if "unavailable" in fired and isinstance(body, dict) and "projects" in body:
            body = self._hide(body, fired["unavailable"])
        if "repeat_cursor" in fired and cursor and isinstance(body, dict):
            name = "next" if "branches" in body and "annotations" in body else "cursor"
            body = {**body, "pagination": {**body.get("pagination", {}), name: cursor}}
        return body

    def _hide(self, body: dict[str, Any], fault: Fault) -> dict[str, Any]:
        ids = [row["id"] for row in body["projects"]]
        late = set(ids[len(ids) // 2 :]) if fault.late else set()
        with self._lock:
            hidden = [
                project_id
                for project_id in ids
                if project_id in late or project_id in fault.project_ids or self._random.random() < fault.share
            ]
        left = [row for row in body["projects"] if row["id"] not in hidden]
        return {**body, "projects": left, "unavailable_project_ids": hidden}

    def encode(self, body: Any, fired: Mapping[str, Fault]) -> bytes:
        """The bytes of an answer, whole or not."""
        if "garbage" in fired:
            with self._lock:
                return b"<html>\xff\xfe" + self._random.randbytes(200)
        whole = json.dumps(body, separators=(",", ":")).encode()
        return whole[: len(whole) // 2] if "truncated" in fired else whole
