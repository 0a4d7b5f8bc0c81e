"""The commands of the money: their options. Nothing heavy is imported here."""

from __future__ import annotations

from exporter.core.command_line import Commands


def add(commands: Commands) -> None:
    """Declare them, in the order of the help."""
    cost = commands.add(
        "cost", "exporter.commands.reading:cost_command", "what each branch and tenant cost this month", json=True
    )
    cost.add_argument("--month", metavar="YYYY-MM", help="a month of the ledger (default: the present one)")
    cost.add_argument("--explain", action="store_true", help="show how every level adds up to the one above")
    _ledger(commands)


def _ledger(commands: Commands) -> None:
    handlers = "exporter.cost.commands.ledger"
    ledger = commands.group("ledger", "what is kept of consumption: whole, and portable")
    ledger.add("status", f"{handlers}:status_command", "what there is, and how fresh", json=True)
    ledger.add("verify", f"{handlers}:verify_command", "add everything up again and look for holes", json=True)
    export = ledger.add("export", f"{handlers}:export_command", "write every fact as a line of JSON")
    export.add_argument("file", metavar="FILE", help="where to (- is standard output)")
    read = ledger.add("import", f"{handlers}:import_command", "read lines of JSON; twice changes nothing")
    read.add_argument("file", metavar="FILE", help="what `ledger export` wrote (- is standard input)")
    ledger.add("backfill", f"{handlers}:backfill_command", "read all that Neon still has: hours, days, months")
