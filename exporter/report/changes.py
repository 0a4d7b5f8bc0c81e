"""Why this month differs from the last: by price and use, by project and branch, and in one sentence."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from typing import NamedTuple

from exporter.cost.domain.cost_variance import EFFECTS, CostVariance
from exporter.documents.tables import Cell, Column, Kind, Table, shown, total_row
from exporter.documents.text import cents, cents_of_rows, money, month_name, percent
from exporter.pricing.domain.calendar import DAY
from exporter.pricing.domain.components import Component
from exporter.report.facts import ReviewFacts

PLAIN: Mapping[str, str] = {component: component.spec.phrase for component in Component}
"""A component in the middle of a sentence."""
EFFECT_TITLES = {"price": "Price", "volume": "Usage", "new": "New branches", "gone": "Gone branches"}
_ZERO = Fraction()


class CostChange(NamedTuple):
    """Something whose cost changed: by how many cents, and mostly why."""

    name: str
    cents: int
    why: str


def variance_table(facts: ReviewFacts, components: Table) -> Table | None:
    """The difference to last month by component and cause, to the cent that of the table of components."""
    if facts.variances is None:
        return None
    changes = _changes(components)
    effects: dict[str, list[Fraction]] = {}
    for variance in facts.variances.moves:
        sums = effects.setdefault(facts.name(variance.item.component), [_ZERO] * len(EFFECTS))
        for i, name in enumerate(EFFECTS):
            sums[i] += getattr(variance, name)
    others = {name: change for name, change in changes.items() if name not in effects}
    heads = [EFFECT_TITLES[name] for name in EFFECTS] + (["Other lines"] if any(others.values()) else [])
    columns = [Column("component", "Component"), *(Column(head.lower(), head, Kind.USD) for head in heads)]
    columns.append(Column("change", "Change", Kind.USD))
    rows: list[tuple[Cell, ...]] = []
    in_cents: list[tuple[Cell, ...]] = []
    rest: tuple[Cell, ...] = (0,) if len(heads) > len(EFFECTS) else ()
    for name in changes:
        if name in effects:
            rounded = cents_of_rows(effects[name], changes[name])
            rows.append((name, *effects[name], *rest, sum(effects[name], _ZERO)))
            in_cents.append((name, *rounded, *rest, changes[name]))
        elif changes[name]:
            nothing = (0,) * len(EFFECTS)
            rows.append((name, *nothing, Fraction(changes[name], 100), Fraction(changes[name], 100)))
            in_cents.append((name, *nothing, changes[name], changes[name]))
    note = "Price: the same use at another price. Usage: another use at the old price. Together: the whole difference."
    total = total_row(columns, rows)
    return Table("bridge", "From last month to this", tuple(columns), tuple(rows), total, note, tuple(in_cents))


def _changes(table: Table) -> dict[str, int]:
    position = table.at("change")
    return {str(row[0]): int(row[position] or 0) for row in shown(table).rows}


def project_movers(facts: ReviewFacts, projects: Table) -> list[CostChange]:
    """Projects by how much their cost changed; to the cent what the table of projects says."""
    if facts.variances is None:
        return []
    causes = _causes(facts, lambda variance: (facts.name(variance.item.org_id), facts.name(variance.item.project_id)))
    position = projects.at("change")
    movers = [
        CostChange(str(row[1]), int(row[position] or 0), causes.get((str(row[0]), str(row[1])), "declared lines"))
        for row in shown(projects).rows
    ]
    return sorted((mover for mover in movers if mover.cents), key=lambda mover: (-abs(mover.cents), mover.name))


def branch_movers(facts: ReviewFacts, most: int = 20) -> Table | None:
    """The branches whose cost changed most, with the cause."""
    if facts.variances is None:
        return None
    sums: dict[tuple[str, str], list[Fraction]] = {}
    for variance in facts.variances.moves:
        pair = sums.setdefault((variance.item.project_id, variance.item.branch_id), [_ZERO, _ZERO])
        pair[0] += variance.after
        pair[1] += variance.before
    causes = _causes(facts, lambda variance: (variance.item.project_id, variance.item.branch_id))
    ranked = sorted(sums.items(), key=lambda item: (-abs(item[1][0] - item[1][1]), item[0]))
    columns = (
        Column("project", "Project"),
        Column("branch", "Branch"),
        Column("usd", "This month", Kind.USD),
        Column("last", "Last month", Kind.USD),
        Column("change", "Change", Kind.CHANGE, ("usd", "last")),
        Column("why", "Mostly"),
    )
    rows = tuple(
        (facts.name(key[0]), facts.name(key[1]), after, before, None, causes[key])
        for key, (after, before) in ranked[:most]
        if after != before
    )
    return Table("movers", "Branches that moved most", columns, rows) if rows else None


def _causes(facts: ReviewFacts, key: Callable[[CostVariance], tuple[str, str]]) -> dict[tuple[str, str], str]:
    parts: dict[tuple[str, str], dict[tuple[str, str], Fraction]] = {}
    longer = _longer(facts)
    for variance in facts.variances.moves if facts.variances else ():
        causes = parts.setdefault(key(variance), {})
        # As much on each day of a month of other length is no other use.
        by_days = variance.before * longer if variance.volume else _ZERO
        causes["days", ""] = causes.get(("days", ""), _ZERO) + by_days
        for effect in EFFECTS:
            amount = getattr(variance, effect) - (by_days if effect == "volume" else _ZERO)
            what = variance.item.branch_id if effect in ("new", "gone") else variance.item.component.value
            if amount:
                causes[effect, what] = causes.get((effect, what), _ZERO) + amount
    found: dict[tuple[str, str], str] = {}
    for name, causes in parts.items():
        change = sum(causes.values(), _ZERO)
        same_way = {cause: amount for cause, amount in causes.items() if (amount > 0) == (change > 0)} or causes
        cause, amount = min(same_way.items(), key=lambda item: (-abs(item[1]), item[0]), default=(("", ""), _ZERO))
        found[name] = _cause_text(facts, cause, amount)
    return found


def _longer(facts: ReviewFacts) -> Fraction:
    """By what part this month is longer than the last; 0 while it is not over."""
    if facts.last is None or not facts.this.complete:
        return _ZERO
    return Fraction(facts.this.end - facts.this.start, facts.last.end - facts.last.start) - 1


def _cause_text(facts: ReviewFacts, cause: tuple[str, str], amount: Fraction) -> str:
    effect, what = cause
    if effect == "new":
        return f"new: {facts.name(what)}"
    if effect == "gone":
        return f"gone: {facts.name(what)}"
    if effect == "days":
        return "more days in the month" if amount > 0 else "fewer days in the month"
    if effect == "price":
        return f"{'higher' if amount > 0 else 'lower'} price of {PLAIN.get(what, what)}"
    return f"{'more' if amount > 0 else 'less'} {PLAIN.get(what, what)}" if effect else "nothing"


def headline(facts: ReviewFacts) -> str:
    """The month in one sentence: what it cost, and against the last."""
    total, name = cents(facts.this.total), month_name(facts.this.start)
    spent = f"{name} cost {money(total)}" if facts.this.complete else f"{name} has cost {money(total)} so far"
    if facts.last is None:
        return f"{spent}."
    before = cents(facts.last.total)
    change = total - before
    if not change:
        return f"{spent}, as much as {month_name(facts.last.start)}."
    part = f" ({percent(Fraction(abs(change), before))})" if before else ""
    than = f"{money(abs(change))}{part} {'more' if change > 0 else 'less'} than {month_name(facts.last.start)}"
    return f"{spent}, {than}."


def why(facts: ReviewFacts, movers: Iterable[CostChange]) -> str:
    """The sentences after it: what made the difference, and what prices and the calendar had to do with it."""
    if facts.variances is None or facts.last is None:
        return "There is no month before it to compare with."
    up = facts.this.total >= facts.last.total
    same_way = [mover for mover in movers if (mover.cents > 0) == up][:2]
    parts = [f"{mover.name}, {mover.why} ({money(mover.cents, sign=True)})" for mover in same_way]
    text = f"Most of the difference: {'; '.join(parts)}." if parts else "No project moved."
    price = cents(facts.variances.effects["price"])
    text += f" Prices made {money(price, sign=True)} of it." if price else " Prices did not change."
    days, before = ((month.end - month.start) // DAY for month in (facts.this, facts.last))
    if days != before and facts.this.complete:
        text += f" The month had {days} days, the last one {before}."
    if not facts.this.complete:
        text += " The month is not over, and is compared with all of the last."
    return text
