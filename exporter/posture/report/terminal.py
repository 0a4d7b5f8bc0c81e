"""The report on a terminal: fails first with their evidence, then what ends them, then what is waived or not known."""

from __future__ import annotations

from collections.abc import Iterator

from exporter.documents.terminal import counted, table
from exporter.documents.text import instant
from exporter.posture.domain.finding import Severity
from exporter.posture.pages import Row
from exporter.posture.report.report import WORDS, ControlRow, Report

_SHOWN = 25
_EVIDENCE = 110


def as_text(report: Report) -> str:
    """The summary."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: Report) -> Iterator[str]:
    score = report.score
    ratio = "nothing could be evaluated" if score.ratio is None else f"score {float(score.ratio):.0%}"
    known = "" if score.known is None else f" ({float(score.known):.0%} of what applies is known)"
    yield f"{report.organization or 'Posture'}, {report.scope}: {ratio}{known}."
    yield (
        f"{score.failed} controls fail, {score.passed} hold, {score.waived} waived, {score.unknown} not known, "
        f"{score.manual} for a person, {score.not_applicable} not applicable."
    )
    for note in report.notes:
        yield f"note: {note}"
    fails = sorted((control for control in report.controls if control.status == "fail"), key=_urgency)
    if fails:
        yield ""
        rows = [_failed(fail) for fail in fails[:_SHOWN]]
        yield table(("severity", "control", "fails", "where", "evidence"), rows).rstrip("\n")
        if len(fails) > _SHOWN:
            yield f"and {len(fails) - _SHOWN} more controls: see --json or --out"
        yield ""
        yield "What ends it:"
        yield from _remedies(fails[:_SHOWN])
    yield from _waived(report)
    yield from _changes(report)
    yield from _unknown(report)
    if len(report.frameworks) < 5:
        yield from _frameworks(report)


def _urgency(control: ControlRow) -> tuple[int, str]:
    rows = [row for row in control.rows if row.status == "fail"]
    return min((Severity(row.severity).rank for row in rows), default=9), control.control.id


def _failed(control: ControlRow) -> tuple[str, str, str, str, str]:
    rows = [row for row in control.rows if row.status == "fail"]
    first = min(rows, key=lambda row: (not row.expired, Severity(row.severity).rank))
    late = " (waiver expired)" if any(row.expired for row in rows) else ""
    objects = sum(row.count for row in rows)
    return (
        first.severity,
        f"{control.control.id} {control.control.name}",
        f"{objects}{late}",
        _short(first.name, 60),
        _short(first.evidence, _EVIDENCE),
    )


def _short(text: str, most: int) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= most else flat[: most - 3] + "..."


def _remedies(fails: list[ControlRow]) -> Iterator[str]:
    for control in fails:
        remedy = control.control.remedy
        yield f"  {control.control.id} {control.control.title}: {remedy.text}"
        for text in (remedy.sql, remedy.cli):
            yield from (f"      {line}" for line in text.splitlines())


def _waived(report: Report) -> Iterator[str]:
    if not report.waivers:
        return
    yield ""
    rows = [
        (stage.value.upper() if stage == "expired" else stage.value, waiver.control, waiver.object, count,
         waiver.expires, waiver.approver, _short(waiver.reason, 60))
        for waiver, stage, count in report.waivers
    ]  # fmt: skip
    yield table(("waiver", "control", "object", "failures", "until", "approver", "reason"), rows).rstrip("\n")


def _changes(report: Report) -> Iterator[str]:
    changes = report.changes
    if changes.since is None:
        return
    yield ""
    new, gone = counted(len(changes.new), "new failure"), counted(len(changes.resolved), "failure")
    yield f"Since {instant(changes.since)}: {new}, {gone} put in order."
    for row in changes.new[:10]:
        yield f"  new       {row.control} {row.name}: {_short(row.evidence, 90)}"
    for control, where, was in changes.resolved[:10]:
        yield f"  resolved  {control} {where}: {_short(was, 90)}"


def _unknown(report: Report) -> Iterator[str]:
    found: dict[tuple[str, str], list[str]] = {}
    for control in report.controls:
        for row in control.rows:
            if row.status in ("error", "unknown"):
                found.setdefault((row.status, row.evidence), []).append(control.control.id)
    if not found:
        return
    yield ""
    yield "Not known, which is never a pass:"
    rows = [(WORDS[status], _list(sorted(set(ids))), _short(why, 120)) for (status, why), ids in sorted(found.items())]
    yield table(("", "controls", "why"), rows[:15]).rstrip("\n")
    if len(rows) > 15:
        yield f"and {len(rows) - 15} more reasons"


def _list(ids: list[str]) -> str:
    return " ".join(ids) if len(ids) <= 8 else f"{' '.join(ids[:7])} and {len(ids) - 7} more"


def _frameworks(report: Report) -> Iterator[str]:
    for framework in report.frameworks:
        yield ""
        yield f"{framework.framework.title} {framework.framework.version}"
        rows = [
            (clause.id, WORDS[clause.status], clause.title, " ".join(id_ for id_, status in clause.controls
                                                                   if status == clause.status))
            for clause in framework.clauses
        ]  # fmt: skip
        yield table(("clause", "stands", "what it asks", "decided by"), rows).rstrip("\n")


def one_control(report: Report, id_: str) -> str:
    """One control in full."""
    found = next((control_row for control_row in report.controls if control_row.control.id == id_), None)
    if found is None:
        return f"{id_}: nothing here that it speaks of\n"
    control = found.control
    lines = [
        f"{control.id} {control.title} ({control.severity.value}): {WORDS[found.status]}",
        f"  fails when  {control.what}",
        f"  why         {control.why}",
        f"  sources     {', '.join(control.sources)}",
        f"  remedy      {control.remedy.text}",
        *(f"              {line}" for text in (control.remedy.sql, control.remedy.cli) for line in text.splitlines()),
    ]
    for name, clauses in found.clauses.items():
        lines.append(f"  {name:<10}  {', '.join(clauses)}")
    lines += [
        f"  {count} {WORDS[status]}" for status, count in found.counts.items() if count and status != found.status
    ]
    lines += ["", *(_full(row) for row in found.rows)]
    return "\n".join(lines) + "\n"


def _full(row: Row) -> str:
    who = ""
    if row.waiver is not None:
        word = "EXPIRED" if row.expired else "until"
        who = f" [waiver of {row.waiver.approver} {word} {row.waiver.expires}: {row.waiver.reason}]"
    tenant = f" tenant {row.tenant}:" if row.tenant else ""
    return f"  {WORDS[row.status]}  {row.name}:{tenant} {row.evidence}{who}"
