"""`neonmeter inventory` on recorded accounts: every compute, every state, every organisation, nothing invented."""

from __future__ import annotations

import json

import pytest

from exporter.commands.main import main
from tests.fix_evidence import EvidenceServer, playing


def told(
    server: EvidenceServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *more: str
) -> str:
    monkeypatch.setenv("NEON_API_KEY", "napi_evidence")
    monkeypatch.setenv("NEONMETER_NEON__API_URL", server.url)
    assert main(["inventory", *more]) == 0
    return capsys.readouterr().out


def rows_of(text: str) -> list[list[str]]:
    """The cells of the table: columns are two spaces apart."""
    return [
        [cell for cell in line.split("  ") if cell.strip()] for line in text.splitlines() if line.startswith("north")
    ]


def test_all_computes_and_states_of_a_project(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with playing("as_it_is") as server:
        text = told(server, monkeypatch, capsys)
    cells = [[cell.strip() for cell in row[2:]] for row in rows_of(text)]
    main_rows = [row for row in cells if row[0] == "main *"]
    assert [row[1] for row in main_rows] == ["active", "idle (replica)"], text
    assert [row[3] for row in main_rows] == ["0.25-2", "0.25-8"], "each with its own range"
    assert main_rows[1][2] == "never", "the first second of 2000 is no activity"
    by_branch = {row[0]: row for row in cells}
    assert by_branch["reader"][1] == "init -> active"
    assert by_branch["proof (archived)"][1] == "no compute" and "warm (unarchiving)" in by_branch
    assert "3 computes" in text.splitlines()[0] and "North Wind, plan launch" in text
    assert "deleted: old (old-one-9, aws-eu-central-1) can be recovered until 2026-10-09 08:00 UTC" in text


def test_what_neon_does_not_tell_of_deleted_projects_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with playing("organisation") as server:
        server.answers["/projects?org_id=org-north-wind-1&recoverable=true"] = (403, {"message": "no"})
        text = told(server, monkeypatch, capsys)
        tree = json.loads(told(server, monkeypatch, capsys, "--json"))
    assert "note: whether deleted projects can be recovered is unknown" in text
    assert tree["recoverable_projects"] is None and tree["org_id"] == "org-north-wind-1"


def test_every_organisation_has_a_paragraph(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with playing("personal_several") as server:
        text = told(server, monkeypatch, capsys)
        tree = json.loads(told(server, monkeypatch, capsys, "--json"))
    assert "Shop, plan free, managed by vercel: 1 project" in text and "North Wind, plan launch: 1 project" in text
    assert [org["id"] for org in tree["organizations"]] == ["org-agency-shop-2", "org-north-wind-1"]
    assert {project["id"]: project["org_id"] for project in tree["projects"]} == {
        "north-one-1": "org-north-wind-1",
        "shop-one-1": "org-agency-shop-2",  # its row does not say so: the list that it stands in does
    }
