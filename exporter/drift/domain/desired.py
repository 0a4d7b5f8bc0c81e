"""Differences of settings: of one server from another, and of a branch from the desired state. Pure.

Values of settings that are not on the list are known by their MD5 alone, so they are compared, and never shown.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from collectors.postgres.domain.settings import Setting, SettingsFacts
from exporter.sampling.domain.schema_comparison import ADDED, CHANGED, REMOVED, Change

GUC, ROLE, ENDPOINT, PROJECT, EXTENSION = "guc", "role", "endpoint", "project", "extension"
KINDS = (GUC, ROLE, ENDPOINT, PROJECT, EXTENSION)
HIDDEN = "(not shown)"
DEFAULT = "(PostgreSQL's default)"
_SIZED = re.compile(
    r"(shared_buffers|effective_cache_size|max_connections|maintenance_work_mem|max_worker_processes|max_parallel_.*"
    r"|autovacuum_work_mem|max_wal_size|min_wal_size|wal_buffers|neon\..*|server_version.*|log_.*directory|.*_file)\Z"
)
"""Settings that Neon works out from a compute's size, or that name a place: they differ without anybody's doing."""


@dataclass(frozen=True, slots=True)
class DesiredValue:
    """The desired state of one branch. Values of settings in PostgreSQL's own units, everything else as text."""

    settings: Mapping[str, str] = field(default_factory=dict)
    platform: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """By (kind, name): endpoint and project settings of Neon."""
    extensions: Mapping[str, str] = field(default_factory=dict)
    """Version by name; ``*`` is any."""
    roles: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SettingsDrift:
    """The outcome. ``unverified`` names the wanted settings that have not been read."""

    changes: tuple[Change, ...] = ()
    unverified: tuple[str, ...] = ()


def between(baseline: SettingsFacts, current: SettingsFacts) -> SettingsDrift:
    """Differences of ``current`` from ``baseline``: in settings that were changed on either, and in roles."""
    found: list[Change] = []
    for name in sorted(baseline.settings.keys() | current.settings.keys()):
        was, now = baseline.settings.get(name), current.settings.get(name)
        altered = any(setting is not None and setting.changed for setting in (was, now))
        if _SIZED.match(name) or not altered or (was and now and was.digest == now.digest):
            continue
        found.append(Change(GUC, "", name, CHANGED, _shown(was), _shown(now)))
    unverified: tuple[str, ...] = ()
    if baseline.roles is None or current.roles is None:
        unverified = ("roles",)
    else:
        found += _differences(ROLE, baseline.roles, current.roles)
    return SettingsDrift(tuple(found), unverified)


def against(
    wanted: DesiredValue,
    server: SettingsFacts | None,
    platform: Mapping[tuple[str, str], str],
    extensions: Mapping[str, str] | None,
) -> SettingsDrift:
    """Differences of one branch from its desired state; only what that names is compared."""
    found: list[Change] = []
    unknown: list[str] = []
    for name, text in sorted(wanted.settings.items()):
        setting = server.settings.get(name) if server is not None else None
        if setting is None:
            unknown.append(name)
        elif setting.digest != hashlib.md5(text.encode(), usedforsecurity=False).hexdigest():
            found.append(Change(GUC, "", name, CHANGED, _with_unit(text, setting.unit), _shown(setting)))
    for (kind, name), text in sorted(wanted.platform.items()):
        now = platform.get((kind, name))
        if now is None:
            unknown.append(name)
        elif now != text:
            found.append(Change(kind, "", name, CHANGED, text, now))
    found += _wanted_only(EXTENSION, wanted.extensions, extensions, unknown)
    found += _wanted_only(ROLE, wanted.roles, server.roles if server is not None else None, unknown)
    return SettingsDrift(tuple(found), tuple(unknown))


def _wanted_only(
    kind: str, wanted: Mapping[str, str], there: Mapping[str, str] | None, unknown: list[str]
) -> Iterator[Change]:
    if there is None:
        unknown.extend(sorted(wanted))
        return
    for name, text in sorted(wanted.items()):
        if name not in there:
            yield Change(kind, "", name, REMOVED, was=text)
        elif text not in ("*", there[name]):
            yield Change(kind, "", name, CHANGED, text, there[name])


def _differences(kind: str, was: Mapping[str, str], now: Mapping[str, str]) -> Iterator[Change]:
    for name in sorted(was.keys() | now.keys()):
        if name not in now:
            yield Change(kind, "", name, REMOVED, was=was[name])
        elif name not in was:
            yield Change(kind, "", name, ADDED, now=now[name])
        elif was[name] != now[name]:
            yield Change(kind, "", name, CHANGED, was[name], now[name])


def _shown(setting: Setting | None) -> str:
    if setting is None:
        return DEFAULT
    return HIDDEN if setting.value is None else _with_unit(setting.value, setting.unit)


def _with_unit(text: str, unit: str | None) -> str:
    return f"{text} {unit}" if unit and text.lstrip("-").replace(".", "").isdigit() else text
