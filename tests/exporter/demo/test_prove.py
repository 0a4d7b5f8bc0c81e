"""`neonmeter prove`: a small synthetic year adds up, its file can be used after, and a wrong sum would be seen."""

from __future__ import annotations

import dataclasses
from collections import Counter
from fractions import Fraction
from pathlib import Path

import pytest

from collectors.errors import FINDINGS, OK, USAGE
from exporter.commands.main import main
from exporter.cost.allocation.costs import MonthCosts
from exporter.cost.allocation.proof import prove_month
from exporter.pricing.domain.components import GB, Component


def test_a_small_year_holds_and_its_ledger_can_be_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "kept"
    assert main(["prove", "--branches", "10", "--months", "2", "--keep", str(kept)]) == OK
    out = capsys.readouterr().out
    assert "3 organisations" in out
    assert "10 branches, 2025-09-01 to 2025-10-31; seed 1" in out
    assert "checks hold" in out
    assert "worst difference 0" in out
    assert main(["prove", "--branches", "10", "--months", "2", "--keep", str(kept)]) == USAGE
    assert "is there already" in capsys.readouterr().err
    monkeypatch.setenv("NEONMETER_STORAGE__PATH", str(kept / "neonmeter.db"))
    assert main(["cost", "--month", "2025-10", "--explain"]) == OK
    assert "shop-1" in capsys.readouterr().out


def test_a_year_of_nobody_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prove", "--branches", "0"]) == USAGE
    assert "at least 1" in capsys.readouterr().err


def test_what_does_not_hold_is_said(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenant's row that is a billionth of a cent too high, and a branch-hour that the ledger lost."""
    from exporter.demo import prove

    def tampered(costs: MonthCosts, usage: dict[Component, int]) -> object:
        first = dataclasses.replace(costs.shares[0], cost=costs.shares[0].cost + Fraction(1, 10**11))
        lost = Counter(usage) + Counter({Component.ROOT_STORAGE: GB})
        proof = prove_month(costs, lost)
        assert len(proof.problems) == 1
        wrong = prove_month(dataclasses.replace(costs, shares=(first, *costs.shares[1:])), usage)
        assert wrong.worst == Fraction(1, 10**11)
        assert any("its tenants" in problem for problem in wrong.problems)
        assert any("the branches of" in problem for problem in wrong.problems)
        return proof

    monkeypatch.setattr(prove, "prove_month", tampered)
    assert main(["prove", "--branches", "3", "--months", "1"]) == FINDINGS
    told = capsys.readouterr()
    assert "usage of root_storage" in told.err
    assert "1 of " in told.out
