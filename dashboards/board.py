"""A dashboard from its rows: places the panels, adds the variables, the annotations and the links that all share."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as model

from dashboards.marks import Annotation, annotation_json
from dashboards.variables import variable_json

TAG = "neonmeter"
COLUMNS = 24


@dataclass(frozen=True, slots=True)
class Row:
    """Panels side by side, each with its width in 24ths; a heading puts a line of text above them."""

    height: int
    panels: Sequence[tuple[model.Panel, int]]
    heading: str = ""


@dataclass(frozen=True, slots=True)
class Board:
    """One dashboard, as data. ``since`` is how far back it looks at first."""

    uid: str
    title: str
    about: str
    variables: Sequence[str]
    annotations: Sequence[Annotation]
    rows: Sequence[Row]
    since: str = "now-6h"
    refresh: str = "1m"

    def to_json(self) -> str:
        """Classic dashboard JSON, schemaVersion 41, the same bytes every time."""
        made = self._built()
        plain = json.loads(JSONEncoder().encode(made))
        plain["templating"] = {"list": [variable_json(name) for name in self.variables]}
        plain["annotations"] = {"list": [annotation_json(annotation) for annotation in self.annotations]}
        plain["version"] = 1
        return json.dumps(_without_nulls(plain), indent=2, sort_keys=True, ensure_ascii=False) + "\n"

    def _built(self) -> model.Dashboard:
        made = (
            build.Dashboard(self.title).uid(self.uid).tags([TAG]).description(self.about).editable()
            .time(self.since, "now").refresh(self.refresh).timezone("browser")
            .tooltip(model.DashboardCursorSync.CROSSHAIR).link(_links())
        ).build()  # fmt: skip
        made.panels = _placed(self.rows)
        return made


def _links() -> build.DashboardLink:
    return (
        build.DashboardLink("neonmeter").type(model.DashboardLinkType.DASHBOARDS).tags([TAG])
        .as_dropdown(True).keep_time(True).include_vars(True).icon("external link")
        .tooltip("The other dashboards, with the same time and variables")
    )  # fmt: skip


def _placed(rows: Sequence[Row]) -> list[model.Panel | model.RowPanel]:
    placed: list[model.Panel | model.RowPanel] = []
    y, headings = 0, 0
    for row in rows:
        if row.heading:
            headings += 1
            at = model.GridPos(h=1, w=COLUMNS, x=0, y=y)
            placed.append(model.RowPanel(title=row.heading, id_val=900 + headings, grid_pos=at))
            y += 1
        x = 0
        for panel, width in row.panels:
            panel.grid_pos = model.GridPos(h=row.height, w=width, x=x, y=y)
            placed.append(panel)
            x += width
        y += row.height
    return placed


def _without_nulls(value: object) -> object:
    """The same without keys that say nothing; a threshold's base step keeps its null."""
    if isinstance(value, dict):
        return {key: _without_nulls(part) for key, part in value.items() if part is not None or key == "value"}
    if isinstance(value, list):
        return [_without_nulls(part) for part in value]
    return value
