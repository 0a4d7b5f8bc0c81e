"""`neonmeter report`: the monthly review and its FOCUS files, written into a folder."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from collectors.errors import OK, UsageError

if TYPE_CHECKING:
    from exporter.core.command_line import Commands
    from exporter.cost.settings import CostTree
    from exporter.report.facts import ReviewFacts
    from exporter.report.focus.rows import Party
    from exporter.report.review import Review
    from exporter.report.sources import ReviewSources

FORMATS = ("html", "xlsx", "csv", "md", "focus", "parquet")
NEEDS = {"xlsx": "xlsxwriter", "parquet": "pyarrow"}
"""The package behind a format; pandas is behind all but FOCUS."""


def add_commands(commands: Commands) -> None:
    """Declare `report`; imports nothing heavy."""
    report = commands.add("report", report_command, "write the monthly review and its FOCUS files")
    report.add_argument("--month", required=True, metavar="YYYY-MM", help="the month to review")
    report.add_argument("--out", required=True, metavar="DIR", help="folder to write to; created if it does not exist")
    report.add_argument(
        "--format",
        default="html,xlsx,csv,md,focus",
        metavar="LIST",
        help="any of html,xlsx,csv,md,focus,parquet (default: %(default)s)",
    )
    report.add_argument(
        "--focus-granularity",
        choices=("month", "day"),
        default="month",
        help="maximum charge period of a FOCUS row (default: %(default)s)",
    )
    report.add_argument("--focus-version", choices=("1.4", "1.2"), help="only this version of FOCUS (default: both)")


def report_command(options: argparse.Namespace, settings: CostTree) -> int:
    """Write the review of a month.

    Raises:
        UsageError: there is no such month or format, nothing of the month in the ledger, or a file cannot be written.
        StoreError: the store cannot be used.
        RateCardError: the rate card cannot be used.
    """
    formats = [name.strip() for name in options.format.split(",") if name.strip()]
    return _write(settings, _month(options.month, formats), formats, options)


def _month(month: str, formats: list[str]) -> int:
    """The first instant of the month (unix seconds), once it and the formats are known to be possible."""
    from exporter.pricing.domain.calendar import day_seconds

    try:
        start = day_seconds(f"{month}-01")
    except ValueError:
        raise _refusal(f"--month: {month!r} is not a month; write YYYY-MM, such as 2026-10") from None
    wrong = [name for name in formats if name not in FORMATS]
    if wrong or not formats:
        raise _refusal(f"--format: {', '.join(wrong) or 'nothing'} is unknown; use any of {','.join(FORMATS)}")
    if missing := _missing(formats):
        extra = "parquet" if missing == ["pyarrow"] else "report"
        raise _refusal(f"{' and '.join(missing)} not installed; install neonmeter[{extra}]")
    return start


def _refusal(text: str) -> UsageError:
    return UsageError(f"report: {text}")


def _missing(formats: list[str]) -> list[str]:
    from importlib.util import find_spec

    wanted = {NEEDS[name] for name in formats if name in NEEDS}
    if set(formats) & {"html", "xlsx", "csv", "md"}:
        wanted.add("pandas")
    return sorted(name for name in wanted if find_spec(name) is None)


def _write(settings: CostTree, month: int, formats: list[str], options: argparse.Namespace) -> int:
    from exporter.documents.text import cents, instant, money, month_name
    from exporter.pricing.domain.calendar import day_text
    from exporter.report.gather import gather
    from exporter.report.parts import PARTS
    from exporter.report.sources import sources_of

    with sources_of(settings) as (sources, party):
        facts = gather(sources, month, PARTS)
        made = _focus_files(facts, sources, party, formats, options) if set(formats) & {"focus", "parquet"} else {}
    if not facts.this.rows:
        raise _refusal(f"--month: no usage of {month_name(month)} in the ledger")
    if set(formats) & {"html", "xlsx", "csv", "md"}:
        from exporter.report.review import review_of

        made |= dict(_review_files(review_of(facts), formats, day_text(month)[:7]))
    try:
        _put(Path(options.out), made)
    except OSError as error:
        raise _refusal(f"--out: {options.out} cannot be written ({error.strerror})") from None
    this = facts.this
    state = "closed" if this.closed else "estimated" if this.complete else "so far"
    print(f"{month_name(this.start)}: {money(cents(this.total))} ({state}), usage up to {instant(this.through)}")
    for name, content in sorted(made.items()):
        print(f"  {Path(options.out) / name}  {len(content):,} bytes")
    for finding in facts.findings:
        if finding.level == "bad":
            print(f"look: {finding.what} {finding.action}", file=sys.stderr)
    return OK


def _focus_files(
    facts: ReviewFacts, sources: ReviewSources, party: Party, formats: list[str], options: argparse.Namespace
) -> dict[str, bytes]:
    from exporter.report.focus.days import daily_usage
    from exporter.report.focus.files import VERSIONS, focus_files, focus_of

    daily = None
    if options.focus_granularity == "day":
        span = (facts.this.start, facts.this.end)
        daily = daily_usage(sources.ledger.priceable, span, sources.card, sources.plan)
    focus = focus_of(facts, sources.card, party, daily)
    versions = (options.focus_version,) if options.focus_version else VERSIONS
    made: dict[str, bytes] = {}
    if "focus" in formats:
        made |= {name: text.encode() for name, text in focus_files(facts, focus, party, versions).items()}
    if "parquet" in formats:
        from exporter.report.focus.files import parquet_files

        made |= parquet_files(facts, focus, party, versions)
    return made


def _review_files(review: Review, formats: list[str], month: str) -> Iterator[tuple[str, bytes]]:
    if "html" in formats:
        from exporter.report.html import html

        yield f"review-{month}.html", html(review).encode()
    if "xlsx" in formats:
        from exporter.report.files import workbook

        yield f"review-{month}.xlsx", workbook(review)
    if "md" in formats:
        from exporter.report.files import markdown

        yield f"review-{month}.md", markdown(review).encode()
    if "csv" in formats:
        from exporter.report.files import csv_files

        for name, text in csv_files(review):
            yield f"review-{month}-csv/{name}", text.encode()


def _put(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write each file whole: who reads while we write sees the old one or the new one."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.part")
        draft.write_bytes(content)
        draft.replace(path)
