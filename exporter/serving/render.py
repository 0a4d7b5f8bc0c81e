"""Rendering of one target's series in the Prometheus text format 0.0.4, with label text that is escaped once.

Values change at every reading, labels rarely. So a format string with all the label text is cached per target and
metric, and rendering is a single ``%`` over the values: about a tenth of the cost of building each line. The format
string is replaced when the set of series changes and dropped with the target.

This is the only place where money becomes a float.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from math import inf, isfinite
from typing import NamedTuple

from collectors.base import Target
from collectors.metric import Families, Labels, Metric, Series, Value

_LARGEST = 10**308
"""Go's parser rejects an exposition with a number beyond the float range; such values become infinities."""

_PLAIN_NUMBERS = (frozenset({int}), frozenset({float}), frozenset({int, float}))


def limit_series(metric: Metric, series: Series) -> Series:
    """The first ``max_series`` series by label values: sorted, so that the order of rows causes no churn."""
    if len(series) <= metric.max_series:
        return series
    return {labels: series[labels] for labels in sorted(series)[: metric.max_series]}


def escape_label(text: str) -> str:
    """Escape backslash, quote and newline in a label value; nothing else is special in the format."""
    if "\\" in text:
        text = text.replace("\\", "\\\\")
    if '"' in text:
        text = text.replace('"', '\\"')
    if "\n" in text:
        text = text.replace("\n", "\\n")
    return text


def escape_help(text: str) -> str:
    """Escape backslash and newline in a HELP text; nothing else is special there."""
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def header(metric: Metric) -> bytes:
    """The HELP and TYPE lines of a family."""
    return f"# HELP {metric.name} {escape_help(metric.help)}\n# TYPE {metric.name} {metric.kind.value}\n".encode()


def number(value: Value) -> str:
    """A value in the format's notation: the shortest text that parses to the same float, or NaN, +Inf, -Inf."""
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
    """The nearest float; NaN for a signalling NaN, an infinity for what is beyond the float range. Never raises."""
    if isinstance(value, Decimal) and value.is_snan():
        return float("nan")
    try:
        return float(value)
    except OverflowError:
        return inf if value > 0 else -inf


class Fragment(NamedTuple):
    """The sample lines of one target in one family; ``cut`` counts the series omitted because of ``max_series``."""

    lines: bytes
    series: int
    cut: int = 0


class Renderer:
    """Renders one target repeatedly and caches its escaped label text in between."""

    __slots__ = ("_target", "_templates")

    def __init__(self, target: Target) -> None:
        """``target`` gives the scope labels, which precede the metric's own."""
        self._target = target
        self._templates: dict[Metric, tuple[tuple[Labels, ...], str]] = {}

    @property
    def target(self) -> Target:
        """The target that is rendered."""
        return self._target

    def render(self, families: Families) -> dict[Metric, Fragment]:
        """The fragment of each metric that has series; the cached label text of the others is dropped.

        Raises:
            ValueError: a series has not as many label values as its metric has labels.
        """
        rendered: dict[Metric, Fragment] = {}
        for metric, series in families.items():
            if series:
                rendered[metric] = self._family(metric, series)
        if len(self._templates) > len(rendered):
            self._templates = {metric: entry for metric, entry in self._templates.items() if metric in rendered}
        return rendered

    def _family(self, metric: Metric, series: Series) -> Fragment:
        cut = len(series)
        series = limit_series(metric, series)
        cut -= len(series)
        keys = tuple(series)
        cached_keys, template = self._templates.get(metric, ((), ""))
        if cached_keys != keys:
            template = self._template(metric, keys)
        # Also when they are equal: the label tuples of the previous reading can then be freed.
        self._templates[metric] = (keys, template)
        values: Iterable[Value] = series.values()
        if set(map(type, values)) not in _PLAIN_NUMBERS or not _all_finite(values):
            # " %r\\n" is always a placeholder: a newline in a label value is escaped.
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
    """The sample lines of one target by metric, without a cache: for the check command and tests."""
    return {metric: fragment.lines for metric, fragment in Renderer(target).render(families).items()}
