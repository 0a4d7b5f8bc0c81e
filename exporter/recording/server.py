"""`neonmeter replay`: a recording as an API on this machine, for the whole product or any client."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

from collectors.errors import UsageError
from exporter.pricing.domain.calendar import HOUR
from exporter.recording.answers import Replay, Reply
from exporter.recording.files import read_exchanges, read_summary

PREFIX = "/api/v2"


class ReplayServer:
    """Serves a recording until it is closed. ``url`` is what `neon.api_url` is to be."""

    def __init__(
        self,
        folder: Path,
        listen: str = "127.0.0.1:0",
        *,
        as_recorded: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Load the recording and listen.

        The instants of the recording are moved by whole hours, so that it ends now; ``as_recorded`` leaves them, and
        the Date header is then the recording's.

        Raises:
            RecordingError: the folder holds no recording.
            UsageError: the address is malformed, not on loopback, or taken.
        """
        self.summary = read_summary(folder)
        elapsed = int(clock() - float(self.summary["recorded_at"])) // HOUR * HOUR
        self.shift = 0 if as_recorded else max(0, elapsed)
        self._replay = Replay(read_exchanges(folder), self.shift)
        self._clock = clock
        self._behind = clock() - float(self.summary["recorded_at"]) if as_recorded else 0.0
        try:
            self._http = _Http(_address(listen), self)
        except OSError as problem:
            raise UsageError(f"{listen}: {problem.strerror}; choose another port, or 0 for a free one") from None
        self._thread = threading.Thread(target=self._http.serve_forever, name="replay", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Base address of the API."""
        return f"http://127.0.0.1:{self._http.server_address[1]}{PREFIX}"

    def now(self) -> float:
        """The clock of the API (unix seconds)."""
        return self._clock() - self._behind

    def answer(self, target: str, secret: str) -> Reply:
        """The answer to a GET of a request target."""
        parts = urlsplit(target)
        if not parts.path.startswith(PREFIX + "/"):
            return Reply(404, {"request_id": "", "code": "", "message": "this route does not exist"})
        if not secret:
            return Reply(401, {"request_id": "", "code": "", "message": "authentication required"})
        return self._replay.answer(parts.path.removeprefix(PREFIX), dict(parse_qsl(parts.query)))

    def close(self) -> None:
        """Stop serving."""
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], replay: ReplayServer) -> None:
        self.replay = replay
        super().__init__(address, _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is no news."""


class _Handler(BaseHTTPRequestHandler):
    server: _Http
    protocol_version = "HTTP/1.1"
    server_version = "replay"
    sys_version = ""
    disable_nagle_algorithm = True
    timeout = 60

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Nothing is printed."""

    def date_time_string(self, timestamp: float | None = None) -> str:
        """The recording's clock."""
        return formatdate(self.server.replay.now() if timestamp is None else timestamp, usegmt=True)

    def do_GET(self) -> None:
        """Answer."""
        reply = self.server.replay.answer(self.path, (self.headers.get("Authorization") or "").partition(" ")[2])
        body = b"not recorded: it was no JSON" if reply.body is None else json.dumps(reply.body).encode()
        self.send_response(reply.status)
        self.send_header("Content-Type", "application/json" if reply.body is not None else "text/plain")
        self.send_header("Content-Length", str(len(body)))
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


def _address(listen: str) -> tuple[str, int]:
    host, _, port = listen.rpartition(":")
    if not port.isdigit() or int(port) > 65535:
        raise UsageError(f"{listen!r}: write HOST:PORT (port 0: a free one)")
    if host != "localhost" and not host.startswith("127."):
        raise UsageError(f"{listen!r}: a recording is served on loopback only, such as 127.0.0.1:{port}")
    return host, int(port)
