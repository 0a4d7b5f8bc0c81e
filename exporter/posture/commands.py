"""`neonmeter posture`: security and compliance of everything that is watched, and the report of it.

It reads what a running agent stored, asks Neon for the rest (GET only), wakes nothing and enters no database.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from collectors.errors import FINDINGS, OK, UsageError

if TYPE_CHECKING:
    from exporter.core.command_line import Commands
    from exporter.feature.ports import RestoreDrills
    from exporter.posture.report.report import Report
    from exporter.posture.settings import PostureTree
    from exporter.posture.workspace import PostureLook, PreviousRun

FORMATS = ("html", "md", "csv", "json", "ocsf")
_RANKS = ("critical", "high", "medium", "low", "none")
Before = tuple[float, Mapping[str, tuple[str, str, str]]]
DrillsOf = Callable[["PostureTree"], "RestoreDrills | None"]


class PostureUsageError(UsageError):
    """An option cannot be used, or a file that it names cannot be read or written."""

    def __init__(self, text: str) -> None:
        super().__init__(f"posture: {text}")


def add_commands(commands: Commands, drills_of: DrillsOf = lambda _: None) -> None:
    """Declare it; imports nothing heavy. ``drills_of`` answers who knows the restore drills, by the settings."""
    handler = partial(posture_command, drills_of=drills_of)
    posture = commands.add("posture", handler, "security and compliance: what fails and why", json=True, checked=True)
    posture.add_argument(
        "--framework", metavar="NAME", help="only these frameworks: gdpr, iso27001, soc2, cis, c5; separated by commas"
    )
    posture.add_argument("--project", metavar="GLOB", default="*", help="projects by id or name")
    posture.add_argument("--control", metavar="ID", help="one control in full, such as P01")
    posture.add_argument("--out", metavar="DIR", help="write the report into this folder")
    posture.add_argument(
        "--format",
        metavar="LIST",
        default="html,md,csv,json",
        help="any of html,md,csv,json,ocsf (default: all but ocsf)",
    )
    posture.add_argument(
        "--since", metavar="FILE", help="show changes since this posture.json (default: the one in --out)"
    )
    posture.add_argument(
        "--fail-on", metavar="SEVERITY", default="low", choices=("critical", "high", "medium", "low", "none"),
        help="exit 1 for open failures of at least this severity: critical, high, medium, low, none",
    )  # fmt: skip


def posture_command(options: argparse.Namespace, settings: PostureTree, *, drills_of: DrillsOf) -> int:
    """Print the summary, or JSON; write the files; exit 1 when something fails without a waiver.

    Raises:
        PostureUsageError: an option cannot be used, or a file cannot be read or written.
        NeonError: Neon cannot be read.
        StoreError, CatalogueError: the store, or a file of controls or frameworks, cannot be used.
    """
    formats = _formats(options)
    report = _report(settings, options, drills_of)
    if options.out:
        _write(report, formats, Path(options.out))
    _print(report, options)
    return FINDINGS if _fails(report, options.fail_on) else OK


def _formats(options: argparse.Namespace) -> list[str]:
    formats = [name.strip() for name in options.format.split(",") if name.strip()]
    wrong = [name for name in formats if name not in FORMATS]
    if wrong or not formats:
        raise PostureUsageError(f"--format: {', '.join(wrong) or 'nothing'} is unknown; use any of {','.join(FORMATS)}")
    return formats


def _report(settings: PostureTree, options: argparse.Namespace, drills_of: DrillsOf) -> Report:
    import asyncio

    from exporter.posture.catalogue import load_catalogue
    from exporter.posture.report.report import report_of
    from exporter.posture.workspace import previous_run

    catalogue = load_catalogue(settings.posture.catalogue)
    frameworks = _chosen("--framework", options.framework, catalogue.frameworks)
    _chosen("--control", options.control, catalogue.controls)
    previous = previous_run(settings, time.time())
    before = _before(options) or previous.before
    found = asyncio.run(_look(settings, previous, drills_of))
    report = report_of(
        found.evaluation,
        catalogue,
        company=settings.report.company,
        organization=found.inventory.title,
        frameworks=frameworks,
        project=options.project,
        before=before,
        notes=found.notes,
    )
    if options.project != "*" and not any(_matches(project, options.project) for project in _projects(found)):
        names = ", ".join(sorted(name for _, name in _projects(found)))
        raise PostureUsageError(f"--project: no project is like {options.project!r}; there are {names}")
    return report


async def _look(settings: PostureTree, previous: PreviousRun, drills_of: DrillsOf) -> PostureLook:
    from exporter.feature.workspace import neon_client
    from exporter.posture.workspace import look
    from exporter.tenancy.rules import rules_of

    async with neon_client(settings) as client:
        return await look(settings, rules_of(settings), client, previous, drills=lambda: drills_of(settings))


def _projects(found: PostureLook) -> list[tuple[str, str]]:
    return [(project.id, project.name) for project in found.inventory.projects.values()]


def _matches(project: tuple[str, str], glob: str) -> bool:
    from exporter.settings.dsn import matches

    return matches(glob, *project)


def _chosen(option: str, text: str | None, known: Mapping[str, object]) -> list[str]:
    names = [name.strip() for name in (text or "").split(",") if name.strip()]
    wrong = [name for name in names if name not in known]
    if wrong:
        few = ", ".join(known) if len(known) < 12 else f"{min(known)} to {max(known)}"
        raise PostureUsageError(f"{option}: there is no {', '.join(wrong)}; there are {few}")
    return names


def _before(options: argparse.Namespace) -> Before | None:
    """The open failures of an earlier report: the one that is named, or the one in the folder that is written to."""
    from exporter.posture.report.plain import before_of

    path = Path(options.since) if options.since else Path(options.out) / "posture.json" if options.out else None
    if path is None or (not options.since and not path.exists()):
        return None
    try:
        return before_of(json.loads(path.read_text("utf-8")))
    except OSError as problem:
        raise PostureUsageError(f"--since: {path} cannot be read ({problem.strerror})") from None
    except (ValueError, KeyError, TypeError):
        raise PostureUsageError(f"--since: {path} is not a posture.json of this version") from None


def _write(report: Report, formats: list[str], folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in _files(report, formats):
            draft = folder / f".{name}.part"
            draft.write_text(text, "utf-8")
            draft.replace(folder / name)
    except OSError as problem:
        raise PostureUsageError(f"--out: {folder} cannot be written ({problem.strerror})") from None


def _files(report: Report, formats: list[str]) -> Iterator[tuple[str, str]]:
    from exporter.posture.report import plain

    if "html" in formats:
        from exporter.posture.report.html import html

        yield "posture.html", html(report)
    if "md" in formats:
        from exporter.posture.report.markdown import markdown

        yield "posture.md", markdown(report)
    if "csv" in formats:
        yield "posture.csv", plain.as_csv(report)
    if "ocsf" in formats:
        from exporter.posture.report.ocsf import as_ocsf

        yield "posture.ocsf.jsonl", as_ocsf(report)
    if "json" in formats:
        yield "posture.json", json.dumps(plain.as_json(report), indent=1, ensure_ascii=False) + "\n"


def _print(report: Report, options: argparse.Namespace) -> None:
    from exporter.posture.report.plain import as_json
    from exporter.posture.report.terminal import as_text, one_control

    if options.json:
        print(json.dumps(as_json(report), indent=2, ensure_ascii=False))
    elif options.control:
        print(one_control(report, options.control), end="")
    else:
        print(as_text(report), end="")
    if options.out and not options.json:
        print(f"\nWritten to {options.out}: " + ", ".join(name for name in sorted(_names(options))))


def _names(options: argparse.Namespace) -> Iterator[str]:
    for name in options.format.split(","):
        yield "posture.ocsf.jsonl" if name.strip() == "ocsf" else f"posture.{name.strip()}"


def _fails(report: Report, floor: str) -> bool:
    most = _RANKS.index(floor)
    return floor != "none" and any(
        row.severity in _RANKS[: most + 1]
        for control in report.controls
        for row in control.rows
        if row.status == "fail"
    )
