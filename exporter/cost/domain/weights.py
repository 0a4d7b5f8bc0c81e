"""Weights: the relative sizes that a cost is split by, their source, and the exact split of a whole number by them.

Measured weights come from the computes. Declared ones are written down by a person, with globs over projects and
branches, for what no measure can place; they never override a measure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from fractions import Fraction

from exporter.pricing.domain.components import Component


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


def largest_remainder(total: int, weights: Mapping[str, int | Fraction]) -> dict[str, int]:
    """Split a whole number (cents) by weight so that the parts sum to it; ties go to the smaller key.

    Raises:
        ValueError: a negative total or weight, or nothing to split a positive total over.
    """
    everything = sum(weights.values())
    if total < 0 or any(weight < 0 for weight in weights.values()):
        raise ValueError("a split needs a total and weights of at least 0")
    if not everything:
        if total:
            raise ValueError(f"cannot split {total} over weights that are all 0")
        return dict.fromkeys(weights, 0)
    if len(weights) == 1:
        return dict.fromkeys(weights, total)
    parts: dict[str, int] = {}
    rests: list[tuple[Fraction | int, str]] = []
    for key, weight in weights.items():
        exact = total * weight
        whole = int(exact // everything)
        parts[key] = whole
        rests.append((whole * everything - exact, key))
    rests.sort()
    for _, key in rests[: total - sum(parts.values())]:
        parts[key] += 1
    return parts
