"""Weights: the relative sizes that a cost is split by, their source, and the exact split of a whole number by them.

Measured weights come from the computes. Declared ones are written down by a person, with globs over projects and
branches, for what no measure can place; they never override a measure.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from fractions import Fraction
from typing import TypeVar

from exporter.pricing.domain.components import Component

Key = TypeVar("Key", bound=Hashable)


class Confidence(StrEnum):
    """How a figure came about, from the best to the weakest."""

    EXACT = "exact"
    """The API's own figure."""
    MEASURED = "measured"
    """Split by something that was measured in full."""
    SAMPLED = "sampled"
    """Split by what visits happened to find."""
    DECLARED = "declared"
    """Split by weights, or by a policy, that a person gave."""
    ESTIMATED = "estimated"
    """Split by a measure of something else that moves alike, or by one that has become old."""


@dataclass(frozen=True, slots=True)
class Weights:
    """Relative sizes by tenant, and their source."""

    shares: Mapping[str, int | Fraction]
    confidence: Confidence = Confidence.MEASURED


@dataclass(frozen=True, slots=True)
class DeclaredWeight:
    """One line of a weights file. ``project`` and ``branch`` are globs over ids or names; ``weight`` is at least 0.

    Without a ``component`` it holds for all of them. It holds for the days (UTC midnights, unix seconds) from
    ``start`` to before ``end``; None is open.
    """

    project: str
    branch: str
    tenant: str
    weight: Fraction
    component: Component | None = None
    start: int | None = None
    end: int | None = None

    def holds(
        self, project: tuple[str, ...], branch: tuple[str, ...], component: Component, day: int
    ) -> bool:  # fmt: skip
        """Whether it speaks of this place (ids and names), component and day."""
        return (
            self.component in (None, component)
            and (self.start is None or self.start <= day)
            and (self.end is None or day < self.end)
            and any(fnmatchcase(text, self.project) for text in project)
            and any(fnmatchcase(text, self.branch) for text in branch)
        )


def declared(
    rows: Iterable[DeclaredWeight],
    project: tuple[str, ...],
    branch: tuple[str, ...],
    component: Component,
    day: int,
) -> dict[str, Fraction]:
    """The weights that hold for one component of one branch on one day, by tenant; empty when none do.

    Lines that name the component win over those that name none. Two lines for one tenant are added.
    """
    found: dict[bool, dict[str, Fraction]] = {True: {}, False: {}}
    for row in rows:
        if row.weight and row.holds(project, branch, component, day):
            tenants = found[row.component is not None]
            tenants[row.tenant] = tenants.get(row.tenant, Fraction()) + row.weight
    return found[True] or found[False]


def largest_remainder(
    total: int, weights: Mapping[Key, int | Fraction], everything: int | Fraction | None = None
) -> dict[Key, int]:
    """Split a whole number (cents) by weight so that the parts sum to it; ties go to the smaller key.

    ``everything`` is the sum of the weights where it is known; adding up many fractions is dear.

    Raises:
        ValueError: a negative total or weight, nothing to split a positive total over, or another sum of the weights.
    """
    one_takes_all = everything is None and len(weights) == 1
    everything = sum(weights.values()) if everything is None else everything
    if total < 0 or any(weight < 0 for weight in weights.values()):
        raise ValueError("a split needs a total and weights of at least 0")
    if not everything:
        if total:
            raise ValueError(f"cannot split {total} over weights that are all 0")
        return dict.fromkeys(weights, 0)
    if one_takes_all:
        return dict.fromkeys(weights, total)
    parts: dict[Key, int] = {}
    rests: list[tuple[Fraction | int, Key]] = []
    for key, weight in weights.items():
        exact = total * weight
        whole = int(exact // everything)
        parts[key] = whole
        rests.append((whole * everything - exact, key))
    left = total - sum(parts.values())
    if not 0 <= left <= len(rests):
        raise ValueError(f"the weights do not sum to {everything}")
    for _, key in sorted(rests)[:left]:
        parts[key] += 1
    return parts
