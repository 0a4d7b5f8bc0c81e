"""The commands of the running agent and of what it sees. Nothing heavy is imported before one of them runs."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from collectors.errors import FINDINGS, OK, USAGE
from exporter.core.command_line import Commands
from exporter.version import __version__

if TYPE_CHECKING:
    from exporter.app.settings import Settings

HEALTH_BYTES = 4096
"""Of the answer of /healthz, which is one line."""


def add_run(commands: Commands) -> None:
    """`run`, `check`, `config`, `inventory`, `metrics`."""
    running = commands.add("run", run, "collect and serve until stopped (the default)", checked=True, stops_itself=True)
    running.add_argument("--shard", metavar="I|auto", help="number of this agent, from 0 (settings: sharding.shard)")
    running.add_argument("--total-shards", metavar="N", help="number of agents (settings: sharding.total)")
    checking = commands.add(
        "check", check, "test every connection once; say what fails and why", json=True, checked=True
    )
    checking.add_argument("--no-sql", action="store_true", help="do not connect to computes, not even awake ones")
    explain = commands.add("config", config, "check, show or document the settings", settings=False)
    explain.add_argument("what", choices=["check", "show", "schema", "example"])
    commands.add("inventory", inventory, "list projects, branches and computes", json=True)
    catalogue = commands.add("metrics", metrics, "list every metric", settings=False)
    catalogue.add_argument("--format", choices=["md", "json"], default="md")


def add_health(commands: Commands) -> None:
    """`healthcheck`, `version`."""
    health = commands.add("healthcheck", healthcheck, "exit 0 if the agent is healthy", settings=False)
    health.add_argument("--url", metavar="URL", help="address of the agent (default: the configured http.listen)")
    commands.add("version", version, "print the version", settings=False)


def run(options: argparse.Namespace, settings: Settings) -> int:
    """Collect and serve until SIGTERM or SIGINT."""
    from exporter.app.agent import run_agent

    run_agent(settings, options.config)
    return OK


def check(options: argparse.Namespace, settings: Settings) -> int:
    """One pass over everything that the settings name."""
    from exporter.commands.check import run_check

    return run_check(settings, sql=not options.no_sql, as_json=options.json)


def config(options: argparse.Namespace, settings: None) -> int:
    """Judge the settings, show what is in force, or explain what there is."""
    from exporter.app import settings as tree
    from exporter.app import settings_text

    del settings
    if options.what == "schema":
        print(settings_text.schema())
        return OK
    if options.what == "example":
        print(settings_text.example(), end="")
        return OK
    in_force = tree.load(options.config)
    if options.what == "show":
        print(settings_text.in_force(in_force), end="")
        return OK
    problems = tree.problems_of(in_force)
    print("\n".join([*in_force.warnings, *(problems or ["The settings are good."])]))
    return USAGE if problems else OK


def inventory(options: argparse.Namespace, settings: Settings) -> int:
    """Projects, branches and computes as the control plane has them now."""
    from exporter.commands.inventory import show_inventory

    show_inventory(settings, as_json=options.json)
    return OK


def metrics(options: argparse.Namespace, settings: None) -> int:
    """Every metric that there is, with its meaning."""
    from exporter.app.catalog import as_json, as_markdown

    del settings
    print(as_json() if options.format == "json" else as_markdown(), end="")
    return OK


def healthcheck(options: argparse.Namespace, settings: None) -> int:
    """Ask the running agent; for containers, without a shell or curl."""
    import sys

    from exporter.core.http_client import ask

    del settings
    url = options.url
    if url is None:
        from exporter.app.settings import load

        host, port = load(options.config).http.address
        url = f"http://{'127.0.0.1' if host in ('0.0.0.0', '') else host}:{port}"  # noqa: S104  # asked, not bound
    try:
        status, text = ask(f"{url.rstrip('/')}/healthz", most=HEALTH_BYTES)
    except OSError as problem:
        print(f"no answer from {url}: {problem}", file=sys.stderr)
        return FINDINGS
    print(text.strip())
    return OK if status == 200 else FINDINGS


def version(options: argparse.Namespace, settings: None) -> int:
    """Print the version."""
    del options, settings
    print(f"neonmeter {__version__}")
    return OK
