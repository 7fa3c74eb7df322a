"""A space together with a budget: what a sampler needs to propose only what fits."""

from collections.abc import Hashable, Mapping
from typing import Any

from optuna.distributions import BaseDistribution

from spaces.budget import Budget
from spaces.space import Point, Space


class BudgetedSpace:
    """A space whose points are asked about one budget."""

    def __init__(self, space: Space, budget: Budget) -> None:
        self._space = space
        self._budget = budget

    @property
    def distributions(self) -> Mapping[str, BaseDistribution]:
        """Every dimension of the space."""
        return self._space.distributions

    def fits(self, point: Mapping[str, Any]) -> bool:
        """Whether a point's network keeps the budget."""
        return self._budget.admits(self._space.model(point))

    def identity(self, point: Mapping[str, Any]) -> Hashable:
        """What would be trained: dimensions that a point does not use do not count."""
        return self._space.decode(point, epochs=1).model_dump_json()

    def shrink(self, point: Mapping[str, Any]) -> Point:
        """The nearest smaller point that fits."""
        return self._space.shrink(point, self._budget)
