"""Where the program begins: is this environment ours at all? Only then is anything else imported."""

from __future__ import annotations

# The first lines of the program, before any other import: as process 1 of a container a signal without a handler is
# ignored, and a stop in the first second would wait for the kill. Nothing is open yet that needs closing.
import os
import signal
from types import FrameType


def _end(number: int, _frame: FrameType | None) -> None:
    os._exit(128 + number)


signal.signal(signal.SIGTERM, _end)

import sys  # noqa: E402
from pathlib import Path  # noqa: E402

USAGE = 2


def main() -> int:
    """Run the command line; refuse in one line where our import names belong to others."""
    foreign = foreign_packages()
    if foreign:
        print(f"neonmeter cannot start: {foreign}", file=sys.stderr)
        return USAGE
    from exporter.commands.main import main as run

    return run()


def foreign_packages() -> str:
    """Why our import names are not only ours here; empty when all is well.

    Other distributions install packages called `exporter` and `collectors` too: neonmeter is an application and wants
    an environment of its own.
    """
    import importlib.util

    ours = Path(__file__).resolve().parents[2]
    found = importlib.util.find_spec("collectors")
    theirs = Path(found.origin if found and found.origin else "nowhere").resolve().parent.parent
    if theirs == ours:
        return ""
    return (
        f"the package `collectors` comes from {theirs}, and neonmeter from {ours}: another distribution uses the same "
        "name; install neonmeter into an environment of its own (pipx, a venv, the container)"
    )
