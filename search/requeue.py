"""Interrupted trials: they end as failed, and their points are queued again."""

from contextlib import suppress

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from search import attrs
from search.history import point_of

_KEPT = (
    attrs.BASELINE,
    attrs.START,
    attrs.REPORTED,
    attrs.EPOCHS,
    attrs.N_PARAMS,
    attrs.SEED,
    attrs.CRASHES,
    attrs.KILLS,
)
"""What a point's next trial takes over."""


def requeue(study: optuna.Study, trial: FrozenTrial) -> None:
    """Ends a running trial as interrupted, and queues its point once.

    The new trial is queued before the old one ends, so that nothing is lost if the process dies between.
    """
    point = point_of(trial)
    drawn = "fixed_params" in trial.system_attrs or attrs.N_PARAMS in trial.user_attrs
    queued = any(
        other.user_attrs.get(attrs.RETRY_OF) == trial.number for other in study.get_trials(deepcopy=False)
    )
    # A process that died while it was still proposing leaves half a point, which nobody has seen.
    if drawn and not queued:
        carried = {key: trial.user_attrs[key] for key in _KEPT if key in trial.user_attrs}
        study.enqueue_trial(point, user_attrs={**carried, attrs.RETRY_OF: trial.number})
    # One that its process ended in this moment, though it was taken for dead, stays as it is.
    with suppress(UpdateFinishedTrialError):
        study._storage.set_trial_user_attr(trial._trial_id, attrs.INTERRUPTED, True)
        study._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
