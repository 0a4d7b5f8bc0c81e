"""Draws the dashboards by Grafana's own panel components: bundles the page, serves it beside Prometheus, takes PNGs."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlencode

import httpx

from tests.dashboards.chromium import Browser
from tests.dashboards.seeded.exposition import END, SCRAPE_SECONDS
from tests.dashboards.seeded.places import PLACES

ROOT = Path(__file__).parents[2]
PANELS = ROOT / "tests" / "panels"
BOARDS = ROOT / "dashboards"
THEMES = ("dark", "light")
WIDTH = 1600
CHOSEN = {
    "neonmeter-endpoint": {
        "project_id": PLACES[0].project_id,
        "branch_id": PLACES[0].branch_id,
        "endpoint_id": PLACES[0].endpoint_id,
    }
}
"""What is chosen on a dashboard that one comes to by a link; everything on the others."""
LINKS = """[...document.querySelectorAll('a[href*="/d/"]')].map((each) => each.getAttribute('href'))"""
DRAW_SECONDS = 120.0
PAGE = b"""<!doctype html><html><head><meta charset="utf-8"><link rel="stylesheet" href="/main.css"></head>
<body style="margin:0"><div id="root"></div><script src="/main.js"></script></body></html>"""
KINDS = {".js": "text/javascript", ".css": "text/css", ".json": "application/json", ".svg": "image/svg+xml"}


@dataclass(frozen=True)
class Drawn:
    """One picture and what became of each panel: ``drawn``, ``nodata`` or ``error``."""

    board: str
    theme: str
    png: bytes
    panels: Sequence[Mapping[str, str]]
    links: Sequence[str] = ()

    def not_drawn(self) -> list[str]:
        """Panels that are not drawn, with the reason."""
        return [
            f"{panel['id']} {panel['title']}: {panel['state']} {panel.get('error') or ''}".strip()
            for panel in self.panels
            if panel["state"] != "drawn"
        ]


def why_not() -> str:
    """What is missing for drawing; empty when nothing is."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        return "node and npm are not installed (apt-get install nodejs npm)"
    if not (PANELS / "node_modules" / "@grafana" / "ui").exists():
        return "Grafana's components are not installed (npm ci --prefix tests/panels)"
    return ""


def bundle(out: Path) -> Path:
    """Bundle the page into a folder."""
    done = subprocess.run(
        ["node", "build.mjs", str(out)], cwd=PANELS, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return out


@contextlib.contextmanager
def serving_page(out: Path, prometheus: str) -> Iterator[str]:
    """The page, the dashboards and Prometheus under one address on loopback."""
    images = PANELS / "node_modules" / "@grafana" / "ui" / "dist" / "public" / "img"

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.split("?")[0]
            if path == "/":
                return self._send(200, "text/html", PAGE)
            if path.startswith("/public/build/img/"):
                return self._file(images, path.removeprefix("/public/build/img/"))
            if path.startswith("/boards/"):
                return self._file(BOARDS, path.removeprefix("/boards/"))
            return self._file(out, path.removeprefix("/"))

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            answer = httpx.post(
                f"{prometheus}{self.path}", content=body, timeout=300, trust_env=False,
                headers={"Content-Type": "application/x-www-form-urlencoded"},
            )  # fmt: skip
            self._send(answer.status_code, "application/json", answer.content)

        def _file(self, folder: Path, name: str) -> None:
            path = (folder / name).resolve()
            if not path.is_relative_to(folder.resolve()) or not path.is_file():
                return self._send(404, "text/plain", b"")
            return self._send(200, KINDS.get(path.suffix, "application/octet-stream"), path.read_bytes())

        def _send(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def draw(
    browser: Browser, url: str, uid: str, theme: str, *, spoilt: Mapping[str, str] | None = None
) -> Drawn:  # fmt: skip
    """Draw one dashboard as it looks at the end of the seeded world, as after a click on what is worst there.

    ``spoilt`` puts other queries in place of panels' first ones, to see that it is noticed.
    """
    name = uid.removeprefix("neonmeter-")
    chosen = {f"var-{name}": value for name, value in CHOSEN.get(uid, {}).items()}
    view = {"board": name, "theme": theme, "to": END, "scrape": SCRAPE_SECONDS}
    with browser.page(f"{url}/?{urlencode({**view, **chosen, **(spoilt or {})})}", WIDTH, 1000) as page:
        panels = page.wait("window.__drawn", DRAW_SECONDS)
        height = page.evaluate("document.documentElement.scrollHeight")
        return Drawn(uid, theme, page.picture(WIDTH, height), panels, page.evaluate(LINKS))
