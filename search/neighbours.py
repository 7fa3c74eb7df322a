"""A sampler that looks around the best: small changes of good points, in turn with another sampler's proposals.

With some dozens of dimensions and trials, a model of the whole space knows little, and what it proposes is
seldom as good as the best point that is there. Small changes of that may be; regularised evolution makes them and
nothing else (Real and others, AAAI 2019).
"""

import math
import random
from collections.abc import Mapping, Sequence
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from search.wrapping import WrappingSampler

Params = dict[str, Any]

PARENTS = 5
"""So many of the best complete trials are changed."""
MORE = 0.6
"""Probability of one more dimension that is changed; 2.5 are on average."""
STEP = 0.12
"""Standard deviation of a change, of a dimension's range (in logarithms where it has them)."""


class NeighbourSampler(WrappingSampler):
    """Every second trial is a neighbour of one of the best; the others are the wrapped sampler's.

    Args:
        base: Any sampler.
        distributions: The dimensions of a point.
        seed: Decides the changes.
    """

    def __init__(self, base: BaseSampler, distributions: Mapping[str, BaseDistribution], *, seed: int) -> None:
        super().__init__(base)
        self._distributions = distributions
        self._rng = random.Random(seed)

    def reseed_rng(self) -> None:
        """Reseeds both."""
        self._rng.seed()
        super().reseed_rng()

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """All dimensions where the trial is a neighbour, else the wrapped sampler's."""
        if self._parents(study, trial):
            return dict(self._distributions)
        return self._base.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> Params:
        """A neighbour, or what the wrapped sampler says."""
        parents = self._parents(study, trial)
        if not parents:
            return self._base.sample_relative(study, trial, search_space)
        dimensions = {name: search_space[name] for name in self._distributions if name in search_space}
        return neighbour(self._rng.choice(parents).params, dimensions, self._rng)

    def _parents(self, study: Study, trial: FrozenTrial) -> Sequence[FrozenTrial]:
        """The best trials, where this one is to be a neighbour."""
        if not self._distributions or trial.number % 2 == 0 or len(study.directions) > 1:
            return ()
        complete = [
            other
            for other in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
            if self._distributions.keys() <= other.params.keys()
            and all(value <= 0 for value in other.constraints.values())
        ]
        sign = -1 if study.direction.name == "MAXIMIZE" else 1
        return sorted(complete, key=lambda other: (sign * other.values[0], other.number))[:PARENTS]


def neighbour(point: Mapping[str, Any], dimensions: Mapping[str, BaseDistribution], rng: random.Random) -> Params:
    """A point that differs in one dimension or a few: another choice, or a small step.

    Args:
        point: With every dimension.
        dimensions: Those that may change.
        rng: Random state.
    """
    names = [name for name, distribution in dimensions.items() if not distribution.single()]
    n = 1
    while n < len(names) and rng.random() < MORE:
        n += 1
    changed = {name: _moved(point[name], dimensions[name], rng) for name in rng.sample(names, min(n, len(names)))}
    return {name: changed.get(name, point[name]) for name in dimensions}


def _moved(value: Any, distribution: BaseDistribution, rng: random.Random) -> Any:
    match distribution:
        case CategoricalDistribution():
            return rng.choice([choice for choice in distribution.choices if choice != value])
        case IntDistribution() | FloatDistribution():
            low, high, here = (float(each) for each in (distribution.low, distribution.high, value))
            if distribution.log:
                low, high, here = math.log(low), math.log(high), math.log(here)
            there = min(high, max(low, here + rng.gauss(0, STEP) * (high - low)))
            real = math.exp(there) if distribution.log else there
            if isinstance(distribution, FloatDistribution):
                if distribution.step is None:
                    return min(distribution.high, max(distribution.low, real))
                steps = round((real - distribution.low) / distribution.step)
                return min(distribution.high, distribution.low + steps * distribution.step)
            whole = distribution.low + distribution.step * round((real - distribution.low) / distribution.step)
            if whole == value:  # at least one step
                whole += distribution.step if there > here else -distribution.step
            if not distribution.low <= whole <= distribution.high:
                whole = value + (distribution.step if value == distribution.low else -distribution.step)
            return int(whole)
    raise TypeError(f"cannot move along a {type(distribution).__name__}")
