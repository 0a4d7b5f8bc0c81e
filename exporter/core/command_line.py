"""How a command is declared: its name, its options and its handler, which stand together in one module."""

from __future__ import annotations

import argparse
import importlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

Handler = Callable[[argparse.Namespace, Any], int]
"""A command: takes its options and the settings (the tree that its feature reads); answers the exit code."""


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

    def add(
        self,
        name: str,
        handler: Handler | str,
        text: str,
        *,
        json: bool = False,
        settings: bool = True,
        checked: bool = False,
    ) -> argparse.ArgumentParser:
        """A command with ``--config`` (and ``--json``).

        ``handler`` is called with the options and the settings, or with None in place of them where the command works
        without (``settings=False``). ``checked``: it contacts something, so what can be known to be wrong with the
        settings is refused first. As text it is module:function, called with the options alone.
        """
        parent = self._reading if json else self._common
        sub: argparse.ArgumentParser = self._commands.add_parser(name, help=text, description=text, parents=[parent])
        _bind(sub, handler, settings=settings, checked=checked)
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

    def add(
        self,
        name: str,
        handler: Handler | str,
        text: str,
        *,
        json: bool = False,
        settings: bool = True,
        checked: bool = False,
    ) -> argparse.ArgumentParser:
        """As :meth:`Commands.add`."""
        parent = self._reading if json else self._common
        sub: argparse.ArgumentParser = self._commands.add_parser(name, help=text, description=text, parents=[parent])
        _bind(sub, handler, settings=settings, checked=checked)
        return sub

    @property
    def names(self) -> list[str]:
        """What may follow the word."""
        return list(self._commands.choices)


def _bind(parser: argparse.ArgumentParser, handler: Handler | str, *, settings: bool, checked: bool) -> None:
    if isinstance(handler, str):
        parser.set_defaults(handler=Lazy(handler), wants_settings=None, checked=False)
    else:
        parser.set_defaults(handler=handler, wants_settings=settings, checked=checked)


class Lazy:
    """A handler named by module:function, imported at the call, so that `version` costs nothing."""

    def __init__(self, where: str) -> None:
        self.where = where

    def __call__(self, options: argparse.Namespace) -> int:
        """Run it; answers the exit code."""
        module, _, name = self.where.partition(":")
        code: int = getattr(importlib.import_module(module), name)(options)
        return code
