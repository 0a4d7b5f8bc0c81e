"""The snapshot: one immutable generation of the whole exposition, rendered and compressed before it is requested.

The format requires all lines of a family to stand together, under one HELP and one TYPE, whatever targets they come
from. So a family is a list of pages, and a page holds the lines of a few targets in fixed slots; a changed target joins
and compresses only its own pages again. Each page is one gzip member, and members may be concatenated (RFC 1952,
section 2.2), so publishing builds a tuple of references: its cost grows with what changed, not with the total.
"""

from __future__ import annotations

import heapq
import threading
import zlib
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field

from collectors.base import Target
from collectors.metric import Families, Metric
from exporter.serving.render import Fragment, Renderer, header

SLOTS = 8
"""Targets per page. Fewer make a change cheaper, more make the compressed text smaller."""

_GROUP = 16
"""Compressed pages per chunk. A compressed page has some hundred bytes, a send takes at most 1,024 chunks, and each
further send has to wait for the GIL while collectors run."""

_GZIP = 31
"""zlib's window bits for a gzip header and trailer around 32 KB of window."""


def _gzip(text: bytes) -> bytes:
    """One gzip member at level 1: a quarter of level 6's time for 10 % more bytes. Releases the GIL."""
    return zlib.compress(text, 1, _GZIP)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One generation, ready to send. ``plain`` and ``gzip`` are chunks in order, sent without being joined.

    ``gzip`` is a stream of many members, only for clients that read past the first (`routes.accepts_members`).
    """

    generation: int
    published_at: float
    """Unix seconds; 0 before the first publish."""
    series: int
    plain: tuple[bytes, ...]
    plain_length: int
    gzip: tuple[bytes, ...]
    gzip_length: int


EMPTY = Snapshot(0, 0.0, 0, (), 0, (_gzip(b""),), len(_gzip(b"")))
"""The snapshot before the first publish."""


class _Joined:
    """A fixed number of pieces joined to one chunk; only lengths are stored beside it, not the pieces."""

    __slots__ = ("_lengths", "chunk")

    def __init__(self, pieces: int) -> None:
        self.chunk = b""
        self._lengths = [0] * pieces

    def replace(self, index: int, piece: bytes) -> bool:
        """Replace the piece at ``index``; False when it is equal to the present one."""
        start = sum(self._lengths[:index])
        end = start + self._lengths[index]
        if self.chunk[start:end] == piece:
            return False
        self.chunk = b"".join((self.chunk[:start], piece, self.chunk[end:]))
        self._lengths[index] = len(piece)
        return True


class _Family:
    """The pages of one metric. A target keeps its slot until it is dropped; the lowest free slot is reused first."""

    __slots__ = ("_changed", "_free", "_groups", "_header", "_pages", "_slots", "chunks", "length", "metric", "packed",
                 "packed_length")  # fmt: skip

    def __init__(self, metric: Metric) -> None:
        self.metric = metric
        self._header = header(metric)
        self._pages: list[_Joined] = []
        self._groups: list[_Joined] = []
        self._slots: dict[Hashable, int] = {}
        self._free: list[int] = []
        self._changed: set[int] = set()
        self.chunks: list[bytes] = [self._header]
        self.packed: list[bytes] = []
        self.length = len(self._header)
        self.packed_length = 0

    def put(self, key: Hashable, lines: bytes) -> bool:
        """Replace the lines of one target; False when they are the same as before."""
        slot = self._slots.get(key)
        if slot is None:
            if not self._free:
                first = len(self._pages) * SLOTS
                self._pages.append(_Joined(SLOTS))
                self.chunks.append(b"")
                if len(self._pages) > len(self._groups) * _GROUP:
                    self._groups.append(_Joined(_GROUP))
                    self.packed.append(b"")
                self._free.extend(range(first, first + SLOTS))
            slot = self._slots[key] = heapq.heappop(self._free)
        return self._replace(slot, lines)

    def drop(self, key: Hashable) -> None:
        """Free the slot of one target."""
        slot = self._slots.pop(key)
        self._replace(slot, b"")
        heapq.heappush(self._free, slot)

    def _replace(self, slot: int, lines: bytes) -> bool:
        page = slot // SLOTS
        changed = self._pages[page].replace(slot % SLOTS, lines)
        if changed:
            self._changed.add(page)
        return changed

    @property
    def empty(self) -> bool:
        """Whether no target has lines here."""
        return not self._slots

    def publish(self) -> None:
        """Compress the changed pages and replace their chunks; an emptied page stays as an empty chunk."""
        for number in self._changed:
            text = self._pages[number].chunk
            self.length += len(text) - len(self.chunks[number + 1])
            self.chunks[number + 1] = text
            if number == 0:  # in the first page's member: one member less, and better compression
                text = self._header + text
            group = self._groups[number // _GROUP]
            group.replace(number % _GROUP, _gzip(text) if text else b"")
            self.packed_length += len(group.chunk) - len(self.packed[number // _GROUP])
            self.packed[number // _GROUP] = group.chunk
        self._changed.clear()


@dataclass(slots=True)
class _Source:
    renderer: Renderer
    families: dict[Metric, int] = field(default_factory=dict)
    """Number of series by metric."""
    cut: dict[Metric, int] = field(default_factory=dict)


class SnapshotBuilder:
    """Takes the families of sources and publishes them as snapshots.

    ``key`` identifies a source: one collector at one target. Sources may share a family, but not a series. Thread-safe;
    :meth:`publish` after a large change takes long enough to deserve a worker thread.
    """

    def __init__(self) -> None:
        """Start empty, at generation 0."""
        self._lock = threading.Lock()
        self._families: dict[str, _Family] = {}
        self._sources: dict[Hashable, _Source] = {}
        self._order: list[_Family] | None = None
        self._series = 0
        self._generation = 0
        self._cut: dict[str, int] = {}

    def put(self, key: Hashable, target: Target, families: Families) -> int:
        """Replace all families of one source, visible from the next :meth:`publish` on.

        Returns:
            The number of series cut because of the ``max_series`` of their metric, as in :meth:`truncated`.

        Raises:
            ValueError: another metric of the same name is served, or a series has too few or too many label values.
        """
        with self._lock:
            source = self._sources.get(key)
            renderer = source.renderer if source and source.renderer.target == target else Renderer(target)
            fragments = renderer.render(families)
            for metric in fragments:
                family = self._families.get(metric.name)
                if family is not None and family.metric is not metric:
                    raise ValueError(f"metric {metric.name} is served already from another declaration")
            if source is None:
                source = self._sources[key] = _Source(renderer)
            source.renderer = renderer
            return self._replace(key, source, fragments)

    def _replace(self, key: Hashable, source: _Source, fragments: dict[Metric, Fragment]) -> int:
        for metric in [metric for metric in source.families if metric not in fragments]:
            self._forget(key, source, metric)
        cut = 0
        for metric, fragment in fragments.items():
            family = self._families.get(metric.name)
            if family is None:
                family = self._families[metric.name] = _Family(metric)
                self._order = None
            family.put(key, fragment.lines)
            self._series += fragment.series - source.families.get(metric, 0)
            source.families[metric] = fragment.series
            self._count_cut(source, metric, fragment.cut)
            cut += fragment.cut
        return cut

    def _count_cut(self, source: _Source, metric: Metric, cut: int) -> None:
        before = source.cut.pop(metric, 0)
        if cut:
            source.cut[metric] = cut
        if cut != before:
            self._cut[metric.name] = self._cut.get(metric.name, 0) + cut - before

    def _forget(self, key: Hashable, source: _Source, metric: Metric) -> None:
        family = self._families[metric.name]
        family.drop(key)
        if family.empty:
            del self._families[metric.name]
            self._order = None
        self._series -= source.families.pop(metric)
        self._count_cut(source, metric, 0)

    def drop(self, key: Hashable) -> None:
        """Remove all families of one source; an unknown key is ignored."""
        with self._lock:
            source = self._sources.pop(key, None)
            if source is not None:
                for metric in list(source.families):
                    self._forget(key, source, metric)

    def keys(self) -> frozenset[Hashable]:
        """The keys of all sources."""
        with self._lock:
            return frozenset(self._sources)

    def truncated(self) -> Mapping[str, int]:
        """The number of series cut because of ``max_series``, by metric name; back at 0 once the family fits again."""
        with self._lock:
            return dict(self._cut)

    def publish(self, now: float) -> Snapshot:
        """Build the next generation; ``now`` in unix seconds."""
        with self._lock:
            if self._order is None:
                self._order = [self._families[name] for name in sorted(self._families)]
            plain: list[bytes] = []
            packed: list[bytes] = []
            lengths = [0, 0]
            for family in self._order:
                family.publish()
                plain += family.chunks
                packed += family.packed
                lengths[0] += family.length
                lengths[1] += family.packed_length
            if not packed:  # an empty body is no gzip stream
                packed, lengths[1] = list(EMPTY.gzip), EMPTY.gzip_length
            self._generation += 1
            return Snapshot(self._generation, now, self._series, tuple(plain), lengths[0], tuple(packed), lengths[1])
