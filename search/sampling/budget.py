"""`BudgetSampler`: any Optuna sampler, held to a hard budget.

Optuna proposes first and learns of an oversized network afterwards; users then prune or fail it, and the
sampler drifts (optuna issue 2969). Here a point that does not fit is never proposed: the wrapped sampler
is asked again a few times, then its last answer is made smaller until it fits. The wrapped sampler sees,
and learns from, what was really evaluated.
"""

import random
from collections.abc import Callable, Hashable, Mapping
from itertools import islice
from typing import Any, Protocol

from optuna.distributions import BaseDistribution
from optuna.samplers import (
    BaseSampler,
    BruteForceSampler,
    GPSampler,
    GridSampler,
    NSGAIISampler,
    RandomSampler,
    TPESampler,
)
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from search.names import WrappedSamplerName
from search.sampling.cma import CmaSampler
from search.sampling.delegating import SamplerWrapper
from search.sampling.per_trial import place_of
from search.sampling.windowed import WindowSampler, all_trials

Params = dict[str, Any]

PARENTS = 3
"""So many of the most accurate networks above a size are made as small as it, where every size is sought."""

GP_MOST = 200
"""Trials that a Gaussian process is shown: its time grows with their cube."""

REPEATED_DRAWS = 10
"""So many more points are looked at where those before were in the study; a tiny space may hold no other."""

ASKED_AGAIN = 3
"""So many of those are the wrapped sampler's."""


class BudgetedSpace(Protocol):
    """What the sampler needs of a space; it knows nothing else of networks."""

    @property
    def distributions(self) -> Mapping[str, BaseDistribution]:
        """Every dimension that decides whether a point fits."""

    def fits(self, point: Mapping[str, Any]) -> bool:
        """Whether a point keeps the budget."""

    def shrink(self, point: Mapping[str, Any]) -> Params:
        """The nearest smaller point that fits."""

    def identity(self, point: Mapping[str, Any]) -> Hashable:
        """Equal for points that mean the same, though they differ where it does not matter."""


class BudgetSampler(SamplerWrapper):
    """Wraps a sampler so that every proposed point keeps a budget.

    All dimensions of the space are sampled jointly from the first trial on, also while the wrapped sampler
    would still draw each of them alone. A point that the study already has, finished or running, is drawn
    again too. Parameters that the space does not know are left to the wrapped sampler.

    Args:
        base: Any sampler but `GridSampler` and `BruteForceSampler`, which visit given points.
        space: The dimensions and their budget.
        max_draws: How many answers of the wrapped sampler are looked at before the last is shrunk.
        tighter: Given a trial's place among those drawn, the space with a budget of its own, within `space`'s,
            where every size is sought and a study's first value is accuracy. Every second proposal is then one of
            the most accurate networks above that size, made as small. None where there is one budget.

    Raises:
        ValueError: `base` visits given points, or `max_draws` is below 1.
    """

    def __init__(
        self,
        base: BaseSampler,
        space: BudgetedSpace,
        *,
        max_draws: int = 4,
        tighter: Callable[[int], BudgetedSpace] | None = None,
    ) -> None:
        if isinstance(base, GridSampler | BruteForceSampler):
            raise ValueError(
                f"{type(base).__name__} visits given points and cannot be held to a budget; "
                f"leave out the points that do not fit instead"
            )
        if max_draws < 1:
            raise ValueError(f"max_draws must be at least 1, got {max_draws}")
        super().__init__(base)
        self._space = space
        self._max_draws = max_draws
        self._tighter = tighter
        self._seen: set[int] = set()
        self._identities: set[Hashable] = set()

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """The space's dimensions, and what the wrapped sampler would sample jointly beside them."""
        return {**self._base.infer_relative_search_space(study, trial), **self._space.distributions}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> Params:
        """A joint point that keeps the budget."""
        space = self._space.distributions
        if not space.keys() <= search_space.keys():
            # Asked about other parameters: nothing here has a size.
            return self._base.sample_relative(study, trial, search_space)
        place = place_of(study, trial)
        budgeted = self._space if self._tighter is None else self._tighter(place)
        known = self._base.infer_relative_search_space(study, trial)
        joint = {name: known[name] for name in search_space if name in known}
        present = self._present(study)
        if self._tighter is not None and place % 2:
            smaller = self._made_smaller(study, place, budgeted, present)
            if smaller is not None:
                return smaller
        others: Params = {}
        oversized = 0
        for draw in range(self._max_draws + REPEATED_DRAWS):
            # Where the wrapped sampler repeats points again and again, which several asks at a time can make it
            # do, every dimension is drawn alone.
            ask = draw < self._max_draws + ASKED_AGAIN
            drawn = self._base.sample_relative(study, trial, joint) if ask else {}
            point = {
                name: drawn[name] if name in drawn else self._alone(study, trial, name, distribution)
                for name, distribution in space.items()
            }
            others |= {name: value for name, value in drawn.items() if name not in space}
            if not budgeted.fits(point):
                oversized += 1
                if oversized < self._max_draws:
                    continue
                point = budgeted.shrink(point)
            if self._space.identity(point) not in present:
                break
        return {**others, **point}

    def _made_smaller(
        self, study: Study, number: int, budgeted: BudgetedSpace, present: set[Hashable]
    ) -> Params | None:
        """One of the most accurate networks that are too large for a budget, made small enough; None if known.

        A good network is good at other sizes, too; a drawn one seldom is.
        """
        complete = [trial for trial in all_trials(study) if trial.state == TrialState.COMPLETE]
        best_first = sorted(complete, key=lambda other: (-other.values[0], other.number))
        too_large = (other.params for other in best_first if not budgeted.fits(other.params))
        parents = list(islice(too_large, PARENTS))
        random.Random(number).shuffle(parents)
        for parent in parents:
            point = budgeted.shrink(parent)
            if self._space.identity(point) not in present:
                return point
        return None

    def _present(self, study: Study) -> set[Hashable]:
        """Identities of the points that a study has; each is worked out once."""
        space = self._space.distributions.keys()
        for trial in all_trials(study):
            if trial._trial_id not in self._seen and space <= trial.params.keys():
                self._seen.add(trial._trial_id)
                self._identities.add(self._space.identity(trial.params))
        return self._identities

    def _alone(self, study: Study, trial: FrozenTrial, name: str, distribution: BaseDistribution) -> Any:
        return self._base.sample_independent(study, trial, name, distribution)


def base_sampler(name: WrappedSamplerName, seed: int) -> BaseSampler:
    """One of Optuna's samplers, with settings for searches of about 100 trials.

    Args:
        name: Which.
        seed: Of its random state.
    """
    match name:
        case "tpe":
            return WindowSampler(TPESampler(seed=seed))
        case "nsga2":
            # Optuna's 50 would spend half of 100 trials on the first, random generation.
            return NSGAIISampler(seed=seed, population_size=20)
        case "cmaes":
            # Categorical dimensions are outside CMA-ES and drawn alone, which is no reason to warn.
            return CmaSampler(seed=seed, warn_independent_sampling=False)
        case "gp":
            return WindowSampler(GPSampler(seed=seed, deterministic_objective=False), GP_MOST, GP_MOST // 4)
        case "random":
            return RandomSampler(seed=seed)
    raise ValueError(f"unknown sampler {name!r}")


def max_draws(name: WrappedSamplerName) -> int:
    """How many answers of a sampler are looked at before one is shrunk.

    One of TPE takes 45 ms with 1,000 trials in the study (`tests/benchmarks/proposals.py`), one of the GP a
    second; the others take about a millisecond.
    """
    return 1 if name in ("tpe", "gp") else 4
