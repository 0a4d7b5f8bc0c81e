"""The report as one HTML file in the look of the monthly review: inline sheet, no script, nothing loaded from anywhere.

It reads on a screen in light and dark, and prints on A4. What fails and what has to be done stands first.
"""

from __future__ import annotations

from dataclasses import dataclass

from exporter.documents.html import render
from exporter.documents.text import instant
from exporter.posture.catalogue import Control
from exporter.posture.domain.finding import Severity
from exporter.posture.pages import Row
from exporter.posture.registry import ACCOUNT
from exporter.posture.report.report import ADVICE, WORDS, ControlRow, Report, days_ago, source_words
from exporter.version import __version__

MOST_ROWS = 12
"""Objects of one control on the page; the files beside it have all."""
MOST_TENANTS = 40
RESIDENCY = "P35"
_TONES = {
    "fail": "bad",
    "waived": "warn",
    "error": "warn",
    "unknown": "calm",
    "manual": "calm",
    "pass": "good",
    "not_applicable": "none",
}
"""The colour of a status."""


@dataclass(frozen=True, slots=True)
class _ControlSection:
    """One control with its first rows; ``more`` counts the objects that are left out."""

    control: Control
    severity: str
    rows: tuple[Row, ...]
    more: int
    clauses: str
    expired: bool


def html(report: Report) -> str:
    """The whole file."""
    return render(
        "exporter.posture.report:posture.html.j2",
        report=report,
        lead=_lead(report),
        tiles=_tiles(report),
        fails=[_section(report, control, "fail") for control in _by_severity(report, "fail")],
        unknown=[_section(report, control, "error", "unknown") for control in _unknown(report)],
        manual=[row.control for row in report.controls if row.status == "manual"],
        holds=[row.control for row in report.controls if row.status == "pass"],
        tenants=report.tenants[:MOST_TENANTS],
        more_tenants=max(0, len(report.tenants) - MOST_TENANTS),
        severities=[severity.value for severity in Severity if severity is not Severity.INFO],
        account=ACCOUNT,
        ages=[(source_words(name), instant(at), days_ago(report.at - at)) for name, at in report.ages.items()],
        words=WORDS,
        tones=_TONES,
        advice=ADVICE,
        percent=_percent,
        version=__version__,
    )


def _percent(ratio: object) -> str:
    return "\N{EN DASH}" if ratio is None else f"{float(ratio):.0%}"  # type: ignore[arg-type]


def _by_severity(report: Report, status: str) -> list[ControlRow]:
    found = [control for control in report.controls if control.status == status]
    return sorted(found, key=lambda row: (_worst(row, status), row.control.id))


def _worst(control: ControlRow, *statuses: str) -> int:
    return min((Severity(row.severity).rank for row in control.rows if row.status in statuses), default=9)


def _unknown(report: Report) -> list[ControlRow]:
    return [control for control in report.controls if any(row.status in ("error", "unknown") for row in control.rows)]


def _section(report: Report, control: ControlRow, *statuses: str) -> _ControlSection:
    rows = sorted(
        (row for row in control.rows if row.status in statuses),
        key=lambda row: (not row.expired, Severity(row.severity).rank, row.object),
    )
    chosen = {framework.framework.id: framework.framework.title for framework in report.frameworks}
    clauses = " · ".join(
        f"{chosen[name]} {', '.join(found)}" for name, found in control.clauses.items() if name in chosen
    )  # fmt: skip
    return _ControlSection(
        control.control,
        rows[0].severity if rows else control.control.severity.value,
        tuple(rows[:MOST_ROWS]),
        sum(row.count for row in rows[MOST_ROWS:]),
        clauses,
        any(row.expired for row in rows),
    )


def _lead(report: Report) -> tuple[str, str]:
    score = report.score
    expired = sum(waiver[1] == "expired" for waiver in report.waivers)
    if score.failed:
        worst = [control for control in report.controls if control.status == "fail" and _worst(control, "fail") == 0]
        headline = f"{_count(score.failed, 'control')} {'fails' if score.failed == 1 else 'fail'}"
        headline += f", {len(worst)} of them critical." if worst else ", none of them critical."
    elif score.ratio is None:
        headline = "Nothing could be evaluated yet."
    else:
        headline = "Nothing that could be evaluated fails."
    parts = [f"{score.passed} hold, {score.waived} {'is' if score.waived == 1 else 'are'} waived"]
    parts.append(f"{score.unknown} could not be evaluated, {score.manual} are for a person to look at")
    if expired:
        parts.append(f"{_count(expired, 'waiver')} expired: what it covered fails again")
    return headline, "; ".join(parts) + "."


def _count(number: int, name: str) -> str:
    return f"{number} {name}{'' if number == 1 else 's'}"


def _outside(report: Report) -> tuple[int, str]:
    """How many places data lie in that are not on the list, and what is under that figure."""
    control = next((control_row for control_row in report.controls if control_row.control.id == RESIDENCY), None)
    if control is None:
        return 0, "not among these controls"
    waived, unclear = control.counts["waived"], control.counts["unknown"] + control.counts["error"]
    parts = ["places where data lie"]
    parts += [f"{waived} waived"] if waived else []
    parts += [f"{unclear} not known"] if unclear else []
    return control.counts["fail"], ", ".join(parts)


def _tiles(report: Report) -> list[tuple[str, str, str, str]]:
    """Title, figure, what is under it, and the tone."""
    score = report.score
    open_rows = report.rows("fail")
    critical = sum(row.count for row in open_rows if row.severity in ("critical", "high"))
    outside, where = _outside(report)
    changes = report.changes
    new = "no earlier report" if changes.since is None else f"since {instant(changes.since)[:10]}"
    figure = "\N{EN DASH}" if changes.since is None else f"+{len(changes.new)} \N{MINUS SIGN}{len(changes.resolved)}"
    known = f"{_percent(score.known)} of what applies is known"
    return [
        ("Score", _percent(score.ratio), known, "bad" if score.failed else "good"),
        ("Critical and high", f"{critical:,}", "objects that fail", "bad" if critical else "good"),
        ("Outside the regions", str(outside), where, "bad" if outside else "good"),
        ("Changes", figure, new, "none"),
    ]  # fmt: skip
