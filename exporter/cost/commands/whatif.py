"""`neonmeter whatif`: a stored month replayed under other settings. Nothing is changed, here or at Neon.

It reads the ledger beside a running agent, and asks Neon (GET only) for what the ledger does not hold: when branches
were created, and when computes woke and slept.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import sys
import time
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from exporter.commands.main import OK, UPSTREAM, USAGE, load_settings, refuse
from exporter.cost.commands.waste import names_of
from exporter.cost.domain.waste.words import span
from exporter.documents.terminal import table
from exporter.pricing.domain.calendar import day_text, month_start
from exporter.pricing.domain.rates import decimal_text, to_decimal

if TYPE_CHECKING:
    from collectors.neon.inventory import Inventory
    from collectors.neon.operations import WakeEvent
    from exporter.cost.domain.whatif.whatif import Effect, Knobs, WhatIf
    from exporter.cost.settings import CostTree

_AGE = re.compile(r"([1-9][0-9]{0,6})([smhd])")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_NEVER = 10 * 366 * 86400
_LOOK_BACK = 7 * 86400
"""Operations so long before the month tell whether a compute was awake when it began (the longest timeout)."""
_SIZES = {Fraction(1, 4), Fraction(1, 2), *map(Fraction, range(1, 57))}


class OptionError(ValueError):
    """An option cannot be used; the message says which and what to write."""


def whatif_command(options: argparse.Namespace) -> int:
    """Print the effects, or JSON."""
    from collectors.neon.errors import NeonError
    from exporter.cost.allocation.declared_weights import WeightsFileError
    from exporter.pricing.ratecard import RateCardError
    from exporter.storage.store import StoreError

    settings = load_settings(options)
    if settings is None:
        return USAGE
    try:
        return _try(settings, options)
    except NeonError as problem:
        print(problem.message, file=sys.stderr)
        return UPSTREAM
    except OptionError as problem:
        print(problem, file=sys.stderr)
        return USAGE
    except (StoreError, RateCardError, WeightsFileError) as problem:
        return refuse(str(problem))


def _try(settings: CostTree, options: argparse.Namespace) -> int:
    from exporter.settings.preflight import core_problems

    month, knobs = _month(options.month), _knobs(options)
    problems = [name for name in core_problems(settings) if name.startswith("neon.")]
    if not settings.storage.path.exists():
        problems.append(f"storage.path: {settings.storage.path} is not there yet; `neonmeter run` fills it")
    if problems:
        return refuse(*problems)
    inventory, wakes = asyncio.run(_look(settings, knobs, month))
    names = names_of(inventory)
    chosen = _chosen(options.project, inventory)
    found, warnings = _replay(settings, (month, knobs, chosen), inventory, wakes)
    where = None if chosen is None else sorted(names.get(name, name) for name in chosen)
    if options.json:
        print(json.dumps(_as_json(month, found, warnings, where), indent=2))
    else:
        print(_as_text(options, month, found, warnings, where), end="")
    return OK


def _month(text: str | None) -> int:
    if text is None:
        return month_start(int(time.time()))
    try:
        return int(datetime.strptime(text, "%Y-%m").replace(tzinfo=UTC).timestamp())
    except ValueError:
        raise OptionError(f"--month: {text} is no month; write YYYY-MM, as 2026-10") from None


def _knobs(options: argparse.Namespace) -> Knobs:
    from exporter.cost.domain.whatif.whatif import Knobs

    plan = options.plan
    knobs = Knobs(
        f"{plan}_v3" if plan in ("launch", "scale") else plan,
        None if options.suspend_timeout is None else _timeout(options.suspend_timeout),
        None if options.history is None else _age("--history", options.history, 30 * 86400),
        None if options.min_cu is None else _cu(options.min_cu),
        None if options.branch_ttl is None else _age("--branch-ttl", options.branch_ttl, 3650 * 86400),
    )
    if not knobs.given():
        raise OptionError("nothing to try: give --plan, --suspend-timeout, --history, --min-cu or --branch-ttl")
    return knobs


def _timeout(text: str) -> int:
    if text == "never":
        return _NEVER
    if not text.isdigit() or not 60 <= int(text) <= 604800:
        raise OptionError(f"--suspend-timeout: {text} cannot be set; write seconds from 60 to 604800, or never")
    return int(text)


def _age(option: str, text: str, most: int) -> int:
    found = _AGE.fullmatch(text)
    if not found or int(found[1]) * _UNITS[found[2]] > most:
        raise OptionError(f"{option}: {text} is no age up to {span(most)}; write such as 7d, 36h or 90m")
    return int(found[1]) * _UNITS[found[2]]


def _cu(text: str) -> Fraction:
    try:
        size = Fraction(text)
    except (ValueError, ZeroDivisionError):
        size = Fraction()
    if size not in _SIZES:
        raise OptionError(
            f"--min-cu: {text} is no size that Neon offers; write 0.25, 0.5, or a whole number from 1 to 56"
        )
    return size


def _chosen(glob: str, inventory: Inventory) -> frozenset[str] | None:
    if glob == "*":
        return None
    found = frozenset(
        key for key, project in inventory.projects.items() if fnmatchcase(key, glob) or fnmatchcase(project.name, glob)
    )
    if not found:
        there = ", ".join(sorted(project.name or key for key, project in inventory.projects.items())[:8])
        raise OptionError(f"--project: {glob} matches no project; there are {there}")
    return found


async def _look(settings: CostTree, knobs: Knobs, month: int) -> tuple[Inventory, dict[str, list[WakeEvent]] | None]:
    from collectors.neon.inventory import refresh
    from collectors.neon.operations import read_operations, wake_history
    from exporter.feature.workspace import neon_client

    async with neon_client(settings) as client:
        neon = settings.neon
        found = await refresh(client, None, org_id=neon.org_id, include=neon.include, exclude=neon.exclude)
        if knobs.suspend_after is None and knobs.min_cu is None:
            return found, None
        since = month - _LOOK_BACK
        return found, {key: wake_history(await read_operations(client, key, since)) for key in found.projects}


def _replay(
    settings: CostTree,
    asked: tuple[int, Knobs, frozenset[str] | None],
    inventory: Inventory,
    wakes: dict[str, list[WakeEvent]] | None,
) -> tuple[WhatIf, list[str]]:
    from exporter.app.wiring import SCHEMAS
    from exporter.cost.domain.whatif.whatif import replay
    from exporter.cost.savings.savings import measured_hours
    from exporter.cost.savings.whatif_facts import WhatifSources, gather
    from exporter.cost.workspace import open_workspace
    from exporter.tenancy.rules import rules_of

    month, knobs, chosen = asked
    with open_workspace(settings, SCHEMAS, rules_of(settings)) as workspace:
        card, hours = workspace.costs.card, measured_hours(settings, workspace.store, rules_of(settings))
        sources = WhatifSources(workspace.costs.ledger, card, hours, inventory, wakes)
        stored = gather(sources, month, knobs, chosen, int(inventory.server_now))
        try:
            return replay(stored, knobs, card, plan=settings.cost.plan), _warnings(knobs, inventory)
        except ValueError as problem:
            raise OptionError(f"--plan: {problem}") from None


def _warnings(knobs: Knobs, inventory: Inventory) -> list[str]:
    """What a plan would take away, as far as the API shows it."""
    from exporter.cost.savings.plan_features import CHEAPER, LAUNCH_HISTORY_SECONDS, needs_of

    warnings = []
    if knobs.plan in CHEAPER.values():
        needs = needs_of(inventory, ())
        if needs is None:
            warnings.append(f"{knobs.plan}: which features the projects use could not be read")
        elif needs:
            warnings.append(f"{knobs.plan} does not have what is in use now: {', '.join(needs)}")
        if knobs.history is not None and knobs.history > LAUNCH_HISTORY_SECONDS:
            warnings.append(f"{knobs.plan} keeps at most {span(LAUNCH_HISTORY_SECONDS)} of history")
    return warnings


_OPTION = {
    "plan": "--plan",
    "suspend_after": "--suspend-timeout",
    "history": "--history",
    "min_cu": "--min-cu",
    "branch_ttl": "--branch-ttl",
}


def _as_text(
    options: argparse.Namespace, month: int, found: WhatIf, warnings: list[str], where: list[str] | None
) -> str:
    text = f"{day_text(month)[:7]} as it was billed so far, {found.prices}: {_usd(found, found.before)}"
    text += f"; changed for {', '.join(where)}.\n\n" if where else ".\n\n"
    rows = [
        (f"{_OPTION[name]} {getattr(options, _OPTION[name][2:].replace('-', '_'))}", *_cells(found, effect))
        for name, effect in found.effects.items()
    ]
    rows.append(("all together", *_cells(found, found.together)))
    text += table(("setting", "month", "saves", "exactness"), rows)
    told = dict.fromkeys(note for effect in found.effects.values() for note in effect.notes)
    notes = [*told, *(f"not priced: {entry}" for entry in found.together.unpriced), *warnings]
    return text + "".join(f"note: {entry}.\n" for entry in notes)


def _cells(found: WhatIf, effect: Effect) -> tuple[str, str, str]:
    month, saves = _usd(found, effect.low), _usd(found, found.before - effect.low)
    if effect.low != effect.high:
        month += f" to {_usd(found, effect.high)}"
        saves = f"{_usd(found, found.before - effect.high)} to {saves}"
    return month, saves, effect.exactness.value


def _usd(found: WhatIf, amount: Fraction) -> str:
    """All figures with as many decimals as the month needs to show anything."""
    places = 2 if found.before >= 10 or not found.before else 6
    return f"{'-' if amount < 0 else ''}${to_decimal(abs(amount)):,.{places}f}"


def _as_json(month: int, found: WhatIf, warnings: list[str], where: list[str] | None) -> dict[str, Any]:
    return {
        "currency": "USD",
        "month": day_text(month)[:7],
        "projects": where,
        "before": decimal_text(found.before),
        "effects": {_OPTION[name][2:]: _effect_json(found, effect) for name, effect in found.effects.items()},
        "together": _effect_json(found, found.together),
        "warnings": warnings,
    }


def _effect_json(found: WhatIf, effect: Effect) -> dict[str, Any]:
    return {
        "low": decimal_text(effect.low),
        "high": decimal_text(effect.high),
        "saves_at_least": decimal_text(found.before - effect.high),
        "saves_at_most": decimal_text(found.before - effect.low),
        "exactness": effect.exactness.value,
        "notes": list(effect.notes),
        "unpriced": list(effect.unpriced),
    }
