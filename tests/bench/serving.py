"""How quickly the snapshot is served, beside nginx with the same bytes; what a publish costs; how much memory it takes.

Run as ``python -m tests.bench.serving [--requests N]``. Everything is measured in one run and told as ratios, because
absolute times are those of this machine at this moment. Our server runs in a process of its own; requests to it and to
nginx alternate, so that noise hits both.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from collectors.base import Target
from collectors.metric import Families, Kind, Metric, Scope, Unit
from exporter.demo.postgres import free_port
from exporter.serving.http import Limits
from exporter.serving.page import Overview
from exporter.serving.render import Renderer
from exporter.serving.routes import Routes
from exporter.serving.snapshot import Snapshot, SnapshotBuilder
from tests.bench import http_servers
from tests.bench.measure import Verdict, print_verdicts

PATH = f"{os.environ.get('PATH', '')}:/usr/sbin"
FAMILIES, ROWS = 20, 5
SERIES = FAMILIES * ROWS
METRICS = [
    Metric(f"pg_bench_{i:02d}_rows_total", Kind.COUNTER, Unit.NONE, Scope.ENDPOINT, "A figure.", ("datname", "user"))
    for i in range(FAMILIES)
]


def target(number: int) -> Target:
    """A target whose labels are as long as Neon's."""
    ids = (f"calm-river-{number:08d}", f"br-cool-darkness-{number:08d}", f"ep-cool-darkness-{number:08d}")
    return Target(Scope.ENDPOINT, ids)


def reading(noise: random.Random) -> Families:
    """100 series with fresh values: a half counts, a half seconds with microseconds, as Postgres tells them."""
    families = Families()
    for i, metric in enumerate(METRICS):
        rows = {
            (f"tenant_{row}", "app_user"): noise.randrange(10**9) if i % 2 else round(noise.random() * 1e5, 6)
            for row in range(ROWS)
        }
        families.put(metric, rows)  # type: ignore[arg-type]
    return families


class _Bench:
    """Our server with a builder behind it; the view of the routes."""

    def __init__(self, targets: int) -> None:
        self.noise = random.Random(1)
        self.targets_ = [target(number) for number in range(targets)]
        self.builder = SnapshotBuilder()
        for one in self.targets_:
            self.builder.put(one.key, one, reading(self.noise))
        self.current = self.builder.publish(time.time())

    def snapshot(self) -> Snapshot:
        return self.current

    def health(self) -> tuple[bool, str]:
        return True, "bench"

    ready = reload = health

    def targets(self) -> tuple[()]:
        return ()

    def config_text(self) -> str:
        return ""

    def overview(self) -> Overview:
        return Overview(0, 0.0, 0)

    def change(self, count: int) -> None:
        """Render and publish ``count`` targets with fresh values."""
        for one in self.noise.sample(self.targets_, count):
            self.builder.put(one.key, one, reading(self.noise))
        self.current = self.builder.publish(time.time())


def serve(targets: int, server_name: str, limits: Limits) -> None:
    """The child: serves, and collects as stdin says: ``rest``, ``pace`` (each target every 15 s), ``flat`` (no pause).

    Collecting is what the program does in Python for it: series made, rendered, compressed, published, ten times a
    second. ``stop`` stops the server and answers with the seconds that took.
    """
    view = _Bench(targets)
    server = http_servers.CANDIDATES[server_name](Routes(view).answer, limits)
    server.start()
    mode = ["rest"]

    def collect() -> None:
        while mode[0] != "stop":
            if mode[0] == "rest":
                time.sleep(0.02)
                continue
            began = time.perf_counter()
            view.change(max(1, targets // 150))
            if mode[0] == "pace":
                time.sleep(max(0.0, 0.1 - (time.perf_counter() - began)))

    thread = threading.Thread(target=collect, daemon=True)
    thread.start()
    print(json.dumps({"port": server.address[1]}), flush=True)
    stopped = False
    for line in sys.stdin:
        mode[0] = line.strip()
        began = time.perf_counter()
        if mode[0] == "stop":
            server.stop()
            stopped = True
        print(json.dumps({"seconds": time.perf_counter() - began}), flush=True)
    mode[0] = "stop"
    thread.join()
    if not stopped:
        server.stop()


@contextlib.contextmanager
def child(*arguments: str) -> Iterator[tuple[dict[str, float], Callable[[str], dict[str, float]]]]:
    """One of this module's children: what it said first, and how to tell it something; it answers."""
    command = [sys.executable, "-m", "tests.bench.serving", *arguments]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    stdin, stdout = process.stdin, process.stdout

    def tell(word: str) -> dict[str, float]:
        stdin.write(word + "\n")
        stdin.flush()
        answer: dict[str, float] = json.loads(stdout.readline())
        return answer

    try:
        yield {**json.loads(stdout.readline()), "pid": process.pid}, tell
    finally:
        stdin.close()
        try:
            process.wait(20)
        finally:
            process.kill()
            stdout.close()


class Client:
    """A keep-alive client that only counts bytes, so that what is measured is the server."""

    def __init__(self, port: int, headers: str) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.request = f"GET /metrics HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n".encode()
        self.buffer = bytearray(1 << 20)

    def time(self) -> float:
        """Seconds from the request to the last byte of its answer."""
        began = time.perf_counter()
        self.socket.sendall(self.request)
        head = b""
        while b"\r\n\r\n" not in head:
            head += self.buffer[: self._receive(len(self.buffer))]
        head, _, rest = head.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        left = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]) - len(rest)
        while left:
            left -= self._receive(min(left, len(self.buffer)))
        return time.perf_counter() - began

    def _receive(self, size: int) -> int:
        count = self.socket.recv_into(self.buffer, size)
        if not count:
            raise ConnectionResetError("the server ended the connection")
        return count


NGINX = """
daemon off; worker_processes 1; pid {root}/pid; error_log {root}/error.log; {user}
events {{ worker_connections 2048; }}
http {{ access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000;
  client_body_temp_path {root}/t1; proxy_temp_path {root}/t2; fastcgi_temp_path {root}/t3; uwsgi_temp_path {root}/t4;
  scgi_temp_path {root}/t5; default_type text/plain;
  server {{ listen 127.0.0.1:{plain}; root {root}/plain; }}
  server {{ listen 127.0.0.1:{gzip}; root {root}/gzip; add_header Content-Encoding gzip; }} }}
"""


@contextlib.contextmanager
def nginx(port: int) -> Iterator[dict[str, int] | None]:
    """nginx with the bytes that our server at ``port`` hands out: ports by form; None when it is not installed."""
    program = shutil.which("nginx", path=PATH)
    if program is None:
        yield None
        return
    root = Path(tempfile.mkdtemp(prefix="neonmeter-nginx-"))
    ports = {"plain": free_port(), "gzip": free_port()}
    for form, header in FORMS.items():
        (root / form).mkdir()
        with socket.create_connection(("127.0.0.1", port)) as asked:
            asked.sendall(f"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{header}\r\n".encode())
            with asked.makefile("rb") as answer:
                (root / form / "metrics").write_bytes(answer.read().partition(b"\r\n\r\n")[2])
    user = "user root;" if os.geteuid() == 0 else ""
    (root / "nginx.conf").write_text(NGINX.format(root=root, user=user, **ports))
    process = subprocess.Popen([program, "-p", str(root), "-c", str(root / "nginx.conf")], stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", ports["gzip"]), 1):
                break
            time.sleep(0.05)
        yield ports
    finally:
        process.terminate()
        process.wait(10)
        shutil.rmtree(root, ignore_errors=True)


FORMS = {"plain": "Accept-Encoding: identity\r\n", "gzip": "Accept-Encoding: gzip\r\n"}


@dataclass(frozen=True)
class Times:
    """Milliseconds."""

    median: float
    p99: float

    @classmethod
    def of(cls, seconds: list[float]) -> Times:
        return cls(statistics.median(seconds) * 1e3, sorted(seconds)[int(len(seconds) * 0.99)] * 1e3)


def compare_with_nginx(targets: int, requests: int, server: str = "ours") -> list[Verdict]:
    """Print our times beside nginx's, at rest and while collecting."""
    verdicts = []
    with child("--serve", str(targets), "--server", server) as (said, tell), nginx(int(said["port"])) as ports:
        if ports is None:
            print("nginx is not installed: no comparison (apt-get install nginx-light)")
        heads = ("", "ours ms", "p99", "nginx ms", "p99", "ratio", "p99 ratio")
        print("{:34}{:>9}{:>8}{:>10}{:>8}{:>8}{:>11}".format(*heads))
        for mode, title in [("rest", "at rest"), ("pace", "each target every 15 s"), ("flat", "collecting flat out")]:
            for form, header in FORMS.items():
                ours = Client(int(said["port"]), header)
                theirs = Client(ports[form], header) if ports else None
                for client in filter(None, (ours, theirs)):
                    for _ in range(5):
                        client.time()
                tell(mode)
                mine, other = [], []
                for _ in range(requests):
                    mine.append(ours.time())
                    if theirs:
                        other.append(theirs.time())
                tell("rest")
                title_ = f"{form}, {title}"
                print(_line(title_, Times.of(mine), Times.of(other) if other else None))
                if other:
                    verdicts.append(_judge(mode, title_, Times.of(mine), Times.of(other)))
    return verdicts


def _judge(mode: str, title: str, mine: Times, other: Times) -> Verdict:
    """At rest the median counts; while it collects, the tail."""
    if mode == "rest":
        ratio, about, goal = mine.median / other.median, "median", 1.2
    else:
        ratio, about, goal = mine.p99 / other.p99, "p99", 2.0
    return Verdict(f"scrape {title}, {about}", f"{ratio:.2f} x nginx", f"<= {goal:g} x", ratio <= goal)


def _line(title: str, mine: Times, other: Times | None) -> str:
    line = f"{title:34}{mine.median:9.2f}{mine.p99:8.2f}"
    if other:
        line += f"{other.median:10.2f}{other.p99:8.2f}{mine.median / other.median:8.2f}{mine.p99 / other.p99:11.2f}"
    return line


def compare_publishes(targets: int) -> Verdict:
    """Print what one changed target costs beside a full render, and what a series costs."""
    view = _Bench(targets)
    fulls = []
    for _ in range(3):
        readings = [reading(view.noise) for _ in view.targets_]
        began = time.perf_counter()
        for one, families in zip(view.targets_, readings, strict=True):
            view.builder.put(one.key, one, families)
        view.builder.publish(1.0)
        fulls.append(time.perf_counter() - began)
    full = statistics.median(fulls)
    times = []
    for one in view.noise.sample(view.targets_, min(200, targets)):
        families = reading(view.noise)
        began = time.perf_counter()
        view.builder.put(one.key, one, families)
        view.builder.publish(1.0)
        times.append(time.perf_counter() - began)
    single = statistics.median(times)
    print(f"full render and publish            {full * 1e3:9.1f} ms for {targets * SERIES:,} series")
    print(f"publish after one target changed   {single * 1e3:9.2f} ms: {single / full:.2%} of the full one")
    renderer = Renderer(view.targets_[0])
    renderer.render(readings[0])
    began = time.perf_counter()
    for families in readings:
        renderer.render(families)
    per_series = (time.perf_counter() - began) / len(readings) / SERIES
    print(f"rendering, labels unchanged        {per_series * 1e6:9.3f} us a series")
    return Verdict(
        "publish after one changed target", f"{single / full:.2%} of a full one", "<= 1 %", single / full <= 0.01
    )


def memory(targets: int) -> None:
    """The child: all that the agent imports, the last families held as its state does, two publishes; its RSS."""
    import apscheduler.schedulers.asyncio
    import httpx
    import psycopg
    import pydantic_settings
    import yaml

    from exporter.core.selfmetrics import AGENT, SelfMetrics

    assert all((apscheduler, httpx, psycopg, pydantic_settings, yaml))
    metrics = SelfMetrics()
    view = _Bench(targets)
    state = {}
    for _ in range(2):
        for one in view.targets_:
            state[one.key] = reading(view.noise)
            view.builder.put(one.key, one, state[one.key])
        view.builder.put("agent", AGENT, metrics.families())
        view.current = view.builder.publish(1.0)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    print(json.dumps({"rss": pages * os.sysconf("SC_PAGE_SIZE") / 1e6}), flush=True)
    sys.stdin.read()


def compare_memory() -> None:
    """Print the resident memory by number of series."""
    for targets in (0, 10, 100, 1000):
        with child("--memory", str(targets)) as (said, _tell):
            print(f"RSS at {targets * SERIES:>7,} series            {said['rss']:9.1f} MB")


def run(requests: int = 300, targets: int = 1000, server: str = "ours") -> None:
    """Print all of it."""
    print(f"Serving {targets * SERIES:,} series of {targets:,} targets, {requests} requests a line, server: {server}")
    verdicts = [*compare_with_nginx(targets, requests, server), compare_publishes(targets)]
    compare_memory()
    print_verdicts(verdicts)


def main() -> None:
    """Run it by itself, or be one of its children."""
    parser = argparse.ArgumentParser(description="Benchmarks of serving, as ratios.")
    parser.add_argument("--requests", type=int, default=300, help="per line of the comparison with nginx")
    parser.add_argument("--targets", type=int, default=1000, help=f"of {SERIES} series each")
    parser.add_argument(
        "--server", choices=http_servers.CANDIDATES, default="ours", help="the server behind the routes"
    )
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--limits", type=json.loads, default={}, help=argparse.SUPPRESS)
    parser.add_argument("--memory", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve is not None:
        serve(arguments.serve, arguments.server, Limits(**arguments.limits))
    elif arguments.memory is not None:
        memory(arguments.memory)
    else:
        run(arguments.requests, arguments.targets, arguments.server)


if __name__ == "__main__":
    main()
