"""What is read when hours are gone: without a gap, without an overlap, no further back than the API goes."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from exporter.cost.usage_import import HOURLY, Span, hours_from, spans, windows
from exporter.pricing.domain.calendar import month_start, next_month

HOUR, DAY = 3600, 86400
NOW = 1793491200 + 20 * DAY + 5 * HOUR + 700  # 2026-11-21 05:11:40


@given(st.integers(0, 200), st.floats(0, 200 * HOUR), st.integers(1, 300))
def test_windows_are_whole_buckets_and_cover_all_of_it_once(first: int, length: float, hours: int) -> None:
    start, end = first * HOUR, first * HOUR + length
    found = list(reversed(list(windows(Span(HOURLY, start, end), hours))))
    assert found[0][0] == start
    assert end <= found[-1][1] < max(end, start + 1) + HOUR
    assert all(before[1] == after[0] for before, after in pairwise(found))
    assert all(begin % HOUR == stop % HOUR == 0 for begin, stop in found)
    assert all(HOUR <= stop - begin <= max(hours, 2) * HOUR for begin, stop in found)
    # What Neon cuts off of the running bucket never leaves a question without one.
    assert length <= HOUR or found[-1][1] - found[-1][0] >= 2 * HOUR


def test_windows_of_months_begin_with_months() -> None:
    start, end = 1767225600, 1793491200  # 2026-01-01 to 2026-11-01
    found = list(reversed(list(windows(Span("monthly", start, end), 3))))
    assert len(found) == 4
    assert [begin for begin, _ in found] == [month_start(int(begin)) for begin, _ in found]
    assert (found[0][0], found[-1][1]) == (start, end)


@given(st.integers(NOW, NOW + 400 * DAY), st.integers(0, 500 * DAY))
def test_days_then_months_up_to_where_the_hours_begin(now: int, age: int) -> None:
    since = now - age
    found = spans(since, now)
    if since >= hours_from(now):
        assert found == []
        return
    edge = float(hours_from(now))
    for span in found:
        assert span.start < edge <= span.end
        assert span.end - edge < 31 * DAY
        assert span.end <= now
        assert span.start > now - (61 if span.granularity == "daily" else 397) * DAY
        edge = span.start
    reach = max(since, now - 365 * DAY)
    assert found[-1].start <= reach
    assert all(span.start % DAY == 0 for span in found)
    assert all(span.start == month_start(span.start) for span in found if span.granularity == "monthly")


def test_a_new_ledger_reads_sixty_days_and_a_year() -> None:
    days, months = spans(0, NOW)
    assert days == Span("daily", NOW // DAY * DAY - 60 * DAY, NOW // DAY * DAY - 6 * DAY)
    assert months == Span("monthly", month_start(NOW - 365 * DAY), next_month(days.start))


def test_after_ten_days_away_only_the_days_between_are_read() -> None:
    assert spans(NOW - 10 * DAY, NOW) == [Span("daily", NOW // DAY * DAY - 10 * DAY, NOW // DAY * DAY - 6 * DAY)]
