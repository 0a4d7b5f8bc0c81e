"""Tables: one row a thing, one column a query, and links from a row to where it is shown in full.

Each query answers with the same key labels; the first one carries the names. Grafana merges the answers by those keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.builders import common, table
from grafana_foundation_sdk.models import common as shape
from grafana_foundation_sdk.models import dashboard as model

from dashboards import looks
from dashboards.panels import Override, Say, Style, dressed, target
from dashboards.queries import Query
from dashboards.thresholds import Limit


@dataclass(frozen=True, slots=True)
class Column:
    """A column: the field that it shows (a label, or ``Value #A`` of a query) and how.

    ``fill`` colours the whole cell, otherwise a limit colours the text; ``empty`` stands where a row has no value.
    """

    source: str
    title: str
    unit: str = looks.TEXT
    limit: Limit | None = None
    width: int | None = None
    words: Sequence[looks.Words] = ()
    links: Sequence[dict[str, object]] = ()
    decimals: int | None = None
    fill: bool = False
    empty: str = "-"


def table_panel(
    say: Say, queries: Sequence[Query], columns: Sequence[Column], *,
    sort: str, descending: bool = True, hidden: Sequence[str] = (), links: Sequence[dict[str, object]] = (),
) -> model.Panel:  # fmt: skip
    """Rows sorted by the column titled ``sort``; ``hidden`` labels stay in the data for links, unseen.

    ``links`` stand on the first column, the name of the row.
    """
    panel = table.Panel().cell_height(shape.TableCellHeight.SM).show_header(True)
    panel = panel.sort_by([common.TableSortByFieldState().display_name(sort).desc(descending)])
    for letter, query in zip("ABCDEFGHIJKLM", queries, strict=False):
        panel = panel.with_target(target(query, letter))
    for made in _transformations(columns, hidden, merge=len(queries) > 1):
        panel = panel.with_transformation(made)
    for index, column in enumerate(columns):
        panel = panel.with_override(*_override(column, links if index == 0 else ()))
    for label in hidden:
        panel = panel.with_override(*_hide(label))
    return dressed(panel, say, Style(looks.COUNT))


def _transformations(
    columns: Sequence[Column], hidden: Sequence[str], *, merge: bool
) -> list[model.DataTransformerConfig]:
    order = {column.source: index for index, column in enumerate(columns)}
    shown = [*order, *hidden]
    only = model.DataTransformerConfig(id_val="filterFieldsByName", options={"include": {"names": shown}})
    organize = model.DataTransformerConfig(
        id_val="organize",
        options={
            "excludeByName": {},
            "indexByName": order | {label: len(order) + index for index, label in enumerate(hidden)},
            "renameByName": {column.source: column.title for column in columns},
        },
    )
    merged = [model.DataTransformerConfig(id_val="merge", options={})] if merge else []
    return [*merged, only, organize]


def _override(column: Column, links: Sequence[dict[str, object]]) -> Override:
    properties: dict[str, object] = {"unit": column.unit, "noValue": column.empty}
    if column.limit:
        properties["thresholds"] = looks.steps_value(column.limit)
        kind = {"type": "color-background", "mode": "basic"} if column.fill else {"type": "color-text"}
        properties |= {"custom.cellOptions": kind, "color": {"mode": "thresholds"}}
    elif column.words:
        properties["custom.cellOptions"] = {
            "type": "color-background" if column.fill else "color-text",
            "mode": "basic",
        }
    if column.words:
        properties["mappings"] = [looks.as_json(word) for word in column.words]
    if column.width:
        properties["custom.width"] = column.width
    if column.decimals is not None:
        properties["decimals"] = column.decimals
    if column.links or links:
        properties["links"] = [*column.links, *links]
    values = [model.DynamicConfigValue(id_val=name, value=value) for name, value in properties.items()]
    return model.MatcherConfig(id_val="byName", options=column.title), values


def _hide(label: str) -> Override:
    """Grafana to 12.0 knows ``hidden``, later ones ``hideFrom.viz``."""
    values = [
        model.DynamicConfigValue(id_val="custom.hidden", value=True),
        model.DynamicConfigValue(id_val="custom.hideFrom", value={"viz": True, "legend": False, "tooltip": False}),
    ]
    return model.MatcherConfig(id_val="byName", options=label), values
