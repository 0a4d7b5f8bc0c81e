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
    from exporter.drift.domain.compare import Change
    from exporter.drift.evaluator import Judged
    from exporter.drift.names import Ids
    from exporter.drift.workspace import Desk
    from exporter.settings import Settings

_SIGNS = {"added": "+", "removed": "-", "changed": "~"}
_SHORT = 100
Show = Callable[["Settings", "Desk", "Inventory", "Ids | None"], int]


def show_command(options: argparse.Namespace) -> int:
    """Print the table, one branch, Markdown, or JSON."""
    return with_desk(options, lambda *found: _show(options, *found))


def tenants_command(options: argparse.Namespace) -> int:
    """Print whose schema deviates, and in what."""
    return with_desk(options, lambda *found: _tenants(options, *found))


def with_desk(options: argparse.Namespace, show: Show) -> int:
    """Load the settings, look at Neon, open the store, find the branch; every problem is one line."""
    from collectors.neon.errors import NeonError
    from exporter.drift.commands.drift_store import opened
    from exporter.drift.names import NoSuchBranchError
    from exporter.drift.sources import SourceError
    from exporter.settings.preflight import problems_of
    from exporter.storage.store import StoreError

    settings = load_settings(options)
    if settings is None:
        return USAGE
    problems = [each for each in problems_of(settings) if each.startswith("neon.")]
    if problems:
        return refuse(*problems)
    try:
        with opened(settings) as desk:
            inventory = asyncio.run(_look(settings))
            return show(settings, desk, inventory, _wanted(options.branch, desk, inventory))
    except (SourceError, NoSuchBranchError) as problem:
        print(str(problem), file=sys.stderr)
        return USAGE
    except NeonError as problem:
        print(problem.message, file=sys.stderr)
        return UPSTREAM
    except StoreError as problem:
        return refuse(str(problem))


async def _look(settings: Settings) -> Inventory:
    from collectors.neon.inventory import refresh
    from exporter.app.wiring import neon_client

    async with neon_client(settings) as client:
        neon = settings.neon
        return await refresh(client, None, org_id=neon.org_id, include=neon.include, exclude=neon.exclude)


def _wanted(branch: str | None, desk: Desk, inventory: Inventory) -> Ids | None:
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
    if not desk.databases(ids):
        raise SourceError(
            f"{branch} has not been read yet: the agent enters the databases of a branch while somebody else works"
            " there (rules R5 and R9), and needs postgres.dsn for it"
        )
    return ids


def _show(
    options: argparse.Namespace, settings: Settings, desk: Desk, inventory: Inventory, only: Ids | None
) -> int:  # fmt: skip
    from exporter.drift.commands import drift_settings
    from exporter.drift.evaluator import judge, judge_settings

    del settings
    now = time.time()
    found = list(judge(desk, inventory, now, only))
    held_against = judge_settings(desk, inventory, now, only)
    if options.json:
        databases = [as_dict(each, details=only is not None) for each in found]
        print(json.dumps({"databases": databases, "settings": drift_settings.as_dict(held_against)}, indent=2))
    elif options.markdown:
        print(_markdown(found) + drift_settings.as_markdown(held_against), end="")
    elif only is not None:
        print("\n".join(_one(each, now) for each in found) + drift_settings.details(held_against), end="")
    else:
        unread = "No database has been read yet: `neonmeter run` does, while somebody else works on a branch.\n"
        print((_overview(found, now) if found else unread) + drift_settings.overview(held_against), end="")
    if desk.judge.problem:
        print(desk.judge.problem, file=sys.stderr)
    return OK


def _overview(found: Sequence[Judged], now: float) -> str:
    rows = [
        (
            each.place.name,
            each.key.datname,
            f"{each.baseline.policy} {each.baseline.name}".strip(),
            verdict(each),
            seconds(now - each.since) if each.since is not None else None,
            seconds(now - each.held.taken_at),
            _deviating(each),
        )
        for each in found
    ]
    drifted = sum(bool(each.drift.changes) for each in found)
    head = f"{counted(len(found), 'database')} read, {drifted} {'differs' if drifted == 1 else 'differ'}.\n\n"
    text = head + table(("branch", "database", "baseline", "drift", "for", "read", "tenants"), rows)
    why = {f"{each.place.name} {each.key.datname}": each.drift.why for each in found if not each.drift.comparable}
    told = [(name, reason) for name, reason in why.items() if reason]
    text += "\nNot compared:\n\n" + table(("what", "why"), told) if told else ""
    return text + ("\n`neonmeter drift BRANCH` names the objects.\n" if drifted else "")


def verdict(each: Judged) -> str:
    """In a word or a few numbers."""
    if not each.drift.comparable:
        return "not compared"
    if not each.drift.changes:
        return "none" + (f" ({each.drift.ignored} ignored)" if each.drift.ignored else "")
    counts = {sign: sum(one.change == change for one in each.drift.changes) for change, sign in _SIGNS.items()}
    return " ".join(f"{sign}{count}" for sign, count in counts.items() if count)


def _deviating(each: Judged) -> str | None:
    if each.tenants is None:
        return None
    whole = each.tenants.alike + len(each.tenants.deviating)
    return f"{len(each.tenants.deviating)} of {whole} deviate" if each.tenants.deviating else f"{whole} alike"


def _one(each: Judged, now: float) -> str:
    base = f"{each.baseline.policy} {each.baseline.name}".strip()
    lines = [f"{each.place.name}, database {each.key.datname}: fingerprint {each.held.digest[:12]}, "
             f"PostgreSQL {each.held.pg_major}, read {seconds(now - each.held.taken_at)} ago"]  # fmt: skip
    if not each.drift.comparable:
        lines.append(f"Not compared with {base}: {each.drift.why}.")
    elif not each.drift.changes:
        lines.append(
            f"No drift against {base}." + (f" {each.drift.ignored} ignored by rule." * bool(each.drift.ignored))
        )
    else:
        began = f", first seen {seconds(now - each.since)} ago" if each.since is not None else ""
        lines += [
            f"{counted(len(each.drift.changes), 'difference')} from {base}{began}:",
            "",
            changes(each.drift.changes),
        ]
        lines[-1] = lines[-1].rstrip("\n")
    if each.tenants is not None and each.tenants.deviating:
        names = ", ".join(list(each.tenants.deviating)[:5])
        lines.append(f"Tenants that deviate: {names}: `neonmeter drift tenants {each.place.name}`.")
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
    options: argparse.Namespace, settings: Settings, desk: Desk, inventory: Inventory, only: Ids | None
) -> int:  # fmt: skip
    from exporter.drift import pages
    from exporter.drift.evaluator import judge

    del settings
    found = [each for each in judge(desk, inventory, time.time(), only) if each.tenants is not None]
    if options.json:
        told = {each.key.datname: pages.tenants_as_dict(each.tenants) for each in found if each.tenants}
        print(json.dumps(told, indent=2))
        return OK
    if not found:
        print("No two tenants have schemas of their own there, as far as the rules under tenants tell.")
    for each in found:
        judged = each.tenants
        if judged is None:
            continue
        by = "which is like most" if judged.by_majority else "the template"
        print(
            f"{each.place.name}, database {each.key.datname}: {judged.alike} alike, "
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


def _markdown(found: Sequence[Judged]) -> str:
    from exporter.drift import pages

    parts: dict[str, list[str]] = {}
    for each in found:
        title = f"Database {each.key.datname}, against {each.baseline.policy} {each.baseline.name}".rstrip()
        text = pages.markdown(title, each.drift)
        if each.tenants is not None:
            text += "\n" + pages.tenants_markdown("Tenants", each.tenants)
        parts.setdefault(each.place.name, []).append(text)
    return "\n".join(f"# Drift of {name}\n\n" + "\n".join(texts) for name, texts in parts.items())


def as_dict(each: Judged, *, details: bool) -> dict[str, Any]:
    """One database for programs."""
    from exporter.drift import pages

    told = pages.drift_as_dict(each.drift)
    if not details:
        told.pop("changes")
        told["differences"] = len(each.drift.changes)
    return {
        "project_id": each.key.project_id,
        "branch_id": each.key.branch_id,
        "name": each.place.name,
        "database": each.key.datname,
        "fingerprint": each.held.digest,
        "pg_major": each.held.pg_major,
        "taken_at": each.held.taken_at,
        "baseline": {"policy": each.baseline.policy, "name": each.baseline.name, "fingerprint": each.baseline.digest},
        "since": each.since,
        **told,
        **({"tenants": pages.tenants_as_dict(each.tenants)} if each.tenants is not None else {}),
    }
