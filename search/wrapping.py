"""What every sampler that wraps another one passes on."""

from collections.abc import Sequence
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState


class WrappingSampler(BaseSampler):
    """A sampler over another one: what is drawn alone, and what goes on around a trial, are the wrapped one's.

    Args:
        base: The wrapped sampler.
    """

    def __init__(self, base: BaseSampler) -> None:
        self._base = base

    def reseed_rng(self) -> None:
        """Reseeds the wrapped sampler."""
        self._base.reseed_rng()

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """A parameter that is drawn alone, by the wrapped sampler."""
        return self._base.sample_independent(study, trial, param_name, param_distribution)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Passed on."""
        self._base.before_trial(study, trial)

    def after_trial(
        self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """Passed on."""
        self._base.after_trial(study, trial, state, values)
