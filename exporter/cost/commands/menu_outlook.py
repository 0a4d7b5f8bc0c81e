"""The commands of what comes and what is unusual: their options. Nothing heavy is imported here."""

from __future__ import annotations

from exporter.core.command_line import Commands


def add(commands: Commands) -> None:
    """Declare them, in the order of the help."""
    forecast = commands.add(
        "forecast",
        "exporter.cost.commands.forecast:forecast_command",
        "what a month will have cost at its end",
        json=True,
    )
    forecast.add_argument("--month", metavar="YYYY-MM", help="a month, also one to come (default: the present one)")
    forecast.add_argument("--by", choices=("org", "project"), default="org", help="rows by what (default: org)")
    anomalies = commands.add(
        "anomalies", "exporter.cost.commands.anomalies:anomalies_command", "costs that are unusual, and why", json=True
    )
    anomalies.add_argument(
        "--since", metavar="YYYY-MM-DD", help="what went on at or after a day (default: the last 30 days)"
    )
