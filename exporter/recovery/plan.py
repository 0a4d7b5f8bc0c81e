"""From the options and the settings to the plan of one drill: which instant, which checks, which connection string."""

from __future__ import annotations

import argparse
import re
from collections.abc import Awaitable, Callable
from datetime import datetime

from collectors.errors import UsageError
from collectors.neon.inventory import Inventory
from collectors.neon.models import Endpoint
from collectors.postgres.domain.fingerprint import Fingerprint
from exporter.feature.workspace import open_store
from exporter.recovery.drill import Plan
from exporter.recovery.series import of_spot
from exporter.recovery.steps import DrillError, Source, source_of
from exporter.recovery.text import instant
from exporter.sampling.fingerprint_scan import ScanError, scan
from exporter.sampling.fingerprint_store import DRIFT_SCHEMA, FingerprintStore
from exporter.settings import CoreSettings, PostgresSettings
from exporter.settings.dsn import DsnError, EndpointRef, conninfo
from exporter.settings.recovery import Marker
from exporter.storage.store import StoreError

MINUTES_AGO = 10.0
_AGE = re.compile(r"(\d+(?:\.\d+)?)\s*([smhd])\Z")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class PlanError(UsageError):
    """The options or the settings do not make a drill; one line for a person."""


def plan_of(settings: CoreSettings, options: argparse.Namespace, inventory: Inventory) -> Plan:
    """The plan of one drill.

    Raises:
        PlanError: an option cannot be used, there is no such branch, or a setting is missing.
    """
    try:
        source = source_of(inventory, options.branch)
    except DrillError as problem:
        raise PlanError(str(problem)) from None
    recovery = settings.recovery
    marker = next(iter(of_spot(recovery.markers, source)), None)
    at = _instant(options, source, inventory.server_now, has_marker=marker is not None)
    if recovery.dsn is None and settings.postgres.dsn is None:
        raise PlanError("recovery.dsn: set how to read the restored branch, such as postgresql://drill@{host}/app")
    expires = None if options.expires == "never" else age(options.expires, "--expires")
    ready = age(options.ready, "--ready")
    if expires is not None and expires <= ready:
        raise PlanError("--expires: the branch would expire before it must be ready (--ready)")
    return Plan(
        source=source,
        at=at,
        expires_seconds=expires,
        ready_seconds=ready,
        dsn=_reach(settings, source),
        databases=tuple(options.database or ()),
        sql=_text(options),
        expected=_expected(settings, options.fingerprint, source),
        sentinels=tuple(of_spot(recovery.sentinels, source)),
        heartbeats=tuple(of_spot(recovery.heartbeats, source)),
        marker=marker,
        marker_dsn=_marker_dsn(marker, source) if marker is not None and at is None else "",
        kind="read_write" if options.read_write else "read_only",
    )


def _instant(options: argparse.Namespace, source: Source, now: float, *, has_marker: bool) -> float | None:
    if options.at is not None:
        try:
            at = datetime.fromisoformat(options.at)
        except ValueError:
            raise PlanError(f"--at: {options.at!r} is not an instant; write 2026-11-23T08:00:00Z") from None
        if at.tzinfo is None:
            raise PlanError(f"--at: {options.at} needs a time zone; end it with Z for UTC")
        wanted = at.timestamp()
    elif options.minutes_ago is None and has_marker:
        return None
    else:
        minutes = MINUTES_AGO if options.minutes_ago is None else options.minutes_ago
        wanted = now - minutes * 60
    if wanted > now:
        raise PlanError(
            "--at: this instant is in the future" if options.at else "--minutes-ago: write a number above 0"
        )
    if source.earliest is not None and wanted < source.earliest:
        asked = "--at" if options.at else "--minutes-ago" if options.minutes_ago else "10 minutes ago (the default)"
        raise PlanError(f"{asked}: the branch can be restored from {instant(source.earliest)} on, not earlier")
    return int(wanted * 1000) / 1000


def age(text: str, option: str) -> float:
    """Seconds of 90s, 15m, 2h, 1d.

    Raises:
        PlanError: it is none.
    """
    found = _AGE.match(text.strip())
    if found is None or float(found[1]) == 0:
        raise PlanError(f"{option}: {text!r} is not an age; write 90s, 15m, 2h or 1d")
    return float(found[1]) * _UNITS[found[2]]


def _text(options: argparse.Namespace) -> str:
    if options.check is None:
        return ""
    try:
        text: str = options.check.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        raise PlanError(f"--check: {options.check} cannot be read ({problem})") from None
    return text


def _reach(settings: CoreSettings, source: Source) -> Callable[[Endpoint], str]:
    recovery = settings.recovery
    own = PostgresSettings(dsn=recovery.dsn, password=recovery.password, password_file=recovery.password_file)

    def dsn(endpoint: Endpoint) -> str:
        # The overrides of the source hold for its copy; only the host is another one.
        place = EndpointRef(
            endpoint.id, endpoint.host, source.project_id, source.project_name, source.branch_id, source.branch_name
        )
        found = conninfo(own if recovery.dsn is not None else settings.postgres, place)
        if found is None:
            raise DrillError("SQL is switched off for this branch (postgres.overrides); set recovery.dsn")
        return found

    return dsn


def _marker_dsn(marker: Marker, source: Source) -> str:
    if not source.host:
        raise PlanError(f"recovery.markers: {source.branch_name} has no read-write compute to write a marker to")
    own = PostgresSettings(dsn=marker.dsn, password=marker.password, password_file=marker.password_file)
    place = EndpointRef("", source.host, source.project_id, source.project_name, source.branch_id, source.branch_name)
    try:
        return conninfo(own, place) or ""
    except DsnError as problem:
        raise PlanError(f"recovery.markers: {problem}") from None


def _expected(
    settings: CoreSettings, how: str, source: Source
) -> Callable[[str], Awaitable[Fingerprint | None]] | None:
    if how == "none":
        return None
    # Read before anything is made: a store that cannot be read must not cost a branch.
    stored = _stored(settings, source) if how == "kept" else {}

    async def expected(database: str) -> Fingerprint | None:
        return await _live(settings, source, database) if how == "live" else stored.get(database)

    return expected


async def _live(settings: CoreSettings, source: Source, database: str) -> Fingerprint | None:
    place = EndpointRef("", source.host, source.project_id, source.project_name, source.branch_id, source.branch_name)
    try:
        dsn = conninfo(settings.postgres, place)
        return await scan(dsn, database) if dsn and source.host else None
    except (ScanError, DsnError) as problem:
        raise DrillError(f"the source cannot be read: {problem}") from None


def _stored(settings: CoreSettings, source: Source) -> dict[str, Fingerprint]:
    """What the agent last read of each database of the branch."""
    if not settings.storage.path.exists():
        return {}
    try:
        with open_store(settings, {"drift": DRIFT_SCHEMA}) as store:
            return FingerprintStore(store).of_branch(source.project_id, source.branch_id)
    except StoreError as problem:
        raise PlanError(f"--fingerprint kept: {problem}") from None
