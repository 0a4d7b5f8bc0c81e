"""Rate cards: the shipped one is complete and dated, and each mistake in a file is one clear line."""

from __future__ import annotations

import copy
import json
from fractions import Fraction
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.pricing.domain.calendar import day_seconds, month_start, next_month
from exporter.pricing.domain.components import Component
from exporter.pricing.domain.rates import AllowanceScope, decimal_text
from exporter.pricing.ratecard import RateCardError, load, parse

CARD = load()
TODAY = day_seconds("2026-08-27")
SHIPPED = json.loads(files("exporter.pricing").joinpath("neon.json").read_text("utf-8"))


@pytest.mark.parametrize(
    ("component", "launch", "scale", "agent"),
    [
        ("compute", "0.106", "0.222", "0.106"),
        ("root_storage", "0.35", "0.35", "0.35"),
        ("child_storage", "0.35", "0.35", "0.35"),
        ("instant_restore", "0.2", "0.2", "0.2"),
        ("snapshot_storage", "0.09", "0.09", "0.09"),
        ("extra_branches", "1.5", "1.5", None),
        ("public_transfer", "0.1", "0.1", "0.1"),
        ("private_transfer", None, "0.01", "0.01"),
    ],
)
def test_the_list_prices(component: str, launch: str | None, scale: str | None, agent: str | None) -> None:
    for plan, text in (("launch_v3", launch), ("scale_v3", scale), ("agent", agent)):
        rate = CARD.rate(plan, Component(component), TODAY)
        assert (rate.text if rate else None) == text
        assert bool(CARD.why_unknown(plan, Component(component), TODAY)) == (text is None)


def test_every_subscription_type_of_the_api_is_in_the_card() -> None:
    document = Path("tests/npm/node_modules/@neondatabase/api-client/public-v2-for-users.gen.yaml")
    if not document.exists():
        pytest.skip("the npm package @neondatabase/api-client is not installed: make test installs it")
    types = yaml.load(document.read_text(), Loader=yaml.CSafeLoader)["components"]["schemas"]["BillingSubscriptionType"]
    assert set(types["enum"]) <= CARD.plans.keys()


@pytest.mark.parametrize("plan", ["launch", "scale", "business", "direct_sales_v3", "UNKNOWN"])
def test_plans_without_public_prices_say_why(plan: str) -> None:
    why = CARD.why_unknown(plan, Component.COMPUTE, TODAY)
    assert plan in why
    assert "cost.plan" in why


def test_days_before_the_first_rate_are_unknown() -> None:
    assert CARD.rate("launch_v3", Component.COMPUTE, day_seconds("2025-08-13")) is None
    assert "2025-08-13" in CARD.why_unknown("launch_v3", Component.COMPUTE, day_seconds("2025-08-13"))


@pytest.mark.parametrize(
    ("day", "quantity", "scope"),
    [("2026-05-31", 100, AllowanceScope.ORG), ("2026-06-01", 500, AllowanceScope.PROJECT)],
)
def test_the_transfer_allowance_changes_in_june(day: str, quantity: int, scope: AllowanceScope) -> None:
    allowance = CARD.allowance("scale_v3", Component.PUBLIC_TRANSFER, day_seconds(day))
    assert allowance is not None
    assert (allowance.quantity, allowance.scope) == (quantity, scope)


def test_every_figure_has_a_source_and_a_day() -> None:
    entries = [e for plan in CARD.plans.values() for history in plan.rates.values() for e in history]
    assert entries
    assert all(entry.source.name and day_seconds(entry.source.date) for entry in entries)


def test_an_override_holds_from_its_first_day_on(tmp_path: Path) -> None:
    entry = {"rate": "0.08", "valid_from": "2026-02-01", "source": "contract 17", "source_date": "2026-01-15"}
    plans = {
        "launch_v3": {"rates": {"compute": [entry]}},
        "direct_sales_v3": {"label": "Enterprise", "rates": {"compute": [entry]}},
    }
    path = tmp_path / "rates.json"
    path.write_text(json.dumps({"format": 1, "currency": "USD", "plans": plans}))
    card = load(path)
    texts = {}
    for day in ("2026-01-31", "2026-02-01", "2026-08-01"):
        rate = card.rate("launch_v3", Component.COMPUTE, day_seconds(day))
        texts[day] = rate.text if rate else None
    assert texts == {"2026-01-31": "0.14", "2026-02-01": "0.08", "2026-08-01": "0.08"}
    kept = card.rate("launch_v3", Component.ROOT_STORAGE, TODAY)
    assert kept is not None
    assert kept.text == "0.35"
    enterprise = card.rate("direct_sales_v3", Component.COMPUTE, TODAY)
    assert enterprise is not None
    assert enterprise.source.name == "contract 17"
    assert "no rate for root_storage" in card.why_unknown("direct_sales_v3", Component.ROOT_STORAGE, TODAY)
    assert (load().prices, card.prices) == ("list prices", "contract and list prices")


def broken(path: str, value: Any) -> str:
    """The shipped card with one place changed; a path step is a key or an index."""
    document = copy.deepcopy(SHIPPED)
    *steps, last = [int(step) if step.isdigit() else step for step in path.split("/")]
    at = document
    for step in steps:
        at = at[step]
    at[last] = value
    return json.dumps(document)


def broken_number(digits: str) -> str:
    return broken("plans/launch_v3/rates/compute/0/rate", "DIGITS").replace('"DIGITS"', digits)


@pytest.mark.parametrize(
    ("path", "value", "where", "what"),
    [
        ("format", 2, "format", 'write "format": 1'),
        ("currency", "EUR", "currency", "only USD"),
        ("extra", 1, "extra", "unknown key"),
        ("plans", {}, "plans", "at least one plan"),
        ("plans/launch_v3", 5, "plans.launch_v3", "must be an object"),
        ("plans/launch_v3", {"label": "x"}, "plans.launch_v3", "neither rates nor allowances"),
        ("plans/launch_v3/unpriced", "why", "plans.launch_v3.unpriced", "without rates"),
        ("plans/launch_v3/rates/cpu", [], "plans.launch_v3.rates.cpu", "unknown component; use one of compute"),
        ("plans/launch_v3/rates/compute", [], "plans.launch_v3.rates.compute", "at least one dated entry"),
        ("plans/launch_v3/rates/compute/0/rate", True, "rates.compute[0].rate", 'like "0.106"'),
        ("plans/launch_v3/rates/compute/0/rate", "-1", "rates.compute[0].rate", "not an amount"),
        ("plans/launch_v3/rates/compute/0/rate", "1e-3", "rates.compute[0].rate", "not an amount"),
        ("plans/launch_v3/rates/compute/0/valid_from", "2026-13-01", "rates.compute[0].valid_from", "not a day"),
        ("plans/launch_v3/rates/compute/0/valid_from", "2026-06-01", "rates.compute", "must rise"),
        ("plans/launch_v3/rates/compute/0/source", "", "rates.compute[0].source", "where the figure was read"),
        ("plans/launch_v3/rates/compute/0/source_date", None, "rates.compute[0].source_date", "not a day"),
        ("plans/launch_v3/rates/compute/0/typo", 1, "rates.compute[0].typo", "unknown key"),
        ("plans/launch_v3/allowances/extra_branches/0/quantity", "9", "extra_branches[0].quantity", "whole child"),
        ("plans/launch_v3/allowances/extra_branches/0/scope", "org", "extra_branches[0].scope", "org or project"),
        ("plans/launch_v3/allowances/public_transfer/0/scope", "team", "public_transfer[0].scope", "org or project"),
    ],
)
def test_one_mistake_is_one_line_with_its_place(path: str, value: object, where: str, what: str) -> None:
    with pytest.raises(RateCardError) as caught:
        parse(broken(path, value), "mine.json")
    (problem,) = caught.value.problems
    assert where in problem
    assert what in problem
    assert str(caught.value).startswith("mine.json: ")


def test_files_that_are_no_rate_card(tmp_path: Path) -> None:
    with pytest.raises(RateCardError, match="No such file"):
        load(tmp_path / "missing.json")
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe")
    with pytest.raises(RateCardError, match="UTF-8"):
        load(tmp_path / "binary.json")
    with pytest.raises(RateCardError, match="not valid JSON"):
        parse("{", "x")
    with pytest.raises(RateCardError, match="one JSON object"):
        parse("[]", "x")
    with pytest.raises(RateCardError, match="duplicate"):
        parse('{"format": 1, "format": 1}', "x")


def test_a_figure_beyond_float_stays_as_written() -> None:
    """As text, and as a number without quotes too: its digits never pass through a float."""
    for text in (broken("plans/launch_v3/rates/compute/0/rate", "0.100000000001"), broken_number("0.100000000001")):
        rate = parse(text, "x").rate("launch_v3", Component.COMPUTE, day_seconds("2025-09-01"))
        assert rate is not None
        assert rate.amount == Fraction(100000000001, 10**12)


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (Fraction(0), "0"),
        (Fraction(7, 10), "0.7"),
        (Fraction(150), "150"),
        (Fraction(1, 10**9), "0.000000001"),
        (Fraction(1, 3), "0." + "3" * 40),
        (Fraction(10**6), "1000000"),
    ],
)
def test_decimal_text(amount: Fraction, text: str) -> None:
    assert decimal_text(amount) == text


def test_calendar_months() -> None:
    assert month_start(day_seconds("2026-02-28") + 86399) == day_seconds("2026-02-01")
    assert next_month(day_seconds("2026-12-31")) == day_seconds("2027-01-01")
    assert next_month(day_seconds("2028-02-01")) - day_seconds("2028-02-01") == 29 * 86400
