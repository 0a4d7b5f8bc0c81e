"""Where the program begins: is this environment ours at all? Only then is anything else imported."""

from __future__ import annotations

import sys
from pathlib import Path

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
