"""How a command is declared: its name, its options and its handler, which stand together in one module."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

Handler = Callable[[argparse.Namespace, Any], int]
"""A command: takes its options and the settings (the tree that its feature reads); answers the exit code."""


class CommandGroup:
    """Commands that stand together: all of them, or those under one word, such as ``ledger verify``."""

    def __init__(self, commands: Any, common: argparse.ArgumentParser) -> None:
        """``commands`` is argparse's action of subcommands, ``common`` holds the options that each has."""
        self._commands = commands
        self._common = common

    def add(
        self,
        name: str,
        handler: Handler,
        text: str,
        *,
        json: bool = False,
        settings: bool = True,
        checked: bool = False,
        stops_itself: bool = False,
    ) -> argparse.ArgumentParser:
        """A command with ``--config`` (and ``--json``).

        ``handler`` is called with the options and the settings, or with None in place of them where the command works
        without (``settings=False``). ``checked``: it contacts something, so what can be known to be wrong with the
        settings is refused first. ``stops_itself``: it has handlers of its own for SIGTERM and SIGINT; any other
        command gets KeyboardInterrupt for both.
        """
        parser: argparse.ArgumentParser = self._commands.add_parser(
            name, help=text, description=text, parents=[self._common]
        )
        if json:
            parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
        parser.set_defaults(handler=handler, wants_settings=settings, checked=checked, stops_itself=stops_itself)
        return parser

    @property
    def names(self) -> list[str]:
        """The commands, in the order of the help."""
        return list(self._commands.choices)


class Commands(CommandGroup):
    """Every command of the program. Each room adds its own."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        common = argparse.ArgumentParser(add_help=False)
        named = os.environ.get("NEONMETER_CONFIG")
        common.add_argument(
            "--config", type=Path, default=Path(named) if named else None, metavar="FILE", help="settings file (YAML)"
        )
        super().__init__(parser.add_subparsers(metavar="COMMAND"), common)
        self._defaults: dict[str, tuple[str, CommandGroup]] = {}

    def group(self, name: str, text: str, default: str = "") -> CommandGroup:
        """A command with commands of its own, such as ``ledger verify``; ``default`` runs when none is given."""
        parser = self._commands.add_parser(name, help=text, description=text)
        group = CommandGroup(parser.add_subparsers(metavar="WHAT", required=True), self._common)
        if default:
            self._defaults[name] = (default, group)
        return group

    def completed(self, arguments: list[str]) -> list[str]:
        """The arguments with the default command of a group put in where none is given: ``drift`` is ``drift show``."""
        default, group = self._defaults.get(arguments[0] if arguments else "", ("", None))
        if group is None or (len(arguments) > 1 and arguments[1] in (*group.names, "-h", "--help")):
            return arguments
        return [arguments[0], default, *arguments[1:]]
