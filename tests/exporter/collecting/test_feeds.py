"""A long reading of consumption is cut into windows: without a gap, without an overlap, and none too large."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from exporter.collecting.feeds import HOUR, _windows


@given(st.integers(0, 200), st.floats(0, 200 * HOUR), st.integers(1, 300))
def test_windows_cover_all_of_it_once(first: int, length: float, hours: int) -> None:
    start, end = first * HOUR, first * HOUR + length
    windows = list(_windows(start, end, hours))
    assert windows[0][0] == start
    assert windows[-1][1] == end
    assert all(before[1] == after[0] for before, after in pairwise(windows))
    assert all(begin % HOUR == 0 and stop - begin <= hours * HOUR for begin, stop in windows)
