"""`neonmeter rates`: what is in force on a day, what is paid beside what is listed, and what a check finds."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from collectors.errors import FINDINGS, OK, USAGE
from exporter.commands.main import main
from exporter.pricing.check import findings
from exporter.pricing.domain.calendar import day_seconds
from exporter.pricing.domain.components import Component
from exporter.pricing.domain.price import price
from exporter.pricing.domain.rates import plan_named
from exporter.pricing.domain.usage import UsageFact
from exporter.pricing.ratecard import RateCardError, load

NOW = day_seconds("2026-11-23")
SIGNED = {"source": "contract 17", "source_date": "2026-09-01"}


def entry(rate: str, since: str, **more: str) -> dict[str, str]:
    return {"rate": rate, "valid_from": since, **SIGNED, **more}


def card_file(tmp_path: Path, plans: dict[str, Any], **top: Any) -> Path:
    path = tmp_path / "rates.json"
    path.write_text(json.dumps({"format": 1, "currency": "USD", "plans": plans, **top}))
    return path


def test_the_rates_of_a_day(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rates", "show", "--at", "2026-04-30", "--plan", "scale", "--json"]) == OK
    document = json.loads(capsys.readouterr().out)
    rates = {item["component"]: item for item in document["plans"]["scale_v3"]["rates"]}
    assert rates["snapshot_storage"]["rate"] == "0"
    assert rates["compute"]["rate"] == "0.222"
    assert rates["public_transfer"]["free"] == "100 GB per org"
    assert rates["extra_branches"]["free"] == "24 child branches per project"
    assert main(["rates", "show"]) == OK
    shown = capsys.readouterr().out
    assert "launch_v3 has no rate for private_transfer" in shown
    assert "scale means scale_v3" in shown
    assert main(["rates", "show", "--plan", "business"]) == OK
    assert "is not priced" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["--at", "2026-13-01"], ["--plan", "huge"]])
def test_what_cannot_be_shown(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rates", "show", *arguments]) == USAGE
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_the_shipped_card_is_sound_until_it_is_old(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rates", "check", "--at", "2026-11-23"]) == OK
    assert "sound on 2026-11-23" in capsys.readouterr().out
    assert main(["rates", "check", "--at", "2027-06-01"]) == FINDINGS
    assert "look it up again" in capsys.readouterr().out
    assert main(["rates", "check", "--at", "2026-04-01", "--max-age", "9999"]) == FINDINGS
    out = capsys.readouterr().out
    assert "plans.launch_v3.rates.snapshot_storage: future: holds only from 2026-05-01" in out


@pytest.mark.parametrize(
    ("plan", "says"),
    [
        ({"allowances": {"extra_branches": [{"quantity": 3, "scope": "project", "valid_from": "2026-01-01"}]}}, "gap"),
        ({"rates": {"compute": [entry("1", "2026-01-01")]}}, "rates.root_storage: gap: no rate"),
        (
            {"rates": {"compute": [entry("1", "2026-01-01")], "root_storage": [entry("1", "2026-02-01")]}},
            "rates.root_storage: gap: no rate from 2026-01-01 to 2026-02-01",
        ),
        ({"rates": {"compute": [entry("1", "2026-01-01"), entry("1", "2026-02-01")]}}, "overlap"),
        ({"rates": {"compute": [entry("1", "2027-01-01")]}}, "future: holds only from 2027-01-01"),
        ({"rates": {"compute": [entry("2", "2026-01-01", list="1")]}}, "more than the list price"),
        ({"rates": {"compute": [{**entry("1", "2026-01-01"), "source_date": "2027-01-01"}]}}, "correct source_date"),
        (
            {
                "like": "scale",
                "allowances": {
                    "public_transfer": [
                        {"quantity": 500, "scope": "project", "valid_from": "2026-06-01", **SIGNED},
                        {"quantity": 50, "scope": "project", "valid_from": "2026-08-01", **SIGNED},
                    ]
                },
            },
            "falls from 500 to 50",
        ),
    ],
)
def test_each_finding(tmp_path: Path, plan: dict[str, Any], says: str) -> None:
    for history in plan.get("allowances", {}).values():
        for item in history:
            item.update(SIGNED)
    found = findings(load(card_file(tmp_path, {"ours": plan})), NOW, 180)
    assert any(line.startswith("plans.ours") and says in line for line in found), found


def test_a_card_that_cannot_be_read_is_a_finding(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = card_file(tmp_path, {"ours": {"rates": {"cpu": [entry("1", "2026-01-01")]}}})
    monkeypatch.setenv("NEONMETER_COST__RATE_CARD", str(path))
    assert main(["rates", "check"]) == FINDINGS
    assert "unknown component" in capsys.readouterr().out
    assert main(["rates", "show"]) == USAGE


def test_the_list_price_stays_beside_the_contract(tmp_path: Path) -> None:
    card = load(card_file(tmp_path, {"launch_v3": {"rates": {"compute": [entry("0.08", "2026-02-01")]}}}))
    seen = {}
    for day in ("2026-01-31", "2026-02-01", "2026-03-19", "2026-03-20"):
        rate = card.rate("launch_v3", Component.COMPUTE, day_seconds(day))
        assert rate is not None
        seen[day] = (rate.amount, rate.list_amount, rate.source.name == "contract 17")
    listed, old, new = Fraction("0.08"), Fraction("0.14"), Fraction("0.106")
    assert seen == {
        "2026-01-31": (old, old, False),
        "2026-02-01": (listed, old, True),
        "2026-03-19": (listed, old, True),
        "2026-03-20": (listed, new, True),
    }


def test_a_discount_for_all_and_one_for_a_component(tmp_path: Path) -> None:
    less = {"valid_from": "2026-07-01", **SIGNED}
    discounts = {"all": [{"percent": "10", **less}], "compute": [{"percent": "12.5", **less}]}
    card = load(card_file(tmp_path, {"direct_sales_v3": {"label": "Ours", "like": "scale", "discounts": discounts}}))
    at, before = day_seconds("2026-07-01"), day_seconds("2026-06-30")
    compute = card.rate("direct_sales_v3", Component.COMPUTE, at)
    storage = card.rate("direct_sales_v3", Component.ROOT_STORAGE, at)
    assert compute is not None
    assert storage is not None
    assert (compute.amount, compute.list_amount) == (Fraction("0.222") * Fraction("0.875"), Fraction("0.222"))
    assert (storage.amount, storage.list_amount) == (Fraction("0.315"), Fraction("0.35"))
    assert compute.plan == "direct_sales_v3"
    earlier = card.rate("direct_sales_v3", Component.COMPUTE, before)
    assert earlier is not None
    assert earlier.amount == earlier.list_amount == Fraction("0.222")
    free = card.allowance("direct_sales_v3", Component.EXTRA_BRANCHES, at)
    assert free is not None
    assert free.quantity == 24
    fact = UsageFact("o", "p", "b", at, "hourly", "direct_sales_v3", "compute_unit_seconds", 3600)
    assert price([fact], card).total == compute.amount


def test_a_new_list_price_of_ones_own(tmp_path: Path) -> None:
    card = load(card_file(tmp_path, {"scale_v3": {"rates": {"compute": [entry("0.2", "2026-09-01", list="0.2")]}}}))
    rate = card.rate("scale_v3", Component.COMPUTE, NOW)
    assert rate is not None
    assert rate.amount == rate.list_amount == Fraction("0.2")


def test_a_plan_history_prices_what_the_api_does_not_tell(tmp_path: Path) -> None:
    history = [
        {"plan": "launch", "valid_from": "2026-01-01", **SIGNED},
        {"project": "p1", "plan": "scale", "valid_from": "2026-07-15", **SIGNED},
    ]
    card = load(card_file(tmp_path, {}, plan_history=history))
    assert not [line for line in findings(card, NOW, 180) if "plan_history" in line]

    def cost(plan: str, project: str, day: str, size: str = "hourly", value: int = 3600) -> Fraction:
        at = day_seconds(day)
        return price([UsageFact("o", project, "b", at, size, plan, "compute_unit_seconds", value)], card).total

    assert cost("business", "p1", "2026-07-14") == Fraction("0.106")
    assert cost("business", "p1", "2026-07-15") == Fraction("0.222")
    assert cost("scale", "p1", "2026-07-14") == Fraction("0.222"), "the API's word for scale_v3"
    assert cost("UNKNOWN", "p2", "2026-07-15") == Fraction("0.106")
    assert cost("launch_v3", "p1", "2026-07-15") == Fraction("0.106")
    monthly = cost("", "p1", "2026-07-01", "monthly", 31 * 3600)
    assert monthly == 14 * Fraction("0.106") + 17 * Fraction("0.222")


@pytest.mark.parametrize(
    ("plans", "top", "says"),
    [
        ({"ours": {"like": "huge"}}, {}, "plans.ours.like: no such plan: 'huge'"),
        ({"ours": {"discounts": {"all": [{"percent": "110", "valid_from": "2026-01-01", **SIGNED}]}}}, {}, "percent"),
        ({"ours": {"rates": {"compute": [entry("1", "2026-01-01", list="x")]}}}, {}, "list"),
        ({"ours": {"like": "scale", "not_offered": {"cpu": "never"}}}, {}, "not_offered.cpu"),
        ({}, {"plan_history": [{"valid_from": "2026-01-01", **SIGNED}]}, "plan must be a plan"),
        ({}, {"plan_history": {}}, "plan_history: must be a list"),
    ],
)
def test_mistakes_in_a_contract(tmp_path: Path, plans: dict[str, Any], top: dict[str, Any], says: str) -> None:
    with pytest.raises(RateCardError) as caught:
        load(card_file(tmp_path, plans, **top))
    assert says in str(caught.value)


def test_names_that_people_have_for_plans() -> None:
    names = ["Launch", " scale ", "agent", "free", "Enterprise", "scale_v3"]
    plans = ["launch_v3", "scale_v3", "agent", "free_v3", "direct_sales_v3", "scale_v3"]
    assert [plan_named(name) for name in names] == plans


def test_the_example_of_the_billing_page_works(tmp_path: Path) -> None:
    page = Path("docs/billing.md").read_text()
    (tmp_path / "rates.json").write_text(page.split("```json\n")[1].split("```")[0])
    card = load(tmp_path / "rates.json")
    rate = card.rate("direct_sales_v3", Component.COMPUTE, NOW)
    assert rate is not None
    assert (rate.amount, rate.list_amount) == (Fraction("0.222") * Fraction("0.875"), Fraction("0.222"))
    assert card.plan_of("UNKNOWN", "org", "shop-1", NOW) == "scale_v3"
    assert not findings(card, NOW, 180)
