"""The command line. Each command imports what it needs when it runs, so that `version` costs nothing.

Exit codes: 0 ok, 1 findings, 2 usage or configuration, 3 upstream (Neon or a server did not answer as it should).
"""

from __future__ import annotations

import argparse
import difflib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

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
    parser = build_parser()
    commands = _commands(parser)
    if arguments and not arguments[0].startswith("-") and arguments[0] not in commands:
        near = difflib.get_close_matches(arguments[0], commands, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(commands)}"
        parser.error(f"there is no command {arguments[0]!r}; {hint}")
    named = any(each in commands or each in ("-h", "--help", "--version") for each in arguments)
    options = parser.parse_args(arguments if named else ["run", *arguments])
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

    ours = Path(__file__).resolve().parent.parent
    found = importlib.util.find_spec("collectors")
    theirs = Path(found.origin if found and found.origin else "nowhere").resolve().parent.parent
    if theirs == ours:
        return ""
    return (
        f"the package `collectors` comes from {theirs}, and neonmeter from {ours}: another distribution uses the same "
        "name; install neonmeter into an environment of its own (pipx, a venv, the container)"
    )


def _commands(parser: argparse.ArgumentParser) -> list[str]:
    return list(next(each.choices for each in parser._actions if isinstance(each, argparse._SubParsersAction)))


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands; docs/cli.md is generated from it."""
    parser = argparse.ArgumentParser(
        prog="neonmeter", description="Meter Neon serverless Postgres without waking it. Without a command: run."
    )
    parser.add_argument("--version", action="version", version=f"neonmeter {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--config", type=Path, default=_default_config(), metavar="FILE", help="settings file (YAML)")
    reading = argparse.ArgumentParser(add_help=False, parents=[common])
    reading.add_argument("--json", action="store_true", help="print JSON instead of tables")

    def command(name: str, handler: str, text: str, parent: argparse.ArgumentParser) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text, parents=[parent])
        sub.set_defaults(handler=_lazy(handler))
        return sub

    command("run", "exporter.app:run_command", "collect and serve until stopped (the default)", common)
    check = command(
        "check", "exporter.cli_check:check_command", "one pass: what works, what does not, and why", reading
    )
    check.add_argument("--no-sql", action="store_true", help="open no session, not even on computes that are awake")
    config = command("config", "exporter.cli_config:config_command", "judge, show or explain the settings", common)
    config.add_argument("what", choices=["check", "show", "schema", "example"])
    command("inventory", "exporter.cli_reading:inventory_command", "projects, branches and computes", reading)
    metrics = command("metrics", "exporter.cli_reading:metrics_command", "every metric that there is", common)
    metrics.add_argument("--format", choices=["md", "json"], default="md")
    cost = command("cost", "exporter.cli_reading:cost_command", "what each branch and tenant cost this month", reading)
    cost.add_argument("--month", metavar="YYYY-MM", help="a month of the ledger (default: the present one)")
    cost.add_argument("--explain", action="store_true", help="show how every level adds up to the one above")
    command("awake", "exporter.cli_awake:awake_command", "who keeps computes awake, and what that costs", reading)
    verify = command("verify-wake", "exporter.cli_verify:verify_command", "measure what watching costs", common)
    verify.add_argument("--endpoint", required=True, metavar="EP", help="endpoint id, or project/branch")
    verify.add_argument("--minutes", type=float, default=30.0, metavar="N", help="end after that time (default: 30)")
    verify.add_argument("--every", type=float, default=5.0, metavar="SECONDS", help="look that often (default: 5)")
    demo = command("demo", "exporter.demo.command:demo_command", "everything, on embedded parts", common)
    demo.add_argument("--for", dest="seconds", type=float, metavar="SECONDS", help="end by itself after that time")
    demo.add_argument("--state", type=Path, metavar="DIR", help="keep ledger and clusters there between runs")
    twin = command("twin", "exporter.demo.command:twin_command", "a fake Neon to point any client at", common)
    for each in (demo, twin):
        each.add_argument("--listen", default="127.0.0.1:0", metavar="HOST:PORT", help="where to serve (default: free)")
    twin.add_argument("--world", default="small", metavar="small|large:PxB|FILE", help="what it contains")
    twin.add_argument("--state", type=Path, metavar="DIR", help="keep clusters and history there between runs")
    health = command("healthcheck", "exporter.cli_reading:healthcheck_command", "exit 0 if the agent is well", common)
    health.add_argument("--url", metavar="URL", help="ask there instead of the configured http.listen")
    command("version", "exporter.cli:version_command", "print the version", common)
    return parser


class _lazy:  # noqa: N801  # reads as a function
    """A handler named by module:function, imported at the call."""

    def __init__(self, where: str) -> None:
        self.where = where

    def __call__(self, options: argparse.Namespace) -> int:
        import importlib

        module, _, name = self.where.partition(":")
        code: int = getattr(importlib.import_module(module), name)(options)
        return code


def _default_config() -> Path | None:
    named = os.environ.get("NEONMETER_CONFIG")
    return Path(named) if named else None


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
