"""A sampler that looks at the part of a long study that it learns most from, so that proposing stays quick."""

from collections.abc import Container, Sequence
from functools import partial
from heapq import nlargest, nsmallest
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from search.wrapper import SamplerWrapper

MOST = 500
"""So many trials are shown: TPE then takes about as long with 10,000 trials in the study as with 500."""

BEST = 25
"""So many of them, for each value, are the best of all, whenever they were: as many as TPE's good set has at most.
More would stand among the bad ones, and drive it away from good regions. The others are the latest, to which TPE
gives the greatest weights anyway."""


class WindowSampler(SamplerWrapper):
    """Shows its base the best trials of a study and the latest ones, and whatever runs.

    For samplers that model what they are shown, each time anew: TPE and Gaussian processes. Not for those that
    keep populations or a state of their own in the study.

    Args:
        base: The sampler.
        most: Trials that it is shown.
        best: How many of those are the best, for each value.
    """

    def __init__(self, base: BaseSampler, most: int = MOST, best: int = BEST) -> None:
        super().__init__(base)
        self._most = most
        self._best = best

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """What the base proposes."""
        return self._base.sample_relative(self._window(study), trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """What the base draws."""
        return self._base.sample_independent(self._window(study), trial, param_name, param_distribution)

    def _window(self, study: Study) -> Study:
        """The study, or where it is long a view of it."""
        trials = study.get_trials(deepcopy=False)
        if len(trials) <= self._most:
            return study
        first = len(trials) - max(0, self._most - self._best * len(study.directions))
        older, latest = trials[:first], trials[first:]
        complete = [trial for trial in older if trial.state == TrialState.COMPLETE]
        shown = {trial.number for trial in [*latest, *self._the_best(study, complete)]}
        shown |= {trial.number for trial in older if trial.state == TrialState.RUNNING}
        return _View(study, shown)

    def _the_best(self, study: Study, complete: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        """By each value."""
        found: list[FrozenTrial] = []
        for place, direction in enumerate(study.directions):
            choose = nlargest if direction == StudyDirection.MAXIMIZE else nsmallest
            found += choose(self._best, complete, key=partial(_value, place=place))
        return found


def _value(trial: FrozenTrial, place: int) -> float:
    return float(trial.values[place])


class _View(Study):
    """A study of which only some trials are seen.

    It is the same study, but for the one method by which Optuna's samplers read trials; that is private, so this
    is tied to Optuna 5, and a test shows that TPE reads through it.
    """

    def __init__(self, study: Study, shown: Container[int]) -> None:
        self.__dict__.update(study.__dict__)
        self._shown = shown

    def _get_trials(
        self,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
        use_cache: bool = False,
    ) -> list[FrozenTrial]:
        trials = super()._get_trials(deepcopy, states, use_cache)
        return [trial for trial in trials if trial.number in self._shown]
