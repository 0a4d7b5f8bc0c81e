"""Rules of the queries, by their syntax tree: names exist, counters are in rates, ratios survive an idle fleet."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import promql_parser as promql

from collectors.metric import Kind
from exporter.app.catalog import CATALOG

TARGET_LABELS = {"job", "instance"}
RATES = {"rate", "irate", "increase"}
WINDOW = re.compile(r"\[(\$?[^\]:]+)\]")
BUILT_IN = {"$__rate_interval": "4m", "$__interval": "1m", "$__range": "6h"}
COMPARISONS = (">", ">=", "<", "<=", "==", "!=")
Rule = Callable[[str], Iterator[str]]


@cache
def parsed(expr: str) -> Any:
    """The syntax tree, with Grafana's own variables replaced."""
    for name, value in BUILT_IN.items():
        expr = expr.replace(name, value)
    return promql.parse(expr)


def nodes(tree: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """Every node with what it stands in, the nearest last."""
    yield tree, above
    below = [getattr(tree, name, None) for name in ("lhs", "rhs", "expr", "vector_selector", "param")]
    for entry in (*below, *getattr(tree, "args", ())):
        if entry is not None and not isinstance(entry, str):
            yield from nodes(entry, (*above, tree))


def selectors(tree: Any) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """The selectors of series."""
    for node, above in nodes(tree):
        if isinstance(node, promql.VectorSelector):
            yield node, above


def exposed(metric: str) -> set[str]:
    """The labels of a metric as they are after a scrape."""
    own = CATALOG[metric].all_labels
    return {f"exported_{label}" if label in TARGET_LABELS else label for label in own} | TARGET_LABELS


@cache
def metrics(expr: str) -> frozenset[str]:
    """The metrics that a query names."""
    return frozenset(node.name for node, _ in selectors(parsed(expr)))


def known(tree: Any) -> set[str]:
    """The labels that series below a node can have."""
    found: set[str] = set()
    for node, _ in nodes(tree):
        if isinstance(node, promql.VectorSelector) and node.name in CATALOG:
            found |= exposed(node.name)
        if isinstance(node, promql.Call) and node.func.name == "label_replace":
            found.add(node.args[1].val)
    return found


def names_exist(expr: str) -> Iterator[str]:
    """Metrics are of the catalogue, labels of the metrics that they are asked of."""
    for node, _ in selectors(parsed(expr)):
        if node.name not in CATALOG:
            yield f"no metric is called {node.name}"
            continue
        for matcher in node.matchers.matchers:
            if matcher.name not in exposed(node.name):
                yield f"{node.name} has no label {matcher.name}"
    for node, _ in nodes(parsed(expr)):
        modifier = getattr(node, "modifier", None)
        if modifier is None:
            continue
        named = modifier if isinstance(node, promql.AggregateExpr) else modifier.matching
        labels = [*(named.labels if named else ()), *(getattr(modifier, "group_labels", None) or ())]
        yield from (f"nothing below has a label {label}" for label in labels if label not in known(node))


def counters_in_rates(expr: str) -> Iterator[str]:
    """A counter is only read as a rate, and only counters are."""
    for node, above in selectors(parsed(expr)):
        kind = CATALOG[node.name].kind if node.name in CATALOG else None
        call = next((entry for entry in reversed(above) if isinstance(entry, promql.Call)), None)
        in_rate = call is not None and call.func.name in RATES and isinstance(above[-1], promql.MatrixSelector)
        if kind is Kind.COUNTER and not in_rate:
            yield f"the counter {node.name} is read without a rate"
        if kind is Kind.GAUGE and in_rate:
            yield f"the gauge {node.name} is read as a rate"


def windows(expr: str) -> Iterator[str]:
    """Rates fit their window to the picture."""
    for window in WINDOW.findall(expr):
        if window != "$__rate_interval":
            yield f"window [{window}] is not $__rate_interval"


def ratios_guarded(expr: str) -> Iterator[str]:
    """What is divided by is compared first: 0/0 is NaN, and one NaN spoils a sum."""
    for node, _ in nodes(parsed(expr)):
        if isinstance(node, promql.BinaryExpr) and str(node.op) == "/":
            below = node.rhs
            while isinstance(below, promql.ParenExpr):
                below = below.expr
            guarded = isinstance(below, promql.BinaryExpr) and str(below.op) in COMPARISONS
            if not guarded and not isinstance(below, promql.NumberLiteral):
                yield "a division that is not guarded against 0/0"


@cache
def labels(expr: str) -> frozenset[str]:
    """The labels that series of a query can have."""
    return frozenset(known(parsed(expr)))


@cache
def found(rule: Rule, expr: str) -> tuple[str, ...]:
    """What a rule finds in a query; the same queries are judged often."""
    return tuple(rule(expr))


RULES: dict[str, Rule] = {
    "names exist": names_exist,
    "counters in rates": counters_in_rates,
    "rate windows": windows,
    "guarded ratios": ratios_guarded,
}
