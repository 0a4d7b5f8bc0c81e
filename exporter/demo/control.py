"""The twin's own control surface, beside the API and never part of it: a person bends the control plane with curl."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from exporter.demo.faults import FaultError, Faults
from exporter.demo.lastactive import Follow, LastActive


class ControlSettings(Protocol):
    """What of a control plane's behaviour can be bent: its clocks, and commands by name."""

    skew_seconds: float
    date_skew_seconds: float

    @property
    def extra(self) -> Mapping[str, Callable[[Mapping[str, Any]], Any]]:
        """Commands by name that settings add."""


class ControlledApi(Protocol):
    """A control plane that can be bent, and what came in."""

    @property
    def settings(self) -> ControlSettings:
        """How it behaves."""

    @property
    def faults(self) -> Faults:
        """What is made to fail."""

    @property
    def last_active(self) -> LastActive:
        """How last_active follows."""

    @property
    def counts(self) -> Mapping[tuple[str, str, int], int]:
        """Requests by method, route and status."""

    @property
    def non_get(self) -> int:
        """How many requests were no GET."""


class Control:
    """Answers /_twin: GET state, GET | POST | DELETE faults, POST last_active, POST skew, and what settings add."""

    def __init__(self, api: ControlledApi) -> None:
        """Control ``api``."""
        self._api = api

    def answer(self, method: str, path: str, sent: bytes) -> tuple[int, Any]:
        """Status and JSON."""
        name = path.removeprefix("/_twin").strip("/")
        try:
            body = json.loads(sent) if sent else {}
            if not isinstance(body, dict):
                return 400, {"error": "send one JSON object"}
            return self._do(method, name, body)
        except (ValueError, FaultError) as problem:
            return 400, {"error": str(problem)}

    def _do(self, method: str, name: str, body: Mapping[str, Any]) -> tuple[int, Any]:
        api = self._api
        if name in api.settings.extra:
            return 200, api.settings.extra[name](body)
        if (method, name) == ("POST", "faults"):
            api.faults.put(body)
        elif (method, name) == ("DELETE", "faults"):
            api.faults.clear()
        elif (method, name) == ("POST", "last_active"):
            api.last_active.lag = float(body.get("lag_seconds", api.last_active.lag))
            api.last_active.follow = Follow(body.get("follow", api.last_active.follow))
        elif (method, name) == ("POST", "skew"):
            api.settings.skew_seconds = float(body.get("skew_seconds", api.settings.skew_seconds))
            api.settings.date_skew_seconds = float(body.get("date_skew_seconds", api.settings.date_skew_seconds))
        elif (method, name) not in (("GET", "faults"), ("GET", "state"), ("GET", "")):
            return 404, {"error": f"{method} /_twin/{name}: there is none"}
        return 200, self.state()

    def state(self) -> dict[str, Any]:
        """What is in force, and what came in."""
        api = self._api
        counted = sorted((method, route, status, count) for (method, route, status), count in dict(api.counts).items())
        return {
            "faults": api.faults.listing(),
            "follow": api.last_active.follow.value,
            "lag_seconds": api.last_active.lag,
            "skew_seconds": api.settings.skew_seconds,
            "date_skew_seconds": api.settings.date_skew_seconds,
            "non_get": api.non_get,
            "requests": [
                {"method": method, "route": route, "status": status, "count": count}
                for method, route, status, count in counted
            ],
        }
