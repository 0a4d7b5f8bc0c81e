"""`neonmeter drift` and `neonmeter fingerprint`: what is no longer as it should be, for people and for CI.

The commands over branches look at Neon as `neonmeter inventory` does (GET only, nothing wakes), and read what the agent
stored, also beside it. `fingerprint --dsn` and `drift between` need no agent.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from collectors.errors import FINDINGS, OK, UsageError

if TYPE_CHECKING:
    from collectors.neon.inventory import Inventory
    from collectors.postgres.domain.fingerprint import Fingerprint
    from exporter.core.command_line import CommandGroup, Commands
    from exporter.drift.evaluation import BranchDrift
    from exporter.drift.settings import DriftTree
    from exporter.drift.workspace import DriftWorkspace
    from exporter.sampling.domain.schema_comparison import Drift, IgnoreRule

MOST_REASON = 500
_BRANCH = "PROJECT/BRANCH, or the branch's name or id if it is unique"


def add_commands(commands: Commands) -> None:
    """Declare them, in the order of the help; imports nothing heavy."""
    _add_fingerprint(commands)
    drift = commands.group("drift", "differences from the baseline: schemas, tenants, migrations, settings", "show")
    show = drift.add(
        "show", show_command, "all branches, or what differs in one (the default)", json=True, checked=True
    )
    show.add_argument("branch", nargs="?", metavar="BRANCH", help=_BRANCH)
    show.add_argument("--markdown", action="store_true", help="print Markdown, for a pull request comment")
    approve = drift.add("approve", approve_command, "approve the present state of a branch")
    approve.add_argument("branch", metavar="BRANCH", help=_BRANCH)
    approve.add_argument("--database", metavar="NAME", help="only this database")
    approve.add_argument("--reason", required=True, metavar="TEXT", help="why; stored with the approval")
    approve.add_argument("--by", metavar="NAME", help="who approves (default: the current system user)")
    _add_between(drift)
    tenants = drift.add(
        "tenants", tenants_command, "schemas of tenants that differ from the others", json=True, checked=True
    )  # fmt: skip
    tenants.add_argument("branch", metavar="BRANCH", help=_BRANCH)
    migrations = drift.add(
        "migrations", migrations_command, "what each migration tool has applied", json=True, checked=True
    )
    migrations.add_argument("branch", nargs="?", metavar="BRANCH", help=_BRANCH)


def _add_fingerprint(commands: Commands) -> None:
    made = commands.add("fingerprint", fingerprint_command, "write a digest of every object of a database")
    source = made.add_mutually_exclusive_group(required=True)
    source.add_argument("--dsn", metavar="DSN", help="read this database now, in one short session (for CI)")
    source.add_argument("--branch", metavar="PROJECT/BRANCH", help="what the agent last read; connects to nothing")
    made.add_argument("--database", metavar="NAME", help="which database (default: that of the DSN, or the only one)")
    made.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="file to write, for git (default: standard output)"
    )
    made.add_argument("--column-order", action="store_true", help="with --dsn: include the order of columns")


def _add_between(drift: CommandGroup) -> None:
    between = drift.add("between", between_command, "compare two sources; exit 1 if they differ", json=True)
    for name, what in (("baseline", "what it should be"), ("current", "what it is")):
        between.add_argument(name, metavar=name.upper(), help=f"{what}: a fingerprint file, PROJECT/BRANCH or a DSN")
    between.add_argument("--database", metavar="NAME", help="only this database")
    between.add_argument("--markdown", action="store_true", help="print Markdown, for a pull request comment")


def show_command(options: argparse.Namespace, settings: DriftTree) -> int:
    """Print all branches or one: a table, Markdown, or JSON.

    Raises:
        NoSuchSourceError: there is no such branch, or it was never read.
        StoreError: the store cannot be used.
        NeonError: the API does not answer as it should.
    """
    from exporter.drift import pages, text
    from exporter.drift.workspace import open_workspace

    now = time.time()
    with open_workspace(settings) as workspace:
        branches = _evaluated(workspace, settings, options.branch, now)
        ignore, problem = workspace.evaluator.ignore, workspace.evaluator.desired.problem
    if options.json:
        details = options.branch is not None
        rows = [pages.database_row(branch, found, details=details) for branch in branches for found in branch.databases]
        drifts = {branch.name: pages.settings_json(branch.settings) for branch in branches if branch.settings}
        print(json.dumps({"databases": rows, "settings": drifts}, indent=2))
    elif options.markdown:
        print("\n".join(pages.branch_markdown(branch, ignore, now) for branch in branches), end="")
    elif options.branch is not None:
        print("".join(text.details(branch, now) for branch in branches), end="")
    else:
        print(text.overview(branches, now), end="")
    if problem:
        print(problem, file=sys.stderr)
    return OK


def tenants_command(options: argparse.Namespace, settings: DriftTree) -> int:
    """Print whose schema deviates in a branch, and in what.

    Raises:
        NoSuchSourceError: there is no such branch, or it was never read.
        StoreError: the store cannot be used.
        NeonError: the API does not answer as it should.
    """
    from exporter.drift import pages, text
    from exporter.drift.workspace import open_workspace

    with open_workspace(settings) as workspace:
        (branch,) = _evaluated(workspace, settings, options.branch, time.time())
    if options.json:
        found = {row.key.datname: pages.tenants_json(row.tenants) for row in branch.databases if row.tenants}
        print(json.dumps(found, indent=2))
    else:
        print(text.tenants(branch), end="")
    return OK


def migrations_command(options: argparse.Namespace, settings: DriftTree) -> int:
    """Print the table, with every migration where a branch is named, or JSON.

    Raises:
        NoSuchSourceError: there is no such branch, or it was never read.
        StoreError: the store cannot be used.
        NeonError: the API does not answer as it should.
    """
    from exporter.drift import text
    from exporter.drift.workspace import open_workspace

    now = time.time()
    with open_workspace(settings) as workspace:
        rows = list(
            text.migration_rows(_evaluated(workspace, settings, options.branch, now), workspace.known.histories)
        )
    if options.json:
        print(json.dumps(rows, indent=2))
    else:
        details = text.migration_details(rows) if options.branch is not None else ""
        print(text.migrations_table(rows, now) + details, end="")
    return OK


def _evaluated(
    workspace: DriftWorkspace, settings: DriftTree, branch: str | None, now: float
) -> list[BranchDrift]:  # fmt: skip
    import asyncio

    return workspace.evaluate(asyncio.run(_inventory(settings)), branch, now)


async def _inventory(settings: DriftTree) -> Inventory:
    from collectors.neon.inventory import refresh
    from exporter.feature.workspace import neon_client

    async with neon_client(settings) as client:
        neon = settings.neon
        return await refresh(client, None, org_id=neon.org_id, include=neon.include, exclude=neon.exclude)


def approve_command(options: argparse.Namespace, settings: DriftTree) -> int:
    """Approve what was last read of every database of a branch, or of one; a running agent sees it at its next look.

    Raises:
        NoSuchSourceError: there is no such branch or database, or it was never read.
        ApprovalError: the folder of approvals cannot be written.
        StoreError: the store cannot be used.
    """
    from exporter.drift.workspace import NoSuchSourceError, find_branch, open_workspace

    if len(options.reason.strip()) < 3 or len(options.reason) > MOST_REASON:
        raise UsageError(f"--reason: give a reason of 3 to {MOST_REASON} characters")
    with open_workspace(settings) as workspace:
        ids = find_branch(options.branch, workspace.branches)
        keys = workspace.databases(ids)
        chosen = [key for key in keys if options.database in (None, key.datname)]
        if not chosen:
            names = ", ".join(key.datname for key in keys)
            raise NoSuchSourceError(
                f"{options.branch} has no database {options.database!r} that was read; there are {names}"
            )
        by = options.by or _user()
        for key in chosen:
            found = workspace.fingerprints.read(key)
            if found is not None:
                path = workspace.approvals.write(key, found, by=by, reason=options.reason.strip(), at=time.time())
                print(f"{options.branch}, database {key.datname}: {found.digest[:12]} approved by {by} ({path})")
    return OK


def _user() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "somebody"


def fingerprint_command(options: argparse.Namespace, settings: DriftTree) -> int:
    """Write a fingerprint to a file or to standard output, and one line about it to stderr.

    Raises:
        UnreadableDatabaseError: the database of the DSN cannot be read.
        NoSuchSourceError: there is no such branch or database, or it was never read.
        StoreError: the store cannot be used.
        UsageError: the file cannot be written.
    """
    from exporter.documents.terminal import counted

    found = _fingerprint(options, settings)
    text = found.to_json()
    if options.output is None:
        sys.stdout.write(text)
    else:
        try:
            options.output.write_text(text, "utf-8")
        except OSError as problem:
            raise UsageError(f"{options.output}: {problem.strerror}") from None
    parts = (
        (len(found.objects), "object"),
        (sum(key.kind == "table" for key in found.objects), "table"),
        (len(found.schemas) - 1, "schema"),
    )
    counts = ", ".join(counted(number, name) for number, name in parts)
    print(f"{found.database}: fingerprint {found.digest[:12]}, PostgreSQL {found.pg_major}, {counts}", file=sys.stderr)
    return OK


def between_command(options: argparse.Namespace, settings: DriftTree) -> int:
    """Compare two sources and print; what cannot be compared counts as a difference.

    Raises:
        NoSuchSourceError: there is no such file, branch or database, or no database is on both sides.
        UnreadableDatabaseError: the database of a DSN cannot be read.
        StoreError: the store cannot be used.
    """
    import contextlib

    from exporter.drift import pages
    from exporter.drift.settings_drift import ignore_rules
    from exporter.drift.workspace import is_dsn, is_file, open_workspace

    sides = (options.baseline, options.current)
    with contextlib.ExitStack() as stack:
        named = any(not is_dsn(side) and not is_file(side) for side in sides)
        workspace = stack.enter_context(open_workspace(settings)) if named else None
        baseline, current = (_side(side, workspace, options.database) for side in sides)
    rules = ignore_rules(settings.drift)
    found = {name: _compared(name, *pair, rules) for name, pair in _pairs(baseline, current, options.database).items()}
    if options.json:
        print(json.dumps({name: pages.drift_json(drift) for name, drift in found.items()}, indent=2))
    else:
        titles = [_title(side) for side in sides]
        for name, drift in found.items():
            print(_described(name, drift, *titles, markdown=options.markdown))
    return FINDINGS if any(drift.changes or not drift.comparable for drift in found.values()) else OK


def _fingerprint(options: argparse.Namespace, settings: DriftTree) -> Fingerprint:
    from exporter.drift.workspace import from_dsn, open_workspace

    if options.dsn is not None:
        return from_dsn(options.dsn, options.database, column_order=options.column_order)
    with open_workspace(settings) as workspace:
        return workspace.stored_one(options.branch, options.database)


def _side(text: str, workspace: DriftWorkspace | None, database: str | None) -> Mapping[str, Fingerprint]:
    """The fingerprints of one side of a comparison, by database name."""
    from exporter.drift.workspace import from_dsn, from_file, is_dsn, is_file

    if is_dsn(text) or is_file(text) or workspace is None:
        found = from_dsn(text, database) if is_dsn(text) else from_file(Path(text))
        return {found.database: found}
    return workspace.stored(text)


_Pair = tuple["Fingerprint | None", "Fingerprint | None"]


def _pairs(
    baseline: Mapping[str, Fingerprint], current: Mapping[str, Fingerprint], database: str | None
) -> dict[str, _Pair]:  # fmt: skip
    """Both sides of each database; where either side is a single one, it is compared with its namesake or the only one.

    Raises:
        NoSuchSourceError: no database is on both sides.
    """
    from exporter.drift.workspace import NoSuchSourceError

    if len(baseline) == len(current) == 1:
        (one,), (other,) = baseline.values(), current.values()
        return {other.database: (one, other)}
    names = sorted(baseline.keys() | current.keys())
    if min(len(baseline), len(current)) == 1:
        names = sorted(baseline if len(baseline) == 1 else current)
    if database is not None:
        names = [name for name in names if name == database]
    pairs = {name: (baseline.get(name), current.get(name)) for name in names}
    if not any(one and other for one, other in pairs.values()):
        first, second = (", ".join(sorted(side)) or "none" for side in (baseline, current))
        raise NoSuchSourceError(f"no database is on both sides: the first has {first}, the second {second}")
    return pairs


def _compared(
    name: str, baseline: Fingerprint | None, current: Fingerprint | None, rules: tuple[IgnoreRule, ...]
) -> Drift:  # fmt: skip
    from exporter.sampling.domain.schema_comparison import Drift, compare

    if baseline is None or current is None:
        side = "first" if baseline is None else "second"
        return Drift(comparable=False, why=f"the {side} side has no database {name}, or it was not read")
    return compare(baseline, current, rules, time.time())


def _title(text: str) -> str:
    """A side as it may be shown: a DSN without its password."""
    from psycopg.conninfo import conninfo_to_dict

    from exporter.drift.workspace import is_dsn

    if not is_dsn(text):
        return text
    parts = conninfo_to_dict(text)
    return f"{parts.get('host') or 'localhost'}/{parts.get('dbname') or ''}"


def _described(name: str, drift: Drift, baseline: str, current: str, *, markdown: bool) -> str:
    from exporter.drift import pages
    from exporter.drift.text import changes

    if markdown:
        return pages.drift_markdown(f"Schema drift: database {name}, {current} against {baseline}", drift)
    if not drift.comparable:
        return f"Database {name}: not compared: {drift.why}."
    if not drift.changes:
        ignored = f" ({drift.ignored} ignored by rule)" if drift.ignored else ""
        return f"Database {name}: {current} is as {baseline}{ignored}."
    number = f"{len(drift.changes)} difference{'s' * (len(drift.changes) != 1)}"
    return f"Database {name}: {number} of {current} from {baseline}:\n\n{changes(drift.changes)}"
