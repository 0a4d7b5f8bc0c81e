"""Drift for a terminal: tables of branches, objects, tenants, migrations and settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from exporter.documents.terminal import counted, seconds, table
from exporter.drift.domain.desired import SettingsDrift
from exporter.drift.evaluation import BranchDrift, DatabaseDrift
from exporter.drift.pages import SIGNS, migrations_json, readable
from exporter.drift.store import StoredHistories
from exporter.sampling.domain.schema_comparison import Change, Drift, TenantDrift

_SHORT = 100
_AGAINST = {"desired": "the desired state", "parent": "the parent branch"}
_MIGRATION_STATES = (
    ("behind", "behind"), ("ahead", "ahead"), ("changed", "changed"), ("pending", "pending"), ("unknown", "not in git"),
    ("checksum_mismatch", "changed in git"), ("out_of_order", "out of order"),
)  # fmt: skip
"""Keys of the JSON of a tool that list migrations, and what a person calls them."""


def overview(branches: Sequence[BranchDrift], now: float) -> str:
    """All branches, a row for each database; ``now`` in unix seconds."""
    databases = [(branch.name, found) for branch in branches for found in branch.databases]
    settings = _settings_overview(branches)
    if not databases:
        return (
            "No database has been read yet: `neonmeter run` does, while somebody else works on a branch.\n" + settings
        )
    rows = [
        (
            name,
            found.key.datname,
            found.baseline.title,
            _verdict(found.drift),
            seconds(now - found.since) if found.since is not None else None,
            seconds(now - found.fingerprint.taken_at),
            _deviating(found.tenants),
        )
        for name, found in databases
    ]
    drifted = sum(bool(found.drift.changes) for _, found in databases)
    text = f"{counted(len(rows), 'database')} read, {drifted} {'differs' if drifted == 1 else 'differ'}.\n\n"
    text += table(("branch", "database", "baseline", "drift", "for", "read", "tenants"), rows)
    reasons = [
        (f"{name} {found.key.datname}", found.drift.why)
        for name, found in databases
        if not found.drift.comparable and found.drift.why
    ]
    text += "\nNot compared:\n\n" + table(("what", "why"), reasons) if reasons else ""
    return text + ("\n`neonmeter drift BRANCH` names the objects.\n" if drifted else "") + settings


def _verdict(drift: Drift) -> str:
    if not drift.comparable:
        return "not compared"
    if not drift.changes:
        return "none" + (f" ({drift.ignored} ignored)" if drift.ignored else "")
    counts = {sign: sum(change.change == kind for change in drift.changes) for kind, sign in SIGNS.items()}
    return " ".join(f"{sign}{count}" for sign, count in counts.items() if count)


def _deviating(tenants: TenantDrift | None) -> str | None:
    if tenants is None:
        return None
    whole = tenants.alike + len(tenants.deviating)
    return f"{len(tenants.deviating)} of {whole} deviate" if tenants.deviating else f"{whole} alike"


def details(branch: BranchDrift, now: float) -> str:
    """One branch with every object and setting that differs; ``now`` in unix seconds."""
    return "\n".join(_database(branch.name, found, now) for found in branch.databases) + _settings(branch.settings)


def _database(name: str, found: DatabaseDrift, now: float) -> str:
    drift, baseline, fingerprint = found.drift, found.baseline.title, found.fingerprint
    lines = [f"{name}, database {found.key.datname}: fingerprint {fingerprint.digest[:12]}, "
             f"PostgreSQL {fingerprint.pg_major}, read {seconds(now - fingerprint.taken_at)} ago"]  # fmt: skip
    if not drift.comparable:
        lines.append(f"Not compared with {baseline}: {drift.why}.")
    elif not drift.changes:
        lines.append(f"No drift against {baseline}." + f" {drift.ignored} ignored by rule." * bool(drift.ignored))
    else:
        began = f", first seen {seconds(now - found.since)} ago" if found.since is not None else ""
        number = counted(len(drift.changes), "difference")
        lines += [f"{number} from {baseline}{began}:", "", changes(drift.changes).rstrip("\n")]
    if found.tenants is not None and found.tenants.deviating:
        names = ", ".join(list(found.tenants.deviating)[:5])
        lines.append(f"Tenants that deviate: {names}: `neonmeter drift tenants {name}`.")
    return "\n".join(lines) + "\n"


def changes(found: Sequence[Change]) -> str:
    """One object a row, with what it was and what it is."""
    rows = [
        (SIGNS[change.change], change.kind, change.name, _side(change.kind, change.was), _side(change.kind, change.now))
        for change in found
    ]
    return table(("", "kind", "object", "baseline", "here"), rows)


def _side(kind: str, definition: str) -> str | None:
    """One side of a difference in one line; None where it is missing."""
    flat = " ".join(readable(kind, definition).split())
    return (flat if len(flat) <= _SHORT else flat[: _SHORT - 3] + "...") or None


def _settings_overview(branches: Sequence[BranchDrift]) -> str:
    rows = [
        (
            branch.name,
            _AGAINST[baseline],
            len(drift.changes),
            ", ".join(change.identity for change in drift.changes[:4]),
        )
        for branch in branches
        for baseline, drift in branch.settings.items()
        if drift.changes
    ]
    return "\nSettings:\n\n" + table(("branch", "against", "differ", "which"), rows) if rows else ""


def _settings(drifts: Mapping[str, SettingsDrift]) -> str:
    text = ""
    for baseline, drift in drifts.items():
        rows = [
            (SIGNS[change.change], change.kind, change.identity, change.was or None, change.now or None)
            for change in drift.changes
        ]
        if rows:
            text += f"\nSettings: {counted(len(rows), 'difference')} from {_AGAINST[baseline]}:\n\n"
            text += table(("", "kind", "setting", "should be", "is"), rows)
        elif baseline == "desired" and not drift.unverified:
            text += "\nSettings are as the desired state says.\n"
        if baseline == "desired" and drift.unverified:
            text += f"\nNot checked yet (the branch was not read since): {', '.join(drift.unverified)}.\n"
    return text


def tenants(branch: BranchDrift) -> str:
    """Whose schema deviates in a branch, and in what."""
    text = ""
    for found in branch.databases:
        if found.tenants is None:
            continue
        by = "which is like most" if found.tenants.by_majority else "the template"
        text += (
            f"{branch.name}, database {found.key.datname}: {found.tenants.alike} alike, "
            f"{len(found.tenants.deviating)} deviating from {found.tenants.reference} ({by})\n"
        )
        rows = [
            (tenant, SIGNS[change.change], change.kind, change.identity or change.schema,
             _side(change.kind, change.was), _side(change.kind, change.now))
            for tenant, mine in found.tenants.deviating.items() for change in mine
        ]  # fmt: skip
        if rows:
            text += "\n" + table(("tenant", "", "kind", "object", found.tenants.reference, "here"), rows) + "\n"
    return text or "No two tenants have schemas of their own there, as far as the rules under tenants tell.\n"


def migration_rows(
    branches: Sequence[BranchDrift], stored: Mapping[Any, StoredHistories]
) -> Iterator[dict[str, Any]]:  # fmt: skip
    """For programs: a row for each tool and database, with its locks and when it last applied a migration."""
    for branch in branches:
        for found in branch.databases:
            histories = stored.get(found.key)
            if found.migrations is None or histories is None:
                continue
            rows = migrations_json(found.migrations)
            for tool, migrations in found.migrations.items():
                applied = migrations.usual.migrations if migrations.usual is not None else ()
                at = [migration.at for migration in applied if migration.state == "applied" and migration.at]
                locks = [
                    {"held_seconds": lock.seconds, "by": lock.by, "seen_at": histories.taken_at}
                    for lock in histories.facts.locks
                    if lock.tool == tool
                ]
                yield {"branch": branch.name, "database": found.key.datname, "tool": tool, **rows[tool],
                       "last_applied": max(at, default=None), "locks": locks,
                       "taken_at": histories.taken_at}  # fmt: skip


def migrations_table(rows: Sequence[Mapping[str, Any]], now: float) -> str:
    """The same for a person; ``now`` in unix seconds."""
    if not rows:
        return "No migration tool's history was found in what was read.\n"
    lines = [
        (row["branch"], row["database"], row["tool"], row["histories"], row.get("applied"),
         None if row["last_applied"] is None else f"{seconds(now - row['last_applied'])} ago", _state(row))
        for row in rows
    ]  # fmt: skip
    return table(("branch", "database", "tool", "histories", "applied", "last", "state"), lines)


def _state(row: Mapping[str, Any]) -> str:
    parts = [f"{len(row['failed'])} failed"] if row.get("failed") else []
    parts += [f"{len(row[key])} {text}" for key, text in _MIGRATION_STATES if row.get(key)]
    if row.get("schemas_behind"):
        parts.append(f"{len(row['schemas_behind'])} schemas behind")
    if row.get("unreadable_schemas"):
        parts.append(f"{len(row['unreadable_schemas'])} not readable (GRANT SELECT, docs/drift.md)")
    if row.get("manifest_error"):
        parts.append(row["manifest_error"])
    for lock in row["locks"]:
        age = f" for {seconds(lock['held_seconds'])}" if lock["held_seconds"] is not None else ""
        at = datetime.fromtimestamp(lock["seen_at"], UTC).strftime("%H:%M UTC")
        parts.append(f"locked{age} at {at}" + (f" by {lock['by']}" if lock["by"] else ""))
    return ", ".join(parts) or "as it should be"


def migration_details(rows: Sequence[Mapping[str, Any]]) -> str:
    """Every migration that is not as it should be, a row for each."""
    lines = []
    for row in rows:
        where = f"{row['database']}, {row['tool']}"
        lines += [(where, "failed", name) for name in row.get("failed", ())]
        lines += [(where, text, name) for key, text in _MIGRATION_STATES for name in row.get(key, ())]
        behind = row.get("schemas_behind", {})
        lines += [(where, f"schema {schema} lacks", name) for schema, names in behind.items() for name in names]
    return "\n" + table(("where", "state", "migration"), lines) if lines else ""
