"""An invoice against a closed month: which line is which, and why they differ."""

from __future__ import annotations

from fractions import Fraction

import pytest

from exporter.cost.domain.allocate import Confidence
from exporter.cost.domain.close import USAGE, AllocationLine, InvoiceLine, LineKey, Path, quantise
from exporter.cost.domain.reconcile import Cause, Context, InvoiceRow, Variance, reconcile
from exporter.pricing.domain.calendar import day_seconds
from exporter.pricing.domain.components import STORAGE, Component
from exporter.pricing.ratecard import load

OCTOBER, NOVEMBER = day_seconds("2026-10-01"), day_seconds("2026-11-01")
CONTEXT = Context(OCTOBER, load(), NOVEMBER + 7200)
COMPUTE, EGRESS = Component.COMPUTE, Component.PUBLIC_TRANSFER


def ours(
    component: Component,
    quantity: str,
    rate: str,
    *,
    plan: str = "scale_v3",
    usage: int = 0,
    org: str = "o",
    **more: bool,
) -> InvoiceLine:
    cost = Fraction(quantity) * Fraction(rate or 0)
    cents = quantise(cost)
    allocations = (
        AllocationLine(Path("p1", "b", "t"), cents - cents // 4, Confidence.EXACT),
        AllocationLine(Path("p2", "b", "t"), cents // 4, Confidence.EXACT),
    )
    key = LineKey(org, USAGE, component.value, plan, rate)
    return InvoiceLine(
        key, component.spec.unit, usage, Fraction(quantity), cost, cents, allocations=allocations, **more
    )


def row(
    amount: str, quantity: str | None = None, component: Component | tuple[Component, ...] = COMPUTE, **more: str
) -> InvoiceRow:
    components = component if isinstance(component, tuple) else (component,)
    number = None if quantity is None else Fraction(quantity)
    return InvoiceRow(2, more.pop("description", "x"), components, Fraction(amount), number, **more)


def one(line: InvoiceLine | list[InvoiceLine], *rows: InvoiceRow, context: Context = CONTEXT) -> Variance:
    (found,) = reconcile([line] if isinstance(line, InvoiceLine) else line, rows, context)
    return found


CASES = {
    "the same": (ours(COMPUTE, "100", "0.222"), [row("22.20", "100")], Cause.NONE, ""),
    "a cent": (ours(COMPUTE, "100", "0.222"), [row("22.21", "100")], Cause.ROUNDING, "cent"),
    "another price": (
        ours(COMPUTE, "100", "0.222"), [row("21", "100")], Cause.RATE,
        "charges 0.21; our rate is 0.222 (scale_v3, since 2026-03-20",
    ),
    "an older price": (
        ours(COMPUTE, "100", "0.222"), [row("26", "100")], Cause.RATE, "charges 0.26, our rate since 2025-08-14"
    ),
    "another plan's price": (
        ours(COMPUTE, "100", "0.222"), [row("10.60", "100")], Cause.PLAN, "charges 0.106, the rate of"
    ),
    "more usage": (
        ours(COMPUTE, "100", "0.222"), [row("24.42", "110")], Cause.LATE, "the invoice has 110 CU-hour, we have 100"
    ),
    "less usage": (ours(COMPUTE, "100", "0.222"), [row("19.98", "90")], Cause.LESS, "we have 100"),
    "no allowance taken off": (
        ours(EGRESS, "100", "0.1", usage=600 * 10**9), [row("60", "600", EGRESS)], Cause.ALLOWANCE, "no allowance off"
    ),
    "a pool of another scope": (
        ours(EGRESS, "0", "0.1", usage=900 * 10**9), [row("40", "400", EGRESS)], Cause.ALLOWANCE, "500 GB per project"
    ),
    "no price": (ours(COMPUTE, "5", ""), [row("1", "5")], Cause.UNPRICED, "no price for plan scale_v3"),
    "not invoiced": (ours(COMPUTE, "5", "0.222"), [], Cause.OURS_ONLY, "no such line"),
    "no quantity": (ours(COMPUTE, "5", "0.222"), [row("7")], Cause.AMOUNT, "no quantity"),
    "daily counts": (
        ours(Component.EXTRA_BRANCHES, "1", "1.5", lower_bound=True),
        [row("2.25", "1.5", Component.EXTRA_BRANCHES)], Cause.LATE, "lower bound",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_cause_is_named(case: str) -> None:
    line, rows, cause, why = CASES[case]
    found = one(line, *rows)
    assert (found.cause, why in found.why) == (cause, True), found.why
    assert found.cents == quantise(sum((r.amount for r in rows), Fraction())) - line.cents


def test_data_that_stopped_early_is_named() -> None:
    found = one(ours(COMPUTE, "1", "0.222"), row("2.22", "10"), context=CONTEXT._replace(through=NOVEMBER - 7 * 86400))
    assert "read through 2026-10-25 only" in found.why


def test_an_invoice_by_project_is_compared_by_project() -> None:
    line = ours(COMPUTE, "100", "0.222")
    rows = [row("16.65", "75", project_id="p1"), row("5.55", "25", project_id="p2"), row("9", "1", project_id="p3")]
    found = {variance.project_id: variance for variance in reconcile([line], rows, CONTEXT)}
    assert {name: (variance.ours, variance.cents) for name, variance in found.items()} == {
        "p1": (1665, 0), "p2": (555, 0), "p3": (0, 900)
    }  # fmt: skip
    assert found["p3"].cause is Cause.PROJECT
    assert "p3 is not in the ledger" in found["p3"].why


def test_one_line_for_both_kinds_of_storage() -> None:
    lines = [ours(Component.ROOT_STORAGE, "10", "0.35"), ours(Component.CHILD_STORAGE, "2", "0.35")]
    found = one(lines, row("4.20", "12", STORAGE))
    assert (found.ours, found.cause, found.component) == (420, Cause.NONE, "root_storage+child_storage")


def test_two_plans_in_a_month_are_told_apart_by_their_price() -> None:
    lines = [ours(COMPUTE, "100", "0.106", plan="launch_v3"), ours(COMPUTE, "100", "0.222")]
    found = reconcile(lines, [row("22.20", "100"), row("10.60", "100")], CONTEXT)
    assert [(variance.ours, variance.cents) for variance in found] == [(2220, 0), (1060, 0)]
    (mixed,) = reconcile(lines, [row("40", "200")], CONTEXT)
    assert mixed.cause is Cause.PLAN
    assert "launch_v3, scale_v3" in mixed.why


def test_an_invoice_is_for_the_organisation_that_it_names() -> None:
    lines = [ours(COMPUTE, "1", "0.222"), ours(COMPUTE, "9", "0.222", org="other")]
    found = one(lines, row("0.22", "1", org_id="o"))
    assert (found.org_id, found.cents) == ("o", 0)
    both = one(lines, row("2.22", "10"))
    assert (both.ours, both.cents) == (222, 0)


@pytest.mark.parametrize(
    ("description", "amount", "category"),
    [("VAT 19%", "5", "Tax"), ("Startup promo", "-5", "Credit"), ("Premium support", "9", "Purchase"),
     ("Rebate", "-1", "Credit"), ("Something", "1", "Adjustment")],
)  # fmt: skip
def test_a_line_that_nobody_declared_says_how_to(description: str, amount: str, category: str) -> None:
    (found,) = reconcile([], [row(amount, None, (), description=description)], CONTEXT)
    assert found.cause is Cause.UNKNOWN
    assert f"{{name: {description}, category: {category}, amount: {amount.lstrip('-')}}}" in found.why


def test_declared_lines_are_found_by_name() -> None:
    def declared(name: str, cents: int) -> InvoiceLine:
        return InvoiceLine(LineKey("o", "Tax", name), "", 0, Fraction(1), Fraction(cents, 100), cents)

    rows = [row("5", None, (), description="VAT (19 %)"), row("7", None, (), description="support")]
    found = reconcile([declared("VAT", 500), declared("Support", 600), declared("HIPAA", 1)], rows, CONTEXT)
    assert [variance.cause for variance in found] == [Cause.NONE, Cause.AMOUNT, Cause.OURS_ONLY]


def test_the_statement_is_plain_text_in_json() -> None:
    found = one(ours(COMPUTE, "100", "0.222"), row("21", "100")).as_dict()
    assert found["variance"] == "-1.20"
    assert found["variance_ratio"] == "-0.054054"
    assert (found["ours"], found["invoice"], found["our_quantity"]) == ("22.20", "21.00", "100")
