"""The commands of recovery: their options. Nothing heavy is imported here."""

from __future__ import annotations

from pathlib import Path

from exporter.core.command_line import Commands


def add(commands: Commands) -> None:
    """Declare them, in the order of the help."""
    drill = commands.group("drill", "prove that data can be restored: a branch of the past, checked, deleted", "run")
    run = drill.add(
        "run",
        "exporter.recovery.commands.drill:run_command",
        "one drill of one branch (the default); writes at Neon",
        json=True,
    )
    run.add_argument("branch", metavar="PROJECT/BRANCH", help="what to go back in, by names or ids")
    when = run.add_mutually_exclusive_group()
    when.add_argument("--at", metavar="RFC3339", help="the instant to go back to, as 2026-11-23T08:00:00Z")
    when.add_argument("--minutes-ago", type=float, metavar="N", help="... or so long ago (default: 10; a marker's now)")
    run.add_argument("--database", action="append", metavar="NAME", help="only this one (may be repeated)")
    run.add_argument(
        "--check", type=Path, metavar="FILE.sql", help="statements that must answer true, in the first database"
    )
    run.add_argument("--fingerprint", choices=["kept", "live", "none"], default="kept",
                     help="the schema must be as the agent last read it (default), as it is now (live: opens a session "
                     "on the source), or is not compared")  # fmt: skip
    run.add_argument(
        "--read-write", action="store_true", help="give the branch a read-write compute (default: read-only)"
    )
    run.add_argument(
        "--expires", default="2h", metavar="AGE", help="when Neon deletes the branch itself (default: 2h; never)"
    )
    run.add_argument("--ready", default="10m", metavar="AGE", help="longest wait until it can be read (default: 10m)")
    run.add_argument("--yes", action="store_true", help="do not ask")
    drill.add(
        "list",
        "exporter.recovery.commands.drill:list_command",
        "past drills; removes what a killed one left",
        json=True,
    )
    drill.add(
        "verify",
        "exporter.recovery.commands.drill:verify_command",
        "check the digests and signatures of the drills' ledger",
    )
