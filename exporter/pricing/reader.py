"""Reads the JSON of a rate card into plans, and says every mistake in it with its place and what to do."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from fractions import Fraction
from itertools import pairwise
from typing import Any, TypeVar

from exporter.pricing.domain.calendar import day_seconds
from exporter.pricing.domain.components import Component
from exporter.pricing.domain.rates import (
    Allowance,
    AllowanceScope,
    Discount,
    PlanCard,
    PlanSpan,
    Rate,
    Source,
    plan_named,
)

FORMAT = 1
SHIPPED = "exporter/pricing/neon.json"
"""The list prices that come with neonmeter."""
Entry = TypeVar("Entry", bound=Rate | Allowance | Discount)
_AMOUNT = re.compile(r"\d{1,9}(\.\d{1,12})?\Z")
_PERCENT = re.compile(r"(100(\.0{1,9})?|\d{1,2}(\.\d{1,9})?)\Z")
_TOP = {"format", "currency", "about", "plans", "plan_history"}
_PLAN = {"label", "rates", "allowances", "unpriced", "discounts", "not_offered", "like"}
_RATE = {"rate", "list", "valid_from", "source", "source_date"}
_DISCOUNT = {"percent", "valid_from", "source", "source_date"}
_SPAN = {"org", "project", "plan", "valid_from", "source", "source_date"}
ALL = "all"
"""The key of a discount that holds for every component."""
_ALLOWANCE = {"quantity", "scope", "valid_from", "source", "source_date"}


class Reader:
    """Turns JSON into plans and keeps every problem with the path of where it is."""

    def __init__(self) -> None:
        """Begin without a problem."""
        self.problems: list[str] = []

    def document(self, document: Any) -> tuple[list[PlanCard], list[PlanSpan]]:
        """The plans and the plan history of a whole card; what is wrong with it is in ``problems`` after."""
        if not isinstance(document, dict):
            self.problems.append(f"the file must hold one JSON object; start from a copy of {SHIPPED}")
            return [], []
        self._known("", document, _TOP)
        if document.get("format") != FORMAT:
            self.problems.append(f'format: must be {FORMAT}; write "format": {FORMAT}')
        if document.get("currency") != "USD":
            self.problems.append('currency: only USD is understood; write "currency": "USD"')
        spans = self._spans(document.get("plan_history", []))
        plans = document.get("plans", {} if spans else None)
        if not isinstance(plans, dict) or not (plans or spans):
            self.problems.append("plans: must be an object of at least one plan, by the API's subscription type")
            return [], spans
        return [self._plan(f"plans.{name}", name, plan) for name, plan in plans.items()], spans

    def _spans(self, history: Any) -> list[PlanSpan]:
        if not isinstance(history, list):
            self.problems.append("plan_history: must be a list of entries with plan and valid_from")
            return []
        found = []
        for number, entry in enumerate(history):
            where = f"plan_history[{number}]"
            valid_from, source = self._dated(where, entry, _SPAN)
            if not isinstance(entry, dict) or valid_from is None or source is None:
                continue
            org, project, plan = entry.get("org", "*"), entry.get("project", "*"), entry.get("plan")
            if not isinstance(plan, str) or not plan or not isinstance(org, str) or not isinstance(project, str):
                self.problems.append(f"{where}: plan must be a plan of the card; org and project are globs over ids")
            else:
                found.append(PlanSpan(org, project, plan_named(plan), valid_from, source))
        return found

    def _plan(self, where: str, name: str, plan: Any) -> PlanCard:
        if not isinstance(plan, dict):
            self.problems.append(f"{where}: must be an object with label and rates")
            return PlanCard(name, name)
        self._known(where, plan, _PLAN)
        unpriced = plan.get("unpriced", "")
        if not isinstance(unpriced, str) or (unpriced and plan.get("rates")):
            self.problems.append(f"{where}.unpriced: must be the reason as text, on a plan without rates; remove one")
        if not unpriced and not any(plan.get(key) for key in ("rates", "allowances", "discounts", "like")):
            self.problems.append(f"{where}: has neither rates nor allowances; add them, or say why in unpriced")
        rates = self._section(
            f"{where}.rates", plan.get("rates", {}), lambda at, key, entry: self._rate(at, name, key, entry)
        )
        allowances = self._section(
            f"{where}.allowances",
            plan.get("allowances", {}),
            lambda at, key, entry: self._allowance(at, name, key, entry),
        )
        return PlanCard(
            name,
            str(plan.get("label", "")),
            rates,
            allowances,
            str(unpriced),
            self._discounts(f"{where}.discounts", plan.get("discounts", {})),
            self._not_offered(f"{where}.not_offered", plan.get("not_offered", {})),
            plan_named(str(plan.get("like", ""))),
        )

    def _not_offered(self, where: str, section: Any) -> dict[Component, str]:
        if not isinstance(section, dict) or not all(isinstance(why, str) and why for why in section.values()):
            self.problems.append(f"{where}: must be an object of reasons (text) by component")
            return {}
        for key in section.keys() - set(Component):
            self.problems.append(f"{where}.{key}: unknown component; use one of {', '.join(Component)}")
        return {Component(key): why for key, why in section.items() if key in set(Component)}

    def _discounts(self, where: str, section: Any) -> dict[Component, tuple[Discount, ...]]:
        """By component; what is said for all holds for those that have nothing of their own."""
        if isinstance(section, dict) and ALL in section:
            section = {**dict.fromkeys(Component, section[ALL]), **{k: v for k, v in section.items() if k != ALL}}
        return self._section(where, section, self._discount)

    def _discount(self, where: str, component: Component, entry: Any) -> Discount | None:
        valid_from, source = self._dated(where, entry, _DISCOUNT)
        percent = entry.get("percent") if isinstance(entry, dict) else None
        if not isinstance(percent, str) or not _PERCENT.match(percent):
            self.problems.append(f'{where}.percent: {percent!r} is no share; write percent as text, like "12.5"')
        elif valid_from is not None and source is not None:
            return Discount(component, Fraction(percent) / 100, valid_from, source)
        return None

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
        listed = entry.get("list")
        if listed is not None and (not isinstance(listed, str) or not _AMOUNT.match(listed)):
            self.problems.append(f'{where}.list: {listed!r} is no amount; write USD as text, like "0.106"')
            return None
        if valid_from is None or source is None:
            return None
        return Rate(plan, component, Fraction(amount), valid_from, source, None if listed is None else Fraction(listed))

    def _allowance(self, where: str, plan: str, component: Component, entry: Any) -> Allowance | None:
        valid_from, source = self._dated(where, entry, _ALLOWANCE)
        if not isinstance(entry, dict) or valid_from is None or source is None:
            return None
        quantity, scope, rule = entry.get("quantity"), entry.get("scope"), component.spec.allowance
        if rule is None:
            allowed = " and ".join(component for component in Component if component.spec.allowance)
            self.problems.append(f"{where}: only {allowed} have an allowance; remove it")
        elif not isinstance(quantity, int) or isinstance(quantity, bool) or quantity < 0:
            self.problems.append(f"{where}.quantity: must be whole {rule.unit}, 0 or more")
        elif scope not in tuple(AllowanceScope) or (
            component.spec.hourly_allowance and scope != AllowanceScope.PROJECT
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
