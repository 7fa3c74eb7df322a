"""A sampler that looks at the part of a long study that it learns most from, so that proposing stays quick."""

import copy
from collections.abc import Container, Sequence
from functools import partial
from heapq import nlargest, nsmallest
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from search.sampling.delegating import SamplerWrapper

MOST = 200
"""So many trials are shown: TPE then takes about as long with 10,000 trials in the study as with 200."""

BEST = 25
"""So many of them, for each value, are the best of all, whenever they were: as many as TPE's good set has at most.
More would stand among the bad ones, and drive it away from good regions. The others are the latest, to which TPE
gives the greatest weights anyway."""


def all_trials(study: Study) -> list[FrozenTrial]:
    """A study's trials, as they were when a trial was asked for: Optuna's samplers read them so, once a trial.

    With 10,000 trials, `Study.get_trials` takes ten milliseconds each time.
    """
    return study._get_trials(deepcopy=False, use_cache=True)


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
        self._of = -1
        self._shown: list[FrozenTrial] = []

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """What the base samples jointly."""
        return self._base.infer_relative_search_space(self._window(study, trial), trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """What the base proposes."""
        return self._base.sample_relative(self._window(study, trial), trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """What the base draws."""
        return self._base.sample_independent(self._window(study, trial), trial, param_name, param_distribution)

    def _window(self, study: Study, trial: FrozenTrial) -> Study:
        """The study, or where it is long a view of it; the same for all that is asked of one trial."""
        trials = all_trials(study)
        if len(trials) <= self._most:
            return study
        if trial._trial_id != self._of:
            self._of, self._shown = trial._trial_id, self._chosen(study, trials)
        return _View(study, self._shown)

    def _chosen(self, study: Study, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        """The trials that are shown, in their order."""
        first = len(trials) - max(0, self._most - self._best * len(study.directions))
        older, latest = trials[:first], trials[first:]
        complete = [trial for trial in older if trial.state == TrialState.COMPLETE]
        chosen = {trial.number: trial for trial in [*latest, *self._the_best(study, complete)]}
        chosen |= {trial.number: trial for trial in older if trial.state == TrialState.RUNNING}
        return [chosen[number] for number in sorted(chosen)]

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

    def __init__(self, study: Study, shown: Sequence[FrozenTrial]) -> None:
        self.__dict__.update(study.__dict__)
        self._shown = shown

    def _get_trials(
        self,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
        use_cache: bool = False,
    ) -> list[FrozenTrial]:
        trials = [trial for trial in self._shown if states is None or trial.state in states]
        return copy.deepcopy(trials) if deepcopy else trials
