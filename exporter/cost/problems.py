"""What can be known to be wrong with the sections of cost before anything is contacted."""

from __future__ import annotations

from collections.abc import Iterator

from exporter.cost.allocation import declared_weights
from exporter.cost.settings import CostSettings


def problems_of_cost(cost: CostSettings) -> Iterator[str]:
    """One line each, beginning with its path."""
    try:
        declared_weights.load(cost.weights_file)
    except declared_weights.WeightsFileError as problem:
        yield from (f"cost.weights_file: {line}" for line in problem.problems)
    for name in ("idle", "shared"):
        if getattr(cost, name) == "fixed" and cost.weights_file is None:
            yield f"cost.{name}: fixed goes by declared weights; name their file in cost.weights_file"
