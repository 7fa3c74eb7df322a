"""A space together with a budget: what a sampler needs to propose only what fits."""

import random
from collections.abc import Hashable, Mapping
from dataclasses import replace
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


class EverySize:
    """A budget of its own for each trial, so that a search for the best of every size looks at every size.

    Nearly every random point is over a small budget and is made just small enough; so all trials would have about
    as many parameters as the budget allows.

    Args:
        space: Any.
        budget: Of the search.
        share: The smallest size is the budget's parameters divided by this, or that of the smallest network.
        seed: Decides the sizes.
    """

    def __init__(self, space: Space, budget: Budget, *, share: int, seed: int) -> None:
        self._space = space
        self._budget = budget
        self.least = max(space.least_params(budget), budget.max_params // share)
        self._seed = seed

    def of(self, number: int) -> BudgetedSpace:
        """The space with the budget of a trial's number; sizes are drawn evenly on a logarithmic scale."""
        part = random.Random(f"{self._seed}/{number}").random()
        size = self.least * (self._budget.max_params / self.least) ** part
        return BudgetedSpace(self._space, replace(self._budget, max_params=int(size)))
