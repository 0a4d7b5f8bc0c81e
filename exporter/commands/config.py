"""`neonmeter config`: judge the settings, show what is in force, explain what there is."""

from __future__ import annotations

import argparse

import yaml

from exporter.app import settings_text as config_text
from exporter.app.preflight import problems_of
from exporter.commands.main import OK, USAGE, load_settings


def config_command(options: argparse.Namespace) -> int:
    """Run one of check, show, schema, example."""
    if options.what == "schema":
        print(config_text.schema())
        return OK
    if options.what == "example":
        print(config_text.example(), end="")
        return OK
    settings = load_settings(options)
    if settings is None:
        return USAGE
    if options.what == "show":
        print(yaml.safe_dump(settings.masked(), sort_keys=False), end="")
        return OK
    problems = problems_of(settings)
    for problem in problems:
        print(problem)
    if not problems:
        print("The settings are good.")
    return USAGE if problems else OK
