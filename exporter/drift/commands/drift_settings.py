"""Settings that are not as in the parent branch, or as the desired state says: the part of `neonmeter drift`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from exporter.documents.terminal import counted, table
from exporter.drift import pages, settings_drift
from exporter.drift.settings_drift import Found

_AGAINST = {"desired": "the desired state", "parent": "the parent branch"}
_SIGNS = {"added": "+", "removed": "-", "changed": "~"}


def overview(found: Mapping[str, Found]) -> str:
    """One row a branch and side, where anything differs."""
    rows = [
        (name, _AGAINST[what], len(drift.changes), ", ".join(change.identity for change in drift.changes[:4]))
        for name, mapping in found.items()
        for what, drift in mapping.items()
        if drift.changes
    ]
    return "\nSettings:\n\n" + table(("branch", "against", "differ", "which"), rows) if rows else ""


def details(found: Mapping[str, Found]) -> str:
    """Every setting that differs, with what it should be and what it is."""
    text = ""
    for mapping in found.values():
        for what, drift in mapping.items():
            rows = [
                (_SIGNS[one.change], one.kind, one.identity, one.was or None, one.now or None) for one in drift.changes
            ]
            if rows:
                text += f"\nSettings: {counted(len(rows), 'difference')} from {_AGAINST[what]}:\n\n"
                text += table(("", "kind", "setting", "should be", "is"), rows)
            elif what == "desired" and not drift.unverified:
                text += "\nSettings are as the desired state says.\n"
            if what == "desired" and drift.unverified:
                text += f"\nNot checked yet (the branch was not read since): {', '.join(drift.unverified)}.\n"
    return text


def as_markdown(found: Mapping[str, Found]) -> str:
    """For a comment."""
    return "".join(f"\n# Settings of {name}\n{pages.settings_markdown(entry)}" for name, entry in found.items())


def as_dict(found: Mapping[str, Found]) -> dict[str, Any]:
    """For programs."""
    return {name: dict(settings_drift.page(mapping)) for name, mapping in found.items()}
