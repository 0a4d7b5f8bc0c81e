"""A stored month replayed under other settings: what is asked, what Neon is asked for it, and the answer."""

from __future__ import annotations

import argparse
import asyncio
import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from fractions import Fraction
from typing import Any

from collectors.errors import UsageError
from collectors.neon.inventory import Inventory, refresh
from collectors.neon.operations import WakeEvent, read_operations, wake_history
from exporter.cost.domain.waste.words import span
from exporter.cost.domain.whatif.whatif import Effect, Knobs, WhatIf, replay
from exporter.cost.savings.waste_facts import CHEAPER, LAUNCH_HISTORY_SECONDS, needs_of
from exporter.cost.savings.waste_report import inventory_names
from exporter.cost.savings.whatif_facts import WhatifSources, gather
from exporter.cost.settings import CostTree
from exporter.cost.workspace import open_workspace
from exporter.documents.terminal import table
from exporter.feature.workspace import neon_client
from exporter.pricing.domain.calendar import day_text
from exporter.pricing.domain.rates import decimal_text, to_decimal

_AGE = re.compile(r"([1-9][0-9]{0,6})([smhd])")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_NEVER = 10 * 366 * 86400
_LOOK_BACK = 7 * 86400
"""Operations so long before the month tell whether a compute was awake when it began (the longest timeout)."""
_SIZES = {Fraction(1, 4), Fraction(1, 2), *map(Fraction, range(1, 57))}
_OPTION = {
    "plan": "--plan",
    "suspend_after": "--suspend-timeout",
    "history": "--history",
    "min_cu": "--min-cu",
    "branch_ttl": "--branch-ttl",
}


@dataclass(frozen=True, slots=True)
class Changes:
    """The settings to try, and how each was written."""

    knobs: Knobs
    written: dict[str, str]
    """By the knob's name."""


@dataclass(frozen=True, slots=True)
class WhatifReport:
    """What a month would have cost."""

    month: int
    found: WhatIf
    changes: Changes
    warnings: tuple[str, ...]
    """What a plan would take away, a sentence each."""
    projects: tuple[str, ...] | None
    """Names of the projects that were changed; None: all."""

    def text(self) -> str:
        """For a person: each setting alone, then all together."""
        found = self.found
        text = f"{day_text(self.month)[:7]} as it was billed so far, {found.prices}: {_usd(found, found.before)}"
        text += f"; changed for {', '.join(self.projects)}.\n\n" if self.projects else ".\n\n"
        rows = [
            (f"{_OPTION[name]} {self.changes.written[name]}", *_cells(found, effect))
            for name, effect in found.effects.items()
        ]
        rows.append(("all together", *_cells(found, found.together)))
        text += table(("setting", "month", "saves", "exactness"), rows)
        remarks = dict.fromkeys(note for effect in found.effects.values() for note in effect.notes)
        notes = [*remarks, *(f"not priced: {part}" for part in found.together.unpriced), *self.warnings]
        return text + "".join(f"note: {note}.\n" for note in notes)

    def as_dict(self) -> dict[str, Any]:
        """The same as data; amounts are decimal strings."""
        found = self.found
        return {
            "currency": "USD",
            "month": day_text(self.month)[:7],
            "projects": None if self.projects is None else list(self.projects),
            "before": decimal_text(found.before),
            "effects": {_OPTION[name][2:]: _effect_json(found, effect) for name, effect in found.effects.items()},
            "together": _effect_json(found, found.together),
            "warnings": list(self.warnings),
        }


def read_whatif(settings: CostTree, month: int, changes: Changes, projects: str) -> WhatifReport:
    """Ask Neon, read the ledger, and replay the month that begins at ``month`` (unix seconds).

    ``projects`` is a glob over ids and names of the projects to change.

    Raises:
        UsageError: no project matches, or the plan has no prices.
        NeonError: Neon did not answer.
        StoreError: the ledger's file cannot be read.
        RateCardError: the rate card cannot be used.
    """
    knobs = changes.knobs
    inventory, wakes = asyncio.run(_look(settings, knobs, month))
    names, chosen = inventory_names(inventory), _chosen(projects, inventory)
    with open_workspace(settings) as workspace:
        card, hours = workspace.costs.card, workspace.counters.tenant_hours
        sources = WhatifSources(workspace.costs.ledger, card, hours, inventory, wakes)
        stored = gather(sources, month, knobs, chosen, int(inventory.server_now))
        try:
            found = replay(stored, knobs, card, plan=settings.cost.plan)
        except ValueError as problem:
            raise UsageError(f"--plan: {problem}") from None
    where = None if chosen is None else tuple(sorted(names.get(project, project) for project in chosen))
    return WhatifReport(month, found, changes, _warnings(knobs, inventory), where)


def changes_of(options: argparse.Namespace) -> Changes:
    """The settings to try, from the options of the command.

    Raises:
        UsageError: an option cannot be used, or none was given.
    """
    plan = options.plan
    knobs = Knobs(
        f"{plan}_v3" if plan in ("launch", "scale") else plan,
        None if options.suspend_timeout is None else _timeout(options.suspend_timeout),
        None if options.history is None else _age("--history", options.history, 30 * 86400),
        None if options.min_cu is None else _cu(options.min_cu),
        None if options.branch_ttl is None else _age("--branch-ttl", options.branch_ttl, 3650 * 86400),
    )
    if not knobs.given():
        raise UsageError("nothing to try: give --plan, --suspend-timeout, --history, --min-cu or --branch-ttl")
    written = {name: getattr(options, option[2:].replace("-", "_")) for name, option in _OPTION.items()}
    return Changes(knobs, written)


def _timeout(text: str) -> int:
    if text == "never":
        return _NEVER
    if not text.isdigit() or not 60 <= int(text) <= 604800:
        raise UsageError(f"--suspend-timeout: {text} cannot be set; write seconds from 60 to 604800, or never")
    return int(text)


def _age(option: str, text: str, most: int) -> int:
    found = _AGE.fullmatch(text)
    if not found or int(found[1]) * _UNITS[found[2]] > most:
        raise UsageError(f"{option}: {text} is not an age up to {span(most)}; write 7d, 36h or 90m")
    return int(found[1]) * _UNITS[found[2]]


def _cu(text: str) -> Fraction:
    try:
        size = Fraction(text)
    except (ValueError, ZeroDivisionError):
        size = Fraction()
    if size not in _SIZES:
        raise UsageError(
            f"--min-cu: {text} is not a size that Neon offers; write 0.25, 0.5, or a whole number from 1 to 56"
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
        raise UsageError(f"--project: {glob} matches no project; there are {there}")
    return found


async def _look(settings: CostTree, knobs: Knobs, month: int) -> tuple[Inventory, dict[str, list[WakeEvent]] | None]:
    async with neon_client(settings) as client:
        neon = settings.neon
        found = await refresh(client, None, org_id=neon.org_id, include=neon.include, exclude=neon.exclude)
        if knobs.suspend_after is None and knobs.min_cu is None:
            return found, None
        since = month - _LOOK_BACK
        return found, {key: wake_history(await read_operations(client, key, since)) for key in found.projects}


def _warnings(knobs: Knobs, inventory: Inventory) -> tuple[str, ...]:
    """What a plan would take away, as far as the API shows it."""
    warnings = []
    if knobs.plan in CHEAPER.values():
        needs = needs_of(inventory, ())
        if needs is None:
            warnings.append(f"{knobs.plan}: which features the projects use could not be read")
        elif needs:
            warnings.append(f"{knobs.plan} does not have what is in use now: {', '.join(needs)}")
        if knobs.history is not None and knobs.history > LAUNCH_HISTORY_SECONDS:
            warnings.append(f"{knobs.plan} keeps at most {span(LAUNCH_HISTORY_SECONDS)} of history")
    return tuple(warnings)


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
