"""How values look: units by Grafana's names, steps of colour from the shared limits, words for numbers, links.

All of it is data for the panel builders; nothing here knows what a panel shows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.models import dashboard as model

from dashboards.thresholds import Limit

COUNT, SECONDS, BYTES, RATIO, USD, TIMES, TEXT = (
    "short",
    "s",
    "decbytes",
    "percentunit",
    "currencyUSD",
    "none",
    "string",
)
PER_SECOND = "cps"
GREEN, AMBER, RED, BLUE, ASLEEP = "green", "orange", "red", "blue", "#6E7B91"
"""ASLEEP is the one colour of suspended time, everywhere."""

Words = model.ValueMap | model.SpecialValueMap
STATES = {"active": ("active", GREEN), "idle": ("suspended", ASLEEP), "init": ("starting", BLUE)}


def steps(limit: Limit) -> build.ThresholdsConfig:
    """Green, amber, red at the limit's numbers."""
    if limit.worse == "up":
        rising = [(None, GREEN), (limit.warning, AMBER), (limit.critical, RED)]
    else:
        rising = [(None, RED), (limit.critical, AMBER), (limit.warning, GREEN)]
    return _steps(rising)


def plain_steps() -> build.ThresholdsConfig:
    """For a figure that is neither good nor bad: one quiet colour from 0 on."""
    return _steps([(None, "text"), (0.0, BLUE)])


def steps_value(limit: Limit) -> dict[str, object]:
    """The same as :func:`steps`, for an override."""
    return as_json(steps(limit).build())


def _steps(pairs: Sequence[tuple[float | None, str]]) -> build.ThresholdsConfig:
    made = [model.Threshold(value=value, color=color) for value, color in pairs]
    return build.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(made)


def words(texts: Mapping[str, tuple[str, str | None]]) -> model.ValueMap:
    """Values (as text) by what to show in their place, with a colour."""
    results = {
        value: model.ValueMappingResult(text=text, color=color, index=index)
        for index, (value, (text, color)) in enumerate(texts.items())
    }
    return model.ValueMap(options=results)


def link(title: str, uid: str, fields: Mapping[str, str] | None = None, *, board: str = "") -> dict[str, object]:
    """A data link to another dashboard that keeps time and datasource; ``fields`` maps a variable to a column.

    Without ``fields`` the variables that both have travel as they are (``board`` lists them, joined by commas).
    """
    kept = [f"${{{name}:queryparam}}" for name in ("datasource", *filter(None, board.split(",")))]
    chosen = [f"var-{name}=${{__data.fields.{column}}}" for name, column in (fields or {}).items()]
    return {"title": title, "url": f"/d/{uid}?{'&'.join([*chosen, *kept, '${__url_time_range}'])}"}


def as_json(made: object) -> dict[str, object]:
    """What an SDK object writes, as plain data."""
    import json  # noqa: PLC0415 - only overrides need it

    from grafana_foundation_sdk.cog.encoder import JSONEncoder  # noqa: PLC0415

    parsed: dict[str, object] = json.loads(JSONEncoder().encode(made))
    return parsed
