"""Charts as inline SVG: bars by month, a waterfall, a range, a sparkline. No script, no font, no colour of their own.

Colours are classes that the page's sheet fills, so one picture serves light, dark and paper. Every chart has a title
and a description for who cannot see it; the numbers themselves are in a table beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from html import escape
from math import ceil, floor, log10
from typing import NamedTuple

from markupsafe import Markup

SERIES = 8
"""Colours that the sheet has for series, s0 to s7."""


class Step(NamedTuple):
    """One bar of a waterfall in USD: a whole (from the ground up), or a change on top of what was before."""

    label: str
    usd: Fraction
    text: str
    whole: bool = False


def stacked_bars(
    name: str,
    title: str,
    months: Sequence[tuple[str, Mapping[str, Fraction]]],
    series: Sequence[str],
    *,
    mark: Fraction | None = None,
) -> Markup:
    """Bars by month in USD, stacked by series in the order given; ``mark`` draws a line, such as the budget."""
    width, height, left, top, bottom = 500.0, 236.0, 44.0, 12.0, 32.0
    totals = [sum((max(part, Fraction()) for part in parts.values()), Fraction()) for _, parts in months]
    scale = _Scale(float(max([*totals, mark or Fraction()])), top, height - bottom)
    body = [*scale.grid(left, width)]
    slot = (width - left - 6) / max(1, len(months))
    bar = min(46.0, slot * 0.68)
    for number, (label, parts) in enumerate(months):
        x = left + slot * number + (slot - bar) / 2
        level = 0.0
        for index, key in enumerate(series):
            value = max(0.0, float(parts.get(key, 0)))
            if value:
                y, under = scale.y(level + value), scale.y(level)
                level += value
                body.append(_rect(f"s{min(index, SERIES - 1)}", x, y, bar, max(0.0, under - y)))
        month, _, year = label.partition(" ")
        if year and (number == 0 or month == "Jan"):
            body.append(_text(year, x + bar / 2, height - 2))
        body.append(_text(month, x + bar / 2, height - 16, strong=number == len(months) - 1))
    if mark is not None:
        y = scale.y(float(mark))
        body.append(_line("mark", left, width, y))
        body.append(_element("text", "budget", class_="strong", x=width, y=y - 4, text_anchor="end"))
    read_out = "; ".join(f"{label} {_short(float(total))}" for (label, _), total in zip(months, totals, strict=True))
    return _svg(name, title, read_out, (width, height), body)


def waterfall(name: str, title: str, steps: Sequence[Step]) -> Markup:
    """From one whole to the other, over the changes between them. The axis is cut where the changes are small."""
    width, height, top, bottom = 500.0, 230.0, 22.0, 24.0
    spans = _spans(steps)
    cut, high = _axis(steps, spans)
    ground = height - bottom

    def y_of(value: float) -> float:
        return ground - (max(value, cut) - cut) / ((high - cut) or 1.0) * (ground - top)

    slot = width / max(1, len(steps))
    bar = min(78.0, slot * 0.66)
    body = [_line("axis", 0, width, ground)]
    for number, (step, (before, after)) in enumerate(zip(steps, spans, strict=True)):
        x = slot * number + (slot - bar) / 2
        y, under = y_of(max(before, after)), y_of(min(before, after))
        kind = "whole" if step.whole else "up" if step.usd > 0 else "down"
        body.append(_rect(kind, x, y, bar, max(1.0, under - y)))
        if number + 1 < len(steps):
            body.append(_line("link", x + bar, x + slot, y_of(after)))
        body.append(_element("text", step.text, class_="strong", x=x + bar / 2, y=y - 6, text_anchor="middle"))
        body.append(_text(step.label, x + bar / 2, height - 8))
        if step.whole and cut:
            half = bar / 2 + 3
            body.append(_element("path", class_="cut", d=f"M{x - 3:.1f} {ground - 9:.1f}l{half:.1f} -5l{half:.1f} 5"))
    read_out = "; ".join(f"{step.label} {step.text}" for step in steps)
    return _svg(name, title, read_out + ("; the axis does not begin at 0" if cut else ""), (width, height), body)


def _spans(steps: Sequence[Step]) -> list[tuple[float, float]]:
    """Where each step begins and ends, in USD."""
    spans: list[tuple[float, float]] = []
    level = 0.0
    for step in steps:
        before = 0.0 if step.whole else level
        level = before + float(step.usd)
        spans.append((before, level))
    return spans


def _axis(steps: Sequence[Step], spans: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Where the axis begins and ends, in USD."""
    ends = [end for span, step in zip(spans, steps, strict=True) for end in (span if not step.whole else span[1:])]
    high, low = max([*ends, 0.0]), min(ends, default=0.0)
    # Changes of a few dollars on thousands would be hairlines: the axis begins below the lowest step then.
    return (max(0.0, low - (high - low) * 1.5) if high and low > high * 0.6 else 0.0), high


def range_bar(
    name: str,
    title: str,
    span: tuple[Fraction, Fraction, Fraction],
    texts: tuple[str, str, str],
    now: tuple[Fraction, str],
) -> Markup:
    """Low, likely and high on a line, and where things are now; the line begins where the figures do, not at 0."""
    width, height, left = 640.0, 74.0, 110.0
    low, high = min(float(span[0]), float(now[0])), max(float(span[2]), float(now[0]))
    scale = (width - 2 * left) / ((high - low) or 1.0)
    xs = [left + (float(value) - low) * scale for value in (*span, now[0])]
    body = [
        _element("line", class_="axis", x1=0, x2=width, y1=40, y2=40),
        _element("rect", class_="span", x=xs[0], y=32, width=max(2.0, xs[2] - xs[0]), height=16, rx=4),
        _element("line", class_="now", x1=xs[3], x2=xs[3], y1=29, y2=51),
        _element("circle", class_="dot", cx=xs[1], cy=40, r=6),
        _element("text", texts[1], class_="strong", x=xs[1], y=20, text_anchor="middle"),
        _element("text", texts[0], x=xs[0] - 6, y=30, text_anchor="end"),
        _element("text", texts[2], x=xs[2] + 6, y=30, text_anchor="start"),
        _element("text", now[1], x=xs[3], y=66, text_anchor="middle"),
    ]
    read_out = f"between {texts[0]} and {texts[2]}, likely {texts[1]}; {now[1]}"
    return _svg(name, title, read_out, (width, height), body, style="chart line")


def sparkline(values: Sequence[Fraction]) -> Markup:
    """A small line beside a number; the numbers it is made of are in the files, so it is hidden from readers aloud."""
    if len(values) < 2:
        return Markup("")
    width, height = 96.0, 22.0
    high = float(max(values)) or 1.0
    points = [
        (2 + (width - 6) * i / (len(values) - 1), height - 3 - max(0.0, float(value)) / high * (height - 7))
        for i, value in enumerate(values)
    ]
    x, y = points[-1]
    line = _element("polyline", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in points))
    box = f"0 0 {width:.0f} {height:.0f}"
    return _element(
        "svg",
        line + _element("circle", cx=x, cy=y, r="2.2"),
        class_="spark", viewBox=box, width=f"{width:.0f}", height=f"{height:.0f}", aria_hidden="true",
    )  # fmt: skip


class _Scale:
    """From dollars to the height of a chart, with lines at round numbers."""

    def __init__(self, most: float, top: float, ground: float) -> None:
        rough = max(most, 0.01) / 4
        power = 10.0 ** floor(log10(rough))
        self.step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough)
        self.most = self.step * ceil(max(most, 0.01) / self.step - 1e-9)
        self.top, self.ground = top, ground

    def y(self, value: float) -> float:
        return self.ground - value / self.most * (self.ground - self.top)

    def grid(self, left: float, right: float) -> list[Markup]:
        lines = []
        for i in range(round(self.most / self.step) + 1):
            y = self.y(i * self.step)
            lines.append(_line("grid" if i else "axis", left, right, y))
            lines.append(_element("text", _short(i * self.step), x=left - 7, y=y + 3.5, text_anchor="end"))
        return lines


def _short(value: float) -> str:
    if value >= 10_000:
        return f"${value / 1000:,.0f}k"
    if value >= 1000:
        return f"${value / 1000:,.1f}k"
    return f"${value:,.0f}" if value >= 10 or value == 0 else f"${value:.2f}"


def _rect(style: str, x: float, y: float, width: float, height: float) -> Markup:
    return _element("rect", class_=style, x=x, y=y, width=width, height=height)


def _line(style: str, x1: float, x2: float, y: float) -> Markup:
    return _element("line", class_=style, x1=x1, x2=x2, y1=y, y2=y)


def _text(text: str, x: float, y: float, *, strong: bool = False) -> Markup:
    styles = {"class_": "strong"} if strong else {}
    return _element("text", text, **styles, x=x, y=y, text_anchor="middle")


def _svg(
    name: str, title: str, read_out: str, size: tuple[float, float], body: Sequence[Markup], *, style: str = "chart"
) -> Markup:
    width, height = size
    head = _element("title", title, id=f"{name}-t") + _element("desc", read_out, id=f"{name}-d")
    return _element(
        "svg", head + Markup("").join(body),
        class_=style, role="img", aria_labelledby=f"{name}-t {name}-d", viewBox=f"0 0 {width:.0f} {height:.0f}",
    )  # fmt: skip


def _element(name: str, content: str = "", **attributes: str | float) -> Markup:
    """An element of SVG; its text and attributes are escaped, what is markup already is not; floats get one decimal."""
    texts = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(f"{value:.1f}" if isinstance(value, float) else str(value))}"'
        for key, value in attributes.items()
    )
    inner = content if isinstance(content, Markup) else escape(content)
    return Markup(f"<{name}{texts}>{inner}</{name}>" if inner else f"<{name}{texts}/>")  # noqa: S704 - escaped above
