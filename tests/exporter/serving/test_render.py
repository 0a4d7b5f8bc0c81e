"""Rendering: whatever text a label has and whatever the value, a parser reads back what was put."""

from __future__ import annotations

import math
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from collectors.base import Target
from collectors.metric import Families, Kind, Metric, Scope, Unit, Value
from exporter.serving.render import Renderer, header, number, render
from tests.exporter.serving.served import COST, SIZE, endpoint

GAUGE = Metric("pg_test_thing", Kind.GAUGE, Unit.NONE, Scope.BRANCH, "A \\ thing.", ("datname", "user"), max_series=5)
BRANCH = Target(Scope.BRANCH, ("p", "b"))

# Surrogates exist in no UTF-8 text. The parser in Python ends lines at more characters than the format does
# (str.splitlines), so those are left to the test with the real Prometheus.
LINE_ENDS = "\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters=LINE_ENDS))
NUMBER = st.one_of(st.integers(), st.floats(), st.decimals(allow_nan=False), st.booleans())


def parse(metric: Metric, lines: bytes) -> dict[tuple[str, ...], float]:
    text = (header(metric) + lines).decode()
    (family,) = text_string_to_metric_families(text)
    return {tuple(sample.labels[name] for name in metric.all_labels): sample.value for sample in family.samples}


@given(st.dictionaries(st.tuples(TEXT, TEXT), NUMBER, min_size=1, max_size=5), TEXT)
def test_round_trip(series: dict[tuple[str, ...], Value], branch: str) -> None:
    families = Families()
    families.put(GAUGE, series)
    read = parse(GAUGE, render(Target(Scope.BRANCH, ("p", branch)), families)[GAUGE])
    assert read.keys() == {("p", branch, *labels) for labels in series}
    for labels, value in series.items():
        got = float(read["p", branch, *labels])  # the parser keeps whole numbers whole
        try:
            wanted = float(value)
        except OverflowError:
            wanted = math.inf if value > 0 else -math.inf
        assert got == wanted or (math.isnan(got) and math.isnan(wanted)), (value, got)


@given(st.lists(st.lists(NUMBER, min_size=3, max_size=3), min_size=1, max_size=5))
def test_kept_labels_give_the_same_as_fresh_ones(rounds: list[list[Value]]) -> None:
    kept = Renderer(BRANCH)
    for values in rounds:
        families = Families()
        families.put(GAUGE, {(f"d%r%{i}", 'a"\\\n'): value for i, value in enumerate(values)})
        assert kept.render(families)[GAUGE].lines == render(BRANCH, families)[GAUGE]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"), (-7, "-7"), (2**63, "9223372036854775808"), (10**400, "+Inf"), (-(10**400), "-Inf"), (True, "1"),
        (0.1, "0.1"), (5.0, "5.0"), (-0.0, "-0.0"), (1e300, "1e+300"), (5e-324, "5e-324"),
        (math.nan, "NaN"), (math.inf, "+Inf"), (-math.inf, "-Inf"),
        (Decimal("0.10"), "0.1"), (Decimal("1e400"), "+Inf"), (Decimal("NaN"), "NaN"), (Decimal("sNaN"), "NaN"),
    ],
)  # fmt: skip
def test_numbers(value: Value, text: str) -> None:
    assert number(value) == text
    families = Families()
    families.put(SIZE, {("a",): 1.5, ("b",): value})
    assert render(endpoint(1), families)[SIZE].splitlines()[1].decode().endswith(f'datname="b"}} {text}')


def test_labels_come_in_the_order_of_the_catalogue_and_are_escaped() -> None:
    families = Families()
    families.set(GAUGE, ('a"b', "c\\d\ne\0"), 1)
    line = 'pg_test_thing{project_id="p",branch_id="b",datname="a\\"b",user="c\\\\d\\ne\0"} 1\n'
    assert render(BRANCH, families) == {GAUGE: line.encode()}


def test_a_metric_without_labels_has_no_braces() -> None:
    alone = Metric("neonmeter_test", Kind.GAUGE, Unit.NONE, Scope.AGENT, "Alone.")
    families = Families()
    families.set(alone, (), 3)
    assert render(Target(Scope.AGENT, ()), families) == {alone: b"neonmeter_test 3\n"}


def test_over_max_series_the_same_ones_stay_in_whatever_order_they_came() -> None:
    rows = {(f"d{i:02d}", "u"): i for i in range(12)}
    one, other = Families(), Families()
    one.put(GAUGE, dict(rows))
    other.put(GAUGE, dict(reversed(rows.items())))
    first, second = (Renderer(BRANCH).render(families)[GAUGE] for families in (one, other))
    assert first.lines == second.lines
    assert (first.series, first.cut) == (5, 7)
    assert b"d04" in first.lines
    assert b"d05" not in first.lines


def test_series_that_come_and_go_are_rendered_as_they_are() -> None:
    renderer = Renderer(BRANCH)
    seen = []
    for names in (["a", "b"], ["b", "a"], ["b"], [], ["c"]):
        families = Families()
        families.put(GAUGE, {(name, ""): 1 for name in names})
        rendered = renderer.render(families)
        seen.append(
            [line.split(b'datname="')[1][:1].decode() for line in rendered[GAUGE].lines.splitlines()] if names else []
        )
        assert (GAUGE in rendered) == bool(names)
    assert seen == [["a", "b"], ["b", "a"], ["b"], [], ["c"]]


def test_money_is_exact_until_here() -> None:
    families = Families()
    families.set(COST, ("acme",), Decimal("0.1") + Decimal("0.2"))
    assert render(BRANCH, families)[COST].endswith(b" 0.3\n")


def test_too_few_label_values_are_an_error_here() -> None:
    families = Families()
    families.put(GAUGE, {("a",): 1})
    with pytest.raises(ValueError, match="zip"):
        render(BRANCH, families)
