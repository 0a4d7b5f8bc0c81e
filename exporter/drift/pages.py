"""One JSON model and one Markdown of a branch's drift, for /api/v1/drift and for the commands."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime

from collectors.base import Status
from exporter.drift.baselines import BranchKey
from exporter.drift.domain.desired import SettingsDrift
from exporter.drift.evaluation import BranchDrift, DatabaseDrift
from exporter.drift.migrations import ToolMigrations
from exporter.sampling.domain.schema_comparison import ADDED, CHANGED, REMOVED, Change, Drift, IgnoreRule, TenantDrift

SIGNS = {ADDED: "+", REMOVED: "-", CHANGED: "~"}
MOST_LINES = 60
MOST_TENANTS = 20
MOST_SCHEMAS_BEHIND = 100


def summary_json(branches: Mapping[BranchKey, BranchDrift]) -> dict[str, object]:
    """The page /api/v1/drift: what differs in each branch, and where the rest is."""
    return {
        "branches": [
            {
                "project_id": ids[0],
                "branch_id": ids[1],
                "name": branch.name,
                "drifted": [found.key.datname for found in branch.databases if found.drift.changes],
                "uncompared": [found.key.datname for found in branch.databases if not found.drift.comparable],
                "page": "/api/v1/drift/" + "/".join(ids),
            }
            for ids, branch in branches.items()
        ]
    }


def branch_json(branch: BranchDrift, ignore: Iterable[IgnoreRule], now: float) -> dict[str, object]:
    """One branch; ``now`` (unix seconds) says which rules of ``ignore`` are in force."""
    return {
        "branch": branch.name,
        "databases": {found.key.datname: database_json(found) for found in branch.databases},
        "settings": settings_json(branch.settings),
        "ignore": [_rule_json(rule, now) for rule in ignore],
    }


def database_json(found: DatabaseDrift) -> dict[str, object]:
    """One database of a branch."""
    baseline = found.baseline
    return {
        "fingerprint": found.fingerprint.digest,
        "taken_at": found.fingerprint.taken_at,
        "stale": found.scan is not None and found.scan.status is not Status.OK,
        "baseline": {"policy": baseline.policy, "name": baseline.name, "fingerprint": baseline.digest},
        "since": found.since,
        **drift_json(found.drift),
        **({"tenants": tenants_json(found.tenants)} if found.tenants else {}),
        **({"migrations": migrations_json(found.migrations)} if found.migrations is not None else {}),
    }


def database_row(branch: BranchDrift, found: DatabaseDrift, *, details: bool) -> dict[str, object]:
    """One database for a list over branches, with its ids; without ``details`` differences are a number."""
    row = {
        "project_id": found.key.project_id,
        "branch_id": found.key.branch_id,
        "name": branch.name,
        "database": found.key.datname,
        "pg_major": found.fingerprint.pg_major,
        **database_json(found),
    }
    del row["stale"]  # Only a running agent knows.
    row.pop("migrations", None)  # `neonmeter drift migrations` lists them.
    if not details:
        del row["changes"]
        row["differences"] = len(found.drift.changes)
    return row


def drift_json(drift: Drift) -> dict[str, object]:
    """One comparison."""
    return {
        "comparable": drift.comparable,
        **({"why": drift.why} if drift.why else {}),
        "drifted": bool(drift.changes),
        "ignored": drift.ignored,
        "changes": [_change_json(change) for change in drift.changes],
    }


def _change_json(change: Change) -> dict[str, str]:
    parts = {"kind": change.kind, "name": change.name, "change": change.change, "was": change.was, "now": change.now}
    return {name: value for name, value in parts.items() if value}


def tenants_json(tenants: TenantDrift) -> dict[str, object]:
    """The tenants of a database against each other."""
    return {
        "reference_schema": tenants.reference,
        "by_majority": tenants.by_majority,
        "alike": tenants.alike,
        "deviating": {
            tenant: [_change_json(change) for change in changes] for tenant, changes in tenants.deviating.items()
        },
    }


def migrations_json(migrations: Mapping[str, ToolMigrations]) -> dict[str, dict[str, object]]:
    """The migrations of a database, by tool."""
    return {tool: _tool_json(found) for tool, found in migrations.items()}


def _tool_json(found: ToolMigrations) -> dict[str, object]:
    row: dict[str, object] = {"histories": len(found.histories)}
    if found.unreadable:
        row["unreadable_schemas"] = found.unreadable
    if found.usual is None:
        return row
    failed = [migration.id for migration in found.usual.migrations if migration.state == "failed"]
    row |= {"applied": found.usual.count("applied"), "failed": failed}
    if found.baseline is not None:
        differs = found.baseline
        row |= {"behind": differs.behind, "ahead": differs.ahead, "changed": differs.changed}
    if found.files is not None:
        files = found.files
        row |= {"pending": files.pending, "checksum_mismatch": files.mismatched, "out_of_order": files.out_of_order,
                "unknown": files.unknown}  # fmt: skip
    if found.manifest_error:
        row["manifest_error"] = found.manifest_error
    if found.schemas_behind is not None:
        shown = list(found.schemas_behind.items())[:MOST_SCHEMAS_BEHIND]
        row["schemas_behind"] = {schema: list(ids) for schema, ids in shown}
    return row


def settings_json(drifts: Mapping[str, SettingsDrift]) -> dict[str, object]:
    """The settings of a branch, by what they are compared with."""
    return {
        baseline: {
            "drifted": bool(drift.changes),
            "unverified": list(drift.unverified),
            "changes": [{name: value for name, value in change._asdict().items() if value} for change in drift.changes],
        }
        for baseline, drift in drifts.items()
    }


def _rule_json(rule: IgnoreRule, now: float) -> dict[str, object]:
    return {
        "reason": rule.reason,
        "kind": rule.kind,
        "schema": rule.schema,
        "identity": rule.identity,
        "expires": rule.expires,
        "in_force": rule.expires is None or now < rule.expires,
    }


def branch_markdown(branch: BranchDrift, ignore: Sequence[IgnoreRule], now: float) -> str:
    """One branch as it fits a comment; ``now`` (unix seconds) says which rules of ``ignore`` are over."""
    lines = [f"# Drift of {branch.name}", "", *(_database_markdown(found) for found in branch.databases)]
    if not branch.databases:
        lines.append("Nothing has been read of it yet.")
    return "\n".join(lines) + "\n" + _settings_markdown(branch.settings) + _rules_markdown(ignore, now)


def _database_markdown(found: DatabaseDrift) -> str:
    text = drift_markdown(f"Database {found.key.datname}, against {found.baseline.title}", found.drift)
    if found.tenants is not None:
        text += "\n" + _tenants_markdown(found.tenants)
    return text


def drift_markdown(title: str, drift: Drift) -> str:
    """A comparison: the verdict first, then the counts, then the objects."""
    lines = [f"## {title}", ""]
    if not drift.comparable:
        return "\n".join([*lines, f"Not compared: {drift.why}.", ""])
    if not drift.changes:
        ignored = f" ({drift.ignored} ignored by rule)" if drift.ignored else ""
        return "\n".join([*lines, f"No drift{ignored}.", ""])
    return "\n".join([*lines, _counts(drift), "", *_table(drift.changes), ""])


def _counts(drift: Drift) -> str:
    counts = {kind: sum(change.change == kind for change in drift.changes) for kind in SIGNS}
    listed = ", ".join(f"{count} {change}" for change, count in counts.items() if count)
    return f"**{len(drift.changes)} difference{'s' * (len(drift.changes) != 1)}**: {listed}" + (
        f"; {drift.ignored} more are ignored by rule." if drift.ignored else "."
    )


def _table(changes: Sequence[Change]) -> Iterator[str]:
    yield "| | kind | object | baseline | here |"
    yield "|---|---|---|---|---|"
    for change in changes[:MOST_LINES]:
        was, now = (_code(readable(change.kind, side)) for side in (change.was, change.now))
        yield f"| {SIGNS[change.change]} | {change.kind} | `{change.name}` | {was} | {now} |"
    if len(changes) > MOST_LINES:
        yield f"| | | and {len(changes) - MOST_LINES} more | | |"


def _tenants_markdown(tenants: TenantDrift) -> str:
    by = f"the schema `{tenants.reference}`" + (", which is like most" if tenants.by_majority else ", the template")
    lines = ["### Tenants", "", f"{tenants.alike} alike, {len(tenants.deviating)} deviating from {by}.", ""]
    for tenant, changes in list(tenants.deviating.items())[:MOST_TENANTS]:
        lines.append(f"- **{tenant}**: " + "; ".join(_few(changes, 5)))
    if len(tenants.deviating) > MOST_TENANTS:
        lines.append(f"- and {len(tenants.deviating) - MOST_TENANTS} more")
    return "\n".join([*lines, ""])


def _few(changes: Sequence[Change], most: int) -> Iterator[str]:
    for change in changes[:most]:
        yield f"{change.kind} `{change.identity or change.schema}` {change.change}"
    if len(changes) > most:
        yield f"and {len(changes) - most} more"


def _settings_markdown(drifts: Mapping[str, SettingsDrift]) -> str:
    parts = []
    for baseline, drift in drifts.items():
        title = "Settings, against the desired state" if baseline == "desired" else "Settings, against the parent"
        lines = ["", f"### {title}", ""]
        lines += list(_table(drift.changes)) if drift.changes else ["As they should be."]
        if drift.unverified:
            lines += ["", f"Not checked yet: {', '.join(drift.unverified)}."]
        parts.append("\n".join([*lines, ""]))
    return "".join(parts)


def _rules_markdown(ignore: Sequence[IgnoreRule], now: float) -> str:
    if not ignore:
        return ""
    lines = ["", "### What is meant to differ", ""]
    for rule in ignore:
        until = "" if rule.expires is None else f", until {_day(rule.expires)}" + (" (over)" * (now >= rule.expires))
        lines.append(f"- {rule.kind} `{rule.schema}.{rule.identity}`: {rule.reason}{until}")
    return "\n".join([*lines, ""])


def _day(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d")


def _code(text: str) -> str:
    flat = " ".join(text.replace("|", "\\|").split())
    short = flat if len(flat) <= 120 else flat[:117] + "..."
    return f"`{short}`" if short else ""


_TABLES = {"r": "table", "p": "partitioned table", "f": "foreign table"}
_IDENTITY = {
    "replica identity d": "",
    "replica identity f": "replica identity full",
    "replica identity n": "replica identity nothing",
    "replica identity i": "replica identity index",
}
_LISTS = frozenset({"table", "column", "sequence", "type"})
"""Kinds whose definition is a list of properties, not a statement."""


def readable(kind: str, definition: str) -> str:
    """A definition with the catalogue's letters spelt out."""
    if kind not in _LISTS or not definition:
        return definition
    parts = definition.split("|")
    if kind == "table":
        parts = [_TABLES.get(parts[0], parts[0]), "unlogged" if parts[1:2] == ["u"] else "", *parts[2:]]
        parts = [_IDENTITY.get(part, part) for part in parts]
    return ", ".join(part for part in parts if part)
