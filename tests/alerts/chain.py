"""A real Prometheus, a real Alertmanager and a receiver of webhooks, wired by the files that we ship.

What is changed of them, so that minutes suffice: `for` and `keep_firing_for` are taken out (promtool's unit tests hold
them), waits of the routes are seconds, office hours are always, and receivers are paths of our own server.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import yaml

from exporter.demo.postgres import free_port
from tests.alerts.rules import ALERTS, files
from tests.fix_prometheus import Prometheus, binary

GRAFANA, NEONMETER = "http://grafana.example.invalid", "http://neonmeter.example.invalid"


@dataclass
class Desk:
    """Serves pages of metrics by path, and keeps what webhooks bring: (receiver, alert)."""

    pages: dict[str, Callable[[], bytes]] = field(default_factory=dict)
    received: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    url: str = ""

    def delivered(self, **labels: str) -> set[tuple[str, str]]:
        """Receivers and names of the alerts that had these labels."""
        return {
            (receiver, alert["labels"]["alertname"])
            for receiver, alert in list(self.received)
            if labels.items() <= alert["labels"].items()
        }


@contextlib.contextmanager
def workspace() -> Iterator[Desk]:
    """The server, until the block ends."""
    made = Desk()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = made.pages.get(self.path.strip("/"))
            self.send_response(404 if page is None else 200)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.end_headers()
            with contextlib.suppress(ConnectionError):
                self.wfile.write(page() if page else b"")

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            made.received.extend((self.path.strip("/"), alert) for alert in body["alerts"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name in the base class
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def routes(receiver: str) -> dict[str, Any]:
    """Our example of Alertmanager's settings, in a hurry, with every receiver a path of ``receiver``."""
    config: dict[str, Any] = yaml.safe_load((ALERTS / "alertmanager.example.yml").read_text())

    # Longer than Prometheus needs to find Alertmanager: what comes later than its group's wait is sent at once, before
    # whatever inhibits it has come.
    def hurry(route: dict[str, Any]) -> None:
        route |= {"group_wait": "20s", "group_interval": "20s", "repeat_interval": "1h"}
        route.pop("active_time_intervals", None)
        for child in route.get("routes", ()):
            hurry(child)

    hurry(config["route"])
    for entry in config["receivers"]:
        for webhook in entry["webhook_configs"]:
            webhook["url"] = f"{receiver}/{entry['name']}"
    return config


def hurried_rules(target: Path) -> list[str]:
    """Our rule files without their patience, written into ``target``; their paths."""
    made = []
    for path in files():
        loaded = yaml.safe_load(path.read_text())
        for group in loaded["groups"]:
            group["interval"] = "2s"
            for rule in group["rules"]:
                rule.pop("for", None)
                rule.pop("keep_firing_for", None)
        (target / path.name).write_text(yaml.safe_dump(loaded, sort_keys=False))
        made.append(str(target / path.name))
    return made


def scraping(pages: Sequence[str], workspace: str, targets: Sequence[str], alertmanager: int) -> dict[str, Any]:
    """Prometheus' settings: each page of the desk is an agent of the name of the page."""
    relabel = [{"target_label": "job", "replacement": "neonmeter"}, {"target_label": "instance"}]
    jobs: list[dict[str, Any]] = [
        {
            "job_name": f"neonmeter-{name}",
            "metrics_path": f"/{name}",
            "static_configs": [{"targets": [workspace]}],
            "relabel_configs": [relabel[0], relabel[1] | {"replacement": name}],
        }
        for name in pages
    ]
    jobs.append({"job_name": "neonmeter", "static_configs": [{"targets": list(targets)}]})
    return {
        "global": {
            "scrape_interval": "2s",
            "scrape_timeout": "2s",
            "evaluation_interval": "2s",
            "external_labels": {"grafana_url": GRAFANA, "neonmeter_url": NEONMETER},
        },
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{alertmanager}"]}]}]},
        "scrape_configs": jobs,
    }


@contextlib.contextmanager
def running(arguments: list[str], ready: str, folder: Path) -> Iterator[None]:
    """A server that answers on ``ready``, stopped at the end of the block.

    Raises:
        RuntimeError: it ended or did not get ready within a minute; with the end of its log.
    """
    log = folder / f"{Path(arguments[0]).name}.log"
    with log.open("wb") as out:
        process = subprocess.Popen(arguments, stdout=out, stderr=out, cwd=folder)
    try:
        for _ in range(600):
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(ready, timeout=2, trust_env=False).status_code == 200:
                    break
            if process.poll() is not None:
                raise RuntimeError(log.read_text()[-2000:])
            time.sleep(0.1)
        else:
            raise RuntimeError(log.read_text()[-2000:])
        yield
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)
        process.kill()
        process.wait()


@contextlib.contextmanager
def chain(
    pages: Mapping[str, Callable[[], bytes]],
    history: str = "",
    *,
    targets: Sequence[str] = (),
    more: Sequence[Path] = (),
) -> Iterator[tuple[Prometheus, Desk]]:
    """All of it: ``pages`` are scraped as instances by name, ``history`` (OpenMetrics) lies before them.

    ``targets`` (HOST:PORT) are agents to scrape as well, ``more`` are rule files to load as they are.
    """
    programs = [binary(name) for name in ("prometheus", "prometheus-alertmanager", "promtool")]
    with tempfile.TemporaryDirectory(prefix="neonmeter-chain-") as temporary, workspace() as board:
        folder = Path(temporary)
        board.pages |= pages
        if history:
            (folder / "history.txt").write_text(history)
            blocks = [programs[2], "tsdb", "create-blocks-from", "openmetrics", "history.txt", "data"]
            subprocess.run(blocks, cwd=folder, check=True, capture_output=True)
        alertmanager, server = free_port(), free_port()
        (folder / "alertmanager.yml").write_text(json.dumps(routes(board.url)))
        rule_files = [*hurried_rules(folder), *(str(path) for path in more)]
        config = scraping(list(pages), board.url.removeprefix("http://"), targets, alertmanager)
        (folder / "prometheus.yml").write_text(json.dumps(config | {"rule_files": rule_files}))
        notify = [
            programs[1], "--config.file=alertmanager.yml", "--storage.path=alerts", "--cluster.listen-address=",
            f"--web.listen-address=127.0.0.1:{alertmanager}", "--log.level=warn",
        ]  # fmt: skip
        scrape = [
            programs[0], "--config.file=prometheus.yml", "--storage.tsdb.path=data", "--log.level=warn",
            "--storage.tsdb.retention.time=60d", "--rules.alert.resend-delay=7s",
            f"--web.listen-address=127.0.0.1:{server}",
        ]  # fmt: skip
        with (
            running(notify, f"http://127.0.0.1:{alertmanager}/-/ready", folder),
            running(scrape, f"http://127.0.0.1:{server}/-/ready", folder),
        ):
            yield Prometheus(f"http://127.0.0.1:{server}"), board
