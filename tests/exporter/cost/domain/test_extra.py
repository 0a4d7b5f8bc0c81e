"""Declared lines: purchases, credits, taxes, adjustments, exact and in cents."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from exporter.cost.domain.allocate import SHARED, Confidence
from exporter.cost.domain.close import Path
from exporter.cost.domain.extra import (
    ORG_LEVEL,
    Base,
    Category,
    ExtraLine,
    MeteredCosts,
    Split,
    extra_invoice_lines,
    extra_shares,
)
from exporter.pricing.domain.calendar import day_seconds
from exporter.pricing.domain.usage import PROJECT_LEVEL

MONTH = day_seconds("2026-10-01")
A, B, C = Path("p1", "b1", "acme"), Path("p1", "b2", "globex"), Path("p2", "b3", "acme")
METERED = MeteredCosts([("o", A, Fraction(60)), ("o", B, Fraction(30)), ("o", C, Fraction(10))])
SUPPORT = ExtraLine("Support", Category.PURCHASE, amount=Fraction(20), first=MONTH)
CREDIT = ExtraLine("Credit", Category.CREDIT, percent=Fraction(10), first=MONTH)
TAX = ExtraLine("VAT", Category.TAX, percent=Fraction(20), base=Base.ALL, first=MONTH)


def cents(lines: list[ExtraLine], allocations: MeteredCosts = METERED) -> dict[tuple[str, str], int]:
    made, _ = extra_invoice_lines(lines, MONTH, allocations)
    return {(line.key.org_id, line.key.component): line.cents for line in made}


def test_a_line_is_computed_from_what_stands_before_it() -> None:
    assert cents([SUPPORT, CREDIT, TAX]) == {("o", "Support"): 2000, ("o", "Credit"): -1000, ("o", "VAT"): 2200}
    assert cents([TAX, SUPPORT]) == {("o", "VAT"): 2000, ("o", "Support"): 2000}


def test_a_line_holds_in_whole_months() -> None:
    after = day_seconds("2026-10-31")
    line = ExtraLine("HIPAA", Category.PURCHASE, amount=Fraction(1), first=after, last=day_seconds("2026-12-01"))
    months = [day_seconds(f"2026-{month}-01") for month in ("09", "10", "11", "12")] + [day_seconds("2027-01-01")]
    assert [line.holds(month) for month in months] == [False, True, True, True, False]
    once = ExtraLine("Setup", Category.PURCHASE, amount=Fraction(1), first=after, monthly=False)
    assert [once.holds(month) for month in months] == [False, True, False, False, False]


def test_shared_is_one_row_of_the_organisation_or_project() -> None:
    (line,), _ = extra_invoice_lines([SUPPORT], MONTH, METERED)
    assert [(part.path, part.cents) for part in line.allocations] == [(Path(ORG_LEVEL, PROJECT_LEVEL, SHARED), 2000)]
    assert line.allocations[0].confidence is Confidence.DECLARED
    one = ExtraLine("S", Category.PURCHASE, amount=Fraction(1), project_id="p2", first=MONTH)
    (line,), _ = extra_invoice_lines([one], MONTH, METERED)
    assert line.allocations[0].path == Path("p2", PROJECT_LEVEL, SHARED)


def test_pro_rata_goes_by_metered_cost() -> None:
    line = ExtraLine("S", Category.CREDIT, amount=Fraction("0.10"), first=MONTH, split=Split.PRO_RATA)
    (made,), _ = extra_invoice_lines([line], MONTH, METERED)
    assert {part.path: part.cents for part in made.allocations} == {A: -6, B: -3, C: -1}
    one = ExtraLine("S", Category.PURCHASE, percent=Fraction(50), project_id="p1", first=MONTH, split=Split.PRO_RATA)
    (made,), _ = extra_invoice_lines([one], MONTH, METERED)
    assert {part.path: part.cents for part in made.allocations} == {A: 3000, B: 1500}


def test_an_amount_must_say_who_pays_when_there_are_several() -> None:
    two = MeteredCosts([("o1", A, Fraction(1)), ("o2", C, Fraction(1))])
    made, problems = extra_invoice_lines([SUPPORT, TAX], MONTH, two)
    assert [line.key.org_id for line in made] == ["o1", "o2"], "a tax is of each"
    assert problems == ("Support: 2 organisations have cost in the month; name the one that pays with org:",)


def test_in_a_close_a_tax_is_of_whole_cents() -> None:
    allocations = MeteredCosts([("o", A, Fraction("0.07"))])
    lines = [ExtraLine("S", Category.PURCHASE, percent=Fraction(50), first=MONTH), TAX]
    assert cents(lines, allocations) == {("o", "S"): 4, ("o", "VAT"): 2}
    shares, _ = extra_shares(lines, MONTH, allocations)
    assert [share.cost for share in shares] == [Fraction("0.035"), Fraction("0.021")]


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.fractions(0, 1000)), min_size=1, max_size=8),
    st.lists(
        st.tuples(st.sampled_from(Category), st.fractions(0, 100), st.sampled_from(Base), st.sampled_from(Split)),
        max_size=4,
    ),
)
def test_shares_and_cents_conserve(
    rows: list[tuple[str, Fraction]], lines: list[tuple[Category, Fraction, Base, Split]]
) -> None:
    allocations = MeteredCosts((org, Path("p", f"b{number}", "t"), cost) for number, (org, cost) in enumerate(rows))
    declared = [
        ExtraLine(f"l{number}", category, percent=percent, base=base, first=MONTH, split=split)
        for number, (category, percent, base, split) in enumerate(lines)
    ]
    shares, problems = extra_shares(declared, MONTH, allocations)
    assert not problems
    usage = {org: sum(allocations.within(org, "").values(), Fraction()) for org in allocations.orgs}
    for number, (category, percent, base, _) in enumerate(lines):
        for org in allocations.orgs:
            before = sum(
                (s.cost for s in shares if s.key.org_id == org and int(s.key.component[1:]) < number), Fraction()
            )
            whole = (usage[org] + (before if base is Base.ALL else 0)) * percent / 100
            own = sum((s.cost for s in shares if s.key.org_id == org and s.key.component == f"l{number}"), Fraction())
            assert own == (-whole if category is Category.CREDIT else whole)
    made, _ = extra_invoice_lines(declared, MONTH, allocations)
    for line in made:
        assert sum(part.cents for part in line.allocations) == line.cents
