"""The commands of prices: their options. Nothing heavy is imported here."""

from __future__ import annotations

from exporter.core.command_line import Commands

_PLAN = "price all of it as this plan, whatever it says (launch, scale, agent, or a type as scale_v3)"


def add(commands: Commands) -> None:
    """Declare them, in the order of the help."""
    price = commands.add(
        "price",
        "exporter.cost.commands.price:price_command",
        "what a dump of usage costs (CSV or JSON lines)",
        json=True,
    )
    price.add_argument("file", metavar="FILE", help="the dump, or - for the standard input")
    price.add_argument("--plan", metavar="P", help=_PLAN)
    rates = commands.group("rates", "the rates that usage is priced by")
    show = rates.add("show", "exporter.cost.commands.rates:show_command", "the rates in force on a day", json=True)
    show.add_argument("--at", metavar="DATE", help="a day, as 2026-05-01 (default: today)")
    show.add_argument("--plan", metavar="P", help="only this plan (launch, scale, agent, or a type as scale_v3)")
    check = rates.add("check", "exporter.cost.commands.rates:check_command", "whether the rate card is sound and fresh")
    check.add_argument("--at", metavar="DATE", help="look from this day (default: today)")
    check.add_argument(
        "--max-age", type=int, default=180, metavar="DAYS", help="how old a source may be (default: %(default)s)"
    )
