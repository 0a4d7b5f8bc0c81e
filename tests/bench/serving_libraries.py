"""Our HTTP server beside well-kept ones and nginx, same bytes, one run: speed, 500 slow clients, hostile requests.

Run as ``python -m tests.bench serving-libraries``. Candidates that are not installed are skipped with a line
(``pip install cheroot uvicorn httptools uvloop granian``). Rounds alternate between the candidates and, within one,
requests alternate between candidate and nginx, so that the noise of a shared machine hits all of them; judge the
ratios, never the milliseconds.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import socket
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

from exporter.documents.terminal import table
from tests.bench.hostile_requests import LIMITS, check_hostile
from tests.bench.http_servers import CANDIDATES, lines_around, missing
from tests.bench.measure import load, rss_megabytes
from tests.bench.serving import FORMS, SERIES, Client, child, nginx

MODES = {"rest": "at rest", "pace": "collecting"}
SLOW_TARGETS = 200
"""Of the server that slow clients meet: 2 MB, so that a library that copies the body per reader stays affordable."""


def start(stack: contextlib.ExitStack, name: str, targets: int, **limits: float) -> tuple[int, int, Callable[..., Any]]:
    """A candidate in a process of its own: its port, its process id, and how to tell it something."""
    said, tell = stack.enter_context(child("--serve", str(targets), "--server", name, "--limits", json.dumps(limits)))
    port = int(said["port"])
    for _ in range(100):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            break
        time.sleep(0.05)
    return port, int(said["pid"]), tell


# ---- speed


@dataclass
class Times:
    """Seconds of a candidate's answers and of nginx's, taken in turns, by round."""

    ours: list[list[float]] = field(default_factory=list)
    nginx: list[list[float]] = field(default_factory=list)

    def ratio(self) -> float:
        """The median over the rounds of the ratio of medians."""
        pairs = zip(self.ours, self.nginx, strict=True)
        return statistics.median(statistics.median(mine) / statistics.median(other) for mine, other in pairs)

    def tail_ratio(self) -> float:
        """The ratio of the 99th percentiles over all rounds."""
        return _p99(chain.from_iterable(self.ours)) / _p99(chain.from_iterable(self.nginx))

    def tail(self) -> float:
        """The candidate's 99th percentile in milliseconds."""
        return _p99(chain.from_iterable(self.ours)) * 1e3


def _p99(seconds: Iterable[float]) -> float:
    ordered = sorted(seconds)
    return ordered[int(len(ordered) * 0.99)]


def measure_speed(names: list[str], targets: int, rounds: int, requests: int) -> dict[tuple[str, str, str], Times]:
    """Times by (candidate, mode, form); empty when nginx is not installed."""
    times: dict[tuple[str, str, str], Times] = defaultdict(Times)
    with contextlib.ExitStack() as stack:
        servers = {name: start(stack, name, targets) for name in names}
        ports = stack.enter_context(nginx(servers[names[0]][0]))
        if ports is None:
            print("skipped: speed beside nginx, which is not installed (apt-get install nginx-light)")
            return {}
        for number in range(rounds):
            for mode in MODES:
                for form, header in FORMS.items():
                    turn = number % len(names)
                    for name in names[turn:] + names[:turn]:
                        port, _pid, tell = servers[name]
                        candidate, reference = Client(port, header), Client(ports[form], header)
                        for client in (candidate, reference):
                            client.time()
                        tell(mode)
                        mine, other = [], []
                        for _ in range(requests):
                            mine.append(candidate.time())
                            other.append(reference.time())
                        tell("rest")
                        candidate.socket.close()
                        reference.socket.close()
                        times[name, mode, form].ours.append(mine)
                        times[name, mode, form].nginx.append(other)
            print(f"  round {number + 1} of {rounds} ({load()})", flush=True)
    return dict(times)


# ---- slow clients


class SlowClient:
    """One that sends its head a byte at a time, or asks for all and reads a kilobyte a time; ended, it comes back."""

    def __init__(self, port: int, *, reads: bool) -> None:
        self._port = port
        self._reads = reads
        self._socket: socket.socket | None = None

    def turn(self) -> bool:
        """One more byte sent or kilobyte read; True when it had to connect."""
        if self._socket is None:
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.settimeout(1)
            with contextlib.suppress(OSError):
                sock.connect(("127.0.0.1", self._port))
                sock.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n" + (b"\r\n" if self._reads else b"X-Slow: "))
                sock.setblocking(False)
                self._socket = sock
                return True
            sock.close()
            return True
        try:
            alive = bool(self._socket.recv(1024)) if self._reads else bool(self._socket.send(b"x"))
        except BlockingIOError:
            alive = True
        except OSError:
            alive = False
        if not alive:
            self._socket.close()
            self._socket = None
        return False


def be_slow(port: int, count: int, seconds: float) -> None:
    """The child: ``count`` slow clients, half senders and half readers, one turn a second each."""
    clients = [SlowClient(port, reads=number % 2 == 0) for number in range(count)]
    until = time.monotonic() + seconds
    first = True
    while time.monotonic() < until:
        began = time.monotonic()
        for client in clients:
            client.turn()
        if first:
            print("{}", flush=True)
            first = False
        time.sleep(max(0.0, began + 1 - time.monotonic()))


@dataclass(frozen=True)
class SlowResult:
    """What normal scrapes met beside the slow clients, and what the server spent on them."""

    median: float
    p99: float
    worst: float
    """Milliseconds; a scrape that failed counts as its time-out."""
    failed: int
    scrapes: int
    fds: int
    threads: int
    megabytes: float
    stop_seconds: float


PATIENCE = 5.0
"""Seconds after which a scrape counts as failed."""


def _scrape(connection: list[Client], port: int) -> float | None:
    """Seconds of one gzip scrape over the connection of the last one, with one new connection when that is gone."""
    began = time.perf_counter()
    for _ in range(2):
        fresh = not connection
        try:
            if fresh:
                connection.append(Client(port, FORMS["gzip"]))
                connection[0].socket.settimeout(PATIENCE)
            connection[0].time()
            return time.perf_counter() - began
        except (OSError, AssertionError, ValueError):
            for client in connection:
                client.socket.close()
            connection.clear()
            if fresh:
                return None
    return None


def beside_slow_clients(port: int, pid: int | None, count: int, seconds: float) -> SlowResult:
    """Scrape ten times a second beside ``count`` slow clients."""
    before = rss_megabytes(pid) if pid else 0.0
    command = [sys.executable, "-m", "tests.bench.serving_libraries", "--slow", str(port), str(count), str(seconds + 5)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    times, failed, fds, threads, memory = [], 0, 0, 0, before
    connection: list[Client] = []
    try:
        process.stdout.readline()
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            began = time.monotonic()
            taken = _scrape(connection, port)
            failed += taken is None
            times.append(PATIENCE if taken is None else taken)
            if pid:
                fds = max(fds, len(list(Path(f"/proc/{pid}/fd").iterdir())))
                threads = max(threads, len(list(Path(f"/proc/{pid}/task").iterdir())))
                memory = max(memory, rss_megabytes(pid))
            time.sleep(max(0.0, began + 0.1 - time.monotonic()))
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()
    median, p99 = statistics.median(times) * 1e3, _p99(times) * 1e3
    return SlowResult(median, p99, max(times) * 1e3, failed, len(times), fds, threads, memory - before, 0.0)


def measure_slow_clients(names: list[str], count: int, seconds: float) -> dict[str, SlowResult]:
    """Results by candidate and for nginx; a candidate is stopped while the slow readers still hang on it."""
    results = {}
    for name in names:
        with contextlib.ExitStack() as stack:
            port, pid, tell = start(stack, name, SLOW_TARGETS)
            if name == names[0]:
                ports = stack.enter_context(nginx(port))
                if ports is not None:
                    results["nginx"] = beside_slow_clients(ports["gzip"], None, count, seconds)
            result = beside_slow_clients(port, pid, count, seconds)
            readers = [SlowClient(port, reads=True) for _ in range(20)]
            for reader in readers:
                reader.turn()
            time.sleep(0.5)
            stop = tell("stop")["seconds"]
            results[name] = replace(result, stop_seconds=stop)
    return results


# ---- all of it


def print_speed(names: list[str], times: dict[tuple[str, str, str], Times]) -> None:
    """One row a candidate: median and 99th percentile as ratios to nginx's."""
    cells = [(mode, form) for mode in MODES for form in FORMS]
    heads = ["median, p99 x nginx", *(f"{form} {MODES[mode]}" for mode, form in cells), "p99 ms plain, gzip"]
    rows = []
    for name in names:
        figures = [times[name, mode, form] for mode, form in cells]
        ratios = [f"{figure.ratio():.2f}, p99 {figure.tail_ratio():.2f}" for figure in figures]
        rows.append((name, *ratios, ", ".join(f"{figure.tail():.1f}" for figure in figures[-len(FORMS) :])))
    print(table(heads, rows), flush=True)


def print_slow_clients(results: dict[str, SlowResult]) -> None:
    """One row a candidate; what a process spent is not measured of nginx."""
    heads = ["server", "median ms", "p99 ms", "worst", "failed", "fds", "threads", "MB more", "stop s", "our lines"]
    rows = []
    for name, result in results.items():
        times = [f"{result.median:.1f}", f"{result.p99:.1f}", f"{result.worst:.0f}"]
        spent = [result.fds, result.threads, f"{result.megabytes:.0f}", f"{result.stop_seconds:.2f}"]
        own = [*map(str, spent), str(lines_around(name))] if name in CANDIDATES else ["-"] * (len(spent) + 1)
        rows.append((name, *times, f"{result.failed} of {result.scrapes}", *own))
    print(table(heads, rows), flush=True)


def print_hostile(names: list[str]) -> None:
    """One row a check: the status, or what became of the connection."""
    done = {}
    for name in names:
        with contextlib.ExitStack() as stack:
            port, _pid, _tell = start(stack, name, SLOW_TARGETS, **LIMITS)
            done[name] = check_hostile(port)
    rows = [(check, *(done[name][check] for name in names)) for check in done[names[0]]]
    print(table(["hostile", *names], rows), flush=True)


def run(wanted: list[str], rounds: int, requests: int, targets: int, clients: int, seconds: float) -> None:
    """Print all tables, for the wanted candidates that are installed."""
    names = []
    for name in wanted:
        if packages := missing(name):
            print(f"skipped: {name}, which is not installed (pip install {' '.join(packages)})")
        else:
            names.append(name)
    print(f"Speed: {targets * SERIES:,} series, {rounds} rounds of {requests} requests a cell", flush=True)
    if times := measure_speed(names, targets, rounds, requests):
        print_speed(names, times)
    print(
        f"Scrapes beside {clients} slow clients, half of them senders and half readers, {seconds:g} s each", flush=True
    )
    print_slow_clients(measure_slow_clients(names, clients, seconds))
    print_hostile(names)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run it, or be its child."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench serving-libraries", description="Servers beside nginx."
    )
    parser.add_argument("--servers", nargs="+", choices=CANDIDATES, default=list(CANDIDATES), metavar="NAME",
                        help=f"of {', '.join(CANDIDATES)}; all, if not given")  # fmt: skip
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=60, help="per round and cell")
    parser.add_argument("--targets", type=int, default=1000, help=f"of {SERIES} series each")
    parser.add_argument("--clients", type=int, default=500, help="slow ones")
    parser.add_argument("--seconds", type=float, default=20, help="of slow clients per candidate")
    parser.add_argument("--slow", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.slow:
        be_slow(int(options.slow[0]), int(options.slow[1]), float(options.slow[2]))
    else:
        run(options.servers, options.rounds, options.requests, options.targets, options.clients, options.seconds)


if __name__ == "__main__":
    main()
