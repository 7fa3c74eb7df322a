"""Interrupted trials: they end as failed, and their points are queued again."""

from copy import copy

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from search.schema import attributes as attrs
from search.study.trials import is_interrupted, point_of

_KEPT = (
    attrs.BASELINE,
    attrs.START,
    attrs.REPORTED,
    attrs.EPOCHS,
    attrs.N_PARAMS,
    attrs.SEED,
    attrs.CRASHES,
    attrs.KILLS,
    attrs.DEATHS,
)
"""What a point's next trial takes over."""

MAX_DEATHS = 5
"""So many main processes may die in the first epoch of a network; then it is likely that they die of it."""


def requeue(study: optuna.Study, trial: FrozenTrial, *, died: bool = False) -> None:
    """Ends a running trial as interrupted, and queues its point once.

    The new trial is queued before the old one ends, so that nothing is lost if the process dies between. One that
    its process ended in this moment, though it was taken for dead, stays as it is, and its point is not kept.

    Args:
        study: Of the trial.
        trial: It runs.
        died: Whether its process died. One that trains in its main process may take that along, each time: the
            point fails in the end.
    """
    try:
        if died and trial.user_attrs.get(attrs.BEGAN):
            trial = copy(trial)
            deaths = trial.user_attrs.get(attrs.DEATHS, 0) + 1
            trial.user_attrs = {**trial.user_attrs, attrs.DEATHS: deaths}
            if deaths >= MAX_DEATHS:
                reason = f"{deaths} processes died in the first epoch of this network"
                study._storage.set_trial_user_attr(trial._trial_id, attrs.REASON, reason)
                study._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
                return
        study._storage.set_trial_user_attr(trial._trial_id, attrs.INTERRUPTED, True)
        _queue_again(study, trial)
        study._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
    except UpdateFinishedTrialError:
        end_doubles(study)
        ended = study.get_trials(deepcopy=False)[trial.number]
        if is_interrupted(ended):
            _queue_again(study, ended)  # another process ended it, perhaps before it saw the whole point


def _queue_again(study: optuna.Study, trial: FrozenTrial) -> None:
    point = point_of(trial)
    drawn = "fixed_params" in trial.system_attrs or attrs.N_PARAMS in trial.user_attrs
    queued = any(
        other.user_attrs.get(attrs.RETRY_OF) == trial.number for other in study.get_trials(deepcopy=False)
    )
    # A process that died while it was still proposing leaves half a point, which nobody has seen.
    if drawn and not queued:
        carried = {key: trial.user_attrs[key] for key in _KEPT if key in trial.user_attrs}
        study.enqueue_trial(point, user_attrs={**carried, attrs.RETRY_OF: trial.number})


def queue_lost(study: optuna.Study) -> None:
    """Queues the points of interrupted trials that nobody has queued. To be called in a turn.

    Where the server was gone, two processes may propose at once: one sees the other's trial before its point is
    written down, takes it for a dead one's and ends it, while its owner finishes drawing it.
    """
    trials = study.get_trials(deepcopy=False)
    # Whoever ends one queues it first; one that was ended as a double never had an owner.
    begun = [
        trial
        for trial in trials
        if trial.state == TrialState.FAIL and is_interrupted(trial) and attrs.OWNER in trial.user_attrs
    ]
    queued = {trial.user_attrs.get(attrs.RETRY_OF) for trial in trials} if begun else set()
    for trial in begun:
        if trial.number not in queued:
            _queue_again(study, trial)


def end_doubles(study: optuna.Study) -> None:
    """Ends queued trials that are there already.

    Where a server's answer was lost, they were queued twice; where a process came back that was taken for dead, it
    may have ended the trial whose point was queued.
    """
    waiting = study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
    if not waiting:
        return
    first: dict[tuple[str, object], int] = {}
    ended = set()
    for trial in study.get_trials(deepcopy=False):
        if trial.state in (TrialState.COMPLETE, TrialState.PRUNED):
            ended.add(trial.number)
        if is_interrupted(trial):
            names: tuple[str, ...] = (attrs.RETRY_OF,)
        else:
            names = (attrs.RETRY_OF, attrs.BASELINE, attrs.START)
        for name in names:
            if name in trial.user_attrs:
                first.setdefault((name, trial.user_attrs[name]), trial.number)
    for trial in waiting:
        if trial.user_attrs.get(attrs.RETRY_OF) in ended or any(
            first.get((name, trial.user_attrs.get(name)), trial.number) < trial.number
            for name in (attrs.RETRY_OF, attrs.BASELINE, attrs.START)
        ):
            storage = study._storage
            if storage.set_trial_state_values(trial._trial_id, TrialState.RUNNING):
                storage.set_trial_user_attr(trial._trial_id, attrs.INTERRUPTED, True)
                storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
