"""How a command is declared: its name, its options, and a handler that is imported when it runs."""

from __future__ import annotations

import argparse
import importlib
import os
from pathlib import Path
from typing import Any


class Commands:
    """The commands of one parser. Each module of this package adds its own with ``add``."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self._commands: Any = parser.add_subparsers(metavar="COMMAND")
        self._common = argparse.ArgumentParser(add_help=False)
        named = os.environ.get("NEONMETER_CONFIG")
        self._common.add_argument(
            "--config", type=Path, default=Path(named) if named else None, metavar="FILE", help="settings file (YAML)"
        )
        self._reading = argparse.ArgumentParser(add_help=False, parents=[self._common])
        self._reading.add_argument("--json", action="store_true", help="print JSON instead of tables")
        self._defaults: dict[str, tuple[str, Group]] = {}

    def add(self, name: str, handler: str, text: str, *, json: bool = False) -> argparse.ArgumentParser:
        """A command with ``--config`` (and ``--json``); ``handler`` is module:function, called with the options."""
        parent = self._reading if json else self._common
        sub: argparse.ArgumentParser = self._commands.add_parser(name, help=text, description=text, parents=[parent])
        sub.set_defaults(handler=Lazy(handler))
        return sub

    def group(self, name: str, text: str, default: str = "") -> Group:
        """A command with commands of its own, as ``ledger verify``; ``default`` is the one that need not be said."""
        sub = self._commands.add_parser(name, help=text, description=text)
        made = Group(sub.add_subparsers(metavar="WHAT", required=True), self._common, self._reading)
        if default:
            self._defaults[name] = (default, made)
        return made

    def completed(self, arguments: list[str]) -> list[str]:
        """The arguments with the default command of a group put in where none was said: ``drift`` is ``drift show``."""
        default, group = self._defaults.get(arguments[0] if arguments else "", ("", None))
        if group is None or (len(arguments) > 1 and arguments[1] in (*group.names, "-h", "--help")):
            return arguments
        return [arguments[0], default, *arguments[1:]]

    @property
    def names(self) -> list[str]:
        """Every command, in the order of the help."""
        return list(self._commands.choices)


class Group:
    """The commands under one word."""

    def __init__(self, commands: Any, common: argparse.ArgumentParser, reading: argparse.ArgumentParser) -> None:
        self._commands = commands
        self._common = common
        self._reading = reading

    def add(self, name: str, handler: str, text: str, *, json: bool = False) -> argparse.ArgumentParser:
        """As :meth:`Commands.add`."""
        parent = self._reading if json else self._common
        sub: argparse.ArgumentParser = self._commands.add_parser(name, help=text, description=text, parents=[parent])
        sub.set_defaults(handler=Lazy(handler))
        return sub

    @property
    def names(self) -> list[str]:
        """What may follow the word."""
        return list(self._commands.choices)


class Lazy:
    """A handler named by module:function, imported at the call, so that `version` costs nothing."""

    def __init__(self, where: str) -> None:
        self.where = where

    def __call__(self, options: argparse.Namespace) -> int:
        """Run it; answers the exit code."""
        module, _, name = self.where.partition(":")
        code: int = getattr(importlib.import_module(module), name)(options)
        return code
