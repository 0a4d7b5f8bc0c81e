"""`neonmeter awake` and `neonmeter verify-wake`: who keeps computes awake, and what watching itself adds.

The first reads the store beside a running agent, and asks nobody else. The second reads the control plane every few
seconds, opens sessions only where the wake policy allows one, and wakes nothing: somebody else must use the compute
twice while it watches.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import TYPE_CHECKING

from collectors.errors import FINDINGS, OK, NeonmeterError, UsageError

if TYPE_CHECKING:
    from collectors.neon.inventory import Inventory
    from collectors.postgres.session import Visit
    from exporter.awake.verify_wake import Measured
    from exporter.core.command_line import Commands
    from exporter.sampling.computes import Compute
    from exporter.settings.tree import CoreSettings


def add_commands(commands: Commands) -> None:
    """Declare both; imports nothing heavy."""
    commands.add("awake", awake_command, "who keeps computes awake, and what that costs", json=True)
    verify = commands.add(
        "verify-wake", verify_command, "measure how long watching keeps a compute awake", checked=True
    )
    verify.add_argument("--endpoint", required=True, metavar="EP", help="endpoint id, or project/branch")
    verify.add_argument("--minutes", type=float, default=30.0, metavar="N", help="stop after this time (default: 30)")
    verify.add_argument(
        "--every", type=float, default=5.0, metavar="SECONDS", help="interval of reading the control plane (default: 5)"
    )


def awake_command(options: argparse.Namespace, settings: CoreSettings) -> int:
    """Print the table, or JSON.

    Raises:
        StoreError: the store cannot be used.
        RateCardError: the rate card cannot be used.
    """
    from exporter.awake.report import read_report

    report = read_report(settings)
    print(json.dumps(report.as_dict(), indent=2) + "\n" if options.json else report.text(), end="")
    return OK


def verify_command(options: argparse.Namespace, settings: CoreSettings) -> int:
    """Measure and print; exit 1 when the bound did not hold or nothing could be measured in time.

    Raises:
        UsageError: there is no such compute, or it is never visited.
        NeonError: the API does not answer as it should.
        GoneError: the compute was deleted.
    """
    import asyncio

    from exporter.awake.verify_wake import report

    started: list[Measured] = []
    try:
        return asyncio.run(_verify(settings, options, started))
    except (NeonmeterError, KeyboardInterrupt) as end:
        if isinstance(end, KeyboardInterrupt):
            print()
        for measured in started:  # Whatever ended it, what is known by then is printed.
            print(f"\n{report(measured)}")
        raise


async def _verify(settings: CoreSettings, options: argparse.Namespace, started: list[Measured]) -> int:
    import asyncio

    from collectors.neon.inventory import refresh
    from collectors.neon.operations import read_operations, wake_history
    from exporter.awake.verify_wake import Watch, holds, report
    from exporter.documents.terminal import table
    from exporter.feature.workspace import neon_client
    from exporter.sampling.visits import policy_of

    neon = settings.neon
    async with neon_client(settings) as client:
        inventory = await refresh(client, None, org_id=neon.org_id, include=neon.include, exclude=neon.exclude)
        compute = _compute(settings, options.endpoint, inventory)
        print(f"{compute.target.name} ({compute.endpoint.id}): suspends after "
              f"{compute.endpoint.effective_suspend_seconds:g} s without use; at most {options.minutes:g} minutes.\n"
              "Somebody must use it twice meanwhile, a query each time, and leave it alone in between.\n",
              flush=True)  # fmt: skip
        watch = Watch(
            client,
            compute,
            policy_of(settings.sampling),
            lambda: _visit(settings, compute),
            every=options.every,
            agent_visited=lambda: _agent_visited(settings, compute.endpoint.id),
            say=lambda text: print(text, flush=True),
        )
        started.append(watch.measured)
        try:
            await asyncio.wait_for(watch.run(), options.minutes * 60)
        except TimeoutError:
            print(f"  {options.minutes:g} minutes are over", flush=True)
        measured = watch.measured
        history = wake_history(await read_operations(client, compute.endpoint.project_id, measured.began - 1))
        rows = [(time.strftime("%H:%M:%S", time.gmtime(event.at)), event.kind, f"{event.seconds:.1f} s")
                for event in history if event.endpoint_id == compute.endpoint.id]  # fmt: skip
    print(f"\n{report(measured)}")
    if rows:
        print("Neon's operations meanwhile:\n" + table(("UTC", "operation", "took"), rows), end="")
    return OK if holds(measured) else FINDINGS


def _compute(settings: CoreSettings, wanted: str, inventory: Inventory) -> Compute:
    """The compute that is to be watched, by its id, or by project/branch when that names one."""
    from exporter.sampling.computes import computes
    from exporter.settings.dsn import DsnError, conninfo
    from exporter.settings.secret import SecretError

    every = computes(inventory)
    exact = [compute for compute in every if compute.endpoint.id == wanted]
    found = next(iter(exact or [compute for compute in every if compute.target.name == wanted]), None)
    if found is None:
        some = ", ".join(sorted(compute.target.name for compute in every)[:10]) or "none at all"
        raise UsageError(f"no such compute: {wanted!r}; name an endpoint id or project/branch; the key sees {some}")
    if found.facts.suspend_after is None:
        raise UsageError(f"{found.target.name} never suspends: watching keeps nothing awake there")
    try:
        where = conninfo(settings.postgres, found.place)
    except (DsnError, SecretError) as problem:
        raise UsageError(str(problem)) from None
    if not where:
        raise UsageError(f"postgres.dsn: SQL is not configured for {found.target.name}, so we would never visit it")
    return found


async def _visit(settings: CoreSettings, compute: Compute) -> Visit:
    """The shortest visit that there is: evidence only."""
    from collectors.postgres.session import Deadlines, visit
    from exporter.settings.dsn import conninfo

    where = conninfo(settings.postgres, compute.place)
    limits = Deadlines(session=settings.sampling.session_seconds)
    return await visit(where or "", [], endpoint_id=compute.endpoint.id, deadlines=limits)


def _agent_visited(settings: CoreSettings, endpoint_id: str) -> float:
    """When an agent on this machine last visited it (unix seconds), by its store; 0 where there is none."""
    from exporter.feature.workspace import open_store
    from exporter.sampling.wake_states import WAKE_STATES
    from exporter.storage.store import StoreError

    try:
        with open_store(settings) as store:
            visited = (WAKE_STATES.get(store, endpoint_id) or {}).get("last_visit")
    except StoreError:
        return 0.0
    return float(visited) if isinstance(visited, int | float) else 0.0
