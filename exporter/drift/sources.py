"""What can be compared: a fingerprint file, what was kept of a branch, a database by its DSN. Each by database name."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

from collectors.postgres.domain.fingerprint import Fingerprint
from exporter.drift.names import NoSuchBranchError, resolve
from exporter.drift.workspace import DriftWorkspace
from exporter.sampling.fingerprint_scan import scan

Prints = Mapping[str, Fingerprint]
"""Fingerprints by database name."""


class SourceError(Exception):
    """There is no such thing to compare: one line that says what there is instead."""


def is_dsn(text: str) -> bool:
    """Whether it is a connection string: a URL, or parameters."""
    return text.startswith(("postgres://", "postgresql://")) or ("=" in text and not Path(text).exists())


def is_file(text: str) -> bool:
    """Whether it names a fingerprint file."""
    return text.endswith(".json") or Path(text).is_file()


def from_file(path: Path) -> Prints:
    """A fingerprint file.

    Raises:
        SourceError: it cannot be read, or is none.
    """
    try:
        found = Fingerprint.from_json(path.read_text("utf-8"), taken_at=path.stat().st_mtime)
    except OSError as problem:
        raise SourceError(f"{path}: {problem.strerror}") from None
    except ValueError as problem:
        raise SourceError(f"{path}: {problem}") from None
    return {found.database: found}


def from_dsn(dsn: str, database: str | None) -> Prints:
    """A database as it is now.

    Raises:
        ScanError: it cannot be read.
    """
    found = asyncio.run(scan(dsn, database))
    return {found.database: found}


def kept(workspace: DriftWorkspace, branch: str) -> Prints:
    """What the agent last read of a branch.

    Raises:
        SourceError: there is no such branch, or nothing was read of it.
    """
    try:
        ids = resolve(branch, workspace.branches)
    except NoSuchBranchError as problem:
        raise SourceError(f"{problem}; only branches whose databases were read are known here") from None
    found = {key.datname: workspace.fingerprint(key) for key in workspace.databases(ids)}
    return {datname: fingerprint for datname, fingerprint in found.items() if fingerprint is not None}


def one_of(workspace: DriftWorkspace, branch: str, database: str | None) -> Fingerprint:
    """The kept fingerprint of one database of a branch.

    Raises:
        SourceError: there is none, or several and none was named.
    """
    found = kept(workspace, branch)
    names = ", ".join(sorted(found))
    if database is None and len(found) == 1:
        return next(iter(found.values()))
    if database is None:
        raise SourceError(f"{branch} has several databases ({names}): say which with --database")
    if database not in found:
        raise SourceError(f"{branch} has no database {database!r} that was read; there are {names}")
    return found[database]
