"""`neonmeter drift`: what no longer is as it should be; all branches at a glance, or one with every object.

It looks at Neon as `neonmeter inventory` does (GET only, nothing wakes), and reads what the agent kept, also beside it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from exporter.commands.main import OK, UPSTREAM, USAGE, load_settings, refuse
from exporter.documents.terminal import counted, seconds, table

if TYPE_CHECKING:
    from collectors.neon.inventory import Inventory
    from exporter.drift.evaluator import DatabaseDrift
    from exporter.drift.names import BranchKey
    from exporter.drift.settings import DriftTree
    from exporter.drift.workspace import DriftWorkspace
    from exporter.sampling.domain.schema_comparison import Change

_SIGNS = {"added": "+", "removed": "-", "changed": "~"}
_SHORT = 100
Show = Callable[["DriftTree", "DriftWorkspace", "Inventory", "BranchKey | None"], int]


def show_command(options: argparse.Namespace) -> int:
    """Print the table, one branch, Markdown, or JSON."""
    return with_desk(options, lambda *found: _show(options, *found))


def tenants_command(options: argparse.Namespace) -> int:
    """Print whose schema deviates, and in what."""
    return with_desk(options, lambda *found: _tenants(options, *found))


def with_desk(options: argparse.Namespace, show: Show) -> int:
    """Load the settings, look at Neon, open the store, find the branch; every problem is one line."""
    from collectors.neon.errors import NeonError
    from exporter.app.preflight import problems_of
    from exporter.drift.commands.drift_store import opened
    from exporter.drift.names import NoSuchBranchError
    from exporter.drift.sources import SourceError
    from exporter.storage.store import StoreError

    settings = load_settings(options)
    if settings is None:
        return USAGE
    problems = [name for name in problems_of(settings) if name.startswith("neon.")]
    if problems:
        return refuse(*problems)
    try:
        with opened(settings) as workspace:
            inventory = asyncio.run(_look(settings))
            return show(settings, workspace, inventory, _wanted(options.branch, workspace, inventory))
    except (SourceError, NoSuchBranchError) as problem:
        print(str(problem), file=sys.stderr)
        return USAGE
    except NeonError as problem:
        print(problem.message, file=sys.stderr)
        return UPSTREAM
    except StoreError as problem:
        return refuse(str(problem))


async def _look(settings: DriftTree) -> Inventory:
    from collectors.neon.inventory import refresh
    from exporter.feature.workspace import neon_client

    async with neon_client(settings) as client:
        neon = settings.neon
        return await refresh(client, None, org_id=neon.org_id, include=neon.include, exclude=neon.exclude)


def _wanted(branch: str | None, workspace: DriftWorkspace, inventory: Inventory) -> BranchKey | None:
    """The branch that was asked for.

    Raises:
        NoSuchBranchError: there is none.
        SourceError: it was never read.
    """
    from exporter.drift.evaluator import names_of_places
    from exporter.drift.names import resolve
    from exporter.drift.sources import SourceError

    if branch is None:
        return None
    ids = resolve(branch, names_of_places(inventory))
    if not workspace.databases(ids):
        raise SourceError(
            f"{branch} has not been read yet: the agent enters the databases of a branch while somebody else works"
            " there (rules R5 and R9), and needs postgres.dsn for it"
        )
    return ids


def _show(
    options: argparse.Namespace,
    settings: DriftTree,
    workspace: DriftWorkspace,
    inventory: Inventory,
    only: BranchKey | None,
) -> int:
    from exporter.drift.commands import drift_settings
    from exporter.drift.evaluator import judge, judge_settings

    del settings
    now = time.time()
    found = list(judge(workspace, inventory, now, only))
    held_against = judge_settings(workspace, inventory, now, only)
    if options.json:
        databases = [as_dict(drift, details=only is not None) for drift in found]
        print(json.dumps({"databases": databases, "settings": drift_settings.as_dict(held_against)}, indent=2))
    elif options.markdown:
        print(_markdown(found) + drift_settings.as_markdown(held_against), end="")
    elif only is not None:
        print("\n".join(_one(drift, now) for drift in found) + drift_settings.details(held_against), end="")
    else:
        unread = "No database has been read yet: `neonmeter run` does, while somebody else works on a branch.\n"
        print((_overview(found, now) if found else unread) + drift_settings.overview(held_against), end="")
    if workspace.judge.problem:
        print(workspace.judge.problem, file=sys.stderr)
    return OK


def _overview(found: Sequence[DatabaseDrift], now: float) -> str:
    rows = [
        (
            drift.place.name,
            drift.key.datname,
            f"{drift.baseline.policy} {drift.baseline.name}".strip(),
            verdict(drift),
            seconds(now - drift.since) if drift.since is not None else None,
            seconds(now - drift.held.taken_at),
            _deviating(drift),
        )
        for drift in found
    ]
    drifted = sum(bool(drift.drift.changes) for drift in found)
    head = f"{counted(len(found), 'database')} read, {drifted} {'differs' if drifted == 1 else 'differ'}.\n\n"
    text = head + table(("branch", "database", "baseline", "drift", "for", "read", "tenants"), rows)
    why = {f"{drift.place.name} {drift.key.datname}": drift.drift.why for drift in found if not drift.drift.comparable}
    told = [(name, reason) for name, reason in why.items() if reason]
    text += "\nNot compared:\n\n" + table(("what", "why"), told) if told else ""
    return text + ("\n`neonmeter drift BRANCH` names the objects.\n" if drifted else "")


def verdict(drift: DatabaseDrift) -> str:
    """In a word or a few numbers."""
    if not drift.drift.comparable:
        return "not compared"
    if not drift.drift.changes:
        return "none" + (f" ({drift.drift.ignored} ignored)" if drift.drift.ignored else "")
    counts = {sign: sum(one.change == change for one in drift.drift.changes) for change, sign in _SIGNS.items()}
    return " ".join(f"{sign}{count}" for sign, count in counts.items() if count)


def _deviating(drift: DatabaseDrift) -> str | None:
    if drift.tenants is None:
        return None
    whole = drift.tenants.alike + len(drift.tenants.deviating)
    return f"{len(drift.tenants.deviating)} of {whole} deviate" if drift.tenants.deviating else f"{whole} alike"


def _one(drift: DatabaseDrift, now: float) -> str:
    base = f"{drift.baseline.policy} {drift.baseline.name}".strip()
    lines = [f"{drift.place.name}, database {drift.key.datname}: fingerprint {drift.held.digest[:12]}, "
             f"PostgreSQL {drift.held.pg_major}, read {seconds(now - drift.held.taken_at)} ago"]  # fmt: skip
    if not drift.drift.comparable:
        lines.append(f"Not compared with {base}: {drift.drift.why}.")
    elif not drift.drift.changes:
        lines.append(
            f"No drift against {base}." + (f" {drift.drift.ignored} ignored by rule." * bool(drift.drift.ignored))
        )
    else:
        began = f", first seen {seconds(now - drift.since)} ago" if drift.since is not None else ""
        lines += [
            f"{counted(len(drift.drift.changes), 'difference')} from {base}{began}:",
            "",
            changes(drift.drift.changes),
        ]
        lines[-1] = lines[-1].rstrip("\n")
    if drift.tenants is not None and drift.tenants.deviating:
        names = ", ".join(list(drift.tenants.deviating)[:5])
        lines.append(f"Tenants that deviate: {names}: `neonmeter drift tenants {drift.place.name}`.")
    return "\n".join(lines) + "\n"


def changes(found: Sequence[Change]) -> str:
    """One object a row, with what it was and what it is."""
    rows = [(_SIGNS[one.change], one.kind, one.name, side(one.kind, one.was), side(one.kind, one.now)) for one in found]
    return table(("", "kind", "object", "baseline", "here"), rows)


def side(kind: str, definition: str) -> str | None:
    """One side of a difference in one line; None where it is missing."""
    from exporter.drift.pages import readable

    flat = " ".join(readable(kind, definition).split())
    return (flat if len(flat) <= _SHORT else flat[: _SHORT - 3] + "...") or None


def _tenants(
    options: argparse.Namespace,
    settings: DriftTree,
    workspace: DriftWorkspace,
    inventory: Inventory,
    only: BranchKey | None,
) -> int:
    from exporter.drift import pages
    from exporter.drift.evaluator import judge

    del settings
    found = [drift for drift in judge(workspace, inventory, time.time(), only) if drift.tenants is not None]
    if options.json:
        told = {drift.key.datname: pages.tenants_as_dict(drift.tenants) for drift in found if drift.tenants}
        print(json.dumps(told, indent=2))
        return OK
    if not found:
        print("No two tenants have schemas of their own there, as far as the rules under tenants tell.")
    for drift in found:
        judged = drift.tenants
        if judged is None:
            continue
        by = "which is like most" if judged.by_majority else "the template"
        print(
            f"{drift.place.name}, database {drift.key.datname}: {judged.alike} alike, "
            f"{len(judged.deviating)} deviating from {judged.reference} ({by})"
        )
        rows = [
            (tenant, _SIGNS[one.change], one.kind, one.identity or one.schema, side(one.kind, one.was),
             side(one.kind, one.now))
            for tenant, mine in judged.deviating.items() for one in mine
        ]  # fmt: skip
        if rows:
            print("\n" + table(("tenant", "", "kind", "object", judged.reference, "here"), rows))
    return OK


def _markdown(found: Sequence[DatabaseDrift]) -> str:
    from exporter.drift import pages

    parts: dict[str, list[str]] = {}
    for drift in found:
        title = f"Database {drift.key.datname}, against {drift.baseline.policy} {drift.baseline.name}".rstrip()
        text = pages.markdown(title, drift.drift)
        if drift.tenants is not None:
            text += "\n" + pages.tenants_markdown("Tenants", drift.tenants)
        parts.setdefault(drift.place.name, []).append(text)
    return "\n".join(f"# Drift of {name}\n\n" + "\n".join(texts) for name, texts in parts.items())


def as_dict(drift: DatabaseDrift, *, details: bool) -> dict[str, Any]:
    """One database for programs."""
    from exporter.drift import pages

    told = pages.drift_as_dict(drift.drift)
    if not details:
        told.pop("changes")
        told["differences"] = len(drift.drift.changes)
    return {
        "project_id": drift.key.project_id,
        "branch_id": drift.key.branch_id,
        "name": drift.place.name,
        "database": drift.key.datname,
        "fingerprint": drift.held.digest,
        "pg_major": drift.held.pg_major,
        "taken_at": drift.held.taken_at,
        "baseline": {
            "policy": drift.baseline.policy,
            "name": drift.baseline.name,
            "fingerprint": drift.baseline.digest,
        },
        "since": drift.since,
        **told,
        **({"tenants": pages.tenants_as_dict(drift.tenants)} if drift.tenants is not None else {}),
    }
