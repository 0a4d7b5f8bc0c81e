"""The server settings that decide capacity and safety, in base units, and a fingerprint of all that were changed.

Values of settings that are not on the list never leave the server, only their hashes: some hold passwords.
Source: pg_settings.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

from collectors.base import Epoch, NoDataError, Options, Query, Reading, Result, Server, SqlCollector
from collectors.metric import Families, Kind, Metric, Scope, Unit
from collectors.postgres import query
from collectors.postgres.domain.settings import Setting, SettingsFacts, base_value

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
    "Hash of all changed settings: equal on two computes means equal settings, a change means that one was "
    "altered.", max_series=1,
)  # fmt: skip

MOST_ROLES: Final = 500
_NAME = re.compile(r"[a-z_][a-z0-9_.]*\Z")
METRICS: Final = (VALUE, INFO, PENDING, CHANGED, FINGERPRINT)


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
        known = {
            row["name"]: Setting(row["value"], row["hash"] or "", row["unit"], row["vartype"], bool(row["changed"]))
            for row in rows
            if not IDENTITY.match(row["name"])
        }
        facts = SettingsFacts(known, _roles(results.get("roles")))
        families.set(CHANGED, (), len(facts.changed))
        # 52 bits: as much of the hash as a float carries exactly.
        families.set(FINGERPRINT, (), int(facts.fingerprint[:13], 16))
        return Reading(families, len(rows), facts)


def _roles(result: Result | None) -> dict[str, str] | None:
    found = {row["role"]: row["attributes"] for row in query.records(result)} if result is not None else {}
    return found if 0 < len(found) <= MOST_ROLES else None
