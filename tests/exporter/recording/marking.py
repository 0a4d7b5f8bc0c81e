"""A fake Neon before the twin that plants a mark of its own in every text of every answer, in names and headers too.

Ids stay consistent: a question that names a mark is asked of the twin with what the mark stands for.
"""

from __future__ import annotations

import contextlib
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import quote, unquote

import httpx

from tests.fix_twin import Twin

MARK = re.compile(r"zq\d+x", re.IGNORECASE)
_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT")
_REFUSED = re.compile(r"spending_limit|vpc_endpoints|jwks")


class Marks:
    """A mark for each text, always the same one; ``back`` turns marks into what they stand for."""

    def __init__(self) -> None:
        self.of: dict[str, str] = {}
        self._lock = threading.Lock()

    def mark(self, text: str, field: str = "") -> str:
        with self._lock:
            if text not in self.of:
                mark = f"zq{len(self.of)}x"
                forms = {"host": f"ep-{mark}.{mark}-region.example", "email": f"{mark}@{mark}.example",
                         "message": f"project {mark} of {mark}@acme.example not found",
                         "jwks_url": f"https://{mark}.example"}  # fmt: skip
                self.of[text] = forms.get(field, mark)
            return self.of[text]

    def plant(self, tree: Any, field: str = "") -> Any:
        """Every text but instants; each object gets a field, a map and a text that nobody knows."""
        if isinstance(tree, dict):
            extra = {self.mark(f"name of {field}"): self.mark(f"unknown of {field}"), "comment": self.mark("a comment"),
                     "pg_settings": {self.mark("a setting"): self.mark("its value")}}  # fmt: skip
            kept = {name: self.plant(value, name) for name, value in tree.items()}
            return {**extra, **kept} if "metric_name" not in tree else kept
        if isinstance(tree, list):
            return [self.plant(value, field) for value in tree]
        if isinstance(tree, str) and tree and not _INSTANT.match(tree):
            return self.mark(tree, field)
        return tree

    def back(self, target: str) -> str:
        """A request target as the twin knows it."""
        marks = {mark: text for text, mark in self.of.items()}
        return MARK.sub(lambda found: quote(marks.get(found[0], found[0]), safe=""), unquote(target))


@contextlib.contextmanager
def marking_api(twin: Twin, marks: Marks) -> Iterator[str]:
    """Serve it; yields the address of the API."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        sys_version = ""

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

        def version_string(self) -> str:
            return marks.mark("a server")

        def do_GET(self) -> None:
            target = self.path.removeprefix("/api/v2")
            headers = {"Authorization": f"Bearer {twin.key}"}
            answer = httpx.get(twin.url + marks.back(target), headers=headers, trust_env=False)
            status, tree = answer.status_code, answer.json()
            if _REFUSED.search(target):
                status, tree = 403, {"request_id": "r", "code": "C", "message": "m"}
            usage = [] if "/v2/" not in target.partition("?")[0] else ["metric_name", "period_plan"]
            body = json.dumps(_restored(marks.plant(tree), tree, usage)).encode()
            self.send_response(status)
            self.send_header("Content-Type", f"application/json; x={marks.mark('a parameter')}")
            self.send_header("X-Request-Id", marks.mark("a request"))
            self.send_header("Set-Cookie", marks.mark("a cookie"))
            self.send_header(marks.mark("a header"), marks.mark("its value"))
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/api/v2"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _restored(planted: Any, tree: Any, fields: list[str]) -> Any:
    """With these fields as they were: a metric that nobody knows would be no usage."""
    if isinstance(planted, dict) and isinstance(tree, dict):
        return {
            name: tree[name] if name in fields else _restored(value, tree.get(name), fields)
            for name, value in planted.items()
        }
    if isinstance(planted, list) and isinstance(tree, list):
        return [_restored(*pair, fields) for pair in zip(planted, tree, strict=True)]
    return planted
