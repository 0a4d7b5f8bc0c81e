"""`python -m tests.bench [NAME ...] [--quick]`: the benchmarks, one after the other. They tell and never judge by exit.

``make bench`` installs what they compare with and runs all but the ten minutes of ``sleep``;
``make bench ARGS="sleep --seconds 120"`` runs what is named. Each is a process of its own with a deadline: what fails
or hangs is named among the goals that were missed, and the others have their turn.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence

from tests.bench import (
    agent,
    drift,
    finops,
    fleet,
    forecast,
    kill,
    month,
    postgres_exporter,
    posture,
    serving,
    serving_libraries,
    shards,
    sleep,
    soak,
    wake,
)
from tests.bench.measure import load

COMPARED = {"nginx": "nginx-light", "prometheus-postgres-exporter": "prometheus-postgres-exporter"}
"""Programs that are measured beside ours, and their Debian packages."""


def _serving(options: argparse.Namespace) -> None:
    serving.run(requests=60 if options.quick else 300, targets=200 if options.quick else 1000)


def _postgres_exporter(options: argparse.Namespace) -> None:
    postgres_exporter.run(rounds=1 if options.quick else 4)


def _agent(options: argparse.Namespace) -> None:
    if options.quick:
        agent.run(runs=3, scrapes=100, sizes=(1_000, 10_000))
    else:
        agent.run()


def _fleet(options: argparse.Namespace) -> None:
    fleet.run((100,) if options.quick else fleet.SIZES)


def _sleep(options: argparse.Namespace) -> None:
    sleep.run(options.seconds)


BENCHMARKS: dict[str, Callable[[argparse.Namespace], None]] = {
    "serving": _serving,
    "postgres_exporter": _postgres_exporter,
    "agent": _agent,
    "fleet": _fleet,
    "sleep": _sleep,
}
DEADLINES = {"serving": 300.0, "postgres_exporter": 600.0, "agent": 900.0, "fleet": 2000.0, "sleep": 900.0}
"""Seconds for each, also on a busy machine; then it is ended."""
LONG = ("sleep",)
"""Only when named."""
OPTIONS_OF_THEIR_OWN: dict[str, Callable[[Sequence[str]], None]] = {
    "drift": drift.main,
    "posture": posture.main,
    "wake": wake.main,
    "month": month.main,
    "forecast": forecast.main,
    "finops": finops.main,
    "kill": kill.main,
    "soak": soak.main,
    "serving-libraries": serving_libraries.main,
    "shards": shards.main,
}
"""Run alone: ``python -m tests.bench wake --help``."""


def main() -> None:
    alone = OPTIONS_OF_THEIR_OWN.get(sys.argv[1]) if len(sys.argv) > 1 else None
    if alone is not None:
        return alone(sys.argv[2:])
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Benchmarks, as ratios in one run.")
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"of {', '.join(BENCHMARKS)}; all but sleep; or alone: {', '.join(OPTIONS_OF_THEIR_OWN)}",
    )
    parser.add_argument("--quick", action="store_true", help="fewer rounds and smaller sizes: a look, no figures")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--deadline", type=float, help="seconds for each, instead of its own")
    parser.add_argument("--seconds", type=float, default=600, help="how long sleep watches")
    options = parser.parse_args()
    unknown = set(options.names) - set(BENCHMARKS)
    if unknown:
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}")
    began = time.monotonic()
    if options.here:
        for name in options.names:
            BENCHMARKS[name](options)
        return None
    missed: list[str] = []
    for name in options.names or [benchmark for benchmark in BENCHMARKS if benchmark not in LONG]:
        print(f"== {name} ({load()})", flush=True)
        missed += in_time(name, options.deadline or DEADLINES[name], options)
        print(flush=True)
    if not options.names:
        print("skipped: sleep, which takes ten minutes (python -m tests.bench sleep)")
    for program, package in COMPARED.items():
        if shutil.which(program, path=serving.PATH) is None:
            print(f"skipped: the comparison with {program}, which is not installed (apt-get install {package})")
    print("\n".join(["MISSED:", *(f"  {line}" for line in missed)] if missed else ["every goal is met"]))
    print(f"{time.monotonic() - began:.0f} s in all, {load()} at the end")
    return None


def in_time(name: str, seconds: float, options: argparse.Namespace) -> list[str]:
    """Run one benchmark as a process with a deadline; returns the goals that it missed, and itself when it failed."""
    command = [sys.executable, "-m", "tests.bench", name, "--here", "--seconds", str(options.seconds)]
    process = subprocess.Popen(
        [*command, *(["--quick"] if options.quick else [])], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, start_new_session=True,
    )  # fmt: skip
    late = threading.Event()

    def end() -> None:
        late.set()
        os.killpg(process.pid, signal.SIGINT)  # so that it stops the servers that it started
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)

    countdown = threading.Timer(seconds, end)
    countdown.start()
    missed = []
    try:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            if line.rstrip().endswith("MISSED"):
                missed.append(" ".join(line.split()))
        code = process.wait()
    finally:
        countdown.cancel()
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    if late.is_set():
        missed.append(f"{name}: not done within {seconds:g} s")
    elif code:
        missed.append(f"{name}: ended with {code}")
    return missed


if __name__ == "__main__":
    main()
