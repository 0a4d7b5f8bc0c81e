"""`neonmeter drift approve`: say that a branch is as it should be now; what it becomes later is drift.

It writes a file (fit for git) and needs no agent; one that runs sees it at its next look.
"""

from __future__ import annotations

import argparse
import getpass
import sys
import time
from typing import TYPE_CHECKING

from exporter.commands.main import OK, USAGE, load_settings, refuse

if TYPE_CHECKING:
    from exporter.drift.settings import DriftTree

MOST_REASON = 500


def approve_command(options: argparse.Namespace) -> int:
    """Approve what was last read of every database of a branch, or of one."""
    from exporter.drift.names import NoSuchBranchError
    from exporter.drift.sources import SourceError
    from exporter.storage.store import StoreError

    settings = load_settings(options)
    if settings is None:
        return USAGE
    if len(options.reason.strip()) < 3 or len(options.reason) > MOST_REASON:
        print(f"--reason: say why, in 3 to {MOST_REASON} characters", file=sys.stderr)
        return USAGE
    try:
        return _approve(settings, options)
    except (SourceError, NoSuchBranchError) as problem:
        print(str(problem), file=sys.stderr)
        return USAGE
    except StoreError as problem:
        return refuse(str(problem))
    except OSError as problem:
        return refuse(f"drift.approvals: {problem.filename}: {problem.strerror}")


def _approve(settings: DriftTree, options: argparse.Namespace) -> int:
    from exporter.drift.commands.drift_store import opened
    from exporter.drift.names import resolve
    from exporter.drift.sources import SourceError

    with opened(settings) as workspace:
        ids = resolve(options.branch, workspace.branches)
        keys = [key for key in workspace.databases(ids) if options.database in (None, key.datname)]
        if not keys:
            names = ", ".join(key.datname for key in workspace.databases(ids))
            raise SourceError(f"{options.branch} has no database {options.database!r} that was read; there are {names}")
        by = options.by or _user()
        for key in keys:
            found = workspace.fingerprint(key)
            if found is not None:
                path = workspace.approvals.write(key, found, by=by, reason=options.reason.strip(), at=time.time())
                print(f"{options.branch}, database {key.datname}: {found.digest[:12]} approved by {by} ({path})")
    return OK


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "somebody"
