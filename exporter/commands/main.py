"""The command line. Each command imports what it needs when it runs, so that `version` costs nothing.

Exit codes: 0 ok, 1 findings, 2 usage or configuration, 3 upstream (Neon or a server did not answer as it should).
"""

from __future__ import annotations

import argparse
import difflib
import functools
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from exporter.commands import menu_agent
from exporter.core.command_line import Commands
from exporter.cost.commands import menu_close, menu_finops, menu_outlook, menu_price, menu_waste
from exporter.drift.commands import menu_drift
from exporter.posture.commands import menu_posture
from exporter.recovery.commands import menu_recovery
from exporter.report.commands import menu_report
from exporter.version import __version__

if TYPE_CHECKING:
    from exporter.settings import Settings

OK, FINDINGS, USAGE, UPSTREAM = 0, 1, 2, 3


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    foreign = foreign_packages()
    if foreign:
        print(f"neonmeter cannot start: {foreign}", file=sys.stderr)
        return USAGE
    arguments = sys.argv[1:] if argv is None else list(argv)
    parser, menu = build_parser()
    commands = menu.names
    if arguments and not arguments[0].startswith("-") and arguments[0] not in commands:
        near = difflib.get_close_matches(arguments[0], commands, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(commands)}"
        parser.error(f"there is no command {arguments[0]!r}; {hint}")
    named = any(argument in commands or argument in ("-h", "--help", "--version") for argument in arguments)
    options = parser.parse_args(menu.completed(arguments) if named else ["run", *arguments])
    try:
        code: int = options.handler(options)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    return code


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


@functools.cache
def build_parser() -> tuple[argparse.ArgumentParser, Commands]:
    """The parser, and every command by theme."""
    parser = argparse.ArgumentParser(
        prog="neonmeter", description="Meter Neon serverless Postgres without waking it. Without a command: run."
    )
    parser.add_argument("--version", action="version", version=f"neonmeter {__version__}")
    commands = Commands(parser)
    menus = (
        menu_agent, menu_finops, menu_outlook, menu_close, menu_price, menu_waste, menu_report, menu_drift,
        menu_recovery, menu_posture,
    )  # fmt: skip
    for menu in menus:
        menu.add(commands)
    return parser, commands


def load_settings(options: argparse.Namespace) -> Settings | None:
    """The settings of a command, or None after the problems have been printed to stderr."""
    from exporter.settings import SettingsError, load

    try:
        return load(options.config)
    except SettingsError as error:
        refuse(*error.problems, where=f" in {options.config}" if options.config else "")
        return None


def refuse(*problems: str, where: str = "") -> int:
    """Print why the settings cannot be used; returns the exit code for that."""
    print(f"neonmeter cannot start with the settings{where}:", file=sys.stderr)
    for problem in problems:
        print(f"  {problem}", file=sys.stderr)
    return USAGE


def version_command(options: argparse.Namespace) -> int:
    """Print the version."""
    del options
    print(f"neonmeter {__version__}")
    return OK
