"""A control plane on loopback that answers as public evidence says Neon does; it shares no code with the twin.

Two uses: it plays recorded answers back (``Recorded``), and it computes those of a small account of which every figure
follows from a few numbers (``Account``), so that a test can work out the bill without any code of the product.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

HOUR, GB = 3600, 10**9
PREFIX = "/api/v2"
ORG = "org-quiet-wave-10000001"
Reply = tuple[int, Any]
Answer = Callable[[str, Mapping[str, str]], Reply]


def stamp(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def instant(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())


def refusal(status: int, words: str) -> Reply:
    return status, {"code": "", "message": words, "request_id": "00000000-0000-4000-8000-000000000000"}


@dataclass
class Server:
    """Where it listens, and what was asked: path, parameters, status."""

    url: str
    asked: list[tuple[str, Mapping[str, str], int]] = field(default_factory=list)

    def statuses(self, path: str) -> list[int]:
        return [status for asked, _, status in self.asked if asked == path]


@contextmanager
def serve(answer: Answer, clock: Callable[[], float] = time.time) -> Iterator[Server]:
    """Serve until the block ends; ``clock`` is what the Date header says."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """Nothing is printed."""

        def date_time_string(self, timestamp: float | None = None) -> str:
            return formatdate(clock() if timestamp is None else timestamp, usegmt=True)

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            path = parts.path.removeprefix(PREFIX)
            params = {name: values[-1] for name, values in parse_qs(parts.query).items()}
            status, body = answer(path, params)
            server.asked.append((path, params, status))
            sent = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(sent)))
            self.end_headers()
            self.wfile.write(sent)

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listening.daemon_threads = True
    server = Server(f"http://127.0.0.1:{listening.server_address[1]}{PREFIX}")
    thread = threading.Thread(target=listening.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        listening.shutdown()
        listening.server_close()
        thread.join(10)


def recorded(answers: Mapping[str, Any]) -> Answer:
    """Play answers back by path; what is not among them does not exist."""
    return lambda path, params: (200, answers[path]) if path in answers else refusal(404, "not found")


@dataclass
class Account:
    """Projects of one root branch and some children, all of it constant from ``began`` on.

    Usage is known up to ``until`` and no further, as after Neon's last refresh. Sizes are bytes, ``cu`` runs for the
    first ``awake`` seconds of each hour. Everything is in unix seconds.
    """

    began: int
    until: int
    projects: int = 1
    children: int = 0
    size: int = 744 * 8192 * 4000
    child_size: int = 0
    cu: float = 0.25
    awake: int = 1800
    plan: str = "launch"
    subscription_type: str = "launch_v3"
    unit: str = "byte-month"
    clock: Callable[[], float] = time.time
    page: int = 1000

    def project_ids(self) -> list[str]:
        return [f"calm-lake-{number:08d}" for number in range(self.projects)]

    def branch_ids(self, project: str) -> list[str]:
        return [f"br-{project}-{number:04d}" for number in range(1 + self.children)]

    # The truth, for whoever checks a bill against it: exact, and without any unit of the API.

    def seconds(self, start: int, end: int) -> int:
        """Of a span, how long there was usage."""
        return max(0, min(end, self.until) - max(start, self.began))

    def awake_seconds(self, start: int, end: int) -> int:
        """Of a span, how long one compute was awake."""
        total = 0
        for hour in range(start // HOUR * HOUR, end, HOUR):
            first, last = max(start, hour, self.began), min(end, hour + self.awake, self.until)
            total += max(0, last - first)
        return total

    # What the API says.

    def answer(self, path: str, params: Mapping[str, str]) -> Reply:
        if path == "/users/me/organizations":
            return 200, {"organizations": [self._organization()]}
        if path == f"/organizations/{ORG}":
            return 200, self._organization()
        if path == "/projects":
            return self._projects(params)
        if path.startswith("/consumption_history/v2/"):
            return self._consumption(path.rpartition("/")[2], params)
        _, _, project, *rest = [*path.split("/"), ""]
        if project not in self.project_ids():
            return refusal(404, "not found")
        return self._inside(project, rest[0])

    def _organization(self) -> dict[str, Any]:
        return {"id": ORG, "name": "Quiet", "handle": "quiet", "plan": self.plan, "managed_by": "console",
                "created_at": stamp(self.began), "updated_at": stamp(self.began)}  # fmt: skip

    def _project(self, project: str) -> dict[str, Any]:
        return {"id": project, "name": project, "org_id": ORG, "platform_id": "aws", "region_id": "aws-eu-central-1",
                "pg_version": 17, "history_retention_seconds": 0, "created_at": stamp(self.began),
                "updated_at": stamp(self.began), "active_time": 0, "cpu_used_sec": 0,
                "synthetic_storage_size": 0}  # fmt: skip

    def _projects(self, params: Mapping[str, str]) -> Reply:
        rows, cursor = _paged(self.project_ids(), params)
        return 200, {"projects": [self._project(project) for project in rows], **cursor}

    def _inside(self, project: str, what: str) -> Reply:
        if what == "":
            owner = {"subscription_type": self.subscription_type, "email": "", "name": ""}
            return 200, {"project": {**self._project(project), "owner": owner}}
        if what == "branches":
            return 200, {"branches": [self._branch(project, branch) for branch in self.branch_ids(project)],
                         "pagination": {"next": "bGFzdA=="}}  # fmt: skip
        if what == "endpoints":
            return 200, {"endpoints": []}
        if what == "operations":
            return 200, {"operations": [], "pagination": {"cursor": "bGFzdA=="}}
        return refusal(404, "not found")

    def _branch(self, project: str, branch: str) -> dict[str, Any]:
        root = branch == self.branch_ids(project)[0]
        parent = {} if root else {"parent_id": self.branch_ids(project)[0]}
        return {"id": branch, "project_id": project, "name": branch, "current_state": "ready", "default": root,
                "protected": False, "logical_size": self.size if root else self.child_size, **parent,
                "created_at": stamp(self.began), "updated_at": stamp(self.began)}  # fmt: skip

    def _consumption(self, level: str, params: Mapping[str, str]) -> Reply:
        size, window = _GRANULARITIES[params["granularity"]]
        start, end = (int(size(instant(params[name]))) for name in ("from", "to"))
        if start >= end:
            return refusal(400, "'from' must be before 'to'")
        if start < size(int(self.clock()) - window):
            return refusal(406, "'from' is before the retention of this granularity")
        wanted = set(params["project_ids"].split(",")) if params.get("project_ids") else set(self.project_ids())
        metrics = set(params["metrics"].split(","))
        rows = [
            (project, branch)
            for project in self.project_ids()
            if project in wanted
            for branch in (self.branch_ids(project) if level == "branches" else [""])
        ]
        most = 1000 if level == "branches" else 100
        if not 1 <= int(params.get("limit", 10)) <= most:
            return refusal(400, "limit is out of range")
        chosen, cursor = _paged(rows, params)
        answered = [
            self._history(project, branch, start, end, params["granularity"], metrics) for project, branch in chosen
        ]
        return 200, {level: answered, **cursor}

    def _history(
        self, project: str, branch: str, start: int, end: int, granularity: str, metrics: set[str]
    ) -> dict[str, Any]:
        buckets = []
        for first, last in _buckets(start, end, granularity):
            used = self._used(project, branch, first, last)
            told = [{"metric_name": name, "value": value} for name, value in used.items() if value and name in metrics]
            if told:
                buckets.append({"timeframe_start": stamp(first), "timeframe_end": stamp(last), "metrics": told})
        period = {"period_id": "11111111-0000-4000-8000-000000000001", "period_plan": self.plan,
                  "period_start": stamp(self.began), "consumption": buckets}  # fmt: skip
        name = {"project_id": project, **({"branch_id": branch} if branch else {})}
        return {**name, "periods": [period] if buckets else []}

    def _used(self, project: str, branch: str, first: int, last: int) -> dict[str, int]:
        root = branch in ("", self.branch_ids(project)[0])
        below = self.children if not branch else 0 if root else 1
        return {
            "compute_unit_seconds": int(self.cu * self.awake_seconds(first, last)) if root else 0,
            "root_branch_bytes_month": self._stored(self.size, first, last) if root else 0,
            "child_branch_bytes_month": self._stored(self.child_size * below, first, last),
        }

    def _stored(self, size: int, first: int, last: int) -> int:
        """Bytes for the seconds of a bucket, in the unit of the account: a whole number in either."""
        byte_seconds = size * self.seconds(first, last)
        whole = HOUR if self.unit == "byte-hour" else HOUR * 744
        return (2 * byte_seconds + whole) // (2 * whole)


def _paged(rows: list[Any], params: Mapping[str, str]) -> tuple[list[Any], dict[str, Any]]:
    """A page and a cursor, which is there on the last page too."""
    start = int(params.get("cursor", "0"))
    chosen = rows[start : start + int(params.get("limit", 10))]
    return chosen, {"pagination": {"cursor": str(start + len(chosen))}} if chosen else {}


def _hour(at: int) -> int:
    return at // HOUR * HOUR


def _day(at: int) -> int:
    return at // (24 * HOUR) * 24 * HOUR


def _month(at: int) -> int:
    return int(datetime.fromtimestamp(at, UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0).timestamp())


def _buckets(start: int, end: int, granularity: str) -> Iterator[tuple[int, int]]:
    while start < end:
        step = {"hourly": HOUR, "daily": 24 * HOUR}.get(granularity)
        after = start + step if step else _month(start + 32 * 24 * HOUR)
        yield start, after
        start = after


_GRANULARITIES: Mapping[str, tuple[Callable[[int], int], int]] = {
    "hourly": (_hour, 168 * HOUR),
    "daily": (_day, 60 * 24 * HOUR),
    "monthly": (_month, 366 * 24 * HOUR),
}
"""How an instant is rounded down, and how far back the granularity goes."""
