"""A scriptable control plane in memory: enough of Neon's API to count requests and to inject faults."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx

from collectors.neon.client import NeonClient

KEY = "napi_0123456789abcdefghijklmnopqrstuvwxyz"
NOW = 1_790_000_000
Handler = Callable[[httpx.Request], httpx.Response | None]


def stamp(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def http_date(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")


class ControlPlane:
    """Holds projects with branches and endpoints as dictionaries of the API's shape; `faults` run first."""

    def __init__(self) -> None:
        self.orgs: list[dict[str, Any]] = [{"id": "org-one", "name": "One", "handle": "one", "plan": "scale_v3"}]
        self.projects: dict[str, dict[str, Any]] = {}
        self.branches: dict[str, list[dict[str, Any]]] = {}
        self.endpoints: dict[str, list[dict[str, Any]]] = {}
        self.unavailable: list[str] = []
        self.now = float(NOW)
        self.requests: list[str] = []
        self.faults: list[Handler] = []
        self.page_size = 400

    def add(self, project_id: str, *, branches: int = 2, active: bool = False) -> None:
        self.projects[project_id] = {
            "id": project_id, "name": f"name of {project_id}", "org_id": "org-one", "org_name": "One",
            "region_id": "aws-eu-central-1", "platform_id": "aws", "pg_version": 18, "active_time": 10,
            "history_retention_seconds": 86400, "created_at": stamp(NOW - 9999), "updated_at": stamp(NOW - 500),
            "compute_last_active_at": stamp(NOW - 400), "synthetic_storage_size": 1000,
        }  # fmt: skip
        self.branches[project_id] = [
            {"id": f"br-{project_id}-{n}", "project_id": project_id, "name": f"b{n}", "current_state": "ready",
             "default": n == 0, "protected": n == 0, "logical_size": 100 + n, "created_at": stamp(NOW - 900),
             "updated_at": stamp(NOW - 800), **({"parent_id": f"br-{project_id}-0"} if n else {})}
            for n in range(branches)
        ]  # fmt: skip
        self.endpoints[project_id] = [
            {"id": f"ep-{project_id}", "project_id": project_id, "branch_id": f"br-{project_id}-0",
             "host": f"ep-{project_id}.eu-central-1.aws.neon.tech", "type": "read_write",
             "current_state": "active" if active else "idle", "disabled": False, "last_active": stamp(NOW - 30),
             "suspend_timeout_seconds": 0, "autoscaling_limit_min_cu": 0.25, "autoscaling_limit_max_cu": 2}
        ]  # fmt: skip

    def client(self, **options: Any) -> NeonClient:
        async def no_sleep(seconds: float) -> None:
            self.slept.append(seconds)

        self.slept: list[float] = []
        options.setdefault("sleep", no_sleep)
        options.setdefault("requests_per_minute", 1_000_000)
        options.setdefault("burst", 1_000_000)
        return NeonClient(
            "https://neon.test/api/v2", lambda: KEY, transport=httpx.MockTransport(self.answer), **options
        )

    def count(self) -> Counter[str]:
        """Requests since the last call, by route."""
        found, self.requests = Counter(self.requests), []
        return found

    def answer(self, request: httpx.Request) -> httpx.Response:
        assert request.method == "GET"
        assert request.headers["Authorization"] == f"Bearer {KEY}"
        path = request.url.path.removeprefix("/api/v2")
        self.requests.append(path)
        for fault in self.faults:
            found = fault(request)
            if found is not None:
                found.headers.setdefault("Date", http_date(self.now))
                return found
        body = self._body(path, request.url.params)
        if body is None:
            return self.reply(404, {"code": "", "message": "not found"})
        return self.reply(200, body)

    def reply(self, status: int, body: Any, **headers: str) -> httpx.Response:
        return httpx.Response(status, json=body, headers={"Date": http_date(self.now), **headers})

    def _body(self, path: str, params: httpx.QueryParams) -> Any:
        if path == "/users/me/organizations":
            return {"organizations": self.orgs}
        if path == "/projects":
            ids = sorted(self.projects.keys() - set(self.unavailable))
            after = [name for name in ids if name > params.get("cursor", "")]
            page = after[: self.page_size]
            paging = {"pagination": {"cursor": page[-1]}} if page else {}
            return {"projects": [self.projects[name] for name in page],
                    "unavailable_project_ids": self.unavailable, **paging}  # fmt: skip
        if found := re.fullmatch(r"/organizations/([^/]+)", path):
            return next((org for org in self.orgs if org["id"] == found[1]), None)
        if found := re.fullmatch(r"/projects/([^/]+)(/branches|/endpoints)?", path):
            if found[1] not in self.projects:
                return None
            if found[2] == "/branches":
                return {"branches": self.branches[found[1]]}
            if found[2] == "/endpoints":
                return {"endpoints": self.endpoints[found[1]]}
            return {"project": {**self.projects[found[1]], "owner": {"subscription_type": "launch_v3"}}}
        return None


def refuse(pattern: str, status: int, body: Any = None, **headers: str) -> Handler:
    """A fault: every path that matches is answered with this status."""

    def fault(request: httpx.Request) -> httpx.Response | None:
        if not re.search(pattern, request.url.path):
            return None
        return httpx.Response(status, json={"message": "no", "code": ""} if body is None else body, headers=headers)

    return fault
