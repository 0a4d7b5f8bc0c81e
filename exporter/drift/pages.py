"""Drift told to people and programs: the page of a branch as JSON, and as Markdown that fits a comment."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime

from exporter.drift.domain.desired import SettingsDrift
from exporter.sampling.domain.schema_comparison import ADDED, CHANGED, REMOVED, Change, Drift, IgnoreRule, TenantDrift

SIGNS = {ADDED: "+", REMOVED: "-", CHANGED: "~"}
MOST_LINES = 60


def change_as_dict(change: Change) -> dict[str, str]:
    """One difference for JSON."""
    told = {"kind": change.kind, "name": change.name, "change": change.change, "was": change.was, "now": change.now}
    return {name: value for name, value in told.items() if value}


def drift_as_dict(drift: Drift) -> dict[str, object]:
    """One comparison for JSON."""
    return {
        "comparable": drift.comparable,
        **({"why": drift.why} if drift.why else {}),
        "drifted": bool(drift.changes),
        "ignored": drift.ignored,
        "changes": [change_as_dict(change) for change in drift.changes],
    }


def tenants_as_dict(found: TenantDrift) -> dict[str, object]:
    """Tenants against each other for JSON."""
    return {
        "reference_schema": found.reference,
        "by_majority": found.by_majority,
        "alike": found.alike,
        "deviating": {tenant: [change_as_dict(row) for row in part] for tenant, part in found.deviating.items()},
    }


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
    """A definition as a person reads it; the catalogue's letters are spelt out."""
    if kind not in _LISTS or not definition:
        return definition
    parts = definition.split("|")
    if kind == "table":
        parts = [_TABLES.get(parts[0], parts[0]), "unlogged" if parts[1:2] == ["u"] else "", *parts[2:]]
        parts = [_IDENTITY.get(part, part) for part in parts]
    return ", ".join(part for part in parts if part)


def heading(text: str, level: int = 2) -> str:
    """A Markdown heading."""
    return f"{'#' * level} {text}"


def markdown(title: str, drift: Drift, *, most: int = MOST_LINES) -> str:
    """A comparison as a comment: the verdict first, then the counts, then the objects."""
    lines = [heading(title), ""]
    if not drift.comparable:
        return "\n".join([*lines, f"Not compared: {drift.why}.", ""])
    if not drift.changes:
        ignored = f" ({drift.ignored} ignored by rule)" if drift.ignored else ""
        return "\n".join([*lines, f"No drift{ignored}.", ""])
    return "\n".join([*lines, *verdict(drift), "", *table(drift.changes, most), ""])


def verdict(drift: Drift) -> Iterator[str]:
    """One line of counts."""
    counts = {change: sum(row.change == change for row in drift.changes) for change in SIGNS}
    told = ", ".join(f"{count} {change}" for change, count in counts.items() if count)
    yield f"**{len(drift.changes)} difference{'s' * (len(drift.changes) != 1)}**: {told}" + (
        f"; {drift.ignored} more are ignored by rule." if drift.ignored else "."
    )


def table(changes: Sequence[Change], most: int = MOST_LINES) -> Iterator[str]:
    """The objects, at most so many, as a Markdown table."""
    yield "| | kind | object | baseline | here |"
    yield "|---|---|---|---|---|"
    for change in changes[:most]:
        was, now = (_code(readable(change.kind, side)) for side in (change.was, change.now))
        yield f"| {SIGNS[change.change]} | {change.kind} | `{change.name}` | {was} | {now} |"
    if len(changes) > most:
        yield f"| | | and {len(changes) - most} more | | |"


def tenants_markdown(title: str, found: TenantDrift, *, most: int = 20) -> str:
    """Tenants that deviate, and in what."""
    by = f"the schema `{found.reference}`" + (", which is like most" if found.by_majority else ", the template")
    lines = [heading(title, 3), "", f"{found.alike} alike, {len(found.deviating)} deviating from {by}.", ""]
    for tenant, changes in list(found.deviating.items())[:most]:
        lines.append(f"- **{tenant}**: " + "; ".join(words(changes, 5)))
    if len(found.deviating) > most:
        lines.append(f"- and {len(found.deviating) - most} more")
    return "\n".join([*lines, ""])


def rules(ignore: Iterable[IgnoreRule], now: float) -> list[dict[str, object]]:
    """What is meant to differ, with the reason and until when."""
    return [
        {
            "reason": rule.reason,
            "kind": rule.kind,
            "schema": rule.schema,
            "identity": rule.identity,
            "expires": rule.expires,
            "in_force": rule.expires is None or now < rule.expires,
        }
        for rule in ignore
    ]


def rules_markdown(ignore: Sequence[IgnoreRule], now: float) -> str:
    """The same as a list; nothing without rules."""
    if not ignore:
        return ""
    lines = ["", heading("What is meant to differ", 3), ""]
    for rule in ignore:
        until = "" if rule.expires is None else f", until {day(rule.expires)}" + (" (over)" * (now >= rule.expires))
        lines.append(f"- {rule.kind} `{rule.schema}.{rule.identity}`: {rule.reason}{until}")
    return "\n".join([*lines, ""])


def settings_markdown(found: Mapping[str, SettingsDrift]) -> str:
    """Settings that differ, by what they were held against; nothing where there is nothing to say."""
    parts = []
    for what, drift in found.items():
        title = "Settings, against the desired state" if what == "desired" else "Settings, against the parent"
        lines = ["", heading(title, 3), ""]
        lines += list(table(drift.changes)) if drift.changes else ["As they should be."]
        if drift.unverified:
            lines += ["", f"Not checked yet: {', '.join(drift.unverified)}."]
        parts.append("\n".join([*lines, ""]))
    return "".join(parts)


def words(changes: Iterable[Change], most: int) -> Iterator[str]:
    """Changes in a few words each."""
    every = list(changes)
    for entry in every[:most]:
        yield f"{entry.kind} `{entry.identity or entry.schema}` {entry.change}"
    if len(every) > most:
        yield f"and {len(every) - most} more"


def day(at: float) -> str:
    """A day for a person, in UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d")


def page_markdown(name: str, databases: Mapping[str, Mapping[str, object]], parts: Mapping[str, str]) -> str:
    """The whole page of a branch; ``parts`` are the ready sections by database."""
    lines = [f"# Drift of {name}", "", *(parts[datname] for datname in databases)]
    if not databases:
        lines.append("Nothing has been read of it yet.")
    return "\n".join(lines) + "\n"


def _code(text: str) -> str:
    flat = " ".join(text.replace("|", "\\|").split())
    short = flat if len(flat) <= 120 else flat[:117] + "..."
    return f"`{short}`" if short else ""
