"""What is answered on which path. Nothing here computes: it picks bytes of the snapshot, or lays out a ready page.

``/metrics`` answers always, also while collecting is stuck, before the first publish and while draining.
"""

from __future__ import annotations

import json
import re
import time
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
    """What the server may see of the program: finished things only. Every method is called on a client's thread."""

    def snapshot(self) -> Snapshot:
        """The current generation."""

    def health(self) -> tuple[bool, str]:
        """Whether the loop's heartbeat is fresh, and one line about it."""

    def ready(self) -> tuple[bool, str]:
        """Whether first inventory and first publish are done and we are not draining, and one line about it."""

    def targets(self) -> Sequence[TargetRow]:
        """Every target with its state."""

    def config_text(self) -> str:
        """The effective settings as YAML, secrets masked."""

    def reload(self) -> tuple[bool, str]:
        """Read the settings again: swapped whole, or the old ones kept and the reason told."""

    def overview(self) -> Overview:
        """What the index page shows."""


def takes_members(accept_encoding: str) -> bool:
    """Whether a client may get our gzip stream of many members: only one that offers gzip and nothing else.

    A gzip stream may consist of members (RFC 1952), and Go's reader, which Prometheus, VictoriaMetrics and the
    OpenTelemetry collector use, reads them all; so does gunzip. Browsers, curl and httpx stop after the first member
    *without an error* and would show the first family as if it were all. What tells the two apart is the offer: Go's
    scrapers ask for exactly ``gzip``; browsers, curl --compressed, httpx and requests ask for ``gzip, deflate, ...``.
    The latter get the plain text, which on loopback is quicker anyway.
    """
    offers = [offer.strip().lower() for offer in accept_encoding.split(",") if offer.strip()]
    if len(offers) != 1:
        return False
    coding, _, weight = offers[0].partition(";")
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
        """``loopback``: we listen on loopback only, so a reload under any other host name is DNS rebinding."""
        self._view = view
        self._metrics = metrics
        self._loopback = loopback
        self._details = details or ApiPages()
        self._clock = clock
        self._get: dict[str, Callable[[Request], Response]] = {
            "/metrics": self._scrape,
            "/healthz": lambda _request: _verdict(self._view.health()),
            "/readyz": lambda _request: _verdict(self._view.ready()),
            "/targets": self._targets,
            "/config": lambda _request: text_response(200, self._view.config_text(), ("Cache-Control", "no-store")),
            "/": lambda _request: _page(render_index(self._view.overview(), self._clock())),
        }

    def answer(self, request: Request) -> Response:
        """The response to one request."""
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
            known = "/ /metrics /targets /config /healthz /readyz /api/v1/ /runbooks/"
            return text_response(404, f"not found; there is {known}")
        if request.method not in ("GET", "HEAD"):
            return text_response(405, "only GET and HEAD here", ("Allow", "GET, HEAD"))
        return handler(request)

    def _scrape(self, request: Request) -> Response:
        snapshot = self._view.snapshot()
        packed = takes_members(request.headers.get("accept-encoding", ""))
        encoding = "gzip" if packed else "identity"
        headers = [
            ("Content-Type", METRICS_TYPE),
            ("Vary", "Accept-Encoding"),
            ("ETag", f'"{snapshot.generation}-{int(snapshot.published_at)}-{encoding}"'),
            ("X-Neonmeter-Generation", str(snapshot.generation)),
        ]
        if packed:
            headers.append(("Content-Encoding", "gzip"))
        chunks, length = (snapshot.gzip, snapshot.gzip_length) if packed else (snapshot.plain, snapshot.plain_length)
        if self._metrics is not None and request.method == "GET":
            self._metrics.inc(SCRAPES, (encoding,))
            self._metrics.inc(SCRAPE_BYTES, (encoding,), length)
        return Response(200, tuple(headers), chunks, length)

    def _targets(self, request: Request) -> Response:
        rows = self._view.targets()
        wanted = parse_qs(request.query).get("format", [""])[0]
        if wanted == "json" or (not wanted and "application/json" in request.headers.get("accept", "")):
            text = json.dumps([target_as_dict(row) for row in rows], indent=1)
            body = (text + "\n").encode("utf-8", "replace")
            headers = (("Content-Type", "application/json"), ("Cache-Control", "no-store"))
            return Response(200, headers, (body,), len(body))
        return _page(render_targets(rows, self._clock()))

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
        done, text = self._view.reload()
        return text_response(200 if done else 422, text)


def refuse_reload(request: Request, *, loopback: bool) -> str:
    """Why a browser may not have this reload; empty when it may go on.

    A page anywhere can make its visitor's browser POST to our address, and browsers then send ``Origin`` (or at least
    ``Sec-Fetch-Site``). Programs like curl send neither. So: no sign of a browser, or our own page; and on loopback the
    ``Host`` must be a name of loopback, or somebody's DNS answers 127.0.0.1 for a name of theirs.
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


def _verdict(verdict: tuple[bool, str]) -> Response:
    well, text = verdict
    return text_response(200 if well else 503, text, ("Cache-Control", "no-store"))


def _runbook(request: Request) -> Response:
    html = runbooks.page(request.path)
    return text_response(404, f"no such runbook; {runbooks.PREFIX} lists all") if html is None else _page(html)


def _page(html: str) -> Response:
    body = html.encode("utf-8", "replace")
    return Response(200, _PAGE_HEADERS, (body,), len(body))
