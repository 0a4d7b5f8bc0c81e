"""Series to Prometheus text 0.0.4: the sample lines of one target, from label text that was escaped once.

Values change at every reading, labels hardly ever. So for each (target, metric) one format string with all label text
in it is kept, and a render is a single C-level ``%`` over the values: about a tenth of what building each line costs.
The kept string is replaced as soon as the set of series changes and dropped with the target.

This is also the only place where money becomes a float.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from math import inf, isfinite
from typing import NamedTuple

from collectors.base import Target
from collectors.metric import Families, Labels, Metric, Series, Value

_LARGEST = 10**308
"""Go's parser refuses a page with a number beyond the float range; ours becomes an infinity there."""

_PLAIN_NUMBERS = (frozenset({int}), frozenset({float}), frozenset({int, float}))


def within(metric: Metric, series: Series) -> Series:
    """At most ``max_series`` of them. Sorted, so that the same survive in whatever order the rows came: no churn."""
    if len(series) <= metric.max_series:
        return series
    return {labels: series[labels] for labels in sorted(series)[: metric.max_series]}


def escape_label(text: str) -> str:
    """Escape a label value: backslash, quote and newline; everything else stands for itself."""
    if "\\" in text:
        text = text.replace("\\", "\\\\")
    if '"' in text:
        text = text.replace('"', '\\"')
    if "\n" in text:
        text = text.replace("\n", "\\n")
    return text


def escape_help(text: str) -> str:
    """Escape a HELP text: only backslash and newline have a meaning there."""
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def header(metric: Metric) -> bytes:
    """The HELP and TYPE lines of a family."""
    return f"# HELP {metric.name} {escape_help(metric.help)}\n# TYPE {metric.name} {metric.kind.value}\n".encode()


def number(value: Value) -> str:
    """One value as the format wants it: shortest text that reads back as the same float; NaN, +Inf, -Inf."""
    kind = type(value)
    if kind is int and -_LARGEST < value < _LARGEST:
        return str(value)
    if kind is bool:
        return str(int(value))
    real = as_float(value)
    if isfinite(real):
        return repr(real)
    if real != real:  # noqa: PLR0124 - the definition of NaN
        return "NaN"
    return "+Inf" if real > 0 else "-Inf"


def as_float(value: Value) -> float:
    """The nearest float. A signalling NaN has none and is a NaN; what is too large is an infinity, not an error."""
    if isinstance(value, Decimal) and value.is_snan():
        return float("nan")
    try:
        return float(value)
    except OverflowError:
        return inf if value > 0 else -inf


class Fragment(NamedTuple):
    """The sample lines of one target in one family. ``cut`` counts the series left out for ``max_series``."""

    lines: bytes
    series: int
    cut: int = 0


class Renderer:
    """Renders one target again and again; keeps the escaped label text between two renders."""

    __slots__ = ("_kept", "_target")

    def __init__(self, target: Target) -> None:
        """``target`` gives the scope labels that stand before the metric's own."""
        self._target = target
        self._kept: dict[Metric, tuple[tuple[Labels, ...], str]] = {}

    @property
    def target(self) -> Target:
        """What is rendered here."""
        return self._target

    def render(self, families: Families) -> dict[Metric, Fragment]:
        """The sample lines by metric; a metric without series is absent, and its kept label text is let go."""
        rendered: dict[Metric, Fragment] = {}
        for metric, series in families.items():
            if series:
                rendered[metric] = self._family(metric, series)
        if len(self._kept) > len(rendered):
            self._kept = {metric: kept for metric, kept in self._kept.items() if metric in rendered}
        return rendered

    def _family(self, metric: Metric, series: Series) -> Fragment:
        cut = len(series)
        series = within(metric, series)
        cut -= len(series)
        keys = tuple(series)
        kept = self._kept.get(metric)
        template = kept[1] if kept is not None and kept[0] == keys else self._template(metric, keys)
        # The new keys replace the equal old ones, so that the label tuples of the last reading can be freed.
        self._kept[metric] = (keys, template)
        values: Iterable[Value] = series.values()
        if set(map(type, values)) not in _PLAIN_NUMBERS or not _all_finite(values):
            # Only the placeholders stand before a newline: one in a label is escaped.
            text = template.replace(" %r\n", " %s\n") % tuple(map(number, values))
        else:
            text = template % tuple(values)
        return Fragment(text.encode("utf-8", "replace"), len(keys), cut)

    def _template(self, metric: Metric, keys: tuple[Labels, ...]) -> str:
        scope = [
            f'{name}="{escape_label(value)}"'
            for name, value in zip(metric.scope.value, self._target.labels, strict=True)
        ]
        lines = []
        for labels in keys:
            own = [f'{name}="{escape_label(value)}"' for name, value in zip(metric.labels, labels, strict=True)]
            text = ",".join(scope + own)
            line = f"{metric.name}{{{text}}} " if text else f"{metric.name} "
            lines.append(line.replace("%", "%%"))
        return "%r\n".join(lines) + "%r\n"


def _all_finite(values: Iterable[Value]) -> bool:
    try:
        return all(map(isfinite, values))
    except OverflowError:
        return False


def render(target: Target, families: Families) -> dict[Metric, bytes]:
    """The sample lines of one target by metric, once and without anything kept: for the check command and tests.

    A family over its ``max_series`` is cut as :class:`Renderer` cuts it.
    """
    return {metric: fragment.lines for metric, fragment in Renderer(target).render(families).items()}
