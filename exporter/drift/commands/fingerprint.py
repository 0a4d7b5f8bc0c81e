"""`neonmeter fingerprint`: every object of a database as digests, as a file for git, for CI and for baselines."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from exporter.commands.main import OK, UPSTREAM, USAGE, load_settings, refuse
from exporter.documents.terminal import counted

if TYPE_CHECKING:
    from collectors.postgres.domain.fingerprint import Fingerprint


def fingerprint_command(options: argparse.Namespace) -> int:
    """Write it to a file or to standard output; one line about it to stderr."""
    from exporter.drift.sources import SourceError
    from exporter.sampling.fingerprint_scan import ScanError
    from exporter.storage.store import StoreError

    try:
        found = _read(options)
    except ScanError as problem:
        print(f"The database cannot be read: {problem}", file=sys.stderr)
        return UPSTREAM
    except SourceError as problem:
        print(str(problem), file=sys.stderr)
        return USAGE
    except StoreError as problem:
        return refuse(str(problem))
    if found is None:
        return USAGE
    text = found.to_json()
    if options.output is None:
        sys.stdout.write(text)
    else:
        try:
            Path(options.output).write_text(text, "utf-8")
        except OSError as problem:
            print(f"{options.output}: {problem.strerror}", file=sys.stderr)
            return USAGE
    parts = (
        (len(found.objects), "object"),
        (sum(key.kind == "table" for key in found.objects), "table"),
        (len(found.schemas) - 1, "schema"),
    )
    told = ", ".join(counted(number, name) for number, name in parts)
    print(f"{found.database}: fingerprint {found.digest[:12]}, PostgreSQL {found.pg_major}, {told}", file=sys.stderr)
    return OK


def _read(options: argparse.Namespace) -> Fingerprint | None:
    from exporter.sampling.fingerprint_scan import scan

    if options.dsn is not None:
        return asyncio.run(scan(options.dsn, options.database, column_order=options.column_order))
    from exporter.drift.commands.drift_store import opened
    from exporter.drift.sources import one_of

    settings = load_settings(options)
    if settings is None:
        return None
    with opened(settings) as workspace:
        return one_of(workspace, options.branch, options.database)
