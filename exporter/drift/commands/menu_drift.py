"""The commands of drift: their options. Nothing heavy is imported here."""

from __future__ import annotations

from pathlib import Path

from exporter.core.command_line import Commands

_BRANCH = "PROJECT/BRANCH, or the branch's own name or id while only one has it"


def add(commands: Commands) -> None:
    """Declare them, in the order of the help."""
    _fingerprint(commands)
    drift = commands.group("drift", "what no longer is as it should be: schemas, tenants, migrations, settings", "show")
    show = drift.add(
        "show",
        "exporter.drift.commands.show:show_command",
        "all branches, or what differs in one (the default)",
        json=True,
    )
    show.add_argument("branch", nargs="?", metavar="BRANCH", help=_BRANCH)
    show.add_argument("--markdown", action="store_true", help="print Markdown, ready for a comment")
    approve = drift.add(
        "approve", "exporter.drift.commands.approve:approve_command", "say that a branch is as it should be now"
    )
    approve.add_argument("branch", metavar="BRANCH", help=_BRANCH)
    approve.add_argument("--database", metavar="NAME", help="only this one of its databases")
    approve.add_argument("--reason", required=True, metavar="TEXT", help="why it should be so; it is kept")
    approve.add_argument("--by", metavar="NAME", help="who says so (default: the user of this machine)")
    between = drift.add(
        "between",
        "exporter.drift.commands.between:between_command",
        "compare two sources; exit 1 if they differ",
        json=True,
    )
    for name, what in (("baseline", "what it should be"), ("current", "what it is")):
        between.add_argument(name, metavar=name.upper(), help=f"{what}: a fingerprint file, PROJECT/BRANCH or a DSN")
    between.add_argument("--database", metavar="NAME", help="only this database")
    between.add_argument("--markdown", action="store_true", help="print Markdown, ready for a comment")
    tenants = drift.add(
        "tenants", "exporter.drift.commands.show:tenants_command", "whose schema is not like the others'", json=True
    )
    tenants.add_argument("branch", metavar="BRANCH", help=_BRANCH)
    migrations = drift.add(
        "migrations",
        "exporter.drift.commands.migrations:migrations_command",
        "what each migration tool applied",
        json=True,
    )
    migrations.add_argument("branch", nargs="?", metavar="BRANCH", help=_BRANCH)


def _fingerprint(commands: Commands) -> None:
    made = commands.add(
        "fingerprint",
        "exporter.drift.commands.fingerprint:fingerprint_command",
        "every object of a database as digests",
    )
    source = made.add_mutually_exclusive_group(required=True)
    source.add_argument("--dsn", metavar="DSN", help="read this database now, in one short session (for CI)")
    source.add_argument(
        "--branch", metavar="PROJECT/BRANCH", help="what the agent last read of it; connects to nothing"
    )
    made.add_argument("--database", metavar="NAME", help="which database (default: that of the DSN, or the only one)")
    made.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="write a file for git (default: standard output)"
    )
    made.add_argument("--column-order", action="store_true", help="with --dsn: the order of columns counts, too")
