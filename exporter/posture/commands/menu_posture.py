"""The command of security posture: its options. Nothing heavy is imported here."""

from __future__ import annotations

from exporter.core.command_line import Commands


def add(commands: Commands) -> None:
    """Declare it."""
    posture = commands.add(
        "posture",
        "exporter.posture.commands.posture:posture_command",
        "security and compliance: what fails and why",
        json=True,
    )
    posture.add_argument(
        "--framework", metavar="NAME", help="only its clauses: gdpr, iso27001, soc2, cis, c5; several with commas"
    )
    posture.add_argument("--project", metavar="GLOB", default="*", help="projects by id or name")
    posture.add_argument("--control", metavar="ID", help="one control in full, as P01")
    posture.add_argument("--out", metavar="DIR", help="write the report into this folder")
    posture.add_argument(
        "--format",
        metavar="LIST",
        default="html,md,csv,json",
        help="any of html,md,csv,json,ocsf (default: all but ocsf)",
    )
    posture.add_argument(
        "--since", metavar="FILE", help="a posture.json to tell changes from (default: the one in --out)"
    )
    posture.add_argument(
        "--fail-on", metavar="SEVERITY", default="low", choices=("critical", "high", "medium", "low", "none"),
        help="exit 1 for open failures from this severity on: critical, high, medium, low, none",
    )  # fmt: skip
