"""The committed dashboards keep the rules, are what the generator writes, and each rule can find what it is for."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from dashboards.__main__ import files
from tests.dashboards import rules
from tests.dashboards.rules import Board

pytestmark = pytest.mark.house
BOARDS = rules.boards()


@pytest.mark.parametrize("rule", rules.RULES)
@pytest.mark.parametrize("uid", BOARDS)
def test_the_dashboards_keep_the_rules(uid: str, rule: str) -> None:
    assert rules.problems(rule, BOARDS[uid], BOARDS) == []


def test_the_committed_json_is_what_the_generator_writes() -> None:
    made = files()
    assert {path: path.read_text() for path in rules.FOLDER.glob("*.json")} == made, "run `python -m dashboards`"


def test_there_are_the_five_that_links_and_alerts_name() -> None:
    assert set(BOARDS) == {f"neonmeter-{name}" for name in ("fleet", "endpoint", "finops", "drift", "self")}


def test_exceptions_have_reasons_and_are_needed() -> None:
    for exception in rules.exceptions():
        assert len(exception["reason"]) > 15, exception
        if exception["rule"] in rules.RULES:
            found = {panel for panel, _ in rules.RULES[exception["rule"]](BOARDS[exception["board"]], BOARDS)}
            assert exception["panel"] in found, f"nothing needs {exception}"


def _panel(board: Board, kind: str) -> Any:
    return next(panel for panel in rules.panels(board) if panel["type"] == kind)


def _expr(text: str) -> Callable[[Board], None]:
    def put(board: Board) -> None:
        _panel(board, "timeseries")["targets"][0]["expr"] = text

    return put


def _twice(board: Board) -> None:
    board["panels"][1]["id"] = board["panels"][0]["id"]


def _over(board: Board) -> None:
    board["panels"][1]["gridPos"]["x"] = board["panels"][0]["gridPos"]["x"]


def _no_unit(board: Board) -> None:
    del _panel(board, "timeseries")["fieldConfig"]["defaults"]["unit"]


def _one_step(board: Board) -> None:
    del _panel(board, "stat")["fieldConfig"]["defaults"]["thresholds"]["steps"][1:]


def _silent(board: Board) -> None:
    _panel(board, "table")["description"] = "A table."


def _own_source(board: Board) -> None:
    _panel(board, "table")["targets"][0]["datasource"]["uid"] = "P1809F7CD0C75ACF3"


def _hidden(board: Board) -> None:
    _panel(board, "table")["targets"][0]["hide"] = True


def _lost_link(board: Board) -> None:
    for entry in rules.every(_panel(board, "table")):
        if "url" in entry:
            entry["url"] = entry["url"].replace("neonmeter-endpoint", "neonmeter-gone")


def _wrong_variable(board: Board) -> None:
    for entry in rules.every(board["panels"]):
        if "url" in entry:
            entry["url"] = entry["url"].replace("var-project_id", "var-project")


def _unused(board: Board) -> None:
    board["templating"]["list"].append({"name": "unused", "type": "textbox"})


def _one_value(board: Board) -> None:
    board["templating"]["list"][2]["allValue"] = None


def _gauge(board: Board) -> None:
    _panel(board, "bargauge")["type"] = "gauge"


def _certain(board: Board) -> None:
    for panel in rules.panels(board):
        panel["title"] = panel["title"].replace("estimated", "exact")
        panel["description"] = panel["description"].replace("stimated", "xact")


def _no_dropdown(board: Board) -> None:
    board["links"] = []


def _wrong_legend(board: Board) -> None:
    _panel(board, "bargauge")["targets"][0]["legendFormat"] = "{{nobody}}"


BREAKS: list[tuple[str, Callable[[Board], None]]] = [
    ("ids", _twice), ("places", _over), ("units", _no_unit), ("steps", _one_step), ("words", _silent),
    ("sources", _own_source), ("sources", _hidden), ("links", _lost_link), ("links", _wrong_variable),
    ("variables", _unused), ("variables", _one_value), ("variables", _expr("neon_budget_usd{budget=~\"$nothing\"}")),
    ("variables", _expr('neon_project_info{project_id="$project_id"}')),
    ("kinds", _gauge), ("money", _certain), ("form", _no_dropdown), ("legends", _wrong_legend),
    ("names exist", _expr("neon_cost_month_to_date_eur")),
    ("names exist", _expr('neon_budget_usd{tenant="x"}')),
    ("names exist", _expr("sum by (branch_id) (neon_budget_usd)")),
    ("names exist", _expr("neon_budget_usd * on (budget) group_left (branch) neon_budget_info")),
    ("names exist", _expr("rate(neonmeter_rounds_total{job=~\"x\", status=\"ok\"}[$__rate_interval]) / on (round) up")),
    ("counters in rates", _expr("neon_endpoint_wakes_total")),
    ("counters in rates", _expr("sum(increase(neon_budget_usd[$__rate_interval]))")),
    ("rate windows", _expr("rate(neon_endpoint_wakes_total[5m])")),
    ("guarded ratios", _expr("neon_budget_spent_usd / neon_budget_usd")),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "spoil"), BREAKS)
def test_each_rule_finds_what_it_is_for(rule: str, spoil: Callable[[Board], None]) -> None:
    broken = copy.deepcopy(BOARDS["neonmeter-fleet"])
    assert rules.problems(rule, broken, BOARDS) == []
    spoil(broken)
    assert rules.problems(rule, broken, BOARDS) != []


def test_every_rule_is_broken_once() -> None:
    assert {rule for rule, _ in BREAKS} == set(rules.RULES)
