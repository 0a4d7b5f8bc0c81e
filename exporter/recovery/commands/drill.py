"""`neonmeter drill`: prove that a branch can be restored, and how long that takes. It writes at Neon, with its own key.

`drill list` shows past drills and removes what a killed one left behind; `drill verify` checks their ledger.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import time
from dataclasses import asdict, replace
from typing import Any

from collectors.neon.client import NeonClient
from collectors.neon.errors import NeonError
from collectors.neon.inventory import Inventory, refresh
from exporter.commands.main import FINDINGS, OK, UPSTREAM, USAGE, load_settings, refuse
from exporter.documents.terminal import counted
from exporter.recovery import journal as ledger_writer
from exporter.recovery.commands.drill_plan import PlanError, plan_of
from exporter.recovery.commands.drill_text import as_rows, as_text, instant
from exporter.recovery.drill import CLEAN_SECONDS, DrillRun
from exporter.recovery.journal import CLEANED, DrillJournal, JournalError, path_of
from exporter.recovery.steps import DrillError, LeftOver, leftovers, remove
from exporter.recovery.writer import DrillWriter
from exporter.settings import CoreSettings
from exporter.settings.secret import SecretError, read_secret

KEY_VARIABLE = "NEONMETER_DRILL_KEY"
INTERRUPTED = 130
_NO_KEY = (
    f"recovery.write_key_file: a drill needs an API key of its own, that may make and delete branches: set it, or "
    f"{KEY_VARIABLE} (docs/recovery.md)"
)


class KeyRefusedError(Exception):
    """There is no key for drills, or it is the agent's; one line for a person."""


def run_command(options: argparse.Namespace) -> int:
    """One drill; exit 1 when something that was checked is not as it should be."""
    settings = load_settings(options)
    if settings is None:
        return USAGE
    try:
        key, book = key_of(settings), book_of(settings)
        with book.alone():
            return asyncio.run(_run(settings, options, key, book))
    except PlanError as problem:
        print(str(problem), file=sys.stderr)
        return USAGE
    except (KeyRefusedError, SecretError, JournalError) as problem:
        return refuse(str(problem))
    except (NeonError, DrillError) as problem:
        print(str(problem), file=sys.stderr)
        return UPSTREAM
    except (KeyboardInterrupt, asyncio.CancelledError):
        return INTERRUPTED


async def _run(settings: CoreSettings, options: argparse.Namespace, key: str, book: DrillJournal) -> int:
    interrupts = _Interrupts()
    say = _Progress(quiet=options.json)
    async with _client(settings, key) as client, DrillWriter(settings.neon.api_url, key) as writer:
        inventory = await _look(settings, client, options.branch.partition("/")[0])
        left = await _sweep(client, writer, book, inventory, say)
        plan = plan_of(settings, options, inventory)
        if not options.yes and not _confirmed(plan.source, plan.at):
            return USAGE
        run = DrillRun(plan, client=client, writer=writer, book=book, say=say)
        interrupts.arm()
        drill = await run.run()
    told = as_text(settings, drill)
    print(json.dumps({**asdict(drill), "leftovers_removed": left}, indent=2) if options.json else told, end="\n")
    if not drill.cleaned:
        return UPSTREAM
    return {ledger_writer.OK: OK, ledger_writer.ABORTED: INTERRUPTED}.get(drill.result, FINDINGS)


def list_command(options: argparse.Namespace) -> int:
    """Past drills, newest last; with the drills' key also what was left behind is removed."""
    settings = load_settings(options)
    if settings is None:
        return USAGE
    removed: list[str] = []
    note = ""
    try:
        book = book_of(settings)
        try:
            key = key_of(settings)
        except KeyRefusedError as problem:
            note = f"Not looked for what killed drills left: {problem}"
        else:
            with book.alone():
                removed = asyncio.run(_sweep_all(settings, key, book, _Progress(quiet=options.json)))
        drills = book.drills()
    except (SecretError, JournalError) as problem:
        return refuse(str(problem))
    except (NeonError, DrillError) as problem:
        print(str(problem), file=sys.stderr)
        return UPSTREAM
    if options.json:
        print(json.dumps({"drills": [asdict(drill) for drill in drills], "leftovers_removed": removed}, indent=2))
        return OK
    print(as_rows(settings, drills) if drills else "No drill was done yet.\n", end="")
    if note:
        print(note, file=sys.stderr)
    return OK


def verify_command(options: argparse.Namespace) -> int:
    """Whether the drills' ledger is as it was written."""
    settings = load_settings(options)
    if settings is None:
        return USAGE
    try:
        book = book_of(settings)
        verdict = book.verify()
    except (SecretError, JournalError) as problem:
        return refuse(str(problem))
    if verdict.problem:
        print(f"{book.path}: {verdict.problem}", file=sys.stderr)
        return FINDINGS
    if not verdict.lines:
        print(f"{book.path}: there is none yet; nothing was drilled")
        return OK
    mine = verdict.signed - verdict.foreign
    lines = counted(verdict.lines, "line")
    print(f"{book.path}: {lines}, each follows the one before; {mine} carry a signature of the key at hand")
    if verdict.foreign:
        print(
            f"{counted(verdict.foreign, 'line')} signed with another key: give it as recovery.signing_key to check them"
        )
    if verdict.lines > verdict.signed:
        print(f"{counted(verdict.lines - verdict.signed, 'line')} not signed: who can write the file can rewrite them")
    print(f"last digest {verdict.head}\nWrite it down elsewhere: it alone shows later that the end was not cut off.")
    return OK


def key_of(settings: CoreSettings) -> str:
    """The key of the drills, from the environment or the settings.

    Raises:
        KeyRefusedError: there is none, or it is the one that the agent has.
        SecretError: a file cannot be read.
    """
    recovery = settings.recovery
    key = os.environ.get(KEY_VARIABLE, "").strip() or read_secret(recovery.write_key, recovery.write_key_file)
    if not key:
        raise KeyRefusedError(_NO_KEY)
    if key == read_secret(settings.neon.api_key, settings.neon.api_key_file):
        raise KeyRefusedError("recovery.write_key: it is the agent's own key (neon.api_key); make one for drills alone")
    return key


def book_of(settings: CoreSettings) -> DrillJournal:
    """The drills' ledger.

    Raises:
        SecretError: the signing key cannot be read.
    """
    recovery = settings.recovery
    key = read_secret(recovery.signing_key, recovery.signing_key_file)
    return DrillJournal(path_of(settings), key.encode() if key else None)


def _client(settings: CoreSettings, key: str) -> NeonClient:
    neon = settings.neon
    return NeonClient(neon.api_url, lambda: key, timeout=neon.timeout_seconds, user_agent="neonmeter-drill")


async def _look(settings: CoreSettings, client: NeonClient, project: str = "*") -> Inventory:
    neon = settings.neon
    wanted = [project] if project else ["*"]
    return await refresh(client, None, org_id=neon.org_id, include=wanted, exclude=[])


async def _sweep_all(settings: CoreSettings, key: str, book: DrillJournal, say: _Progress) -> list[str]:
    async with _client(settings, key) as client, DrillWriter(settings.neon.api_url, key) as writer:
        return await _sweep(client, writer, book, await _look(settings, client), say)


async def _sweep(
    client: NeonClient, writer: DrillWriter, book: DrillJournal, inventory: Inventory, say: _Progress
) -> list[str]:
    """Remove the branches of drills that are over; what may belong to a drill elsewhere is only told."""
    removed = []
    for left in leftovers(inventory.branches.values(), book, inventory.server_now):
        branch = left.branch
        if not left.over:
            say(f"{branch.name}: a drill that this ledger does not know; left alone until it expires")
            continue
        say(f"{branch.name}: left by a drill that was killed; deleting it ...")
        await remove(client, writer, branch, CLEAN_SECONDS)
        removed.append(branch.name)
        _note_cleaned(book, left)
    return removed


def _note_cleaned(book: DrillJournal, left: LeftOver) -> None:
    drill = left.ours
    if drill is not None:
        ended = {} if drill.result else {"result": ledger_writer.ABORTED, "error": "killed", "ended_at": time.time()}
        book.write(CLEANED, replace(drill, copy_id=left.branch.id, cleaned=True, **ended), time.time())  # type: ignore[arg-type]


def _confirmed(source: Any, at: float | None) -> bool:
    when = "now, between two marker rows" if at is None else instant(at)
    place = f"{source.project_name}/{source.branch_name}"
    print(f"A branch of {place} as of {when} will be made at Neon, read and deleted.\n"
          "Its compute and storage cost money for some minutes.", file=sys.stderr)  # fmt: skip
    if not sys.stdin.isatty():
        print("Nobody can be asked here: give --yes", file=sys.stderr)
        return False
    return input("Go on? [y/N] ").strip().lower() in ("y", "yes")


class _Progress:
    """Says on stderr what is being done, with the seconds since the start."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._began = time.monotonic()

    def __call__(self, text: str) -> None:
        if not self._quiet:
            print(f"{time.monotonic() - self._began:6.1f} s  {text}", file=sys.stderr, flush=True)


class _Interrupts:
    """The first SIGINT or SIGTERM ends the drill, which deletes its branch; further ones are only answered."""

    def __init__(self) -> None:
        self._told = False

    def arm(self) -> None:
        """From now on; the running task is the one that is ended."""
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, lambda: self._hear(task))

    def _hear(self, task: asyncio.Task[Any] | None) -> None:
        print("interrupted: the branch is being deleted, wait a moment", file=sys.stderr, flush=True)
        if not self._told and task is not None:
            self._told = True
            task.cancel()
