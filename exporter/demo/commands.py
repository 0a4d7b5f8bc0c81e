"""`neonmeter demo`, `twin` and `prove`. Nothing heavy is imported before one of them runs."""

from __future__ import annotations

import argparse
from pathlib import Path

from collectors.errors import OK
from exporter.core.command_line import Commands


def add(commands: Commands) -> None:
    """Declare them, in the order of the help."""
    everything = commands.add("demo", demo, "a fake Neon, real PostgreSQL servers and an agent", settings=False)
    everything.add_argument("--for", dest="seconds", type=float, metavar="SECONDS", help="stop after this time")
    everything.add_argument(
        "--state", type=Path, metavar="DIR", help="folder that keeps the ledger and clusters between runs"
    )
    fake = commands.add("twin", twin, "a fake Neon control plane for any client", settings=False)
    for parser in (everything, fake):
        parser.add_argument(
            "--listen", default="127.0.0.1:0", metavar="HOST:PORT", help="address to serve on (default: a free port)"
        )
    fake.add_argument(
        "--world", default="small", metavar="small|posture|large:PxB|FILE", help="the projects and faults in it"
    )
    fake.add_argument(
        "--history",
        action="store_true",
        help="a key with write access can create branches of the past (to try `drill`)",
    )
    fake.add_argument("--state", type=Path, metavar="DIR", help="folder that keeps clusters and history between runs")


def add_prove(commands: Commands) -> None:
    """`prove`: it stands with the commands of prices in the help."""
    year = commands.add("prove", prove, "price a synthetic year and prove that it adds up", settings=False)
    year.add_argument("--seed", type=int, default=1, metavar="N", help="seed of the year (default: %(default)s)")
    year.add_argument(
        "--branches", type=int, default=1200, metavar="N", help="total number of branches (default: %(default)s)"
    )
    year.add_argument(
        "--months", type=int, default=12, metavar="N", help="number of months from 2025-09 on (default: %(default)s)"
    )
    year.add_argument("--keep", metavar="DIR", help="folder that keeps the ledger, for other commands")


def demo(options: argparse.Namespace, settings: None) -> int:
    """Everything, on embedded parts."""
    from exporter.demo.run import run_demo

    del settings
    return run_demo(options.listen, options.state, options.seconds)


def twin(options: argparse.Namespace, settings: None) -> int:
    """A fake Neon until it is stopped."""
    from exporter.demo.run import run_twin

    del settings
    run_twin(options.world, options.listen, options.state, history=options.history)
    return OK


def prove(options: argparse.Namespace, settings: None) -> int:
    """A synthetic year through the agent's own ledger, prices and allocation."""
    from exporter.demo.prove import run_prove

    del settings
    return run_prove(options.seed, options.branches, options.months, options.keep)
