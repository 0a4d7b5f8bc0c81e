"""The four kinds of panel that we draw, each with what the rules ask: a description, a unit, limits, an empty text.

Stat, bars, lines and tables only: these are the kinds that Grafana's own components can draw in our tests.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

from grafana_foundation_sdk.builders import bargauge, common, prometheus, stat, timeseries
from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import common as shape
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from dashboards import looks
from dashboards.queries import ENDPOINT, Query
from dashboards.thresholds import Limit

SOURCE = model.DataSourceRef(type_val="prometheus", uid="${datasource}")
ASLEEP_NAME = "suspended"
Override = tuple[model.MatcherConfig, list[model.DynamicConfigValue]]


@dataclass(frozen=True, slots=True)
class About:
    """What the (i) of a panel says: what it means, what is healthy, and what to do when it is not."""

    meaning: str
    healthy: str
    then: str

    def __str__(self) -> str:
        """As one paragraph each."""
        return f"{self.meaning}\n\n**Healthy:** {self.healthy}\n\n**Next:** {self.then}"


@dataclass(frozen=True, slots=True)
class Say:
    """A panel's number (its id for ever), its title and its description; ``empty`` stands where there is no value."""

    number: int
    title: str
    about: About
    empty: str = "no data"


@dataclass(frozen=True, slots=True)
class Style:
    """How values are shown: unit, limits, decimals, words in place of numbers, links."""

    unit: str
    limit: Limit | None = None
    decimals: float | None = None
    words: Sequence[looks.Words] = ()
    links: Sequence[dict[str, object]] = field(default=())


def named(name: str, **properties: object) -> Override:
    """An override of one field by its name; underscores in property names stand for dots."""
    values = [model.DynamicConfigValue(id_val=key.replace("__", "."), value=value) for key, value in properties.items()]
    return model.MatcherConfig(id_val="byName", options=name), values


def stat_panel(say: Say, query: Query, style: Style, *, text: bool = False, spark: bool = False) -> model.Panel:
    """One figure on a ground of its colour; ``text`` shows the series' name instead of the value."""
    panel = stat.Panel().color_mode(
        shape.BigValueColorMode.BACKGROUND if style.limit or style.words else shape.BigValueColorMode.VALUE
    )
    panel = panel.graph_mode(shape.BigValueGraphMode.AREA if spark else shape.BigValueGraphMode.NONE)
    panel = panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).fields("").values(False))
    panel = panel.text_mode(shape.BigValueTextMode.NAME if text else shape.BigValueTextMode.AUTO)
    panel = panel.justify_mode(shape.BigValueJustifyMode.CENTER).orientation(shape.VizOrientation.AUTO)
    return dressed(panel.with_target(target(query, "A", instant=not spark)), say, style)


def bars_panel(say: Say, query: Query, style: Style, *, most: float | None = None) -> model.Panel:
    """One bar a series, the longest first if the query sorts."""
    panel = bargauge.Panel().orientation(shape.VizOrientation.HORIZONTAL).display_mode(
        shape.BarGaugeDisplayMode.BASIC
    )  # fmt: skip
    panel = panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).fields("").values(False))
    panel = panel.value_mode(shape.BarGaugeValueMode.COLOR).show_unfilled(True).min(0)
    panel = panel.name_placement(shape.BarGaugeNamePlacement.LEFT).sizing(shape.BarGaugeSizing.AUTO)
    panel = panel.text(common.VizTextDisplayOptions().title_size(12).value_size(14))
    panel = panel if most is None else panel.max(most)
    return dressed(panel.with_target(target(query, "A", instant=True)), say, style)


def lines_panel(
    say: Say, queries: Sequence[Query], style: Style, *, stack: bool = False, asleep: bool = False,
    overrides: Sequence[Override] = (), state_band: bool = False, bars: bool = False, most: float | None = None,
) -> model.Panel:  # fmt: skip
    """Lines over time.

    ``asleep`` shades the time in which the chosen computes were suspended; ``state_band`` draws states as areas that
    stand on each other; ``bars`` draws columns; ``most`` is the top of the scale.
    """
    panel = timeseries.Panel().line_width(0 if state_band else 1).span_nulls(False).min(0)
    panel = panel.fill_opacity(85 if state_band else 60 if bars else 30 if stack else 8)
    panel = panel.show_points(shape.VisibilityMode.NEVER if stack or state_band else shape.VisibilityMode.AUTO)
    panel = panel.point_size(3).draw_style(
        shape.GraphDrawStyle.BARS if bars else shape.GraphDrawStyle.LINE
    ).line_interpolation(
        shape.LineInterpolation.STEP_AFTER if state_band else shape.LineInterpolation.LINEAR
    )  # fmt: skip
    panel = panel.color_scheme(build.FieldColor().mode(model.FieldColorModeId.PALETTE_CLASSIC))
    panel = panel.tooltip(
        common.VizTooltipOptions().mode(shape.TooltipDisplayMode.MULTI).sort(shape.SortOrder.DESCENDING)
    )
    panel = panel.legend(
        common.VizLegendOptions().display_mode(shape.LegendDisplayMode.LIST)
        .placement(shape.LegendPlacement.BOTTOM).show_legend(True).calcs([])
    )  # fmt: skip
    if stack:
        panel = panel.stacking(common.StackingConfig().mode(shape.StackingMode.NORMAL).group("A"))
    if most is not None:
        panel = panel.max(most)
    if style.limit:
        panel = panel.thresholds_style(common.GraphThresholdsStyleConfig().mode(shape.GraphThresholdsStyleMode.DASHED))
    for letter, query in zip("ABCDEFGH", queries, strict=False):
        panel = panel.with_target(target(query, letter))
    if asleep:
        panel = panel.with_target(target(_asleep_share(), "Z"))
    for matcher, properties in [*overrides, *([_asleep()] if asleep else [])]:
        panel = panel.with_override(matcher, properties)
    return dressed(panel, say, style)


def _asleep_share() -> Query:
    """How much of what is chosen was suspended: 1 is all of it."""
    return Query(f'avg(neon_endpoint_state{{state="idle", {ENDPOINT}}}) > 0', ASLEEP_NAME)


def _asleep() -> Override:
    return named(
        ASLEEP_NAME, color={"mode": "fixed", "fixedColor": looks.ASLEEP}, custom__axisPlacement="hidden",
        custom__lineWidth=0, custom__fillOpacity=22, custom__lineInterpolation="stepAfter",
        custom__showPoints="never", custom__stacking={"mode": "none"}, custom__drawStyle="line",
        custom__thresholdsStyle={"mode": "off"}, custom__spanNulls=False,
        max=1, min=0, unit="percentunit",
    )  # fmt: skip


def target(query: Query, letter: str, *, instant: bool = False) -> prometheus.Dataquery:
    """A query as a target of a panel; rows and tiles need one instant only."""
    made = prometheus.Dataquery().expr(query.expr).ref_id(letter).datasource(SOURCE).legend_format(query.legend)
    made = made.format(PromQueryFormat.TABLE if query.table else PromQueryFormat.TIME_SERIES)
    return made.instant() if query.table or query.instant or instant else made.range()


class _Dressable(Protocol):
    """What the builders of all kinds of panel can do alike."""

    def id(self, id_val: int) -> Self: ...
    def title(self, title: str) -> Self: ...
    def description(self, description: str) -> Self: ...
    def datasource(self, datasource: model.DataSourceRef) -> Self: ...
    def unit(self, unit: str) -> Self: ...
    def no_value(self, no_value: str) -> Self: ...
    def thresholds(self, thresholds: Builder[model.ThresholdsConfig]) -> Self: ...
    def decimals(self, decimals: float) -> Self: ...
    def build(self) -> model.Panel: ...
    def mappings(self, mappings: list[looks.Words | model.RangeMap | model.RegexMap]) -> Self: ...


def dressed(panel: _Dressable, say: Say, style: Style) -> model.Panel:
    """The panel with what every kind shares, built."""
    panel = panel.id(say.number).title(say.title).description(str(say.about)).datasource(SOURCE)
    panel = panel.unit(style.unit).no_value(say.empty).mappings([*style.words])
    panel = panel.thresholds(looks.steps(style.limit) if style.limit else looks.plain_steps())
    if style.decimals is not None:
        panel = panel.decimals(style.decimals)
    made = panel.build()
    if style.links and made.field_config:
        links: Any = [*style.links]  # The SDK's class is for links of dashboards and writes more than a data link has.
        made.field_config.defaults.links = links
    return made
