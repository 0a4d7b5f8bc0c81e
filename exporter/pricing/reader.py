"""Reads the JSON of a rate card into plans, and says every mistake in it with its place and what to do."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from itertools import pairwise
from typing import Annotated, Any, Self, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, ValidationInfo
from pydantic import model_validator as whole

from exporter.pricing.domain.calendar import day_seconds
from exporter.pricing.domain.components import Component
from exporter.pricing.domain.rates import (
    Allowance,
    AllowanceScope,
    DatedName,
    DatedUnit,
    Discount,
    PlanCard,
    PlanSpan,
    Rate,
    RateCard,
    Source,
    plan_named,
)
from exporter.pricing.domain.units import SCALE

FORMAT = 1
SHIPPED = "exporter/pricing/neon.json"
"""The list prices that come with neonmeter."""
ALL = "all"
"""The key of a discount that holds for every component."""
_AMOUNT = re.compile(r"\d{1,9}(\.\d{1,12})?\Z")
_PERCENT = re.compile(r"(100(\.0{1,9})?|\d{1,2}(\.\d{1,9})?)\Z")
_ABSENT: Any = Field(None, validate_default=True)
"""A value that must be there: absent is as wrong as null, and in the same words."""


def must(holds: Callable[[Any], object], text: str) -> BeforeValidator:
    """The value as it is where it holds, else a mistake in these words; ``{!r}`` in them is the value."""

    def check(value: Any) -> Any:
        if not holds(value):
            raise ValueError(text.format(value))
        return value

    return BeforeValidator(check)


def _matches(pattern: re.Pattern[str]) -> Callable[[Any], object]:
    return lambda text: isinstance(text, str) and pattern.match(text)


def _is_day(text: Any) -> bool:
    try:
        return isinstance(text, str) and day_seconds(text) is not None
    except ValueError:
        return False


def _in_order(history: tuple[_D, ...]) -> tuple[_D, ...]:
    if any(before.valid_from >= after.valid_from for before, after in pairwise(history)):
        raise ValueError("valid_from must rise from entry to entry; sort them, drop duplicates")
    return history


def _for_all(section: Any) -> Any:
    """What is said for all holds for the components that have nothing of their own."""
    if isinstance(section, dict) and ALL in section:
        return {**dict.fromkeys(Component, section[ALL]), **{k: v for k, v in section.items() if k != ALL}}
    return section


def _with_component(section: Any) -> Any:
    """The section with the component of its key in each entry, by which quantity and scope are checked."""
    if not isinstance(section, dict):
        return section
    return {
        key: [row | {"component": key} if isinstance(row, dict) else row for row in rows]
        if isinstance(rows, list)
        else rows
        for key, rows in section.items()
    }


def _quantity(value: Any, info: ValidationInfo) -> Any:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"must be whole {info.data['component'].spec.allowance.unit}, 0 or more")
    return value


def _scope(value: Any, info: ValidationInfo) -> Any:
    hourly = info.data["component"].spec.hourly_allowance
    if value not in tuple(AllowanceScope) or (hourly and value != AllowanceScope.PROJECT):
        raise ValueError("must be org or project (extra_branches: project)")
    return value


def _unpriced(reason: Any, info: ValidationInfo) -> Any:
    if not isinstance(reason, str) or (reason and info.data.get("rates")):
        raise ValueError("must be the reason as text, on a plan without rates; remove one")
    return reason


def _plans(plans: Any, info: ValidationInfo) -> Any:
    if not isinstance(plans, dict) or not (plans or info.data.get("plan_history")):
        raise ValueError("must be an object of at least one plan, by the API's subscription type")
    return plans


_DAY = must(_is_day, '{!r} is not a day; write it like "2026-03-20"')
_USD = Annotated[
    Fraction,
    BeforeValidator(Fraction),
    must(_matches(_AMOUNT), '{!r} is not an amount; write USD as text, like "0.106"'),
]
_Percent = Annotated[
    Fraction,
    BeforeValidator(Fraction),
    must(_matches(_PERCENT), '{!r} is not a percentage; write percent as text, like "12.5"'),
]
_Glob = Annotated[
    str,
    must(
        lambda text: isinstance(text, str) and text,
        "plan must be a plan of the card; org and project are globs over ids",
    ),
]
_Text = Annotated[str, must(_matches(re.compile(r"\s*\S")), "say where the figure was read, as text")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)


class _Dated(_Strict):
    valid_from: Annotated[int, BeforeValidator(day_seconds), _DAY] = _ABSENT
    source: _Text = _ABSENT
    source_date: Annotated[str, _DAY] = _ABSENT

    @property
    def read(self) -> Source:
        """Where and when the figure was read."""
        return Source(self.source, self.source_date)


class _Span(_Dated):
    org: _Glob = "*"
    project: _Glob = "*"
    plan: _Glob = _ABSENT


class _Rate(_Dated):
    rate: _USD = _ABSENT
    list: _USD | None = None


class _Discount(_Dated):
    percent: _Percent = _ABSENT


class _Allowance(_Dated):
    component: Component
    quantity: Annotated[int, BeforeValidator(_quantity)] = _ABSENT
    scope: Annotated[AllowanceScope, BeforeValidator(_scope)] = _ABSENT

    @whole(mode="before")
    @classmethod
    def _may_be(cls, row: Any) -> Any:
        component = row.get("component") if isinstance(row, dict) else None
        if component in set(Component) and Component(component).spec.allowance is None:
            allowed = " and ".join(component for component in Component if component.spec.allowance)
            raise ValueError(f"only {allowed} have an allowance; remove it")
        return row


_D = TypeVar("_D", bound=_Dated)
_History = Annotated[
    tuple[_D, ...],
    AfterValidator(_in_order),
    must(lambda rows: isinstance(rows, list) and rows, "must be a list of at least one dated entry"),
]


class _Plan(_Strict):
    label: Annotated[str, BeforeValidator(str)] = ""
    rates: dict[Component, _History[_Rate]] = {}
    allowances: Annotated[dict[Component, _History[_Allowance]], BeforeValidator(_with_component)] = {}
    discounts: Annotated[dict[Component, _History[_Discount]], BeforeValidator(_for_all)] = {}
    not_offered: Annotated[
        dict[Component, str],
        must(
            lambda reasons: isinstance(reasons, dict) and all(isinstance(why, str) and why for why in reasons.values()),
            "must be an object of reasons (text) by component",
        ),
    ] = {}
    like: Annotated[str, BeforeValidator(lambda name: plan_named(str(name)))] = ""
    unpriced: Annotated[str, BeforeValidator(_unpriced)] = ""

    @whole(mode="after")
    def _has_something(self) -> Self:
        if not (self.unpriced or self.rates or self.allowances or self.discounts or self.like):
            raise ValueError("has neither rates nor allowances; add them, or say why in unpriced")
        return self


class _Unit(_Dated):
    unit: Annotated[str, must(lambda unit: unit in SCALE and unit, "{!r} is not a unit; write byte-hour or byte-month")]


class _Name(_Dated):
    plan: Annotated[str, must(_matches(re.compile(r"\S")), "must be a plan of the card")]


class _Card(_Strict):
    format: Annotated[int, must(lambda number: number == FORMAT, f'must be {FORMAT}; write "format": {FORMAT}')] = (
        _ABSENT
    )
    currency: Annotated[str, must(lambda name: name == "USD", 'only USD is understood; write "currency": "USD"')] = (
        _ABSENT
    )
    about: Any = None
    plan_history: Annotated[
        tuple[_Span, ...],
        must(lambda spans: isinstance(spans, list), "must be a list of entries with plan and valid_from"),
    ] = ()
    units: dict[Component, _History[_Unit]] = {}
    names: dict[str, _History[_Name]] = {}
    plans: Annotated[dict[str, _Plan], BeforeValidator(_plans)] = Field({}, validate_default=True)


def read_card(document: Any, origin: str) -> tuple[RateCard | None, list[str]]:
    """A whole card, or what is wrong with it, a line each with its place. ``origin`` names the file for messages."""
    try:
        card = _Card.model_validate(document)
    except ValidationError as problem:
        return None, list(_sentences(problem))
    spans = [PlanSpan(s.org, s.project, plan_named(s.plan), s.valid_from, s.read) for s in card.plan_history]
    units = {
        component: tuple(DatedUnit(row.unit, row.valid_from, row.read) for row in rows)
        for component, rows in card.units.items()
    }
    names = {
        name: tuple(DatedName(row.plan, row.valid_from, row.read) for row in rows) for name, rows in card.names.items()
    }
    plans = [_plan(name, plan) for name, plan in card.plans.items()]
    return RateCard(plans, origin=origin, plan_history=spans, units=units, names=names), []


def _plan(name: str, plan: _Plan) -> PlanCard:
    rates = {
        component: tuple(Rate(name, component, row.rate, row.valid_from, row.read, row.list) for row in rows)
        for component, rows in plan.rates.items()
    }
    allowances = {
        component: tuple(Allowance(name, component, row.quantity, row.scope, row.valid_from, row.read) for row in rows)
        for component, rows in plan.allowances.items()
    }
    discounts = {
        component: tuple(Discount(component, row.percent / 100, row.valid_from, row.read) for row in rows)
        for component, rows in plan.discounts.items()
    }
    return PlanCard(name, plan.label, rates, allowances, plan.unpriced, discounts, plan.not_offered, plan.like)


def _sentences(problem: ValidationError) -> Iterator[str]:
    errors = problem.errors(include_url=False)
    unknown = {error["loc"][:-1] for error in errors if error["loc"][-1:] == ("[key]",)}
    for error in errors:
        place = error["loc"]
        is_key = place[-1:] == ("[key]",)
        if not is_key and any(place[: len(at)] == at for at in unknown):
            continue  # What stands under a name that is no component is not looked at.
        path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place if part != "[key]")
        if is_key:
            text = f"unknown component; use one of {', '.join(Component)}"
        elif error["type"] == "value_error":
            text = str(error["ctx"]["error"])
        else:
            text = _sentence(error["type"], place)
        yield f"{path.removeprefix('.')}: {text}" if path else text


_OUTER: Mapping[str, type[_Dated]] = {"plan_history": _Span, "units": _Unit, "names": _Name}
_ENTRIES: Mapping[str, type[_Dated]] = {"rates": _Rate, "allowances": _Allowance, "discounts": _Discount}


def _sentence(kind: str, place: tuple[int | str, ...]) -> str:
    """What is wrong with an object, by pydantic's name for it and its place."""
    if kind == "dict_type":
        return "must be an object by component"
    if not place:
        return f"the file must hold one JSON object; start from a copy of {SHIPPED}"
    owner = place[:-1] if kind == "extra_forbidden" else place
    model: type[BaseModel] = _Card
    if owner:
        model = _OUTER.get(str(owner[0])) or (_Plan if len(owner) == 2 else _ENTRIES[str(owner[2])])
    keys = ", ".join(sorted(model.model_fields.keys() - {"component"}))
    if kind == "extra_forbidden":
        return f"unknown key; use {keys}"
    return f"must be an object with {'label and rates' if model is _Plan else keys}"
