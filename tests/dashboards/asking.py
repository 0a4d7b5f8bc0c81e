"""Asks a Prometheus every query of every dashboard, as Grafana would with everything chosen."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from tests.dashboards import rules
from tests.dashboards.rules import Board
from tests.dashboards.seeded.exposition import END, SCRAPE_SECONDS

SECONDS = {"m": 60, "h": 3600, "d": 86400}
POINTS = 60


@dataclass(frozen=True)
class Asked:
    """One query and how many series came back; ``error`` is what Prometheus said."""

    board: str
    panel: int
    title: str
    letter: str
    expr: str
    series: int
    error: str = ""

    @property
    def name(self) -> str:
        return f"{self.board} {self.panel}{self.letter} ({self.title})"


@dataclass(frozen=True)
class Span:
    """The time that is asked for, and how often it was scraped."""

    end: float
    seconds: int
    scrape: int


def filled(expr: str, board: Board, span: int, scrape: int = SCRAPE_SECONDS) -> str:
    """The query with all variables at their value for all, and Grafana's own as they would be."""
    step = max(scrape, span // POINTS)
    values = {entry["name"]: entry.get("allValue", "") for entry in board["templating"]["list"]}
    values |= {"__range": f"{span}s", "__interval": f"{step}s", "__rate_interval": f"{step + 4 * scrape}s"}
    return re.sub(r"\$(?:\{(\w+)\}|([A-Za-z_]\w*))", lambda found: values.get(found[1] or found[2], found[0]), expr)


def ask(url: str, board: Board, *, end: float = END, scrape: int = SCRAPE_SECONDS) -> Iterator[Asked]:
    """Every target of a dashboard, in the time that it shows at first; then its annotations as panel 0."""
    amount, unit = re.findall(r"now-(\d+)([mhd])", board["time"]["from"])[0]
    span = int(amount) * SECONDS[unit]
    with httpx.Client(base_url=url, trust_env=False, timeout=300) as client:
        for panel in rules.panels(board):
            for target in panel["targets"]:
                yield _asked(client, board, panel, target, Span(end, span, scrape))
        for number, entry in enumerate(board["annotations"]["list"]):
            mark = {"id": 0, "title": entry["name"]}
            wanted = {"expr": entry["expr"], "refId": f"mark{number}"}
            yield _asked(client, board, mark, wanted, Span(end, span, scrape))


def _asked(
    client: httpx.Client, board: Board, panel: Mapping[str, Any], target: Mapping[str, Any], span: Span
) -> Asked:  # fmt: skip
    expr = filled(target["expr"], board, span.seconds, span.scrape)
    if target.get("instant"):
        answer = client.post("/api/v1/query", data={"query": expr, "time": str(span.end)})
    else:
        # Grafana asks for annotations at their own step of a minute, whatever the width of the picture.
        step = 60 if panel["id"] == 0 else max(span.scrape, span.seconds // POINTS)
        when = {"start": str(span.end - span.seconds), "end": str(span.end), "step": str(step)}
        answer = client.post("/api/v1/query_range", data={"query": expr, **when})
    body = answer.json()
    said = "" if body["status"] == "success" else body["error"]
    series = 0 if said else len(body["data"]["result"])
    return Asked(board["uid"], panel["id"], panel["title"], target["refId"], expr, series, said)


def variables(url: str, board: Board, *, end: float = END) -> dict[str, int]:
    """How many values each query variable has, and that its pattern takes text and value out of each answer."""
    found: dict[str, int] = {}
    with httpx.Client(base_url=url, trust_env=False, timeout=300) as client:
        for entry in board["templating"]["list"]:
            if entry["type"] != "query":
                continue
            kind, inner = re.fullmatch(r"(label_values|query_result)\((.*)\)", entry["definition"], re.DOTALL).groups()  # type: ignore[union-attr]
            expr, label = inner.rsplit(", ", 1) if kind == "label_values" else (inner, "")
            answer = client.post("/api/v1/query", data={"query": filled(expr, board, 3600), "time": str(end)})
            series = [one["metric"] for one in answer.json()["data"]["result"]]
            if label:
                found[entry["name"]] = len({one[label] for one in series})
                continue
            pattern = entry["regex"].strip("/").replace("(?<", "(?P<")
            texts = ["{" + ",".join(f'{key}="{value}"' for key, value in sorted(one.items())) + "}" for one in series]
            found[entry["name"]] = sum(1 for text in texts if re.search(pattern, text))
    return found
