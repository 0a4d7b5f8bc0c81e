"""`neonmeter ledger`: whether the stored usage is whole, what is missing, and how to take it elsewhere."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from collectors.errors import FINDINGS, OK, UsageError
from exporter.documents.terminal import counted, seconds, size, table
from exporter.documents.text import instant
from exporter.pricing.domain.calendar import day_text

if TYPE_CHECKING:
    from exporter.core.command_line import Commands
    from exporter.cost.settings import CostTree
    from exporter.storage.ledger.finest import Gap
    from exporter.storage.ledger.ledger import Holdings, Ledger

_GAPS_SHOWN = 20
_BAD_SHOWN = 50
_LONG = 12
"""Requests from which on a reading shows how far it is."""


def add(commands: Commands) -> None:
    """Declare them, in the order of the help."""
    ledger = commands.group("ledger", "the stored consumption: check, export, import, backfill")
    ledger.add("status", status_command, "what the ledger holds, and how fresh it is", json=True)
    ledger.add("verify", verify_command, "add everything up again and look for gaps", json=True)
    export = ledger.add("export", export_command, "write every fact as a line of JSON")
    export.add_argument("file", metavar="FILE", help="file to write (- is standard output)")
    read = ledger.add("import", import_command, "read lines of JSON; importing twice changes nothing")
    read.add_argument("file", metavar="FILE", help="file that `ledger export` wrote (- is standard input)")
    ledger.add("backfill", backfill_command, "read all that Neon still has: hours, days, months")


@contextmanager
def opened(settings: CostTree, *, write: bool = False) -> Iterator[Ledger]:
    """The ledger alone: of the file only its own tables, and no file at all where it is in PostgreSQL.

    Raises:
        StoreError: it is not there, or cannot be used.
    """
    from exporter.cost.workspace import LEDGER_SCHEMAS, SCHEMAS
    from exporter.feature.workspace import SHARED_SCHEMAS, missing_store, shared_ledger
    from exporter.storage.ledger.sqlite import SqliteLedger
    from exporter.storage.ledger.sqlite_sql import LEDGER_SCHEMA
    from exporter.storage.store import Schemas, Store, StoreError

    shared = shared_ledger(settings, LEDGER_SCHEMAS, read_only=not write)
    if shared is not None:
        with closing(shared):
            yield shared
        return
    if not write and not settings.storage.path.exists():
        raise StoreError(missing_store(settings))
    schemas: Schemas = {"ledger": LEDGER_SCHEMA}
    if write:
        schemas = {**SHARED_SCHEMAS, **SCHEMAS}  # so that commands can read a file that an import makes
    store = Store.open(settings.storage.path, schemas, read_only=not write)
    try:
        yield SqliteLedger(store)
    finally:
        store.close()


def verify_command(options: argparse.Namespace, settings: CostTree) -> int:
    """Count everything, add everything up again, and look for holes."""
    from exporter.storage.ledger.finest import gaps

    with opened(settings) as ledger:
        where, holdings, holes = ledger.where, ledger.holdings(), gaps(ledger.project_days())
    if options.json:
        print(json.dumps(_as_json(where, holdings, holes), indent=2))
    else:
        print(_as_text(where, holdings, holes), end="")
    return FINDINGS if holdings.mismatches or holdings.doubled or holdings.damage else OK


def _as_json(where: str, holdings: Holdings, holes: list[Gap]) -> dict[str, object]:
    return {
        "ledger": where,
        "buckets": dict(holdings.buckets),
        "first": holdings.first,
        "last": holdings.last,
        "days_that_do_not_add_up": holdings.mismatches,
        "doubled": holdings.doubled,
        "damage": list(holdings.damage),
        "gaps": [gap._asdict() for gap in holes],
    }


def _as_text(where: str, holdings: Holdings, holes: list[Gap]) -> str:
    lines = [f"Ledger {where}\n"]
    sizes = [(f"{name} buckets", f"{count:,}", "") for name, count in sorted(holdings.buckets.items())]
    missing = sum(gap.hours for gap in holes)
    holed = counted(len({gap.project_id for gap in holes}), "project")
    checks = [
        ("days that do not add up", holdings.mismatches, "ok" if not holdings.mismatches else "WRONG"),
        ("doubled buckets", holdings.doubled, "ok" if not holdings.doubled else "WRONG"),
        ("damage", len(holdings.damage), "ok" if not holdings.damage else "WRONG"),
        ("missing hours", f"{missing:,}", "ok" if not missing else f"in {holed}"),
    ]
    lines.append(table(("what", "found", ""), [*sizes, *checks]))
    if holdings.first is not None and holdings.last is not None:
        lines.append(f"Usage from {instant(holdings.first)} to {instant(holdings.last)}.\n")
    lines.extend(f"damage: {finding}\n" for finding in holdings.damage[:_GAPS_SHOWN])
    if holes:
        rows = [(gap.project_id, day_text(gap.start), day_text(gap.end - 1), gap.hours) for gap in holes[:_GAPS_SHOWN]]
        lines.append("\n" + table(("project with a gap", "first day", "last day", "missing hours"), rows))
        if len(holes) > _GAPS_SHOWN:
            lines.append(f"... and {len(holes) - _GAPS_SHOWN} more (--json has all)\n")
        lines.append("`neonmeter ledger backfill` reads days and months that Neon still has.\n")
    return "".join(lines)


def status_command(options: argparse.Namespace, settings: CostTree) -> int:
    """What is in the ledger, without adding it up."""
    with opened(settings) as ledger:
        where, through, tally = ledger.where, ledger.through(), ledger.tally()
        days = sorted(ledger.revisions(0, 2**40))
        units = ledger.units(0, 2**40)
    reading = _under_way(settings, sorted(through.orgs))
    now = time.time()
    if options.json:
        found = {
            "ledger": where, "facts": tally["facts"], "corrections": tally["corrections"], "days": len(days),
            "first_day": days[0] if days else None, "last_day": days[-1] if days else None,
            "storage_units": [span._asdict() for span in units], "reading": reading,
            "data_through": dict(through.orgs), "keep_hourly_days": settings.ledger.keep_hourly_days,
        }  # fmt: skip
        print(json.dumps(found, indent=2))
        return OK
    rows = [("ledger", where)]
    if settings.ledger.url is None:
        rows.append(("size", size(settings.storage.path.stat().st_size)))
    rows.append(("facts ever", f"{tally['facts']:,}, {counted(tally['corrections'], 'correction')}"))
    if days:
        rows.append(("days with usage", f"{len(days):,}: {instant(days[0])[:10]} to {instant(days[-1])[:10]}"))
    rows.append(("hours are kept", f"{settings.ledger.keep_hourly_days} days, then summed up to days"))
    for org, at in sorted(through.orgs.items()):
        rows.append(("data through", f"{instant(at)} ({org}), {seconds(max(0, now - at))} ago"))
    rows.extend(("storage in", f"{span.unit or 'no known unit'} ({span.org_id}), {instant(span.first)[:10]} to "
                 f"{instant(span.last)[:10]}") for span in units)  # fmt: skip
    rows.extend(("reading", sentence) for sentence in reading)
    print(table(("what", ""), rows), end="")
    return OK


def _under_way(settings: CostTree, orgs: Iterable[str]) -> list[str]:
    """How far a long reading of the agent is, by its file; nothing where it has none."""
    from exporter.cost.backlog import stored
    from exporter.feature.workspace import open_store
    from exporter.storage.store import StoreError
    from exporter.storage.tables import KeyValueStore

    try:
        with open_store(settings) as store:
            return [sentence for org in orgs for sentence in stored(KeyValueStore(store), org)]
    except StoreError:
        return []


def export_command(options: argparse.Namespace, settings: CostTree) -> int:
    """Write every fact as a line of JSON."""
    from exporter.storage.ledger.file import lines

    count = 0
    try:
        with opened(settings) as ledger, _writing(options.file) as out:
            for line in lines(ledger):
                out.write(line + "\n")
                count += 1
    except OSError as problem:
        raise UsageError(f"{options.file}: {problem.strerror}; nothing was written") from None
    print(f"{counted(count, 'line')} written to {options.file}", file=sys.stderr)
    return OK


@contextmanager
def _writing(where: str) -> Iterator[TextIO]:
    """Standard output, or a file that is there whole or not at all, readable by its owner."""
    if where == "-":
        yield sys.stdout
        return
    path = Path(where)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def import_command(options: argparse.Namespace, settings: CostTree) -> int:
    """Read lines of JSON into the ledger; what is newer there stays."""
    from exporter.storage.ledger.file import Imported, load

    done = Imported()
    try:
        with _reading(options.file) as texts, opened(settings, write=True) as ledger:
            for read in load(ledger, texts):
                if isinstance(read, Imported):
                    done = read
                    continue
                done.bad += 1
                if done.bad <= _BAD_SHOWN:
                    print(f"{options.file}:{read}", file=sys.stderr)
            where = ledger.where
    except (OSError, UnicodeDecodeError) as problem:
        why = f"cannot be read ({problem.strerror})" if isinstance(problem, OSError) else (
            f"is not UTF-8 text ({problem.reason}); nothing after that was read")  # fmt: skip
        raise UsageError(f"{options.file}: {why}") from None
    if done.bad > _BAD_SHOWN:
        print(f"... and {done.bad - _BAD_SHOWN} more lines that are no facts", file=sys.stderr)
    rows = [
        ("facts read", f"{done.facts:,}"), ("new buckets", f"{done.changes.new:,}"),
        ("changed", f"{done.changes.grown + done.changes.shrunk:,}"),
        ("moved to another plan", f"{done.changes.moved:,}"), ("bad lines, left out", f"{done.bad:,}"),
    ]  # fmt: skip
    print(table((f"into {where}", ""), rows), end="")
    return FINDINGS if done.bad else OK


@contextmanager
def _reading(where: str) -> Iterator[TextIO]:
    if where == "-":
        yield sys.stdin
        return
    with Path(where).open(encoding="utf-8") as texts:
        yield texts


def backfill_command(options: argparse.Namespace, settings: CostTree) -> int:
    """Read everything that Neon still has: hours of the last week, then days, then months."""
    del options
    import asyncio

    from exporter.feature.workspace import require

    require(settings, "neon.", "ledger.")
    return asyncio.run(_backfill(settings))


class _Progress:
    """A line on the standard error where a reading is long: how many of its requests are done."""

    def __init__(self, planned: int) -> None:
        self._planned, self._done = planned, 0

    async def __call__(self, done: int) -> None:
        self._done += done
        if self._planned >= _LONG and self._done % 10 < done:
            print(f"{self._done} of {max(self._planned, self._done)} requests", file=sys.stderr)


async def _backfill(settings: CostTree) -> int:
    import contextlib

    from collectors.base import Status
    from collectors.neon.inventory import Inventory, refresh
    from exporter.cost.organizations import each_organization
    from exporter.cost.usage_import import HOURLY, Span, UsageImporter, hours_from, read_account_plan, requests, spans
    from exporter.feature.workspace import neon_client
    from exporter.settings.tree import SettingsError
    from exporter.storage.writer import WriterThread

    neon, ledger_writer = settings.neon, WriterThread()
    with contextlib.ExitStack() as stack:
        stack.callback(ledger_writer.close)
        ledger = stack.enter_context(opened(settings, write=True))
        before = ledger.holdings().buckets
        async with neon_client(settings) as client:
            inventory = await refresh(client, None, org_id=neon.org_id, include=neon.include, exclude=neon.exclude)
            if not inventory.organizations:
                raise SettingsError(
                    ["neon.org_id: consumption needs an organisation; name it, or use a key of its own"]
                )
            now = time.time() + inventory.skew
            wanted = [Span(HOURLY, hours_from(now), now), *spans(0, now)]
            planned = sum(requests(inventory, sorted(inventory.projects), span) for span in wanted)
            importer = UsageImporter(
                client, ledger, ledger_writer, storage_unit=settings.cost.said_unit, progress=_Progress(planned)
            )

            async def everything(part: Inventory) -> tuple[Status, tuple[str, ...]]:
                worst, notes = Status.OK, dict[str, None]()
                importer.told_of(part.org_id).plan = await read_account_plan(client, part)
                for span in wanted:
                    status, sentences, _ = await importer.read(part, sorted(part.projects), span, now)
                    worst = worst if status is Status.OK else status
                    notes.update(dict.fromkeys(sentences))
                return worst, tuple(notes)

            worst, notes = await each_organization(inventory, everything) or (Status.OK, ())
        after = ledger.holdings().buckets
    rows = [(name, f"{after[name]:,}", f"{after[name] - before.get(name, 0):,}") for name in sorted(after)]
    if rows:
        print(table(("buckets", "now", "new"), rows), end="")
    elif not notes:
        print(f"Neon has no usage of {counted(len(inventory.projects), 'project')}.")
    for note in notes:
        print(f"note: {note}")
    return OK if worst is Status.OK else FINDINGS
