"""`neonmeter record` and `replay`. Nothing heavy is imported before one of them runs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from collectors.errors import OK, UPSTREAM, UsageError
from exporter.core.command_line import Commands

if TYPE_CHECKING:
    from exporter.recording.files import Summary
    from exporter.settings.tree import CoreSettings

ALL_HOURS = 168
LEAST_HOURS = 1


def add(commands: Commands) -> None:
    """Declare them."""
    recording = commands.add("record", record, "record what Neon's API answers, with every name replaced")
    recording.add_argument("folder", type=Path, metavar="DIR", help="a new or empty folder")
    recording.add_argument(
        "--hours", type=int, default=ALL_HOURS, metavar="N",
        help="hours of consumption and operations; days and months only with all of them (default: %(default)s)",
    )  # fmt: skip
    playing = commands.add("replay", replay, "serve a recording as an API on this machine", settings=False)
    playing.add_argument("folder", type=Path, metavar="DIR", help="a folder that `record` has filled")
    playing.add_argument(
        "--listen", default="127.0.0.1:0", metavar="HOST:PORT", help="address to serve on (default: a free port)"
    )
    playing.add_argument(
        "--as-recorded",
        action="store_true",
        help="leave the instants as they were (default: moved to end now)",
    )


def record(options: argparse.Namespace, settings: CoreSettings) -> int:
    """Read everything once, write it with all names replaced, and say what it holds."""
    import asyncio
    import sys

    from exporter.feature.workspace import require
    from exporter.recording.recorder import Recorder

    if not LEAST_HOURS <= options.hours <= ALL_HOURS:
        raise UsageError(f"--hours {options.hours}: Neon keeps {ALL_HOURS} hours; write {LEAST_HOURS} to {ALL_HOURS}")
    require(settings, "neon.")
    recorder = Recorder(options.folder, options.hours, say=lambda line: print(f"neonmeter: {line}", file=sys.stderr))
    found = asyncio.run(recorder.run(settings))
    print(_holds(recorder.summary, options.folder))
    return OK if found is not None else UPSTREAM


def _holds(summary: Summary, folder: Path) -> str:
    """What was recorded, and how to look at it before it is sent."""
    clock = "" if summary.clock is None else f"  clock: Neon's minus ours {summary.clock[1]:+.1f} s (median)\n"
    missing = "".join(f"  not read: {part}\n" for part in summary.not_read)
    return (
        f"{folder} holds {summary.requests} answers of Neon's API, every name, host, id and address replaced:\n"
        f"  {summary.projects} projects, {summary.branches} branches, {summary.computes} computes\n"
        f"  {summary.usage_rows} figures of consumption, {summary.operations} operations, {summary.suspends} suspends\n"
        f"{clock}{missing}"
        f"  replaced: {summary.replaced_texts} texts, {summary.replaced_field_names} names of fields\n"
        "The key is not in it, and nothing of your databases: no SQL was run.\n"
        "Look at it before you send it (docs/record.md says what stays in clear):\n"
        f"  less {folder}/*.jsonl\n"
        f"  grep -ri 'A NAME OF YOURS' {folder}    # should print nothing\n"
        f"  neonmeter replay {folder}              # serves it on this machine"
    )


def replay(options: argparse.Namespace, settings: None) -> int:
    """Serve a recording until SIGTERM or SIGINT."""
    import signal
    import time

    from exporter.recording.server import ReplayServer

    del settings
    stops = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, stops)  # threads inherit it, so that only `sigwait` gets them
    with ReplayServer(options.folder, options.listen, as_recorded=options.as_recorded) as server:
        moved = f", moved by {server.shift // 3600} hours" if server.shift else ""
        at = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(float(server.summary["recorded_at"])))
        print(f"Recording of {at}{moved}, any key opens it. Try:", flush=True)
        print(f"  export NEONMETER_NEON__API_URL={server.url} NEON_API_KEY=any", flush=True)
        print("  neonmeter check", flush=True)
        signal.sigwait(stops)
    return OK
