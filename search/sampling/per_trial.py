"""A random state for each proposal, so that a search in several sessions proposes what one session would."""

from collections.abc import Callable
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from search.sampling.delegating import SamplerWrapper
from search.sampling.windowed import all_trials
from search.schema import attributes as attrs
from search.study.trials import is_interrupted


def place_of(study: Study, trial: FrozenTrial) -> int:
    """The number that a trial would have had if none had been interrupted.

    The new trial of an interrupted one's point has no place of its own, and neither has one that died undrawn. No
    two trials that are drawn have the same place, also where several processes draw them.
    """
    return sum(other.number < trial.number and _has_place(other) for other in all_trials(study))


def _has_place(trial: FrozenTrial) -> bool:
    if attrs.RETRY_OF in trial.user_attrs:
        return False
    undrawn = attrs.N_PARAMS not in trial.user_attrs and "fixed_params" not in trial.system_attrs
    return not (trial.state == TrialState.FAIL and is_interrupted(trial) and undrawn)


class PerTrialSampler(SamplerWrapper):
    """Asks a new base sampler for each trial, whose seed comes from the search's seed and the trial's place.

    For samplers that learn from the study alone: those keep nothing but their random state.

    Args:
        make: Makes a sampler from its seed.
        seed: Of the search.
    """

    def __init__(self, make: Callable[[int], BaseSampler], seed: int) -> None:
        super().__init__(make(seed % 2**32))
        self._make = make
        self._seed = seed
        self._of = -1

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Passed on."""
        self._choose(study, trial)
        super().before_trial(study, trial)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """What the base samples jointly."""
        self._choose(study, trial)
        return super().infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """What the base proposes."""
        self._choose(study, trial)
        return super().sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """What the base draws."""
        self._choose(study, trial)
        return super().sample_independent(study, trial, param_name, param_distribution)

    def _choose(self, study: Study, trial: FrozenTrial) -> None:
        """Makes the base of a trial, once."""
        if trial._trial_id != self._of:
            self._of = trial._trial_id
            mixed = np.random.SeedSequence([self._seed, place_of(study, trial)]).generate_state(1)
            self._base = self._make(int(mixed[0]))
