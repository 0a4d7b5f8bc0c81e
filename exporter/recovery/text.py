"""Drills told to a person."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from exporter.documents.terminal import seconds, table
from exporter.recovery.journal import OK, Drill
from exporter.recovery.series import target_of
from exporter.settings import CoreSettings

_VERDICT = {True: "ok", False: "FAILED", None: "unknown"}


def instant(at: float | None) -> str:
    """2026-11-23 08:00:00Z."""
    return "never" if at is None else f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%SZ}"


def as_text(settings: CoreSettings, drill: Drill) -> str:
    """A drill for a person: its result, checks, steps, and RTO and RPO against their targets."""
    target = target_of(settings.recovery, drill)
    rto = _measured(
        "RTO",
        drill.rto_seconds,
        target.rto_seconds if target else None,
        "from asking for the branch to data that was checked",
    )
    rpo = _measured(
        "RPO", drill.rpo_seconds, target.rpo_seconds if target else None, "from the newest data found to the instant"
    )
    place = f"{drill.project_name}/{drill.branch_name}"
    text = f"\nDrill {drill.id} of {place} as of {instant(drill.at)}: {drill.result}"
    text += f" ({drill.error})\n" if drill.error else "\n"
    if drill.checks:
        rows = [(_VERDICT[check.ok], check.name, check.detail) for check in drill.checks]
        text += "\n" + table(("", "check", "what was found"), rows)
    text += "\n" + table(("step", "took"), [(name, f"{took:.1f} s") for name, took in drill.steps])
    text += f"\n{rto}\n{rpo}\n"
    gone = (
        f"The branch {drill.copy_name} is deleted."
        if drill.cleaned
        else f"The branch {drill.copy_name} IS STILL THERE."
    )
    return text + gone


def _measured(name: str, found: float | None, target: float | None, what: str) -> str:
    measured = "not measured" if found is None else f"{found:.1f} s"
    if target is None:
        return f"{name} {measured} ({what}; no target is set: recovery.targets)"
    if found is None:
        return f"{name} {measured}, target {seconds(target)} ({what})"
    verdict = "within" if found <= target else "OVER"
    return f"{name} {measured}, {verdict} the target of {seconds(target)} ({what})"


def as_rows(settings: CoreSettings, drills: Sequence[Drill]) -> str:
    """All drills as a table, oldest first."""
    rows = []
    for drill in drills:
        target = target_of(settings.recovery, drill)
        good = sum(check.ok is True for check in drill.checks)
        rows.append(
            (
                instant(drill.started_at), f"{drill.project_name}/{drill.branch_name}", drill.result or "never ended",
                instant(drill.at), _against(drill.rto_seconds, target.rto_seconds if target else None),
                _against(drill.rpo_seconds, target.rpo_seconds if target else None),
                f"{good} of {len(drill.checks)}", "gone" if drill.cleaned else "unknown",
                "" if drill.result == OK else drill.error[:80],
            )
        )  # fmt: skip
    return table(("when", "branch", "result", "back to", "RTO", "RPO", "checks ok", "its branch", "why"), rows)


def _against(found: float | None, target: float | None) -> str:
    measured = "-" if found is None else f"{found:.1f} s"
    return measured if target is None else f"{measured} of {seconds(target)}"
