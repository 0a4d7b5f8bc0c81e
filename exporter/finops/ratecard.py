"""Loads rate cards: Neon's list prices as shipped, and over them a file of the user's own prices.

A rate card is data with dates and sources, so that a price can be looked up and argued with. Every mistake in a file is
one line that says what is wrong, where, and what to do; a file with a mistake is refused whole.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from fractions import Fraction
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

from exporter.compute.rates import (
    ALLOWANCE_UNITS,
    Allowance,
    AllowanceScope,
    Component,
    PlanCard,
    Rate,
    RateCard,
    Source,
    day_seconds,
)

FORMAT = 1
SHIPPED = "exporter/finops/rates/neon.json"
"""The list prices that come with neonmeter."""
Entry = TypeVar("Entry", bound=Rate | Allowance)
_AMOUNT = re.compile(r"\d{1,9}(\.\d{1,12})?\Z")
_TOP = {"format", "currency", "about", "plans"}
_PLAN = {"label", "rates", "allowances", "unpriced"}
_RATE = {"rate", "valid_from", "source", "source_date"}
_ALLOWANCE = {"quantity", "scope", "valid_from", "source", "source_date"}


class RateCardError(Exception):
    """A rate card file cannot be used. ``problems`` has one line each: where, what, and what to do."""

    def __init__(self, origin: str, problems: list[str]) -> None:
        """Name the file and list what is wrong with it."""
        super().__init__("\n".join(f"{origin}: {problem}" for problem in problems))
        self.origin = origin
        self.problems = problems


def load(override: Path | None = None) -> RateCard:
    """The shipped card, with the file of ``cost.rate_card`` over it.

    For each plan and component that the file gives, its history holds from its first ``valid_from`` on; what the
    shipped card says about the days before stays.

    Raises:
        RateCardError: a file is missing, is not JSON, or breaks the format.
    """
    shipped = parse(files("exporter.finops").joinpath("rates", "neon.json").read_text("utf-8"), SHIPPED)
    if override is None:
        return shipped
    try:
        text = override.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        reason = problem.strerror if isinstance(problem, OSError) else "it is not UTF-8 text"
        raise RateCardError(str(override), [f"{reason}; set cost.rate_card to a readable JSON file"]) from problem
    return merge(shipped, parse(text, str(override)))


def parse(text: str, origin: str) -> RateCard:
    """Read one card from JSON text.

    Raises:
        RateCardError: with every problem that the text has.
    """
    try:
        # Numbers stay text here: a rate that went through a float would not be the rate in the file.
        document = json.loads(text, parse_float=str, object_pairs_hook=_unique)
    except ValueError as problem:
        raise RateCardError(origin, [f"not valid JSON ({problem}); correct it there"]) from problem
    reader = _Reader()
    plans = reader.document(document)
    if reader.problems:
        raise RateCardError(origin, reader.problems)
    return RateCard(plans, origin=origin)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(n for n in names if names.count(n) > 1)!r} is there twice")
    return found


def merge(base: RateCard, over: RateCard) -> RateCard:
    """The base card with the histories of another over it, from the first day of each on."""
    plans = dict(base.plans)
    for name, card in over.plans.items():
        old = plans.get(name)
        if old is None or card.unpriced:
            plans[name] = card
            continue
        plans[name] = replace(
            old,
            label=card.label or old.label,
            rates=_joined(old.rates, card.rates),
            allowances=_joined(old.allowances, card.allowances),
            unpriced="",
        )
    return RateCard(plans.values(), currency=base.currency, origin=f"{base.origin} with {over.origin}")


def _joined(
    old: Mapping[Component, tuple[Entry, ...]], new: Mapping[Component, tuple[Entry, ...]]
) -> dict[Component, tuple[Entry, ...]]:
    joined = dict(old)
    for component in new:
        first = new[component][0].valid_from
        kept = [entry for entry in old.get(component, ()) if entry.valid_from < first]
        joined[component] = (*kept, *new[component])
    return joined


class _Reader:
    """Turns JSON into plans and keeps every problem with the path of where it is."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def document(self, document: Any) -> list[PlanCard]:
        if not isinstance(document, dict):
            self.problems.append(f"the file must hold one JSON object; start from a copy of {SHIPPED}")
            return []
        self._known("", document, _TOP)
        if document.get("format") != FORMAT:
            self.problems.append(f'format: must be {FORMAT}; write "format": {FORMAT}')
        if document.get("currency") != "USD":
            self.problems.append('currency: only USD is understood; write "currency": "USD"')
        plans = document.get("plans")
        if not isinstance(plans, dict) or not plans:
            self.problems.append("plans: must be an object of at least one plan, by the API's subscription type")
            return []
        return [self._plan(f"plans.{name}", name, plan) for name, plan in plans.items()]

    def _plan(self, where: str, name: str, plan: Any) -> PlanCard:
        if not isinstance(plan, dict):
            self.problems.append(f"{where}: must be an object with label and rates")
            return PlanCard(name, name)
        self._known(where, plan, _PLAN)
        unpriced = plan.get("unpriced", "")
        if not isinstance(unpriced, str) or (unpriced and plan.get("rates")):
            self.problems.append(f"{where}.unpriced: must be the reason as text, on a plan without rates; remove one")
        if not unpriced and not plan.get("rates") and not plan.get("allowances"):
            self.problems.append(f"{where}: has neither rates nor allowances; add them, or say why in unpriced")
        rates = self._section(
            f"{where}.rates", plan.get("rates", {}), lambda at, key, entry: self._rate(at, name, key, entry)
        )
        allowances = self._section(
            f"{where}.allowances",
            plan.get("allowances", {}),
            lambda at, key, entry: self._allowance(at, name, key, entry),
        )
        return PlanCard(name, str(plan.get("label", "")), rates, allowances, str(unpriced))

    def _section(
        self, where: str, section: Any, read: Callable[[str, Component, Any], Entry | None]
    ) -> dict[Component, tuple[Entry, ...]]:
        if not isinstance(section, dict):
            self.problems.append(f"{where}: must be an object by component")
            return {}
        found: dict[Component, tuple[Entry, ...]] = {}
        for key, history in section.items():
            at = f"{where}.{key}"
            if key not in tuple(Component):
                self.problems.append(f"{at}: unknown component; use one of {', '.join(Component)}")
            elif not isinstance(history, list) or not history:
                self.problems.append(f"{at}: must be a list of at least one dated entry")
            else:
                entries = [read(f"{at}[{i}]", Component(key), entry) for i, entry in enumerate(history)]
                kept = tuple(entry for entry in entries if entry is not None)
                if any(a.valid_from >= b.valid_from for a, b in pairwise(kept)):
                    self.problems.append(f"{at}: valid_from must rise from entry to entry; sort them, drop duplicates")
                found[Component(key)] = kept
        return {component: history for component, history in found.items() if history}

    def _rate(self, where: str, plan: str, component: Component, entry: Any) -> Rate | None:
        valid_from, source = self._dated(where, entry, _RATE)
        amount = entry.get("rate") if isinstance(entry, dict) else None
        if not isinstance(amount, str) or not _AMOUNT.match(amount):
            self.problems.append(f'{where}.rate: {amount!r} is no amount; write USD as text, like "0.106"')
            return None
        if valid_from is None or source is None:
            return None
        return Rate(plan, component, Fraction(amount), valid_from, source)

    def _allowance(self, where: str, plan: str, component: Component, entry: Any) -> Allowance | None:
        valid_from, source = self._dated(where, entry, _ALLOWANCE)
        if not isinstance(entry, dict) or valid_from is None or source is None:
            return None
        quantity, scope = entry.get("quantity"), entry.get("scope")
        if component not in ALLOWANCE_UNITS:
            self.problems.append(f"{where}: only {' and '.join(ALLOWANCE_UNITS)} have an allowance; remove it")
        elif not isinstance(quantity, int) or isinstance(quantity, bool) or quantity < 0:
            self.problems.append(f"{where}.quantity: must be whole {ALLOWANCE_UNITS[component]}, 0 or more")
        elif scope not in tuple(AllowanceScope) or (
            component is Component.EXTRA_BRANCHES and scope != AllowanceScope.PROJECT
        ):
            self.problems.append(f"{where}.scope: must be org or project (extra_branches: project)")
        else:
            return Allowance(plan, component, quantity, AllowanceScope(scope), valid_from, source)
        return None

    def _dated(self, where: str, entry: Any, keys: set[str]) -> tuple[int | None, Source | None]:
        if not isinstance(entry, dict):
            self.problems.append(f"{where}: must be an object with {', '.join(sorted(keys))}")
            return None, None
        self._known(where, entry, keys)
        valid_from = self._day(f"{where}.valid_from", entry.get("valid_from"))
        name = entry.get("source")
        if not isinstance(name, str) or not name.strip():
            self.problems.append(f"{where}.source: say where the figure was read, as text")
            return valid_from, None
        if self._day(f"{where}.source_date", entry.get("source_date")) is None:
            return valid_from, None
        return valid_from, Source(name, entry["source_date"])

    def _day(self, where: str, text: Any) -> int | None:
        try:
            return day_seconds(text if isinstance(text, str) else "")
        except ValueError:
            self.problems.append(f'{where}: {text!r} is no day; write it like "2026-03-20"')
            return None

    def _known(self, where: str, entry: Mapping[str, Any], keys: set[str]) -> None:
        for key in sorted(entry.keys() - keys):
            path = f"{where}.{key}" if where else key
            self.problems.append(f"{path}: unknown key; use {', '.join(sorted(keys))}")
