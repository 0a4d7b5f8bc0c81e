"""The snapshot: one immutable generation of the whole exposition, rendered and compressed before anybody asks.

The format wants all lines of a family together, under one HELP and one TYPE, whichever target they come from. So each
family is a row of pages, each page holds the lines of a few targets in stable slots, and a target that changed re-joins
and re-compresses its own pages only. A page is one gzip member; members may be concatenated (RFC 1952, section 2.2), so
publishing is the building of a tuple of references: its cost follows what changed, not what there is.
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
"""Targets on one page. Fewer make a change cheaper, more make the compressed text smaller."""

_GROUP = 16
"""Compressed pages in one chunk. A page shrinks to some hundred bytes, and a send takes 1,024 chunks at most: each
further send waits for the GIL once more while the program collects."""

_GZIP = 31
"""zlib's window bits for a gzip header and trailer around 32 KB of window."""


def _gzip(text: bytes) -> bytes:
    """One gzip member, level 1: a quarter of level 6's time for a tenth more bytes. Releases the GIL."""
    return zlib.compress(text, 1, _GZIP)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One generation, ready to send. ``plain`` and ``gzip`` are chunks in order; nobody ever joins them.

    ``gzip`` is a stream of many members: only clients that read past the first one may get it (see ``http.py``).
    """

    generation: int
    published_at: float
    """Unix seconds; 0 when nothing was published yet."""
    series: int
    plain: tuple[bytes, ...]
    plain_length: int
    gzip: tuple[bytes, ...]
    gzip_length: int


EMPTY = Snapshot(0, 0.0, 0, (), 0, (_gzip(b""),), len(_gzip(b"")))
"""What there is before the first publish."""


class _Joined:
    """A few pieces as one chunk; the lengths say where each begins, so that no piece is kept a second time."""

    __slots__ = ("_lengths", "chunk")

    def __init__(self, pieces: int) -> None:
        self.chunk = b""
        self._lengths = [0] * pieces

    def replace(self, index: int, piece: bytes) -> bool:
        """Put one piece; False when it was there already."""
        start = sum(self._lengths[:index])
        end = start + self._lengths[index]
        if self.chunk[start:end] == piece:
            return False
        self.chunk = b"".join((self.chunk[:start], piece, self.chunk[end:]))
        self._lengths[index] = len(piece)
        return True


class _Family:
    """The pages of one metric. A target keeps its slot while it lives; a freed slot is the first to be taken again."""

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
        """Replace the lines of one target; says whether anything changed."""
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
        """Whether no target is left."""
        return not self._slots

    def publish(self) -> None:
        """Compress what changed and renew its chunks; those of a page that emptied stay, without bytes."""
        for number in self._changed:
            text = self._pages[number].chunk
            self.length += len(text) - len(self.chunks[number + 1])
            self.chunks[number + 1] = text
            if number == 0:  # one member less, and the text that repeats the most is next to the header
                text = self._header + text
            group = self._groups[number // _GROUP]
            group.replace(number % _GROUP, _gzip(text) if text else b"")
            self.packed_length += len(group.chunk) - len(self.packed[number // _GROUP])
            self.packed[number // _GROUP] = group.chunk
        self._changed.clear()


@dataclass(slots=True)
class _Target:
    renderer: Renderer
    families: dict[Metric, int] = field(default_factory=dict)
    """Series by metric, as last put."""
    cut: dict[Metric, int] = field(default_factory=dict)


class SnapshotBuilder:
    """Collects what targets have to say and publishes it as snapshots.

    ``key`` names a source: one collector at one target. Two sources may fill one family, but not the same series of it.
    Safe to use from several threads; :meth:`publish` after a large change takes a while and may run in one of its own.
    """

    def __init__(self) -> None:
        """Start empty, at generation 0."""
        self._lock = threading.Lock()
        self._families: dict[str, _Family] = {}
        self._targets: dict[Hashable, _Target] = {}
        self._order: list[_Family] | None = None
        self._series = 0
        self._generation = 0
        self._cut: dict[str, int] = {}

    def put(self, key: Hashable, target: Target, families: Families) -> int:
        """Replace everything that one source says. Nothing is visible before :meth:`publish`.

        Returns:
            How many series were cut for the ``max_series`` of their metric; :meth:`truncated` has them by name.

        Raises:
            ValueError: another metric of the same name is served already, or label values do not fit the names.
        """
        with self._lock:
            known = self._targets.get(key)
            renderer = known.renderer if known and known.renderer.target == target else Renderer(target)
            fragments = renderer.render(families)
            for metric in fragments:
                family = self._families.get(metric.name)
                if family is not None and family.metric is not metric:
                    raise ValueError(f"metric {metric.name} is served already from another declaration")
            if known is None:
                known = self._targets[key] = _Target(renderer)
            known.renderer = renderer
            return self._replace(key, known, fragments)

    def _replace(self, key: Hashable, known: _Target, fragments: dict[Metric, Fragment]) -> int:
        for metric in [metric for metric in known.families if metric not in fragments]:
            self._forget(key, known, metric)
        cut = 0
        for metric, fragment in fragments.items():
            family = self._families.get(metric.name)
            if family is None:
                family = self._families[metric.name] = _Family(metric)
                self._order = None
            family.put(key, fragment.lines)
            self._series += fragment.series - known.families.get(metric, 0)
            known.families[metric] = fragment.series
            self._count_cut(known, metric, fragment.cut)
            cut += fragment.cut
        return cut

    def _count_cut(self, known: _Target, metric: Metric, cut: int) -> None:
        before = known.cut.pop(metric, 0)
        if cut:
            known.cut[metric] = cut
        if cut != before:
            self._cut[metric.name] = self._cut.get(metric.name, 0) + cut - before

    def _forget(self, key: Hashable, known: _Target, metric: Metric) -> None:
        family = self._families[metric.name]
        family.drop(key)
        if family.empty:
            del self._families[metric.name]
            self._order = None
        self._series -= known.families.pop(metric)
        self._count_cut(known, metric, 0)

    def drop(self, key: Hashable) -> None:
        """Take back everything that one source said; an unknown key is no error."""
        with self._lock:
            known = self._targets.pop(key, None)
            if known is not None:
                for metric in list(known.families):
                    self._forget(key, known, metric)

    def keys(self) -> frozenset[Hashable]:
        """The sources that there are."""
        with self._lock:
            return frozenset(self._targets)

    def truncated(self) -> Mapping[str, int]:
        """Series cut for ``max_series``, by metric name; a name stays at 0 after its family fits again."""
        with self._lock:
            return dict(self._cut)

    def publish(self, now: float) -> Snapshot:
        """Make the next generation. ``now`` in unix seconds."""
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
