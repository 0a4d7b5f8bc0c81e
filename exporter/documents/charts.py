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
) -> str:
    """Bars by month, stacked by series in the order given; ``mark`` draws a line, such as the budget."""
    width, height, left, top, bottom = 500.0, 236.0, 44.0, 12.0, 32.0
    totals = [sum((max(part, Fraction()) for part in parts.values()), Fraction()) for _, parts in months]
    scale = _Scale(float(max([*totals, mark or Fraction()])), top, height - bottom)
    body = [scale.grid(left, width)]
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
                body.append(
                    f'<rect class="s{min(index, SERIES - 1)}" x="{x:.1f}" y="{y:.1f}" width="{bar:.1f}" '
                    f'height="{max(0.0, under - y):.1f}"/>'
                )
        strong = ' class="strong"' if number == len(months) - 1 else ""
        month, _, year = label.partition(" ")
        if year and (number == 0 or month == "Jan"):
            body.append(f'<text x="{x + bar / 2:.1f}" y="{height - 2:.1f}" text-anchor="middle">{escape(year)}</text>')
        body.append(
            f'<text{strong} x="{x + bar / 2:.1f}" y="{height - 16:.1f}" text-anchor="middle">{escape(month)}</text>'
        )
    if mark is not None:
        y = scale.y(float(mark))
        body.append(f'<line class="mark" x1="{left}" x2="{width}" y1="{y:.1f}" y2="{y:.1f}"/>')
        body.append(f'<text class="strong" x="{width}" y="{y - 4:.1f}" text-anchor="end">budget</text>')
    said = "; ".join(f"{label} {_short(float(total))}" for (label, _), total in zip(months, totals, strict=True))
    return _svg(name, title, said, (width, height), body)


def waterfall(name: str, title: str, steps: Sequence[Step]) -> str:
    """From one whole to the other, over the changes between them. The axis is cut where the changes are small."""
    width, height, top, bottom = 500.0, 230.0, 22.0, 24.0
    tops: list[tuple[float, float]] = []
    level = 0.0
    for step in steps:
        before = 0.0 if step.whole else level
        level = before + float(step.usd)
        tops.append((before, level))
    ends = [end for pair, step in zip(tops, steps, strict=True) for end in (pair if not step.whole else pair[1:])]
    high, low = max([*ends, 0.0]), min(ends, default=0.0)
    # Changes of a few dollars on thousands would be hairlines: begin the axis below the lowest step, and say so.
    cut = max(0.0, low - (high - low) * 1.5) if high and low > high * 0.6 else 0.0
    floor_at = height - bottom

    def y_of(value: float) -> float:
        return floor_at - (max(value, cut) - cut) / ((high - cut) or 1.0) * (floor_at - top)

    slot = width / max(1, len(steps))
    bar = min(78.0, slot * 0.66)
    body = [f'<line class="axis" x1="0" x2="{width}" y1="{floor_at}" y2="{floor_at}"/>']
    for number, (step, (before, after)) in enumerate(zip(steps, tops, strict=True)):
        x = slot * number + (slot - bar) / 2
        y, under = y_of(max(before, after)), y_of(min(before, after))
        kind = "whole" if step.whole else "up" if step.usd > 0 else "down"
        body.append(
            f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{bar:.1f}" height="{max(1.0, under - y):.1f}"/>'
        )
        if number + 1 < len(steps):
            level_y = y_of(after)
            body.append(
                f'<line class="link" x1="{x + bar:.1f}" x2="{x + slot:.1f}" y1="{level_y:.1f}" y2="{level_y:.1f}"/>'
            )
        middle = x + bar / 2
        body.append(
            f'<text class="strong" x="{middle:.1f}" y="{y - 6:.1f}" text-anchor="middle">{escape(step.text)}</text>'
        )
        body.append(f'<text x="{middle:.1f}" y="{height - 8:.1f}" text-anchor="middle">{escape(step.label)}</text>')
        if step.whole and cut:
            body.append(
                f'<path class="cut" d="M{x - 3:.1f} {floor_at - 9:.1f}l{bar / 2 + 3:.1f} -5l{bar / 2 + 3:.1f} 5"/>'
            )
    said = "; ".join(f"{step.label} {step.text}" for step in steps) + ("; the axis does not begin at 0" if cut else "")
    return _svg(name, title, said, (width, height), body)


def range_bar(
    name: str,
    title: str,
    span: tuple[Fraction, Fraction, Fraction],
    texts: tuple[str, str, str],
    now: tuple[Fraction, str],
) -> str:
    """Low, likely and high on a line, and where things are now; the line begins where the figures do, not at 0."""
    width, height, left = 640.0, 74.0, 110.0
    low, high = min(float(span[0]), float(now[0])), max(float(span[2]), float(now[0]))
    scale = (width - 2 * left) / ((high - low) or 1.0)
    xs = [left + (float(value) - low) * scale for value in (*span, now[0])]
    body = [
        f'<line class="axis" x1="0" x2="{width}" y1="40" y2="40"/>',
        f'<rect class="span" x="{xs[0]:.1f}" y="32" width="{max(2.0, xs[2] - xs[0]):.1f}" height="16" rx="4"/>',
        f'<line class="now" x1="{xs[3]:.1f}" x2="{xs[3]:.1f}" y1="29" y2="51"/>',
        f'<circle class="dot" cx="{xs[1]:.1f}" cy="40" r="6"/>',
        f'<text class="strong" x="{xs[1]:.1f}" y="20" text-anchor="middle">{escape(texts[1])}</text>',
        f'<text x="{xs[0] - 6:.1f}" y="30" text-anchor="end">{escape(texts[0])}</text>',
        f'<text x="{xs[2] + 6:.1f}" y="30" text-anchor="start">{escape(texts[2])}</text>',
        f'<text x="{xs[3]:.1f}" y="66" text-anchor="middle">{escape(now[1])}</text>',
    ]
    said = f"between {texts[0]} and {texts[2]}, likely {texts[1]}; {now[1]}"
    return _svg(name, title, said, (width, height), body).replace('class="chart"', 'class="chart line"', 1)


def sparkline(values: Sequence[Fraction]) -> str:
    """A small line beside a number; the numbers it is made of are in the files, so it is hidden from readers aloud."""
    if len(values) < 2:
        return ""
    width, height = 96.0, 22.0
    high = float(max(values)) or 1.0
    points = [
        (2 + (width - 6) * i / (len(values) - 1), height - 3 - max(0.0, float(value)) / high * (height - 7))
        for i, value in enumerate(values)
    ]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    x, y = points[-1]
    return (
        f'<svg class="spark" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}" '
        f'aria-hidden="true"><polyline points="{line}"/><circle cx="{x:.1f}" cy="{y:.1f}" r="2.2"/></svg>'
    )


class _Scale:
    """From dollars to the height of a chart, with lines at round numbers."""

    def __init__(self, most: float, top: float, ground: float) -> None:
        rough = max(most, 0.01) / 4
        power = 10.0 ** floor(log10(rough))
        self.step = next(power * literal for literal in (1, 2, 2.5, 5, 10) if power * literal >= rough)
        self.most = self.step * ceil(max(most, 0.01) / self.step - 1e-9)
        self.top, self.ground = top, ground

    def y(self, value: float) -> float:
        return self.ground - value / self.most * (self.ground - self.top)

    def grid(self, left: float, right: float) -> str:
        lines = []
        for i in range(round(self.most / self.step) + 1):
            y = self.y(i * self.step)
            lines.append(
                f'<line class="{"axis" if i == 0 else "grid"}" x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>'
                f'<text x="{left - 7}" y="{y + 3.5:.1f}" text-anchor="end">{_short(i * self.step)}</text>'
            )
        return "".join(lines)


def _short(value: float) -> str:
    if value >= 10_000:
        return f"${value / 1000:,.0f}k"
    if value >= 1000:
        return f"${value / 1000:,.1f}k"
    return f"${value:,.0f}" if value >= 10 or value == 0 else f"${value:.2f}"


def _svg(name: str, title: str, said: str, size: tuple[float, float], body: Sequence[str]) -> str:
    width, height = size
    return (
        f'<svg class="chart" role="img" aria-labelledby="{name}-t {name}-d" viewBox="0 0 {width:.0f} {height:.0f}">'
        f'<title id="{name}-t">{escape(title)}</title><desc id="{name}-d">{escape(said)}</desc>{"".join(body)}</svg>'
    )
