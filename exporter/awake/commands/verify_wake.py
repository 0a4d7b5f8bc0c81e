"""`neonmeter verify-wake`: what watching one compute costs on a live project, measured and told beside the bound.

It reads the control plane every few seconds, opens sessions only where the wake policy allows one, and wakes nothing:
somebody else must use the compute twice while it watches.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time

from collectors.neon.errors import NeonError
from collectors.neon.inventory import Inventory, refresh
from collectors.neon.operations import read_operations, wake_history
from collectors.postgres.evidence import APPLICATION_NAME
from collectors.postgres.session import Deadlines, Visit, visit
from exporter.app.preflight import problems_of
from exporter.app.wiring import SCHEMAS
from exporter.awake.verify_wake import SLACK, GoneError, Measured, Transition, Watch
from exporter.commands.main import FINDINGS, OK, UPSTREAM, USAGE, load_settings, refuse
from exporter.documents.terminal import table
from exporter.feature.workspace import neon_client
from exporter.sampling.computes import Compute, computes
from exporter.sampling.visits import WAKE_STATES, policy_of
from exporter.settings import CoreSettings
from exporter.settings.dsn import DsnError, conninfo
from exporter.settings.secret import SecretError
from exporter.storage.store import Store, StoreError


def verify_command(options: argparse.Namespace) -> int:
    """Measure and print; exit 1 when the bound did not hold or nothing could be measured in time."""
    settings = load_settings(options)
    if settings is None:
        return USAGE
    problems = problems_of(settings)
    if problems:
        return refuse(*problems)
    told: list[Measured] = []
    try:
        return asyncio.run(_verify(settings, options, told))
    except (NeonError, GoneError) as problem:
        print(str(problem), file=sys.stderr)
        _tell(told)
        return UPSTREAM
    except KeyboardInterrupt:
        print()
        _tell(told)
        return 130


async def _verify(settings: CoreSettings, options: argparse.Namespace, told: list[Measured]) -> int:
    neon = settings.neon
    async with neon_client(settings) as client:
        found = await refresh(client, None, org_id=neon.org_id, include=neon.include, exclude=neon.exclude)
        compute = find(found, options.endpoint)
        problem = _cannot(settings, compute, options.endpoint, found)
        if compute is None or problem:
            print(problem, file=sys.stderr)
            return USAGE
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
        told.append(watch.measured)
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


def find(found: Inventory, wanted: str) -> Compute | None:
    """A compute by its id, or by project/branch when that names one."""
    every = computes(found)
    exact = [compute for compute in every if compute.endpoint.id == wanted]
    return next(iter(exact or [compute for compute in every if compute.target.name == wanted]), None)


def _cannot(settings: CoreSettings, compute: Compute | None, wanted: str, found: Inventory) -> str:
    if compute is None:
        some = ", ".join(sorted(entry.target.name for entry in computes(found))[:10]) or "none at all"
        return f"there is no compute {wanted!r}; name an endpoint id or project/branch; the key sees {some}"
    if compute.facts.suspend_after is None:
        return f"{compute.target.name} never suspends: watching keeps nothing awake there"
    try:
        where = conninfo(settings.postgres, compute.place)
    except (DsnError, SecretError) as problem:
        return str(problem)
    return "" if where else f"postgres.dsn: SQL is not configured for {compute.target.name}, so we would never visit it"


async def _visit(settings: CoreSettings, compute: Compute) -> Visit:
    """The shortest visit that there is: evidence only."""
    where = conninfo(settings.postgres, compute.place)
    limits = Deadlines(session=settings.sampling.session_seconds)
    return await visit(where or "", [], endpoint_id=compute.endpoint.id, deadlines=limits)


def _agent_visited(settings: CoreSettings, endpoint_id: str) -> float:
    """When an agent on this machine last visited it, by its ledger; 0 where there is none."""
    if not settings.storage.path.exists():
        return 0.0
    try:
        store = Store.open(settings.storage.path, SCHEMAS, read_only=True)
    except StoreError:
        return 0.0
    try:
        seen = (WAKE_STATES.get(store, endpoint_id) or {}).get("last_visit")
        return float(seen) if isinstance(seen, int | float) else 0.0
    finally:
        store.close()


def _tell(told: list[Measured]) -> None:
    for measured in told:
        print(f"\n{report(measured)}")


def holds(measured: Measured) -> bool:
    """Whether both were measured and the bound held."""
    difference = measured.difference
    return difference is not None and not measured.failed and difference <= measured.bound + SLACK


def report(measured: Measured) -> str:
    """What was measured, the bound, and what this cannot know."""
    rows = [("without us", *_row(measured.without)), ("with us", *_row(measured.with_us))]
    lines = [table(("", "awake after the last use", "our visits"), rows)]
    difference = measured.difference
    if measured.failed:
        lines.append(f"Not measured: {measured.failed}.\n")
    elif difference is None:
        lines.append(f"Not measured: {_why_not(measured)}\n")
    else:
        verdict = "holds" if holds(measured) else "DOES NOT HOLD"
        lines.append(f"Added by watching: {difference:+.1f} s; the bound is {measured.bound:g} s: it {verdict}.\n")
    return "".join([*lines, _follow(measured), _unknown()])


def _row(found: Transition | None) -> tuple[str, str]:
    return ("-", "-") if found is None else (f"{found.seconds:.1f} s", str(found.visits))


def _why_not(measured: Measured) -> str:
    if measured.without is None:
        return "no suspend was seen that nobody of us preceded: use the compute once, then leave it alone."
    if measured.refused and not measured.visits:
        rules = ", ".join(f"{rule} {count}x" for rule, count in sorted(measured.refused.items()))
        return f"the rules allowed no visit ({rules}), so nothing was added."
    return "no suspend was seen after a visit: use the compute a second time, then leave it alone."


def _follow(measured: Measured) -> str:
    follow = measured.follow
    if not follow.moves:
        return (
            f"last_active did not move in {follow.looks} looks at the awake compute: nobody used it again, or it\n"
            "moves only at the suspend; then only starts are sampled (or set sampling.evidence: database).\n"
        )
    newest = min(follow.shown_after)
    return (f"last_active moved {follow.moves} x in {follow.looks} looks at the awake compute; "
            f"a new value was {max(0.0, newest):.0f} s old at best when it showed.\n")  # fmt: skip


def _unknown() -> str:
    return (
        "What this cannot know: two suspends are two samples, and Neon's own delay differs between them. Neon's\n"
        "monitor looks twice a second, so a short visit is seen by chance: near 0 is usual, the bound is the worst\n"
        f"case. What other programs do (a monitor, another {APPLICATION_NAME} elsewhere) counts as use by others.\n"
        "last_active may lag: then the last use was later, and the time after it shorter, than shown.\n"
    )
