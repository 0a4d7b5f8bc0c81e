"""Series over time, held to the catalogue, and written as OpenMetrics that promtool makes blocks of."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from collectors.metric import Kind
from exporter.app.catalog import CATALOG

END = 1_787_234_400  # 2026-08-20 14:00 UTC, a Thursday: the end of everything, and the time of every query.
SCRAPE_SECONDS = 120
RECENT = range(END - 7 * 3600, END + 1, SCRAPE_SECONDS)
OLD = range(END - 8 * 86400, END - 7 * 3600, 300)
CHUNK_SECONDS = 86400
Value = float | Callable[[int], float | None]
TARGET = {"job": "neonmeter", "instance": "neonmeter-0:9719"}
"""What a scrape adds. A label of ours that is called so, too, arrives as exported_..., as Prometheus does it."""


class Exposition:
    """Collects series; what the catalogue does not know, or knows otherwise, is refused.

    A value is a number or a function of the time; None is no sample. The value of a counter is what it grows by in a
    second. ``long`` series begin a week ago, the others seven hours ago.
    """

    def __init__(self) -> None:
        self._keys: set[str] = set()
        self._series: dict[str, list[tuple[str, Value, bool]]] = {}

    def put(self, name: str, value: Value, labels: Mapping[str, str] | None = None, *, long: bool = False) -> None:
        labels = labels or {}
        assert set(labels) == set(CATALOG[name].all_labels), f"{name}: {sorted(labels)}"
        own = {f"exported_{label}" if label in TARGET else label: text for label, text in labels.items()}
        pairs = ",".join(f'{label}="{text}"' for label, text in {**own, **TARGET}.items())
        key = f"{name}{{{pairs}}}"
        assert key not in self._keys, f"{key} is there twice"
        self._keys.add(key)
        self._series.setdefault(name, []).append((key, value, long))

    @property
    def names(self) -> frozenset[str]:
        return frozenset(self._series)

    def write(self, folder: Path) -> list[Path]:
        """One file a day: promtool reads a file again for each two hours in it."""
        chunks: dict[int, list[str]] = {}
        for name, series in sorted(self._series.items()):
            kind = CATALOG[name].kind
            family = name.removesuffix("_total")
            started: set[int] = set()
            for key, value, long in series:
                for chunk, at, number in _samples(value, long=long, counter=kind is Kind.COUNTER):
                    lines = chunks.setdefault(chunk, [])
                    if chunk not in started:
                        started.add(chunk)
                        lines.append(f"# TYPE {family} {kind.value}")
                    lines.append(f"{key} {number:.10g} {at}")
        paths = []
        for chunk, lines in sorted(chunks.items()):
            path = folder / f"{chunk}.om"
            path.write_text("\n".join([*lines, "# EOF", ""]))
            paths.append(path)
        return paths


def _samples(value: Value, *, long: bool, counter: bool) -> Iterator[tuple[int, int, float]]:
    total, before = 0.0, None
    for at in (*OLD, *RECENT) if long else RECENT:
        number = value(at) if callable(value) else value
        if counter:
            total += (number or 0.0) * (at - before if before is not None else 0)
            before, number = at, total
        if number is not None:
            yield at // CHUNK_SECONDS, at, number


def wave(base: float, part: float = 0.3, *, hours: float = 1.0, phase: float = 0.0) -> Callable[[int], float]:
    """A value that moves about a base as work does; two waves, so that it does not look drawn with a ruler."""

    def at(now: int) -> float:
        turn = 2 * math.pi * (now / 3600 / hours + phase)
        return base * (1 + part * (0.7 * math.sin(turn) + 0.3 * math.sin(4.7 * turn + 1)))

    return at


def daily(base: float, part: float = 0.6, *, phase: float = 0.0) -> Callable[[int], float]:
    """A value that follows the working day (UTC), least at night."""

    def at(now: int) -> float:
        return base * (1 + part * math.sin(2 * math.pi * ((now % 86400) / 86400 - 0.3 + phase)))

    return at
