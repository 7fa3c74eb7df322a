"""Asks a study's sampler for a trial: measured, and without leaving half a trial where it is interrupted."""

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import TrialState

from drill_models.errors import Interrupted
from search.study.requeue import requeue


def ask(
    study: optuna.Study,
    distributions: Mapping[str, BaseDistribution],
    together: Callable[[], AbstractContextManager[None]],
    proposed: Callable[[float], None],
) -> optuna.Trial:
    """Asks for a trial, in a turn.

    Args:
        study: With its sampler.
        distributions: Of the parameters.
        together: Within it the storage buffers parameters, and writes them at once at its end.
        proposed: Told how many seconds it took.

    Raises:
        Interrupted: A person stopped the sampler. The trial, which has no point yet, has ended.
    """
    before, began = len(study.get_trials(deepcopy=False)), time.monotonic()
    try:
        with together():
            trial = study.ask(dict(distributions))
    except Interrupted:
        for undrawn in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if undrawn.number >= before:  # no other process proposes in this turn
                requeue(study, undrawn)
        raise
    proposed(time.monotonic() - began)
    return trial
