"""The firing cases of the unit tests as faults of real computes: a page to scrape now, and the history before it.

Each scene has a project, a branch, computes and an agent (``instance``) of its own, so all of them can go wrong at once
and still be told apart. Every other project lies outside of the EU.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from collectors.metric import Unit
from exporter.app.catalog import CATALOG
from exporter.serving.render import escape_label, header
from tests.alerts.rules import ALERTS, WATCHDOG, alerts, seconds
from tests.alerts.unit_tests import WORLD, cases, expand

_SERIES = re.compile(r"([a-zA-Z_:]+)\{(.*)\}\Z")
_LABEL = re.compile(r'(\w+)="([^"]*)"')
_RUN = re.compile(r"(?P<first>_|-?[0-9.e]+)(?:(?P<step>[+-][0-9.e]+)?x(?P<times>\d+))?\Z")
Labels = dict[str, str]


def values(text: str) -> Iterator[float | None]:
    """promtool's notation: `1 2x3` is 1 2 2 2 2, `0+1x2` is 0 1 2, `_x3` is three gaps, `stale` a gap too."""
    for word in text.split():
        found = _RUN.match(word.replace("stale", "_"))
        assert found, word
        gap = found["first"] == "_"
        count = int(found["times"] or 0) + (0 if gap and found["times"] else 1)
        first, step = 0.0 if gap else float(found["first"]), float(found["step"] or 0)
        yield from (None if gap else first + step * number for number in range(count))


@dataclass(frozen=True)
class Scene:
    """One fault. ``expected``: the alerts that it must raise; ``region``: where its project lies."""

    name: str
    series: tuple[tuple[str, Labels, tuple[float | None, ...]], ...]
    at: int
    step: int
    expected: frozenset[str]
    region: str

    @property
    def project(self) -> str:
        """The id of its project."""
        return f"p-{self.name}"

    def _value(self, name: str, value: float, now: float) -> float:
        """Instants of the case count from its beginning; here they end now."""
        metric = CATALOG.get(name)
        return value + now - self.at if metric and metric.unit is Unit.TIMESTAMP else value

    def page(self, began: float) -> bytes:
        """What its agent shows at this moment, by the catalogue's own headers and with all labels that it has.

        ``began``: when the case had come to its end. Instants that moved until then go on with the clock.
        """
        now, later = began, time.time() - began
        lines: dict[str, list[str]] = {}
        for name, labels, points in self.series:
            end = min(self.at // self.step, len(points) - 1)
            last, before = points[end], points[end - 1]
            if name == "up" or last is None:
                continue
            metric = CATALOG[name]
            given = {("job" if key == "exported_job" else key): value for key, value in labels.items()
                     if key not in ("job", "instance")}  # fmt: skip
            assert given.keys() <= set(metric.all_labels), f"{name}{given}"
            text = ",".join(f'{key}="{escape_label(given.get(key, ""))}"' for key in metric.all_labels)
            moves = metric.unit is Unit.TIMESTAMP and last != before
            value = self._value(name, last, now) + (later if moves else 0)
            lines.setdefault(name, []).append(f"{name}{{{text}}} {value!r}\n")
        return b"".join(header(CATALOG[name]) + "".join(found).encode() for name, found in lines.items())

    def history(self, now: float, until: float) -> Iterator[tuple[str, str]]:
        """Its past as lines of OpenMetrics with their metric, a minute apart, from the beginning of the case on."""
        begin = now - self.at
        for name, labels, points in self.series:
            text = ",".join(f'{key}="{value}"' for key, value in labels.items())
            for number in range(int((until - begin) // 60) + 1):
                value = points[min(number * 60 // self.step, len(points) - 1)]
                if value is not None:
                    at = round(begin + number * 60)
                    yield name, f"{name}{{{text}}} {self._value(name, value, now)!r} {at}\n"
                    still = number > 1 and {points[min(number - back, len(points) - 1)] for back in (1, 2)} == {value}
                    yield from _recorded(name, labels, self._value(name, value, now), at, still=still)


def _recorded(name: str, labels: Labels, value: float, at: int, *, still: bool) -> Iterator[tuple[str, str]]:
    """What the two recording rules that alerts look back on would have left; ``still``: as for two minutes."""
    if name == "neon_cost_hourly_run_rate_usd":
        sums = "project:neon_cost_hourly_run_rate_usd:sum"
        yield sums, f'{sums}{{project_id="{labels["project_id"]}"}} {value!r} {at}\n'
    if name == "neonmeter_publish_generation":
        stale = "instance:neonmeter_publish_stale:bool"
        yield stale, f'{stale}{{job="neonmeter",instance="{labels["instance"]}"}} {int(still)} {at}\n'


def _scene(name: str, case: dict[str, Any], *, region: str) -> Scene:
    rule, firing = alerts()[name], case["firing"]
    at, step = seconds(firing.get("at", f"{rule.holds + 600}s")), seconds(case.get("step", "1m"))
    found = []
    for series, text in (dict.fromkeys(WORLD, "") | firing["series"]).items():
        metric, labels = _SERIES.match(expand(series)).groups()  # type: ignore[union-attr]
        pairs = dict(_LABEL.findall(labels))
        own = {"project_id": f"p-{name}", "instance": name}
        own |= {
            key: f"{pairs[key]}-{name}"
            for key in ("endpoint_id", "budget", "org_id", "pooler", "tenant")
            if key in pairs
        }
        pairs |= {key: value for key, value in own.items() if key in pairs}
        if metric == "neon_project_info" and pairs["region_id"] == "aws-eu-central-1":
            pairs["region_id"] = region
        points = tuple(values(str(text or f"{WORLD[series]}x{at // step}")))
        found.append((metric, pairs, points))
    expected = frozenset([*firing.get("alerts", [name]), *firing.get("lasting", [])])
    return Scene(name, tuple(found), at, step, expected, region)


def scenes() -> list[Scene]:
    """Every firing case but those that are about an agent that is not there."""
    absent = {WATCHDOG, "NeonmeterDown", "NeonmeterNotScraped"}
    found = [
        (name, case) for path in sorted((ALERTS / "tests").glob("*.cases.yml")) for name, case in cases(path).items()
    ]
    regions = ("aws-eu-central-1", "aws-us-east-2")
    return [
        _scene(name, case, region=regions[number % 2])
        for number, (name, case) in enumerate(found) if name not in absent
    ]  # fmt: skip


def openmetrics(played: list[Scene], now: float, until: float) -> str:
    """The past of all scenes; families together, as the format wants it."""
    families: dict[str, list[str]] = {}
    for scene in played:
        for name, line in scene.history(now, until):
            families.setdefault(name, []).append(line)
    # Untyped: promtool refuses _total of a counter whose family it does not strip.
    return "".join(f"# TYPE {name} unknown\n" + "".join(lines) for name, lines in families.items()) + "# EOF\n"
