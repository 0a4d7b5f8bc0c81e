"""`neonmeter demo`, `twin` and `prove`. Nothing heavy is imported before one of them runs."""

from __future__ import annotations

import argparse
from pathlib import Path

from collectors.errors import OK
from exporter.core.command_line import Commands


def add(commands: Commands) -> None:
    """Declare them, in the order of the help."""
    everything = commands.add("demo", demo, "everything, on embedded parts", settings=False)
    everything.add_argument(
        "--for", dest="seconds", type=float, metavar="SECONDS", help="end by itself after that time"
    )
    everything.add_argument("--state", type=Path, metavar="DIR", help="keep ledger and clusters there between runs")
    fake = commands.add("twin", twin, "a fake Neon to point any client at", settings=False)
    for parser in (everything, fake):
        parser.add_argument(
            "--listen", default="127.0.0.1:0", metavar="HOST:PORT", help="where to serve (default: free)"
        )
    fake.add_argument("--world", default="small", metavar="small|posture|large:PxB|FILE", help="what it contains")
    fake.add_argument(
        "--history", action="store_true", help="a key that may write makes branches of the past (to try `drill`)"
    )
    fake.add_argument("--state", type=Path, metavar="DIR", help="keep clusters and history there between runs")


def add_prove(commands: Commands) -> None:
    """`prove`: it stands with the commands of prices in the help."""
    year = commands.add("prove", prove, "price a synthetic year and prove that it adds up", settings=False)
    year.add_argument("--seed", type=int, default=1, metavar="N", help="another seed, another year")
    year.add_argument("--branches", type=int, default=1200, metavar="N", help="in all (default: %(default)s)")
    year.add_argument("--months", type=int, default=12, metavar="N", help="from 2025-09 on (default: %(default)s)")
    year.add_argument("--keep", metavar="DIR", help="keep the ledger there, for `neonmeter report` and others")


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
