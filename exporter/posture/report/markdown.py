"""The report as Markdown: for a repository, a ticket, or an auditor's folder."""

from __future__ import annotations

from collections.abc import Iterator

from exporter.documents.formats import markdown_cell as cell
from exporter.documents.text import instant
from exporter.posture.pages import Row, summary
from exporter.posture.report.report import ADVICE, WORDS, ControlRow, Report, days_ago, source_words

ROWS = 200


def markdown(report: Report) -> str:
    """The whole file."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: Report) -> Iterator[str]:
    owner = f" of {report.company or report.organization}" if report.company or report.organization else ""
    yield f"# Database security and compliance{owner}"
    yield ""
    yield f"{report.scope[0].upper()}{report.scope[1:]}, as of {instant(report.at)}. {ADVICE}"
    yield ""
    yield from summary(report.score)
    yield ""
    for note in report.notes:
        yield f"> {note}"
        yield ""
    yield from _changes(report)
    fails = [control for control in report.controls if control.status == "fail"]
    yield from _section("What fails", fails, report, "fail")
    yield from _waivers(report)
    yield from _section(
        "Not known", [control for control in report.controls if _unknown(control)], report, "error", "unknown"
    )
    yield from _section(
        "For a person to look at",
        [control for control in report.controls if control.status == "manual"],
        report,
        "manual",
    )
    yield from _holds(report)
    yield from _frameworks(report)
    yield "## How old the facts are"
    yield ""
    for source, at in report.ages.items():
        yield f"- {source_words(source)}: {instant(at)} ({days_ago(report.at - at)})"


def _unknown(control: ControlRow) -> bool:
    return any(row.status in ("error", "unknown") for row in control.rows)


def _changes(report: Report) -> Iterator[str]:
    changes = report.changes
    if changes.since is None:
        return
    yield f"## Since {instant(changes.since)}"
    yield ""
    if not changes.new and not changes.resolved:
        yield "Nothing began to fail, and nothing was put in order."
    for row in changes.new[:ROWS]:
        yield f"- **new** {row.control} {row.title}: `{cell(row.name)}` ({cell(row.evidence)})"
    for control, where, was in changes.resolved[:ROWS]:
        yield f"- resolved {control}: `{cell(where)}` ({cell(was)})"
    yield ""


def _section(title: str, controls: list[ControlRow], report: Report, *statuses: str) -> Iterator[str]:
    if not controls:
        return
    yield f"## {title}"
    yield ""
    for control in controls:
        rows = [row for row in control.rows if row.status in statuses]
        clauses = "; ".join(
            f"{name} {', '.join(found)}"
            for name, found in control.clauses.items()
            if name in {framework.framework.id for framework in report.frameworks}
        )
        yield f"### {control.control.id} {control.control.title} ({rows[0].severity})"
        yield ""
        yield f"{control.control.why} {f'({clauses})' if clauses else ''}".strip()
        yield ""
        for row in rows[:ROWS]:
            yield _line(row, report)
        if len(rows) > ROWS:
            yield f"- and {len(rows) - ROWS} more"
        yield ""
        if "fail" in statuses:
            remedy = control.control.remedy
            yield f"*Remedy:* {remedy.text}"
            for language, text in (("sql", remedy.sql), ("sh", remedy.cli)):
                if text:
                    yield from ("", f"```{language}", text, "```")
            yield ""


def _line(row: Row, report: Report) -> str:
    tenant = f" tenant **{cell(row.tenant)}**:" if row.tenant else ""
    since = f", since {instant(row.since)}" if row.since is not None and row.since < report.at else ""
    expired = ""
    if row.expired and row.waiver is not None:
        expired = f" **Waiver expired {row.waiver.expires}** ({cell(row.waiver.approver)}: {cell(row.waiver.reason)})."
    return f"- `{cell(row.name)}`:{tenant} {cell(row.evidence)}{since}.{expired}"


def _waivers(report: Report) -> Iterator[str]:
    if not report.waivers:
        return
    yield "## Waivers"
    yield ""
    yield "| control | object | until | who | why | state | failures |"
    yield "|---|---|---|---|---|---|---:|"
    for waiver, waiver_state, count in report.waivers:
        state = "**EXPIRED**" if waiver_state == "expired" else waiver_state.value
        yield (
            f"| {waiver.control} | `{cell(waiver.object)}` | {waiver.expires} | {cell(waiver.approver)} | "
            f"{cell(waiver.reason)} | {state} | {count} |"
        )
    yield ""


def _holds(report: Report) -> Iterator[str]:
    found = [control for control in report.controls if control.status == "pass"]
    if found:
        yield "## What holds"
        yield ""
        yield from (f"- {row.control.id} {row.control.title} ({row.counts['pass']})" for row in found)
        yield ""


def _frameworks(report: Report) -> Iterator[str]:
    for row in report.frameworks:
        yield f"## {row.framework.title} {row.framework.version}"
        yield ""
        yield row.framework.about
        yield ""
        yield "| clause | | stands | controls |"
        yield "|---|---|---|---|"
        for clause in row.clauses:
            controls = ", ".join(f"{id_} {WORDS[status]}" for id_, status in clause.controls)
            yield f"| {cell(clause.id)} | {cell(clause.title)} | {WORDS[clause.status]} | {controls} |"
        yield ""
