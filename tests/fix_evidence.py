"""Plays an account of `tests/evidence` as a Neon API on loopback: what was recorded or quoted, and 404 for the rest."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import yaml

FILE = Path(__file__).parent / "evidence" / "accounts.yaml"
PREFIX = "/api/v2"
TELLING = ("org_id", "recoverable")
"""The parameters that choose an answer; the others page, limit and time out."""


def accounts() -> dict[str, dict[str, Any]]:
    """Every account, by name: its answers by path."""
    found: dict[str, dict[str, Any]] = yaml.safe_load(FILE.read_text("utf-8"))
    return found


class EvidenceServer(ThreadingHTTPServer):
    """One account; ``paths`` are the requests that came, ``answers`` may be changed while it runs."""

    daemon_threads = True

    def __init__(self, answers: dict[str, Any]) -> None:
        self.answers = dict(answers)
        self.paths: list[str] = []
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        """What ``neon.api_url`` is set to."""
        return f"http://127.0.0.1:{self.server_address[1]}{PREFIX}"


class _Handler(BaseHTTPRequestHandler):
    server: EvidenceServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        parts = urlsplit(self.path.removeprefix(PREFIX))
        query = dict(parse_qsl(parts.query))
        telling = urlencode([(name, query[name]) for name in TELLING if name in query])
        path = f"{parts.path}?{telling}" if telling else parts.path
        self.server.paths.append(path)
        status, body = self.server.answers.get(path, (404, {"code": "", "message": "not found"}))
        if "cursor" in query:  # Every list has a cursor, also on its only page; what follows is empty.
            body = {name: [] for name, value in body.items() if isinstance(value, list)}
        sent = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(sent)))
        self.end_headers()
        self.wfile.write(sent)

    def date_time_string(self, timestamp: float | None = None) -> str:
        """As any server says it."""
        return formatdate(timestamp, usegmt=True)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Requests are remembered, not printed."""


@contextmanager
def playing(name: str) -> Iterator[EvidenceServer]:
    """The account of this name, until the end of the block."""
    server = EvidenceServer(accounts()[name])
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
