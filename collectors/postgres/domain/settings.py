"""Settings of a server: their values in PostgreSQL's units, and one fingerprint of all that were changed."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, NamedTuple

from collectors.metric import Value

_ON: Final = ("on", "true", "yes", "1")
_OFF: Final = ("off", "false", "no", "0")
_UNIT = re.compile(r"(?P<times>\d*)(?P<unit>B|kB|MB|GB|TB|us|ms|s|min|h|d)\Z")
_FACTOR: Final = {
    "B": Fraction(1), "kB": Fraction(1024), "MB": Fraction(1024**2), "GB": Fraction(1024**3), "TB": Fraction(1024**4),
    "us": Fraction(1, 1_000_000), "ms": Fraction(1, 1000), "s": Fraction(1), "min": Fraction(60), "h": Fraction(3600),
    "d": Fraction(86400),
}  # fmt: skip


class Setting(NamedTuple):
    """One setting: its value only where it is listed, else the MD5 of it; both in PostgreSQL's own ``unit``."""

    value: str | None
    digest: str
    unit: str | None
    vartype: str
    changed: bool
    """It differs from the built-in default."""


@dataclass(frozen=True, slots=True)
class SettingsFacts:
    """Settings that differ from the built-in default, and the listed and wanted ones, by name; and roles.

    ``roles`` says what each role may, None where they are too many to read.
    """

    settings: Mapping[str, Setting]
    roles: Mapping[str, str] | None = None

    @property
    def changed(self) -> dict[str, str]:
        """Hashes of the values that differ from the built-in default, by name."""
        return {name: setting.digest for name, setting in self.settings.items() if setting.changed}

    @property
    def fingerprint(self) -> str:
        """See :func:`fingerprint`."""
        return fingerprint(self.changed)


def canonical(wanted: object, unit: str | None, vartype: str) -> str:
    """A value as somebody writes it (8MB, 500ms, true), in PostgreSQL's own ``unit``.

    Raises:
        ValueError: it is not of that kind.
    """
    text = str(wanted).strip()
    if vartype == "bool":
        word = text.lower()
        if word not in (*_ON, *_OFF):
            raise ValueError(f"{text!r} is neither on nor off")
        return "on" if word in _ON else "off"
    if vartype not in ("integer", "real"):
        return text
    match = re.fullmatch(r"(?P<number>-?[0-9.]+)\s*(?P<unit>B|kB|MB|GB|TB|us|ms|s|min|h|d)?", text)
    if match is None:
        raise ValueError(f"{text!r} is not a number with a unit")
    number = Fraction(match["number"])
    own = _UNIT.match(unit or "")
    if match["unit"] and own:
        number *= _FACTOR[match["unit"]] / (int(own["times"] or 1) * _FACTOR[own["unit"]])
    return str(int(number)) if number.denominator == 1 else f"{float(number):g}"


def base_value(value: str | None, unit: str | None, vartype: str) -> Value | None:
    """A setting's value in bytes, seconds or plain; None when it is unknown or a word."""
    if value is None:
        return None
    if vartype == "bool":
        return int(value == "on")
    if vartype not in ("integer", "real"):
        return None
    number = Fraction(value)
    match = _UNIT.match(unit or "")
    if match and number >= 0:
        number *= int(match["times"] or 1) * _FACTOR[match["unit"]]
    return int(number) if number.denominator == 1 else float(number)


def fingerprint(changed: Mapping[str, str]) -> str:
    """A hash of names and value hashes that does not depend on their order; 64 hex digits."""
    lines = "".join(f"{name}={changed[name]}\n" for name in sorted(changed))
    return hashlib.sha256(lines.encode()).hexdigest()
