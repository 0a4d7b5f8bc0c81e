"""Settings of the ledger: what is wrong is said before anything is contacted, and a password is never shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.app.settings import load, problems_of


def problems(tmp_path: Path, **ledger: Any) -> list[str]:
    config = tmp_path / "neonmeter.yaml"
    config.write_text(
        yaml.safe_dump({"neon": {"api_key": "k"}, "storage": {"path": str(tmp_path / "a.db")}, "ledger": ledger})
    )
    return problems_of(load(config))


@pytest.mark.parametrize(
    ("ledger", "says"),
    [
        ({"url": "postgresql://me@host"}, "ledger.url: names no user or no database"),
        ({"url": "postgresql://host/finops"}, "ledger.url: names no user or no database"),
        ({"url": "host=:what"}, ""),
        ({"url": "nonsense"}, "ledger.url: not a connection string"),
        ({"url": "postgresql://me@host/finops", "password_file": "/nowhere/secret"}, "ledger.password_file: /nowhere"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, ledger: dict[str, str], says: str) -> None:
    found = problems(tmp_path, **ledger)
    assert len(found) == 1
    assert says in found[0]


def test_a_good_address_is_no_problem_and_its_password_is_masked(tmp_path: Path) -> None:
    assert problems(tmp_path, url="postgresql://me:hidden@host:5432/finops", password="hidden") == []
    shown = str(load(tmp_path / "neonmeter.yaml").masked()["ledger"])
    assert "postgresql://me:***@host:5432/finops" in shown
    assert "hidden" not in shown
