"""The server settings that decide capacity and safety, in base units, and a fingerprint of all that were changed.

Values of settings that are not on the list never leave the server, only their hashes: some hold passwords.
Source: pg_settings.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final, NamedTuple, Self

from collectors.base import Epoch, NoDataError, Options, Query, Reading, Result, Server, SqlCollector
from collectors.metric import Families, Kind, Metric, Scope, Unit, Value
from collectors.postgres import query

INFO_NAMES: Final = ("server_version", "wal_level", "password_encryption", "synchronous_commit", "ssl")
"""The settings that are words; each is a label of pg_settings_info."""

IDENTITY: Final = re.compile(
    r"(port|listen_addresses|data_directory|config_file|hba_file|ident_file|external_pid_file|cluster_name"
    r"|unix_socket_directories|primary_conninfo|primary_slot_name|recovery_target.*"
    r"|neon\.(tenant_id|timeline_id|project_id|branch_id|endpoint_id|pageserver_connstring|safekeepers|.*token.*))\Z"
)
"""Settings that differ between any two computes by nature; they are no part of the fingerprint."""

VALUE = Metric(
    "pg_settings_value", Kind.GAUGE, Unit.NONE, Scope.ENDPOINT,
    "A server setting in base units (bytes, seconds, counts; on is 1, off is 0); -1 is 'off' or 'no limit' where the "
    "setting says so.", ("name",), max_series=60,
)  # fmt: skip
INFO = Metric(
    "pg_settings_info", Kind.GAUGE, Unit.NONE, Scope.ENDPOINT,
    "Settings that are words, as labels; always 1. wal_level must be logical for CDC.", INFO_NAMES, max_series=1,
)  # fmt: skip
PENDING = Metric(
    "pg_settings_pending_restart", Kind.GAUGE, Unit.NONE, Scope.ENDPOINT,
    "Settings that were changed but take effect only after a restart of the compute.", worse="up", max_series=1,
)  # fmt: skip
CHANGED = Metric(
    "pg_settings_changed", Kind.GAUGE, Unit.NONE, Scope.ENDPOINT,
    "Settings that differ from PostgreSQL's built-in default.", max_series=1,
)  # fmt: skip
FINGERPRINT = Metric(
    "pg_settings_fingerprint", Kind.GAUGE, Unit.NONE, Scope.ENDPOINT,
    "A number made of all changed settings: equal on two computes means equal settings, a change means someone "
    "altered one.", max_series=1,
)  # fmt: skip

MOST_ROLES: Final = 500
_NAME = re.compile(r"[a-z_][a-z0-9_.]*\Z")
_ON: Final = ("on", "true", "yes", "1")
_OFF: Final = ("off", "false", "no", "0")
METRICS: Final = (VALUE, INFO, PENDING, CHANGED, FINGERPRINT)

_UNIT = re.compile(r"(?P<times>\d*)(?P<unit>B|kB|MB|GB|TB|us|ms|s|min|h|d)\Z")
_FACTOR: Final = {
    "B": Fraction(1), "kB": Fraction(1024), "MB": Fraction(1024**2), "GB": Fraction(1024**3), "TB": Fraction(1024**4),
    "us": Fraction(1, 1_000_000), "ms": Fraction(1, 1000), "s": Fraction(1), "min": Fraction(60), "h": Fraction(3600),
    "d": Fraction(86400),
}  # fmt: skip


class Setting(NamedTuple):
    """One setting: its value only where it is listed, else the MD5 of it; both as PostgreSQL keeps it, in ``unit``."""

    value: str | None
    digest: str
    unit: str | None
    vartype: str
    changed: bool
    """It differs from the built-in default."""


@dataclass(frozen=True, slots=True)
class SettingsFacts:
    """All settings that differ from the built-in default, as MD5 hashes of their values, and their fingerprint.

    ``settings`` has these, and the listed and wanted ones; ``roles`` what each role may, None where they are too many.
    """

    changed: Mapping[str, str]
    fingerprint: str
    settings: Mapping[str, Setting] = field(default_factory=dict)
    roles: Mapping[str, str] | None = None


@dataclass(slots=True)
class SettingsCollector(SqlCollector):
    """Reads the listed settings and those that were changed; those of ``wanted`` also when they were not."""

    wanted: tuple[str, ...] = ()

    name = "settings"
    title = "Settings"
    source = "pg_settings"
    metrics = METRICS
    interval = 900.0

    @classmethod
    def build(cls, options: Options) -> Self:
        """With the settings that somebody compares with a desired state."""
        return cls(options.wanted_settings)

    def queries(self, server: Server) -> tuple[Query, ...]:
        """The settings (a listed one that a version lacks has no row), and the roles."""
        names = ",".join(name for name in self.wanted if _NAME.match(name))
        major = server.version_num // 10_000
        return (
            Query("wanted", f"SELECT set_config('neonmeter.wanted', '{names}', true)"),
            Query("settings", query.load("settings", major)),
            Query("roles", query.load("settings_roles", major)),
        )

    def read(self, results: Mapping[str, Result], epoch: Epoch) -> Reading:  # noqa: ARG002 - the protocol's
        """Map the rows.

        Raises:
            NoDataError: the query failed.
        """
        if "settings" not in results:
            raise NoDataError("pg_settings could not be read")
        families = Families()
        rows = list(query.records(results["settings"]))
        words = dict.fromkeys(INFO_NAMES, "")
        for row in rows:
            if row["name"] in words:
                words[row["name"]] = row["value"] or ""
            value = base_value(row["value"], row["unit"], row["vartype"])
            if value is not None:
                families.set(VALUE, (row["name"],), value)
        families.set(INFO, tuple(words.values()), 1)
        families.set(PENDING, (), sum(1 for row in rows if row["pending_restart"]))
        changed = {row["name"]: row["hash"] or "" for row in rows if row["changed"] and not IDENTITY.match(row["name"])}
        known = {
            row["name"]: Setting(row["value"], row["hash"] or "", row["unit"], row["vartype"], bool(row["changed"]))
            for row in rows
            if not IDENTITY.match(row["name"])
        }
        facts = SettingsFacts(changed, fingerprint(changed), known, _roles(results.get("roles")))
        families.set(CHANGED, (), len(changed))
        # 52 bits: as much of the hash as a float carries exactly.
        families.set(FINGERPRINT, (), int(facts.fingerprint[:13], 16))
        return Reading(families, len(rows), facts)


def _roles(result: Result | None) -> dict[str, str] | None:
    found = {row["role"]: row["attributes"] for row in query.records(result)} if result is not None else {}
    return found if 0 < len(found) <= MOST_ROLES else None


def canonical(wanted: object, unit: str | None, vartype: str) -> str:
    """A value as somebody writes it (8MB, 500ms, true), as PostgreSQL keeps it in ``unit``.

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
