"""The command of the monthly review: its options. Nothing heavy is imported here."""

from __future__ import annotations

from exporter.core.command_line import Commands


def add(commands: Commands) -> None:
    """Declare it."""
    report = commands.add(
        "report", "exporter.report.commands.report:report_command", "write the monthly review and its FOCUS files"
    )
    report.add_argument("--month", required=True, metavar="YYYY-MM", help="the month to review")
    report.add_argument("--out", required=True, metavar="DIR", help="the folder to write into; made when missing")
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
        help="how long the charge period of a FOCUS row is at most (default: %(default)s)",
    )
    report.add_argument("--focus-version", choices=("1.4", "1.2"), help="only this version of FOCUS (default: both)")
