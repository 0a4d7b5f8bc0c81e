"""Who and what the money was for: this month against the last by component, project, branch, tenant and tag.

pandas does the grouping and the pivots, over exact fractions; it is imported here only, when a review is made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING

from exporter.cost.domain.close import USAGE
from exporter.documents.tables import Cell, Column, Kind, Table, ratio, total_row
from exporter.documents.text import cents_of_rows
from exporter.report.facts import NOT_TENANTS, AllocationRow, ReviewFacts, tenant_name

if TYPE_CHECKING:
    import pandas as pd

Amounts = tuple[Fraction, Fraction]
"""This month and the last."""
Order = Callable[[tuple[str, ...], Amounts], tuple[object, ...]]
NO_TAG = ""
_ZERO = Fraction()


def frame_of(facts: ReviewFacts) -> pd.DataFrame:
    """Every row of both months: ids, item, the tags, and the exact cost in ``this`` or ``last``."""
    import pandas as pd  # noqa: PLC0415 - 45 MiB that only a report needs

    tags = facts.tagging.keys
    rows: list[tuple[object, ...]] = []
    for month, this in ((facts.this, True), (facts.last, False)):
        for row in month.rows if month else ():
            given = facts.tagging.of(row.project_id, row.branch_id)
            costs = (row.cost, _ZERO) if this else (_ZERO, row.cost)
            rows.append((*_ids(row), *(given.get(tag, NO_TAG) for tag in tags), *costs))
    columns = ["org", "project", "branch", "tenant", "kind", "item", *(f"tag:{tag}" for tag in tags), "this", "last"]
    return pd.DataFrame(rows, columns=columns, dtype=object)


def _ids(row: AllocationRow) -> tuple[str, ...]:
    return (row.org_id, row.project_id, row.branch_id, row.tenant, row.kind, str(row.item))


def grouped(frame: pd.DataFrame, keys: Sequence[str]) -> dict[tuple[str, ...], Amounts]:
    """Exact sums of this month and the last by some columns, in the order of the keys."""
    if frame.empty:
        return {}
    sums = frame.groupby(list(keys), sort=True, dropna=False)[["this", "last"]].sum()
    found: dict[tuple[str, ...], Amounts] = {}
    for name, this, last in zip(sums.index, sums["this"], sums["last"], strict=True):
        key = tuple(map(str, name)) if isinstance(name, tuple) else (str(name),)
        found[key] = (Fraction(this), Fraction(last))
    return found


def _largest(key: tuple[str, ...], amounts: Amounts) -> tuple[object, ...]:
    return (-amounts[0], -amounts[1], key)


@dataclass(frozen=True, slots=True)
class _Cut:
    """One way to cut the money: the frame's columns, the heads of the table, and how rows are named and ordered."""

    name: str
    title: str
    keys: tuple[str, ...]
    heads: tuple[str, ...]
    names: Mapping[tuple[str, ...], tuple[str, ...]] | None = None
    order: Order = _largest
    note: str = ""


def by_component(facts: ReviewFacts, frame: pd.DataFrame) -> Table:
    """What the money was for; declared lines stand at the end."""

    def order(key: tuple[str, ...], amounts: Amounts) -> tuple[object, ...]:
        return (key[0] != USAGE, -amounts[0], key)

    keys = ("kind", "item")
    names = {key: (facts.name(key[1]) if key[0] == USAGE else f"{key[1]} ({key[0]})",) for key in grouped(frame, keys)}
    return _compared(facts, frame, _Cut("components", "What it was for", keys, ("Component",), names, order))


def by_org(facts: ReviewFacts, frame: pd.DataFrame) -> Table:
    """By organisation."""
    return _compared(facts, frame, _Cut("organisations", "By organisation", ("org",), ("Organisation",)))


def by_project(facts: ReviewFacts, frame: pd.DataFrame) -> Table:
    """By project."""
    cut = _Cut("projects", "By project", ("org", "project"), ("Organisation", "Project"))
    return _compared(facts, frame, cut)


def by_branch(facts: ReviewFacts, frame: pd.DataFrame) -> Table:
    """By branch."""
    return _compared(facts, frame, _Cut("branches", "By branch", ("project", "branch"), ("Project", "Branch")))


def by_tenant(facts: ReviewFacts, frame: pd.DataFrame) -> Table:
    """By tenant over all branches; what belongs to nobody stands at the end, and nothing is left out."""

    def order(key: tuple[str, ...], amounts: Amounts) -> tuple[object, ...]:
        rank = NOT_TENANTS.index(key[0]) + 1 if key[0] in NOT_TENANTS else 0
        return (rank, -amounts[0], key)

    note = "Tenants first; then what no tenant caused. The rows add up to the total."
    names = {key: (tenant_name(key[0]),) for key in grouped(frame, ("tenant",))}
    table = _compared(facts, frame, _Cut("tenants", "By tenant", ("tenant",), ("Tenant",), names, order, note))
    own = sum(1 for (tenant,) in names if tenant in NOT_TENANTS)
    return replace(table, tail=own)


def by_tag(facts: ReviewFacts, frame: pd.DataFrame, tag: str) -> Table:
    """By the value of a tag."""
    name, title = TAG_TITLES.get(tag, (tag, f"By {tag}"))
    keys = (f"tag:{tag}",)
    names = {key: (key[0] or f"(no {name.lower()})",) for key in grouped(frame, keys)}

    def order(key: tuple[str, ...], amounts: Amounts) -> tuple[object, ...]:
        return (not key[0], -amounts[0], key)

    slug = "".join(text if text.isalnum() or text in "-_" else "-" for text in tag)
    return _compared(facts, frame, _Cut(f"tag-{slug}", title, keys, (name,), names, order))


TAG_TITLES = {
    "team": ("Team", "By team"),
    "env": ("Environment", "By environment"),
    "cost_center": ("Cost centre", "By cost centre"),
}


def _compared(facts: ReviewFacts, frame: pd.DataFrame, cut: _Cut) -> Table:
    sums = grouped(frame, cut.keys)
    columns = [*(Column(head.lower(), head) for head in cut.heads), Column("usd", "This month", Kind.USD)]
    if facts.last:
        columns += [Column("last", "Last month", Kind.USD), Column("change", "Change", Kind.CHANGE, ("usd", "last"))]
    columns.append(Column("share", "Share", Kind.SHARE))
    total = sum((this for this, _ in sums.values()), _ZERO)
    rows: list[tuple[Cell, ...]] = []
    for key, (this, last) in sorted(sums.items(), key=lambda item: cut.order(*item)):
        texts: tuple[Cell, ...] = cut.names[key] if cut.names else tuple(facts.name(text) for text in key)
        before: tuple[Cell, ...] = (last, None) if facts.last else ()
        rows.append((*texts, this, *before, ratio(this, total)))
    return Table(cut.name, cut.title, tuple(columns), tuple(rows), total_row(columns, rows), cut.note)


def pivot(facts: ReviewFacts, frame: pd.DataFrame, key: str, title: str, head: str) -> Table:
    """This month by one column and component, for spreadsheets; the cells are rounded together."""
    cells = frame.pivot_table(index=key, columns="item", values="this", aggfunc="sum", sort=True)
    names = [str(item) for item in cells.columns]
    amounts = {
        str(name): [Fraction(value) if isinstance(value, Fraction) else _ZERO for value in values]
        for name, values in zip(cells.index, cells.to_numpy().tolist(), strict=True)
    }
    used = [i for i in range(len(names)) if any(row[i] for row in amounts.values())]
    columns = [Column(key, head), *(Column(names[i], facts.name(names[i]), Kind.USD) for i in used)]
    columns.append(Column("total", "Total", Kind.USD))
    ranked = sorted(
        ((sum(row, _ZERO), name, row) for name, row in amounts.items() if any(row)), key=lambda row: (-row[0], row[1])
    )
    title_of = tenant_name if key == "tenant" else facts.name
    rows: list[tuple[Cell, ...]] = [(title_of(name), *(row[i] for i in used), total) for total, name, row in ranked]
    cells_in_cents = iter(cents_of_rows([row[i] for _, _, row in ranked for i in used]))
    shown: list[tuple[Cell, ...]] = []
    for _, name, _ in ranked:
        cents = [next(cells_in_cents) for _ in used]
        shown.append((title_of(name), *cents, sum(cents)))
    return Table(
        f"{key}-by-component", title, tuple(columns), tuple(rows), total_row(columns, rows), cents=tuple(shown)
    )
