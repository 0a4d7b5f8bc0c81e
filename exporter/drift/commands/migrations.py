"""`neonmeter drift migrations`: what each migration tool says is applied, failed or locked, by branch and database."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from exporter.commands.main import OK
from exporter.documents.terminal import seconds, table
from exporter.drift.commands.show import with_desk

if TYPE_CHECKING:
    from collectors.neon.inventory import Inventory
    from exporter.drift.names import BranchKey
    from exporter.drift.settings import DriftTree
    from exporter.drift.workspace import DriftWorkspace

_PARTS = (
    ("behind", "behind"), ("ahead", "ahead"), ("changed", "changed"), ("pending", "pending"), ("unknown", "not in git"),
    ("checksum_mismatch", "changed in git"), ("out_of_order", "out of order"),
)  # fmt: skip


def migrations_command(options: argparse.Namespace) -> int:
    """Print the table, or JSON with every id."""
    return with_desk(options, lambda *found: _show(options, *found))


def _show(
    options: argparse.Namespace,
    settings: DriftTree,
    workspace: DriftWorkspace,
    inventory: Inventory,
    only: BranchKey | None,
) -> int:
    from exporter.drift.evaluator import judge

    now = time.time()
    told = []
    for drift in judge(workspace, inventory, now, only):
        place = {"branch": drift.place.name, "database": drift.key.datname}
        told += [{**place, **row} for row in _histories(settings, workspace, drift)]
    if options.json:
        print(json.dumps(told, indent=2))
        return OK
    if not told:
        print("No migration tool's history was found in what was read.")
        return OK
    rows = [
        (row["branch"], row["database"], row["tool"], row["histories"], row.get("applied"), _last(row, now),
         _state(row))
        for row in told
    ]  # fmt: skip
    print(table(("branch", "database", "tool", "histories", "applied", "last", "state"), rows), end="")
    if only is not None:
        print(_details(told), end="")
    return OK


def _histories(settings: DriftTree, workspace: DriftWorkspace, judged: Any) -> Iterator[dict[str, Any]]:
    from collectors.metric import Families
    from exporter.drift.histories import Histories, usual_among

    known = workspace.histories
    told = Histories(settings.drift).fill(Families(), {judged.key: judged}, known, judged.place.project)
    found = told.get(judged.key)
    kept = known.get(judged.key)
    if kept is None or not isinstance(found, Mapping):
        return
    for tool, row in found.items():
        mine = [history for history in kept.facts.histories if history.tool == tool]
        usual = usual_among(mine)
        at = (
            max(
                (migration.at for migration in usual.migrations if migration.state == "applied" and migration.at),
                default=None,
            )
            if usual
            else None
        )
        locks = [
            {"held_seconds": lock.seconds, "by": lock.by, "seen_at": kept.taken_at}
            for lock in kept.facts.locks
            if lock.tool == tool
        ]
        yield {"tool": tool, **row, "last_applied": at, "locks": locks, "taken_at": kept.taken_at}


def _last(row: Mapping[str, Any], now: float) -> str | None:
    at = row["last_applied"]
    return None if at is None else f"{seconds(now - at)} ago"


def _state(row: Mapping[str, Any]) -> str:
    parts = [f"{len(row['failed'])} failed"] if row.get("failed") else []
    parts += [f"{len(row[key])} {text}" for key, text in _PARTS if row.get(key)]
    if row.get("schemas_behind"):
        parts.append(f"{len(row['schemas_behind'])} schemas behind")
    if row.get("unreadable_schemas"):
        parts.append(f"{len(row['unreadable_schemas'])} not readable (GRANT SELECT, docs/drift.md)")
    if row.get("manifest_error"):
        parts.append(row["manifest_error"])
    for lock in row["locks"]:
        held = f" for {seconds(lock['held_seconds'])}" if lock["held_seconds"] is not None else ""
        at = datetime.fromtimestamp(lock["seen_at"], UTC).strftime("%H:%M UTC")
        parts.append(f"locked{held} at {at}" + (f" by {lock['by']}" if lock["by"] else ""))
    return ", ".join(parts) or "as it should be"


def _details(told: list[dict[str, Any]]) -> str:
    rows = []
    for row in told:
        where = f"{row['database']}, {row['tool']}"
        rows += [(where, "failed", entry) for entry in row.get("failed", ())]
        rows += [(where, text, entry) for key, text in _PARTS for entry in row.get(key, ())]
        rows += [
            (where, f"schema {name} lacks", entry)
            for name, ids in row.get("schemas_behind", {}).items()
            for entry in ids
        ]
    return "\n" + table(("where", "state", "migration"), rows) if rows else ""
