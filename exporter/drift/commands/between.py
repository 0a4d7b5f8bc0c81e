"""`neonmeter drift between`: two sources compared, for CI before a branch is promoted: exit 1 when they differ."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from exporter.commands.main import FINDINGS, OK, UPSTREAM, USAGE, load_settings, refuse

if TYPE_CHECKING:
    from collectors.postgres.domain.fingerprint import Fingerprint
    from exporter.drift.workspace import DriftWorkspace
    from exporter.sampling.domain.schema_comparison import Drift, IgnoreRule


@dataclass(frozen=True, slots=True)
class Pair:
    """One database on both sides; one of them may be missing."""

    name: str
    baseline: Fingerprint | None
    current: Fingerprint | None


def between_command(options: argparse.Namespace) -> int:
    """Compare and print; what cannot be compared counts as a difference."""
    from exporter.drift.sources import SourceError
    from exporter.sampling.fingerprint_scan import ScanError
    from exporter.storage.store import StoreError

    try:
        return _between(options)
    except ScanError as problem:
        print(f"A database cannot be read: {problem}", file=sys.stderr)
        return UPSTREAM
    except SourceError as problem:
        print(str(problem), file=sys.stderr)
        return USAGE
    except StoreError as problem:
        return refuse(str(problem))


def _between(options: argparse.Namespace) -> int:
    from exporter.drift.commands.drift_store import opened
    from exporter.drift.comparer import rules_of_settings
    from exporter.drift.sources import is_dsn, is_file

    settings = load_settings(options)
    if settings is None:
        return USAGE
    sides = (options.baseline, options.current)
    with contextlib.ExitStack() as stack:
        named = any(not is_dsn(side) and not is_file(side) for side in sides)
        workspace = stack.enter_context(opened(settings)) if named else None
        baseline, current = (_side(side, workspace, options.database) for side in sides)
    pairs = _pairs(baseline, current, options.database)
    rules = rules_of_settings(settings.drift)
    found = {pair.name: _compare(pair, rules) for pair in pairs}
    if options.json:
        print(json.dumps({name: _as_dict(drift) for name, drift in found.items()}, indent=2))
    else:
        titles = {side: _title(side) for side in sides}
        _print(found, titles[sides[0]], titles[sides[1]], markdown=options.markdown)
    return FINDINGS if any(drift.changes or not drift.comparable for drift in found.values()) else OK


def _side(text: str, workspace: DriftWorkspace | None, database: str | None) -> Mapping[str, Fingerprint]:
    from pathlib import Path

    from exporter.drift import sources

    if sources.is_dsn(text):
        return sources.from_dsn(text, database)
    if sources.is_file(text) or workspace is None:
        return sources.from_file(Path(text))
    return sources.kept(workspace, text)


def _pairs(
    baseline: Mapping[str, Fingerprint], current: Mapping[str, Fingerprint], database: str | None
) -> list[Pair]:  # fmt: skip
    """By name; where either side is a single database, it is compared with the one of its name, or the only one.

    Raises:
        SourceError: no database of either side belongs to one of the other.
    """
    from exporter.drift.sources import SourceError

    if len(baseline) == len(current) == 1:
        (one,), (other,) = baseline.values(), current.values()
        return [Pair(other.database, one, other)]
    names = sorted(baseline.keys() | current.keys())
    if min(len(baseline), len(current)) == 1:
        names = sorted(baseline if len(baseline) == 1 else current)
    if database is not None:
        names = [name for name in names if name == database]
    pairs = [Pair(name, baseline.get(name), current.get(name)) for name in names]
    if not any(pair.baseline and pair.current for pair in pairs):
        told = [", ".join(sorted(side)) or "none" for side in (baseline, current)]
        raise SourceError(f"no database is on both sides: the first has {told[0]}, the second {told[1]}")
    return pairs


def _compare(pair: Pair, rules: tuple[IgnoreRule, ...]) -> Drift:
    from exporter.sampling.domain.schema_comparison import Drift, compare

    if pair.baseline is None or pair.current is None:
        side = "first" if pair.baseline is None else "second"
        return Drift(comparable=False, why=f"the {side} side has no database {pair.name}, or it was not read")
    return compare(pair.baseline, pair.current, rules, time.time())


def _title(text: str) -> str:
    """A side as it may be shown: a DSN without its password."""
    from psycopg.conninfo import conninfo_to_dict

    from exporter.drift.sources import is_dsn

    if not is_dsn(text):
        return text
    parts = conninfo_to_dict(text)
    return f"{parts.get('host') or 'localhost'}/{parts.get('dbname') or ''}"


def _as_dict(drift: Drift) -> dict[str, object]:
    from exporter.drift.pages import drift_as_dict

    return drift_as_dict(drift)


def _print(found: Mapping[str, Drift], baseline: str, current: str, *, markdown: bool) -> None:
    from exporter.drift import pages
    from exporter.drift.commands.show import changes

    for name, drift in found.items():
        if markdown:
            print(pages.markdown(f"Schema drift: database {name}, {current} against {baseline}", drift))
            continue
        if not drift.comparable:
            print(f"Database {name}: not compared: {drift.why}.")
        elif not drift.changes:
            ignored = f" ({drift.ignored} ignored by rule)" if drift.ignored else ""
            print(f"Database {name}: {current} is as {baseline}{ignored}.")
        else:
            number = f"{len(drift.changes)} difference{'s' * (len(drift.changes) != 1)}"
            print(f"Database {name}: {number} of {current} from {baseline}:\n\n{changes(drift.changes)}")
