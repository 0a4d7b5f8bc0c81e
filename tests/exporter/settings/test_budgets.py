"""Declared money in the settings: exact amounts, and one clear line on what cannot be."""

from __future__ import annotations

from datetime import date
from fractions import Fraction
from pathlib import Path

import pytest

from exporter.app.settings import load
from exporter.cost.closing.declared import extra_lines
from exporter.cost.domain.extra import Base, Category, Split
from exporter.pricing.domain.calendar import day_seconds
from exporter.settings import SettingsError


def loaded(tmp_path: Path, text: str) -> object:
    (tmp_path / "n.yaml").write_text(text)
    return load(tmp_path / "n.yaml")


def test_amounts_keep_their_digits(tmp_path: Path) -> None:
    settings = loaded(
        tmp_path,
        "cost:\n  extra_lines:\n"
        "    - {name: a, category: Purchase, amount: 0.1, from: 2026-01-15}\n"
        "    - {name: b, category: Tax, percent: '7.7', of: all, from: 2026-01-01, to: 2026-12-31, split: pro_rata}\n"
        "    - {name: c, category: Adjustment, amount: -3.33, from: 2026-02-01, monthly: no, org: o, project: p}\n"
        "budgets: [{name: x, amount: 1234.56}]\n",
    )
    first, second, third = extra_lines(settings.cost.extra_lines)  # type: ignore[attr-defined]
    assert (first.amount, first.percent, first.first, first.last) == (
        Fraction(1, 10), None, day_seconds("2026-01-15"), None
    )  # fmt: skip
    assert (second.percent, second.base, second.split, second.category) == (
        Fraction(77, 10), Base.ALL, Split.PRO_RATA, Category.TAX
    )  # fmt: skip
    assert (third.amount, third.monthly, third.org_id, third.project_id) == (Fraction("-3.33"), False, "o", "p")
    assert settings.budgets[0].amount.as_tuple().digits == (1, 2, 3, 4, 5, 6)  # type: ignore[attr-defined]
    assert settings.cost.extra_lines[1].to == date(2026, 12, 31)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("cost: {extra_lines: [{name: a, category: Tax, from: 2026-01-01}]}", "needs either amount or percent"),
        (
            "cost: {extra_lines: [{name: a, category: Tax, amount: 1, percent: 2, from: 2026-01-01}]}",
            "needs either amount or percent",
        ),
        ("cost: {extra_lines: [{name: a, category: Credit, amount: -1, from: 2026-01-01}]}", "written positive"),
        ("cost: {extra_lines: [{name: a, category: Fee, amount: 1, from: 2026-01-01}]}", "'Purchase', 'Credit'"),
        ("cost: {extra_lines: [{name: a, category: Tax, amount: 1, from: soon}]}", "extra_lines[0].from"),
        (
            "cost: {extra_lines: [{name: a, category: Tax, amount: 1, from: 2026-02-01, to: 2026-01-01}]}",
            "to is before from",
        ),
        ("budgets: [{name: a, amount: 1}, {name: a, amount: 2}]", "the name 'a' is a duplicate"),
        ("budgets: [{name: a, amount: 0}]", "budgets[0].amount"),
        ("budgets: [{name: a, amount: much}]", "budgets[0].amount"),
        ("budgets: [{name: a, amount: 1, scope: tag, match: team}]", "a tag is written key=value"),
        ("budgets: [{name: a, amount: 1, limit: 2}]", "unknown key"),
    ],
)
def test_what_cannot_be_is_told_with_its_path(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(SettingsError) as problem:
        loaded(tmp_path, text)
    assert len(problem.value.problems) == 1
    assert why in problem.value.problems[0]
