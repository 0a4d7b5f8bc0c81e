"""The twin's control plane over HTTP: Neon's GET routes on loopback, with its errors, its clock and its bad days.

Under /api/v2 it is Neon. Under /_twin it is the twin's own control surface: faults, counts, how last_active follows.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Protocol, Self

from collectors.errors import UsageError
from exporter.demo.answers import Answers
from exporter.demo.control import Control
from exporter.demo.faults import Fault, Faults
from exporter.demo.large import LargeUsage, LargeWorld
from exporter.demo.lastactive import Follow, LastActive
from exporter.demo.meter import Meter
from exporter.demo.plane import Plane
from exporter.demo.request import ApiError, Key, Request
from exporter.demo.view import LiveView, Usage, View
from exporter.demo.world import Clock, World
from exporter.demo.worldfile import build_world, load

PREFIX = "/api/v2"
WRITE_KEY = "twin-write-key"
"""The default key that may write, where there is a writer."""
ORG_KEY = "twin-org-key"
"""The default key of the organisation; it opens nothing outside this process."""
PERSONAL_KEY = "twin-personal-key"
"""The default key of a person in it."""


class ListenError(UsageError):
    """The address to listen on is malformed, or not on loopback: the twin's keys are no secrets."""


class Writer(Protocol):
    """Answers requests other than GET."""

    def write(self, method: str, request: Request, sent: bytes, plane: Plane) -> tuple[int, Any]:
        """Status and body.

        Raises:
            ApiError: it is refused.
        """


@dataclass(slots=True)
class TwinApiSettings:
    """How the control plane behaves.

    ``skew_seconds`` shifts its whole clock: the Date header and every instant that it stamps (not last_active, which
    the compute stamps). ``date_skew_seconds`` shifts the Date header alone. ``project_key`` opens ``key_project_id``
    alone. ``requests_per_minute`` and ``consumption_per_minute`` answer 429 past them; 0 is no limit.
    """

    org_key: str = ORG_KEY
    personal_key: str = PERSONAL_KEY
    project_key: str = "twin-project-key"
    key_project_id: str = ""
    """Empty: the first project."""
    follow: Follow = Follow.EXACT
    lag_seconds: float = 0.0
    skew_seconds: float = 0.0
    date_skew_seconds: float = 0.0
    requests_per_minute: int = 0
    consumption_per_minute: int = 0
    seed: int = 1
    extra: dict[str, Callable[[Mapping[str, Any]], Any]] = field(default_factory=dict)
    """More paths under /_twin: each takes the JSON of the request and returns JSON."""
    write_key: str = WRITE_KEY
    writer: Writer | None = None
    """Without one, whatever is no GET is answered with 405."""


@dataclass(frozen=True, slots=True)
class SeenRequest:
    """One request that came in."""

    at: float
    method: str
    route: str
    target: str
    status: int


class TwinApi:
    """A running control plane; a context manager that stops it."""

    def __init__(
        self,
        view: View,
        usage: Usage,
        settings: TwinApiSettings,
        listen: str,
        beside: Sequence[tuple[View, Usage]] = (),
    ) -> None:
        """Start to listen on ``HOST:PORT`` (port 0: a free one); ``beside`` are more organisations of the person."""
        self.settings = settings
        self.view = view
        self.faults = Faults(settings.seed)
        self.last_active = LastActive(view, settings.follow, settings.lag_seconds)
        self.requests: list[SeenRequest] = []
        """The newest 10,000."""
        self.counts: Counter[tuple[str, str, int]] = Counter()
        """By method, route (empty: none of ours) and status."""
        first = settings.key_project_id or next(iter(view.project_ids()), "")
        self.keys = {
            settings.org_key: Key("org", name="org"),
            settings.personal_key: Key("personal", name="personal"),
            settings.project_key: Key("project", first, "project"),
        }
        if settings.writer is not None:
            self.keys[settings.write_key] = Key("org", name="drill", writes=True)
        self.plane = Plane(view, usage, Answers(view, settings), self.last_active, self.keys)
        for other, used in beside:
            active = LastActive(other, settings.follow, settings.lag_seconds)
            self.plane.beside.append(Plane(other, used, Answers(other, settings), active, self.keys))
        self.control = Control(self)
        self._lock = threading.Lock()
        self._spent: dict[str, list[float]] = {}
        self.stopping = threading.Event()
        self._server = _Server(_address(listen), self)
        self._threads = [
            threading.Thread(target=self._server.serve_forever, args=(0.05,), name="twin-api", daemon=True),
            threading.Thread(target=self._watch, name="twin-last-active", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    @property
    def origin(self) -> str:
        """``http://HOST:PORT``: before /_twin."""
        host, port = self._server.server_address[:2]
        return f"http://{host if isinstance(host, str) else host.decode()}:{port}"

    @property
    def url(self) -> str:
        """What the setting ``neon.api_url`` wants."""
        return self.origin + PREFIX

    @property
    def non_get(self) -> int:
        """How many requests to the API were anything but GET."""
        with self._lock:
            return sum(count for (method, _, _), count in self.counts.items() if method != "GET")

    def stop(self) -> None:
        """Stop listening and cut every connection, kept-alive ones too: to a client the API is gone at once."""
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._server.cut_all()
        for thread in self._threads:
            thread.join(5)

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self.stop()

    def now(self) -> float:
        """What the Date header says, in unix seconds."""
        return self.view.now() + self.settings.skew_seconds + self.settings.date_skew_seconds

    def count(self, method: str, route: str, target: str, status: int) -> None:
        """Remember a request."""
        with self._lock:
            self.counts[method, route, status] += 1
            self.requests.append(SeenRequest(self.view.now(), method, route, target, status))
            del self.requests[:-10_000]

    def forget(self) -> None:
        """Start counting anew."""
        with self._lock:
            self.counts.clear()
            self.requests.clear()

    def respond(self, target: str, secret: str, path: str) -> Any:
        """The JSON of a GET.

        Raises:
            ApiError: anything but a 200.
        """
        key = self._key(secret)
        if path.startswith("/consumption_history/"):
            self._spend("consumption", self.settings.consumption_per_minute)
        self._spend("all", self.settings.requests_per_minute)
        return self.plane.answer(Request.parse(target, key))

    def write(self, method: str, target: str, secret: str, sent: bytes) -> tuple[int, Any]:
        """Status and JSON for a request other than GET.

        Raises:
            ApiError: it is refused.
        """
        if self.settings.writer is None:
            raise ApiError(405, "method not allowed: the twin answers GET only")
        key = self._key(secret)
        if not key.writes:
            raise ApiError(403, "this key may read only")
        self._spend("all", self.settings.requests_per_minute)
        return self.settings.writer.write(method, Request.parse(target, key), sent, self.plane)

    def _key(self, secret: str) -> Key:
        key = self.keys.get(secret) if secret else None
        if key is None:
            raise ApiError(401, "authentication required" if not secret else "supplied credentials do not pass")
        return key

    def _spend(self, bucket: str, per_minute: int) -> None:
        if not per_minute:
            return
        now = time.monotonic()
        with self._lock:
            spent = [at for at in self._spent.get(bucket, ()) if at > now - 60]
            self._spent[bucket] = spent
            if len(spent) >= per_minute:
                raise ApiError(429, "too many requests", "RATE_LIMITED")
            spent.append(now)

    def _watch(self) -> None:
        while not self.stopping.wait(0.25):
            self.last_active.observe()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], api: TwinApi) -> None:
        self.api = api
        self._open: set[socket.socket] = set()
        self._open_lock = threading.Lock()
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Remember the connection, and serve it on a thread."""
        with self._open_lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Close the connection, and forget it."""
        with self._open_lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def cut_all(self) -> None:
        """End the connections that are open; their threads then close them."""
        with self._open_lock:
            for entry in self._open:
                with contextlib.suppress(OSError):
                    entry.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is no news."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    server_version = "twin"
    sys_version = ""
    disable_nagle_algorithm = True
    timeout = 60

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Requests are counted, not printed."""

    def date_time_string(self, timestamp: float | None = None) -> str:
        """The twin's clock."""
        return formatdate(self.server.api.now() if timestamp is None else timestamp, usegmt=True)

    def _any(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        sent = self.rfile.read(length)
        path = self.path.partition("?")[0]
        if path.startswith("/_twin"):
            status, body = self.server.api.control.answer(self.command, path, sent)
            self._send(status, json.dumps(body).encode())
        else:
            self._neon(path.removeprefix(PREFIX), path.startswith(PREFIX + "/"), sent)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_OPTIONS = _any  # noqa: N815

    def _neon(self, path: str, ours: bool, sent: bytes) -> None:
        api = self.server.api
        route = api.plane.route_of(path) if ours else ""
        target = self.path.removeprefix(PREFIX)
        fired = api.faults.fire(route, path) if ours else {}
        if "latency" in fired and api.stopping.wait(api.faults.patience(fired, route, self._param("timeout"))):
            fired["drop"] = fired["latency"]
        if "drop" in fired:
            api.count(self.command, route, target, 0)
            self.close_connection = True
            return
        status, body, headers = 200, None, {}
        try:
            status, body = self._answer(target, path, ours, fired, sent)
            body = api.faults.bend(body, fired, self._param("cursor"))
        except ApiError as problem:
            status, headers = problem.status, _headers(problem, fired)
            body = {"request_id": str(uuid.uuid4()), "code": problem.code, "message": problem.message}
        api.count(self.command, route, target, status)
        self._send(status, api.faults.encode(body, fired), headers, cut="cut" in fired)

    def _answer(self, target: str, path: str, ours: bool, fired: Mapping[str, Fault], sent: bytes) -> tuple[int, Any]:
        if "status" in fired:
            raise ApiError(fired["status"].status, "this fault was asked for")
        if not ours:
            raise ApiError(404, "this route does not exist")
        kind, _, secret = (self.headers.get("Authorization") or "").partition(" ")
        secret = secret.strip() if kind.lower() == "bearer" else ""
        if self.command != "GET":
            return self.server.api.write(self.command, target, secret, sent)
        return 200, self.server.api.respond(target, secret, path)

    def _param(self, name: str) -> str:
        return Request.parse(self.path, Key("org")).text(name)

    def _send(self, status: int, body: bytes, headers: Mapping[str, str] | None = None, *, cut: bool = False) -> None:
        body = b"" if status == 204 else body
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[: len(body) // 2] if cut else body)
        self.close_connection = self.close_connection or cut


def _address(listen: str) -> tuple[str, int]:
    host, _, port = listen.rpartition(":")
    if not port.isdigit() or int(port) > 65535:
        raise ListenError(f"{listen!r}: write HOST:PORT (port 0: a free one)")
    if host != "localhost" and not host.startswith("127."):
        raise ListenError(f"{listen!r}: the twin listens on loopback only, such as 127.0.0.1:{port}")
    return host, int(port)


def _headers(problem: ApiError, fired: Mapping[str, Fault]) -> dict[str, str]:
    retry_after = fired["status"].retry_after if "status" in fired else None
    found = {} if retry_after is None else {"Retry-After": retry_after}
    return {**found, "Allow": "GET"} if problem.status == 405 else found


def serve(
    world: World | View,
    meter: Usage,
    settings: TwinApiSettings | None = None,
    listen: str = "127.0.0.1:0",
    beside: Sequence[tuple[World, Usage]] = (),
) -> TwinApi:
    """Serve a world's control plane until ``stop()``; a personal key sees the organisations ``beside`` it too.

    Raises:
        ListenError: the address is malformed or not on loopback.
        OSError: the address is taken or cannot be bound.
    """
    view: View = LiveView(world) if isinstance(world, World) else world
    others: list[tuple[View, Usage]] = [(LiveView(other), used) for other, used in beside]
    return TwinApi(view, meter, settings or TwinApiSettings(), listen, others)


def serve_named(
    name: str, settings: TwinApiSettings | None = None, listen: str = "127.0.0.1:0", clock: Clock = time.time
) -> TwinApi:
    """Serve ``small``, ``large:PROJECTSxBRANCHES`` or a file, without computes behind it.

    Raises:
        WorldFileError: there is no such world, or its file is wrong.
        LargeWorldError: the size is malformed.
        ListenError: the address is malformed or not on loopback.
        OSError: the address is taken or cannot be bound.
    """
    if name.startswith("large:"):
        large = LargeWorld.parse(name, clock)
        return serve(large, LargeUsage(large), settings, listen)
    world = build_world(load(name), clock)
    return serve(world, Meter(world), settings, listen)
