"""`neonmeter drill`: prove that a branch can be restored, and how long that takes. It writes at Neon, with its own key.

`drill list` shows past drills and removes what a killed one left behind; `drill verify` checks their journal. Only
`exporter.commands` imports this: the running agent must not reach the client that writes.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from collectors.errors import FINDINGS, OK, UPSTREAM, USAGE, UsageError

if TYPE_CHECKING:
    from pydantic import SecretStr

    from collectors.neon.client import NeonClient
    from collectors.neon.inventory import Inventory
    from exporter.core.command_line import Commands
    from exporter.recovery.journal import DrillJournal
    from exporter.recovery.steps import Source
    from exporter.settings import CoreSettings

KEY_VARIABLE = "NEONMETER_DRILL_KEY"
INTERRUPTED = 130
_NO_KEY = (
    f"recovery.write_key_file: a drill needs its own API key, which may create and delete branches: set it, or "
    f"{KEY_VARIABLE} (docs/recovery.md)"
)


class DrillSettingsError(UsageError):
    """A secret of the drills cannot be read; one line for a person."""

    heading = "neonmeter cannot start with the settings:"


class KeyRefusedError(DrillSettingsError):
    """There is no key for drills, or it is the agent's."""


def add_commands(commands: Commands) -> None:
    """Declare them; imports nothing heavy."""
    drill = commands.group("drill", "prove a restore: create a branch of the past, check it, delete it", "run")
    run = drill.add(
        "run",
        run_command,
        "drill one branch (the default); writes at Neon",
        json=True,
    )
    run.add_argument("branch", metavar="PROJECT/BRANCH", help="branch to restore, by names or ids")
    when = run.add_mutually_exclusive_group()
    when.add_argument("--at", metavar="RFC3339", help="the instant to restore to, such as 2026-11-23T08:00:00Z")
    when.add_argument(
        "--minutes-ago", type=float, metavar="N", help="or this long ago (default: 10; with a marker: now)"
    )
    run.add_argument("--database", action="append", metavar="NAME", help="only this database (may be repeated)")
    run.add_argument(
        "--check", type=Path, metavar="FILE.sql", help="statements that must return true, in the first database"
    )
    run.add_argument("--fingerprint", choices=["kept", "live", "none"], default="kept",
                     help="the schema must be as the agent last read it (default), as it is now (live: opens a session "
                     "on the source), or is not compared")  # fmt: skip
    run.add_argument(
        "--read-write", action="store_true", help="give the branch a read-write compute (default: read-only)"
    )
    run.add_argument(
        "--expires", default="2h", metavar="AGE", help="when Neon deletes the branch itself, or never (default: 2h)"
    )
    run.add_argument(
        "--ready", default="10m", metavar="AGE", help="maximum wait until the branch can be read (default: 10m)"
    )
    run.add_argument("--yes", action="store_true", help="do not ask for confirmation")
    drill.add(
        "list",
        list_command,
        "list past drills; deletes what a killed one left",
        json=True,
    )
    drill.add(
        "verify",
        verify_command,
        "check the digests and signatures of the drills' ledger",
    )


def run_command(options: argparse.Namespace, settings: CoreSettings) -> int:
    """One drill; exit 1 when something that was checked is not as it should be.

    Raises:
        PlanError: an option or a setting does not make a drill.
        DrillSettingsError, JournalError: a key or the journal cannot be used.
        NeonError, DrillError: Neon does not do what was asked.
    """
    import asyncio

    key, journal = key_of(settings), journal_of(settings)
    try:
        with journal.alone():
            return asyncio.run(_run(settings, options, key, journal))
    except asyncio.CancelledError:
        return INTERRUPTED


async def _run(settings: CoreSettings, options: argparse.Namespace, key: str, journal: DrillJournal) -> int:
    from dataclasses import asdict

    from exporter.recovery.drill import DrillRun, Interrupts
    from exporter.recovery.journal import ABORTED
    from exporter.recovery.journal import OK as PROVED
    from exporter.recovery.plan import plan_of
    from exporter.recovery.steps import sweep
    from exporter.recovery.text import as_text
    from exporter.recovery.writer import DrillWriter

    interrupts = Interrupts(lambda text: print(text, file=sys.stderr, flush=True))
    say = _Progress(quiet=options.json)
    async with _client(settings, key) as client, DrillWriter(settings.neon.api_url, key) as writer:
        inventory = await _inventory(settings, client, options.branch.partition("/")[0])
        left = await sweep(client, writer, journal, inventory, say=say)
        plan = plan_of(settings, options, inventory)
        if not options.yes and not _confirmed(plan.source, plan.at):
            return USAGE
        run = DrillRun(plan, client=client, writer=writer, journal=journal, say=say)
        interrupts.arm()
        drill = await run.run()
    text = as_text(settings, drill)
    print(json.dumps({**asdict(drill), "leftovers_removed": left}, indent=2) if options.json else text, end="\n")
    if not drill.cleaned:
        return UPSTREAM
    return {PROVED: OK, ABORTED: INTERRUPTED}.get(drill.result, FINDINGS)


def list_command(options: argparse.Namespace, settings: CoreSettings) -> int:
    """Past drills, newest last; with the drills' key also what was left behind is removed.

    Raises:
        DrillSettingsError, JournalError: a secret or the journal cannot be used.
        NeonError, DrillError: Neon does not do what was asked.
    """
    import asyncio

    from exporter.recovery.text import as_rows

    removed: list[str] = []
    note = ""
    journal = journal_of(settings)
    try:
        key = key_of(settings)
    except KeyRefusedError as problem:
        note = f"Branches of killed drills were not looked for: {problem}"
    else:
        with journal.alone():
            removed = asyncio.run(_sweep_all(settings, key, journal, _Progress(quiet=options.json)))
    drills = journal.drills()
    if options.json:
        from dataclasses import asdict

        print(json.dumps({"drills": [asdict(drill) for drill in drills], "leftovers_removed": removed}, indent=2))
        return OK
    print(as_rows(settings, drills) if drills else "There are no drills yet.\n", end="")
    if note:
        print(note, file=sys.stderr)
    return OK


def verify_command(options: argparse.Namespace, settings: CoreSettings) -> int:
    """Whether the drills' journal is as it was written.

    Raises:
        DrillSettingsError, JournalError: the signing key or the journal cannot be read.
    """
    from exporter.documents.terminal import counted

    del options
    journal = journal_of(settings)
    verdict = journal.verify()
    if verdict.problem:
        print(f"{journal.path}: {verdict.problem}", file=sys.stderr)
        return FINDINGS
    if not verdict.lines:
        print(f"{journal.path}: it does not exist yet; there are no drills")
        return OK
    signed_here = verdict.signed - verdict.foreign
    lines = counted(verdict.lines, "line")
    print(f"{journal.path}: {lines}, each follows the one before; {signed_here} carry a signature of the key at hand")
    if verdict.foreign:
        print(
            f"{counted(verdict.foreign, 'line')} signed with another key: give it as recovery.signing_key to check them"
        )
    if verdict.lines > verdict.signed:
        print(f"{counted(verdict.lines - verdict.signed, 'line')} not signed: write access is enough to change them")
    print(f"last digest {verdict.head}\nRecord it elsewhere: only it can show later that the end was not truncated.")
    return OK


def key_of(settings: CoreSettings) -> str:
    """The key of the drills, from the environment or the settings.

    Raises:
        KeyRefusedError: there is none, or it is the one that the agent has.
        DrillSettingsError: a file cannot be read.
    """
    recovery = settings.recovery
    key = os.environ.get(KEY_VARIABLE, "").strip() or _secret(recovery.write_key, recovery.write_key_file)
    if not key:
        raise KeyRefusedError(_NO_KEY)
    if key == _secret(settings.neon.api_key, settings.neon.api_key_file):
        raise KeyRefusedError(
            "recovery.write_key: it is the agent's own key (neon.api_key); create one for drills only"
        )
    return key


def journal_of(settings: CoreSettings) -> DrillJournal:
    """The drills' journal, with the key that signs it.

    Raises:
        DrillSettingsError: the signing key cannot be read.
    """
    from exporter.recovery.journal import DrillJournal, path_of

    key = _secret(settings.recovery.signing_key, settings.recovery.signing_key_file)
    return DrillJournal(path_of(settings), key.encode() if key else None)


def _secret(value: SecretStr | None, file: Path | None) -> str | None:
    from exporter.settings.secret import SecretError, read_secret

    try:
        return read_secret(value, file)
    except SecretError as problem:
        raise DrillSettingsError(str(problem)) from None


def _client(settings: CoreSettings, key: str) -> NeonClient:
    from collectors.neon.client import NeonClient

    neon = settings.neon
    return NeonClient(neon.api_url, lambda: key, timeout=neon.timeout_seconds, user_agent="neonmeter-drill")


async def _inventory(settings: CoreSettings, client: NeonClient, project: str = "*") -> Inventory:
    from collectors.neon.inventory import refresh

    return await refresh(client, None, org_id=settings.neon.org_id, include=[project or "*"], exclude=[])


async def _sweep_all(settings: CoreSettings, key: str, journal: DrillJournal, say: _Progress) -> list[str]:
    from exporter.recovery.steps import sweep
    from exporter.recovery.writer import DrillWriter

    async with _client(settings, key) as client, DrillWriter(settings.neon.api_url, key) as writer:
        return await sweep(client, writer, journal, await _inventory(settings, client), say=say)


def _confirmed(source: Source, at: float | None) -> bool:
    from exporter.recovery.text import instant

    when = "now, between two marker rows" if at is None else instant(at)
    place = f"{source.project_name}/{source.branch_name}"
    print(f"A branch of {place} as of {when} will be made at Neon, read and deleted.\n"
          "Its compute and storage cost money for some minutes.", file=sys.stderr)  # fmt: skip
    if not sys.stdin.isatty():
        print("Cannot ask for confirmation here: give --yes", file=sys.stderr)
        return False
    return input("Continue? [y/N] ").strip().lower() in ("y", "yes")


class _Progress:
    """Says on stderr what is being done, with the seconds since the start."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._began = time.monotonic()

    def __call__(self, text: str) -> None:
        if not self._quiet:
            print(f"{time.monotonic() - self._began:6.1f} s  {text}", file=sys.stderr, flush=True)
