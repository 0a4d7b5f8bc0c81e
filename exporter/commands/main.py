"""The command line. Each command imports what it needs when it runs, so that `version` costs nothing.

Exit codes: 0 ok, 1 findings, 2 usage or configuration, 3 upstream (Neon or a server did not answer as it should).
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import functools
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import TYPE_CHECKING

from collectors.errors import OK, NeonmeterError
from exporter.commands.menu import add_all
from exporter.core.command_line import Commands
from exporter.version import __version__

if TYPE_CHECKING:
    from exporter.app.settings import Settings


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    parser, menu = build_parser()
    commands = menu.names
    if arguments and not arguments[0].startswith("-") and arguments[0] not in commands:
        near = difflib.get_close_matches(arguments[0], commands, n=1)
        hint = f"did you mean {near[0]}?" if near else f"use one of {', '.join(commands)}"
        parser.error(f"no such command: {arguments[0]!r}; {hint}")
    named = any(argument in commands or argument in ("-h", "--help", "--version") for argument in arguments)
    options = parser.parse_args(menu.completed(arguments) if named else ["run", *arguments])
    stop = Stop()
    try:
        with contextlib.nullcontext() if options.stops_itself else stop.heard():
            code = _run(options)
    except NeonmeterError as error:
        return complain(error)
    except KeyboardInterrupt:
        return 128 + stop.number
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    return code


class Stop:
    """SIGINT and SIGTERM end a command alike: by KeyboardInterrupt, so that it says what is known and cleans up."""

    def __init__(self) -> None:
        self.number: int = signal.SIGINT

    @contextlib.contextmanager
    def heard(self) -> Iterator[None]:
        """From now on, also where SIGINT was ignored at the start, as in a background job of a script."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {
            signal.SIGINT: signal.signal(signal.SIGINT, signal.default_int_handler),
            signal.SIGTERM: signal.signal(signal.SIGTERM, self._terminate),
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _terminate(self, number: int, frame: FrameType | None) -> None:
        """As SIGINT would: inside an event loop, that is to cancel its main task. A second one waits for nothing."""
        if self.number == number:
            os._exit(128 + number)
        self.number = number
        handler = signal.getsignal(signal.SIGINT)
        if callable(handler):
            handler(signal.SIGINT, frame)


def _run(options: argparse.Namespace) -> int:
    """Load the settings when the command wants them, then run it."""
    code: int = options.handler(options, _settings(options) if options.wants_settings else None)
    return code


def _settings(options: argparse.Namespace) -> Settings:
    from exporter.app.settings import load, problems_of
    from exporter.settings.tree import SettingsError

    # As environment: it wins over the file, and a reload reads it again.
    for option, variable in (("shard", "NEONMETER_SHARDING__SHARD"), ("total_shards", "NEONMETER_SHARDING__TOTAL")):
        if getattr(options, option, None) is not None:
            os.environ[variable] = getattr(options, option)
    settings = load(options.config)
    if options.checked and (problems := problems_of(settings)):
        raise SettingsError(problems, options.config)
    for warning in settings.warnings:
        print(f"neonmeter: {warning}", file=sys.stderr)
    return settings


def complain(error: NeonmeterError) -> int:
    """Print an error for a person; returns the exit code of its kind."""
    indent = "  " if error.heading else ""
    print(
        "\n".join([*([error.heading] if error.heading else []), *(indent + line for line in error.lines)]),
        file=sys.stderr,
    )
    return error.exit_code


@functools.cache
def build_parser() -> tuple[argparse.ArgumentParser, Commands]:
    """The parser, and every command by theme."""
    parser = argparse.ArgumentParser(
        prog="neonmeter", description="Meter Neon serverless Postgres without waking it. Without a command: run."
    )
    parser.add_argument("--version", action="version", version=f"neonmeter {__version__}")
    commands = Commands(parser)
    add_all(commands)
    return parser, commands
