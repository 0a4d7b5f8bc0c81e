"""The report as one HTML file in the look of the monthly review: inline sheet, no script, nothing loaded from anywhere.

It reads on a screen in light and dark, and prints on A4. What fails and what has to be done stands first.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files

from exporter.posture.domain.finding import Severity
from exporter.posture.pages import instant
from exporter.posture.registry import ACCOUNT
from exporter.posture.report.report import ControlRow, Report, Row
from exporter.posture.report.words import ADVICE, TONES, WORDS, days_ago, source_words
from exporter.version import __version__

MOST_ROWS = 12
"""Objects of one control on the page; the files beside it have all."""
MOST_TENANTS = 40
RESIDENCY = "P35"


@dataclass(frozen=True, slots=True)
class _Block:
    """One control with what was found."""

    row: ControlRow
    severity: str
    shown: tuple[Row, ...]
    more: int
    clauses: str
    expired: bool


def html(report: Report) -> str:
    """The whole file."""
    from jinja2 import Environment, StrictUndefined  # noqa: PLC0415 - of the extra neonmeter[report]
    from markupsafe import Markup  # noqa: PLC0415

    house = files("exporter.report").joinpath("templates/review.css").read_text("utf-8")
    templates = files("exporter.posture.report").joinpath("templates")
    environment = Environment(autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True)
    environment.filters |= {"instant": instant, "percent": _percent}
    return environment.from_string(
        templates.joinpath("posture.html.j2").read_text("utf-8")
    ).render(
        css=Markup(house + templates.joinpath("posture.css").read_text("utf-8")),  # noqa: S704 - our own files
        report=report,
        lead=_lead(report),
        tiles=_tiles(report),
        fails=[_block(report, control_row, "fail") for control_row in _by_severity(report, "fail")],
        waived=report.rows("waived"),
        expired=[entry for entry in report.rows("fail") if entry.expired],
        unknown=[_block(report, control_row, "error", "unknown") for control_row in _unknown(report)],
        manual=[control for control in report.controls if control.status == "manual"],
        holds=[control for control in report.controls if control.status == "pass"],
        tenants=report.tenants[:MOST_TENANTS],
        more_tenants=max(0, len(report.tenants) - MOST_TENANTS),
        severities=[entry.value for entry in Severity if entry is not Severity.INFO],
        account=ACCOUNT,
        ages=[(source_words(name), instant(at), days_ago(report.at - at)) for name, at in report.ages.items()],
        words=WORDS,
        tones=TONES,
        advice=ADVICE,
        version=__version__,
    )


def _percent(ratio: object) -> str:
    return "\N{EN DASH}" if ratio is None else f"{float(ratio):.0%}"  # type: ignore[arg-type]


def _by_severity(report: Report, status: str) -> list[ControlRow]:
    found = [control for control in report.controls if control.status == status]
    return sorted(found, key=lambda entry: (_worst(entry, status), entry.control.id))


def _worst(control: ControlRow, *statuses: str) -> int:
    return min((Severity(row.severity).rank for row in control.rows if row.status in statuses), default=9)


def _unknown(report: Report) -> list[ControlRow]:
    return [control for control in report.controls if any(row.status in ("error", "unknown") for row in control.rows)]


def _block(report: Report, control: ControlRow, *statuses: str) -> _Block:
    rows = sorted(
        (row for row in control.rows if row.status in statuses),
        key=lambda row: (not row.expired, Severity(row.severity).rank, row.object),
    )
    chosen = {framework.framework.id: framework.framework.title for framework in report.frameworks}
    clauses = " · ".join(
        f"{chosen[name]} {', '.join(found)}" for name, found in control.clauses.items() if name in chosen
    )  # fmt: skip
    return _Block(
        control,
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
        told = f"{_count(score.failed, 'control')} {'fails' if score.failed == 1 else 'fail'}"
        told += f", {len(worst)} of them critical." if worst else ", none of them critical."
    elif score.ratio is None:
        told = "Nothing could be judged yet."
    else:
        told = "Nothing that could be judged fails."
    parts = [f"{score.passed} hold, {score.waived} {'is' if score.waived == 1 else 'are'} waived"]
    parts.append(f"{score.unknown} could not be judged, {score.manual} are for a person to look at")
    if expired:
        parts.append(f"{_count(expired, 'waiver')} expired: what it covered fails again")
    return told, "; ".join(parts) + "."


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
