"""Rules of dashboards, one function each: what they find wrong, as sentences that begin with the panel's id."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import yaml

from tests.dashboards import promql

HERE = Path(__file__).parent
FOLDER = HERE.parents[1] / "dashboards"
Board = dict[str, Any]
Problems = Iterator[tuple[int, str]]
Rule = Callable[[Board, Mapping[str, Board]], Problems]
DRAWABLE = {"stat", "bargauge", "timeseries", "table", "text"}
SOURCE = "${datasource}"
BUILT_IN = re.compile(r"__\w+|\d+")
USED = re.compile(r"\$(?:\{(\w+)(?::\w+)?\}|(\w+))")
MONEY = "currencyUSD"


def boards() -> dict[str, Board]:
    """The committed dashboards by uid."""
    found = [json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))]
    return {board["uid"]: board for board in found}


def panels(board: Board) -> list[Any]:
    """Panels that show something."""
    return [entry for entry in board["panels"] if entry["type"] != "row"]


def targets(board: Board) -> Iterator[tuple[Any, str]]:
    """Panel and query text."""
    for panel in panels(board):
        for target in panel["targets"]:
            yield panel, target["expr"]


def every(value: Any) -> Iterator[Any]:
    """Every dict in a JSON value."""
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for entry in value:
            yield from every(entry)


def form(board: Board, _: Mapping[str, Board]) -> Problems:
    """Classic JSON of schema 41 with a uid, the tag, a description, and the links that keep time and variables."""
    if board["schemaVersion"] != 41 or board["tags"] != ["neonmeter"] or not board["uid"].startswith("neonmeter-"):
        yield 0, "needs schemaVersion 41, the tag and a uid of ours"
    link = board["links"][0] if board["links"] else {}
    if not (link.get("tags") == ["neonmeter"] and link["keepTime"] and link["includeVars"] and link["asDropdown"]):
        yield 0, "needs the dropdown of all dashboards that keeps time and variables"
    if board.get("graphTooltip") != 1 or len(board.get("description", "")) < 40:
        yield 0, "needs a shared crosshair and a description"


def ids(board: Board, _: Mapping[str, Board]) -> Problems:
    """Ids of panels are unique, and letters of targets within a panel."""
    seen: set[int] = set()
    for panel in board["panels"]:
        if panel["id"] in seen:
            yield panel["id"], "is there twice"
        seen.add(panel["id"])
        letters = [target["refId"] for target in panel.get("targets", ())]
        if len(letters) != len(set(letters)):
            yield panel["id"], "two targets have one letter"


def places(board: Board, _: Mapping[str, Board]) -> Problems:
    """Panels lie within the grid, beside each other, fewer than 30, and the top row is of tiles."""
    taken: dict[tuple[int, int], int] = {}
    for panel in board["panels"]:
        at = panel["gridPos"]
        if at["x"] < 0 or at["x"] + at["w"] > 24:
            yield panel["id"], "is outside the grid"
        for cell in ((x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])):
            if cell in taken:
                yield panel["id"], f"lies over {taken[cell]}"
                break
            taken[cell] = panel["id"]
    if len(panels(board)) >= 30:
        yield 0, "has too many panels"
    top = [panel["type"] for panel in board["panels"] if panel["gridPos"]["y"] == 0]
    if set(top) != {"stat"} or len(top) > 6:
        yield 0, "the top row is of at most six tiles"


def kinds(board: Board, _: Mapping[str, Board]) -> Problems:
    """Only kinds that can be drawn in the tests."""
    for panel in panels(board):
        if panel["type"] not in DRAWABLE:
            yield panel["id"], f"a {panel['type']} cannot be drawn here"


def words(board: Board, _: Mapping[str, Board]) -> Problems:
    """Each panel says what it means, what is healthy, what to do; and what it says where there is nothing."""
    for panel in panels(board):
        text = panel.get("description", "")
        if not ("**Healthy:**" in text and "**Next:**" in text and text.split("**")[0].strip().endswith((".", ":"))):
            yield panel["id"], "the description needs a meaning, what is healthy and what to do next"
        if not panel["fieldConfig"]["defaults"].get("noValue"):
            yield panel["id"], "needs a text for no value"
        if not panel.get("title"):
            yield panel["id"], "needs a title"


def units(board: Board, _: Mapping[str, Board]) -> Problems:
    """A unit on each panel and on each column."""
    for panel in panels(board):
        if not panel["fieldConfig"]["defaults"].get("unit"):
            yield panel["id"], "needs a unit"
        if panel["type"] == "table":
            for override in panel["fieldConfig"]["overrides"]:
                given = {entry["id"]: entry["value"] for entry in override["properties"]}
                if "unit" not in given and not given.get("custom.hidden"):
                    yield panel["id"], f"the column {override['matcher']['options']} needs a unit"


def steps(board: Board, _: Mapping[str, Board]) -> Problems:
    """Tiles and bars have at least two steps of colour."""
    for panel in panels(board):
        made = panel["fieldConfig"]["defaults"].get("thresholds", {}).get("steps", [])
        if panel["type"] in ("stat", "bargauge") and len(made) < 2:
            yield panel["id"], "needs two steps"


def variables(board: Board, _: Mapping[str, Board]) -> Problems:
    """Every variable that is used is defined, and the other way round; multi-valued ones take all as .+ ."""
    defined = [entry["name"] for entry in board["templating"]["list"]]
    if not defined or defined[0] != "datasource":
        yield 0, "the first variable is the datasource"
    used = {braced or plain for braced, plain in USED.findall(_without_own_texts(board))}
    used = {name for name in used if not BUILT_IN.fullmatch(name)}
    yield from ((0, f"${name} is used, not defined") for name in sorted(used - set(defined)))
    yield from ((0, f"${name} is defined, not used") for name in sorted(set(defined) - used))
    for entry in board["templating"]["list"]:
        if entry["type"] == "query" and not (entry["multi"] and entry["includeAll"] and entry["allValue"] == ".+"):
            yield 0, f"${entry['name']} must take many values, and all as .+"
    for panel, expr in targets(board):
        for name in re.findall(r'[^~]="[^"]*\$(\w+)', expr):
            yield panel["id"], f"${name} can have many values: match it with =~"


def _without_own_texts(board: Board) -> str:
    return json.dumps({key: value for key, value in board.items() if key not in ("title", "description", "uid")})


def sources(board: Board, _: Mapping[str, Board]) -> Problems:
    """No datasource is written down, no target is hidden."""
    for panel in panels(board):
        for entry in (panel, *panel["targets"]):
            if entry.get("datasource", {}).get("uid") != SOURCE:
                yield panel["id"], "a datasource that is not $datasource"
        if any(target.get("hide") for target in panel["targets"]):
            yield panel["id"], "a hidden target"
    for entry in board["annotations"]["list"]:
        if entry["datasource"]["uid"] != SOURCE:
            yield 0, f"the annotation {entry['name']} has a datasource of its own"


def links(board: Board, all_boards: Mapping[str, Board]) -> Problems:
    """Links lead to dashboards that exist, set variables that exist there, from columns that exist here."""
    own = {entry["name"] for entry in board["templating"]["list"]}
    for panel in panels(board):
        for url in (entry["url"] for entry in every(panel) if str(entry.get("url", "")).startswith("/d/")):
            uid, _, query = url.removeprefix("/d/").partition("?")
            if uid not in all_boards:
                yield panel["id"], f"{uid} does not exist"
                continue
            there = {all_board["name"] for all_board in all_boards[uid]["templating"]["list"]}
            for name, _value in parse_qsl(query):
                if name.startswith("var-") and name.removeprefix("var-") not in there:
                    yield panel["id"], f"{uid} has no variable {name}"
            for name in re.findall(r"\$\{(\w+):queryparam\}", query):
                if name not in own or name not in there:
                    yield panel["id"], f"${name} is not on both dashboards"
            columns = {override["matcher"]["options"] for override in panel["fieldConfig"]["overrides"]}
            for field in re.findall(r"__data\.fields\.(\w+)", query):
                if field not in columns:
                    yield panel["id"], f"no column {field}"


def money(board: Board, _: Mapping[str, Board]) -> Problems:
    """What is of dollars says so, and that it is estimated."""
    for panel in panels(board):
        of_usd = any("_usd" in name for target in panel["targets"] for name in promql.metrics(target["expr"]))
        units_of = {entry.get("unit") for entry in every(panel["fieldConfig"])} | {
            entry.get("value") for entry in every(panel["fieldConfig"]) if entry.get("id") == "unit"
        }
        if of_usd and "stimated" not in panel["title"] + panel["description"]:
            yield panel["id"], "of money, and does not say that it is estimated"
        if of_usd and not units_of & {MONEY, "percentunit"}:
            yield panel["id"], "of money, without a currency"


def queries(rule: promql.Rule) -> Rule:
    """A rule of queries as a rule of dashboards."""

    def check(board: Board, _: Mapping[str, Board]) -> Problems:
        for panel, expr in targets(board):
            yield from ((panel["id"], problem) for problem in promql.found(rule, expr))
        if rule is promql.names_exist:
            for entry in board["annotations"]["list"]:
                yield from (
                    (0, f"annotation {entry['name']}: {problem}") for problem in promql.found(rule, entry["expr"])
                )

    return check


def legends(board: Board, _: Mapping[str, Board]) -> Problems:
    """Labels in legends are those of the series."""
    for panel in panels(board):
        for target in panel["targets"]:
            for label in re.findall(r"\{\{\s*(\w+)\s*\}\}", target.get("legendFormat", "")):
                if label not in promql.labels(target["expr"]):
                    yield panel["id"], f"no series has a label {label}"


RULES: dict[str, Rule] = {
    "form": form, "ids": ids, "places": places, "kinds": kinds, "words": words, "units": units, "steps": steps,
    "variables": variables, "sources": sources, "links": links, "money": money, "legends": legends,
    **{name: queries(rule) for name, rule in promql.RULES.items()},
}  # fmt: skip


def exceptions() -> list[dict[str, Any]]:
    """What is allowed in spite of a rule: board, panel, rule and the reason."""
    found: list[dict[str, Any]] = yaml.safe_load((HERE / "exceptions.yaml").read_text())
    return found


def excused(rule: str, board: str) -> set[int]:
    """Panels of a board that a rule does not hold for."""
    return {
        exception["panel"] for exception in exceptions() if exception["rule"] == rule and exception["board"] == board
    }


def problems(rule: str, board: Board, all_boards: Mapping[str, Board]) -> Iterable[str]:
    """What a rule finds, without what is excused."""
    free = excused(rule, board["uid"])
    return [f"{board['uid']} {panel}: {text}" for panel, text in RULES[rule](board, all_boards) if panel not in free]
