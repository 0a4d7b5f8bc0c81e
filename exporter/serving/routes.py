"""Paths and their responses. Nothing is collected or computed here: /metrics sends the bytes of the current snapshot.

``/metrics`` always answers, also while collecting hangs, before the first publish and during shutdown.
"""

from __future__ import annotations

import json
import math
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol
from urllib.parse import parse_qs, urlsplit

from exporter.core.api_pages import PREFIX, ApiPages
from exporter.core.selfmetrics import SCRAPE_BYTES, SCRAPES, SelfMetrics
from exporter.serving import runbooks
from exporter.serving.http import Request, Response, text_response
from exporter.serving.page import Overview, TargetRow, render_index, render_targets, target_as_dict
from exporter.serving.snapshot import Snapshot

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
WATCHING = ("/metrics", "/healthz", "/readyz")
"""What watches the agent: answered also when it is flooded with other requests."""
RELOADS_A_MINUTE = 30
"""By HTTP: each one starts all schedules anew."""

_PAGE_HEADERS = (
    ("Content-Type", "text/html; charset=utf-8"),
    ("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
     "frame-ancestors 'none'"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cache-Control", "no-store"),
)  # fmt: skip

_LOOPBACK = re.compile(r"(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d{1,5})?\Z")


class View(Protocol):
    """What the routes read of the agent: finished results only. Methods are called on the threads of connections."""

    def snapshot(self) -> Snapshot:
        """The current snapshot."""

    def health(self) -> tuple[bool, str]:
        """Whether the event loop's heartbeat is fresh, and one line that says so."""

    def ready(self) -> tuple[bool, str]:
        """Whether the first inventory is published and no shutdown has begun, and one line that says so."""

    def targets(self) -> Sequence[TargetRow]:
        """All targets with their state."""

    def config_text(self) -> str:
        """The effective settings as YAML, with secrets masked."""

    def reload(self) -> tuple[bool, str]:
        """Read the settings again. False and the reason when they are invalid: the old ones then stay in effect."""

    def overview(self) -> Overview:
        """The content of the index page."""

    @property
    def identity(self) -> str:
        """Which of several agents this is; empty when there is no other."""


def accepts_members(accept_encoding: str) -> bool:
    """Whether a client may get the gzip stream of many members: only if its Accept-Encoding is gzip and nothing else.

    A gzip stream may consist of several members (RFC 1952), and Go's reader, which Prometheus, VictoriaMetrics and the
    OpenTelemetry collector use, reads all of them; so does gunzip. Browsers, curl and httpx stop after the first member
    *without an error* and would show the first family as if it were everything. The header tells them apart: Go's
    scrapers send exactly ``gzip``; browsers, curl --compressed, httpx and requests send ``gzip, deflate, ...``. The
    latter get plain text, which on loopback is faster anyway.
    """
    codings = [coding.strip().lower() for coding in accept_encoding.split(",") if coding.strip()]
    if len(codings) != 1:
        return False
    coding, _, weight = codings[0].partition(";")
    return coding.strip() == "gzip" and not re.fullmatch(r"q=0(\.0*)?", weight.replace(" ", ""))


class Routes:
    """Answers requests from a :class:`View`; pass :meth:`answer` to the server."""

    def __init__(
        self,
        view: View,
        metrics: SelfMetrics | None = None,
        *,
        loopback: bool = True,
        details: ApiPages | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``loopback``: the server listens on loopback only, so a reload under another host name is DNS rebinding."""
        self._view = view
        self._metrics = metrics
        self._loopback = loopback
        self._details = details or ApiPages()
        self._clock = clock
        self._reloading = threading.Lock()
        self._reloads: deque[float] = deque(maxlen=RELOADS_A_MINUTE)
        self._get: dict[str, Callable[[Request], Response]] = {
            "/metrics": self._scrape,
            "/healthz": lambda _request: _probe(*self._view.health()),
            "/readyz": lambda _request: _probe(*self._view.ready()),
            "/targets": self._targets,
            "/config": lambda _request: text_response(200, self._view.config_text(), ("Cache-Control", "no-store")),
            "/": lambda _request: _page(render_index(self._view.overview(), self._clock())),
        }

    def answer(self, request: Request) -> Response:
        """The response to a request, of any method and path."""
        if request.path == "/-/reload":
            if request.method != "POST":
                return text_response(405, "reload is a POST", ("Allow", "POST"))
            return self._reload(request)
        handler = self._get.get(request.path)
        if handler is None and request.path.startswith(PREFIX):
            handler = self._detail
        if handler is None and (request.path + "/").startswith(runbooks.PREFIX + "/"):
            handler = _runbook
        if handler is None:
            paths = "/ /metrics /targets /config /healthz /readyz /api/v1/ /runbooks/"
            return text_response(404, f"not found; there is {paths}")
        if request.method not in ("GET", "HEAD"):
            return text_response(405, "only GET and HEAD are allowed", ("Allow", "GET, HEAD"))
        return handler(request)

    def _scrape(self, request: Request) -> Response:
        snapshot = self._view.snapshot()
        members = accepts_members(request.headers.get("accept-encoding", ""))
        encoding = "gzip" if members else "identity"
        headers = [
            ("Content-Type", METRICS_TYPE),
            ("Vary", "Accept-Encoding"),
            ("ETag", f'"{snapshot.generation}-{int(snapshot.published_at)}-{encoding}"'),
            ("X-Neonmeter-Generation", str(snapshot.generation)),
        ]
        if members:
            headers.append(("Content-Encoding", "gzip"))
        chunks, length = (snapshot.gzip, snapshot.gzip_length) if members else (snapshot.plain, snapshot.plain_length)
        if self._metrics is not None and request.method == "GET":
            self._metrics.inc(SCRAPES, (encoding,))
            self._metrics.inc(SCRAPE_BYTES, (encoding,), length)
        return Response(200, tuple(headers), chunks, length)

    def _targets(self, request: Request) -> Response:
        rows = self._view.targets()
        wanted = parse_qs(request.query).get("format", [""])[0]
        if wanted == "json" or (not wanted and "application/json" in request.headers.get("accept", "")):
            text = json.dumps([target_as_dict(row, self._view.identity) for row in rows], indent=1)
            body = (text + "\n").encode("utf-8", "replace")
            headers = (("Content-Type", "application/json"), ("Cache-Control", "no-store"))
            return Response(200, headers, (body,), len(body))
        return _page(render_targets(rows, self._clock(), self._view.identity))

    def _detail(self, request: Request) -> Response:
        page = self._details.get(request.path)
        if page is None:
            return text_response(404, f"no such page; {PREFIX} lists all")
        headers = (("Content-Type", page.content_type), ("Cache-Control", "no-store"))
        return Response(200, headers, (page.body,), len(page.body))

    def _reload(self, request: Request) -> Response:
        refusal = refuse_reload(request, loopback=self._loopback)
        if refusal:
            return text_response(403, refusal)
        if not self._reloading.acquire(blocking=False):
            return text_response(429, "a reload is under way: wait for it", ("Retry-After", "2"))
        try:
            now = time.monotonic()
            if len(self._reloads) == RELOADS_A_MINUTE and now - self._reloads[0] < 60:
                wait = math.ceil(60 - (now - self._reloads[0]))
                text = f"more than {RELOADS_A_MINUTE} reloads within a minute: the next one in {wait} s"
                return text_response(429, text, ("Retry-After", str(wait)))
            self._reloads.append(now)
            done, text = self._view.reload()
        finally:
            self._reloading.release()
        return text_response(200 if done else 422, text)


def refuse_reload(request: Request, *, loopback: bool) -> str:
    """The reason to refuse a reload as a cross-site request; empty to accept it.

    Any web page can make its visitor's browser POST to this address, and browsers then send ``Origin`` (or at least
    ``Sec-Fetch-Site``); programs like curl send neither. So a request is accepted without these headers or from our own
    origin. On loopback ``Host`` must also be a loopback name, against DNS rebinding: a foreign name that resolves to
    127.0.0.1.
    """
    host = request.headers.get("host", "").lower()
    if loopback and host and not _LOOPBACK.match(host):
        return f"refused: the Host header names {host[:80]!r}, and this server listens on loopback only"
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin.lower()).netloc != host:
        return "refused: a page of another origin asked for it"
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return "refused: a page of another site asked for it"
    return ""


def _probe(passed: bool, text: str) -> Response:
    return text_response(200 if passed else 503, text, ("Cache-Control", "no-store"))


def _runbook(request: Request) -> Response:
    html = runbooks.page(request.path)
    return text_response(404, f"no such runbook; {runbooks.PREFIX} lists all") if html is None else _page(html)


def _page(html: str) -> Response:
    body = html.encode("utf-8", "replace")
    return Response(200, _PAGE_HEADERS, (body,), len(body))
