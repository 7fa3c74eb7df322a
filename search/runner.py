"""The main job: ask, train, report, prune, tell; interrupted work is kept and run again."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import optuna
import torch
from optuna.trial import FrozenTrial, TrialState

from drill_models.data import ResidentData
from drill_models.device import DeviceName
from drill_models.errors import DrillError
from drill_models.step import EpochRecord
from drill_models.train import Diverged, Interrupted, train
from search import attrs
from search.constraints import set_constraints
from search.history import epochs_of, pack_curve, point_of, tally, value_of
from spaces.budget import Budget
from spaces.drill import DrillSpace

MAX_FAILURES = 3
"""So many failed trials in a row end the search: the cause is not in the points."""


class Watcher(Protocol):
    """What is told of a search while it runs."""

    def started(self, trial: FrozenTrial, n_params: int, epochs: int) -> None:
        """A trial begins to train."""

    def epoch(self, record: EpochRecord) -> None:
        """The running trial finished an epoch."""

    def ended(self, trial: FrozenTrial) -> None:
        """The trial ended: complete, pruned or failed."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What `run_trials` works on.

    Attributes:
        study: With its sampler and pruner.
        space: What its points mean.
        budget: Checked again before anything is built.
        data: Training and validation images.
        epochs: Of a trial that does not say otherwise.
        trials: Total to stop at.
        seed: Trial number n trains with `seed + n`, unless it carries its own.
        device: Where to train.
        timeout: Seconds after which no further trial starts, or None.
    """

    study: optuna.Study
    space: DrillSpace
    budget: Budget
    data: ResidentData
    epochs: int
    trials: int
    seed: int
    device: DeviceName
    timeout: float | None = None


def run_trials(job: Job, watcher: Watcher, should_stop: Callable[[], bool]) -> bool:
    """Trains until the study has `job.trials` trained networks.

    Returns:
        Whether it came to its end; false where `should_stop` said yes. The trial that was running is then
        queued again, with its point.

    Raises:
        DrillError: Several trials in a row failed.
    """
    job = replace(job, data=job.data.to(job.device))
    started = time.monotonic()
    failures = 0
    while tally(job.study).trained < job.trials:
        if should_stop():
            return False
        if job.timeout is not None and time.monotonic() - started >= job.timeout:
            return True
        trial = job.study.ask(dict(job.space.distributions))
        try:
            state = _run_trial(job, trial, watcher, should_stop)
        except Interrupted:
            requeue(job.study, _frozen(job.study, trial.number))
            return False
        watcher.ended(_frozen(job.study, trial.number))
        failures = failures + 1 if state == TrialState.FAIL else 0
        if failures == MAX_FAILURES:
            reason = _frozen(job.study, trial.number).user_attrs[attrs.REASON]
            raise DrillError(f"{MAX_FAILURES} trials in a row failed, the last because of: {reason}")
    return True


def requeue_dead(study: optuna.Study) -> list[int]:
    """Queues the points of trials that a dead process left running; returns their numbers."""
    dead = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    for trial in dead:
        requeue(study, trial)
    return [trial.number for trial in dead]


def requeue(study: optuna.Study, trial: FrozenTrial) -> None:
    """Ends a running trial as interrupted, and queues its point once.

    The new trial is queued before the old one ends, so that nothing is lost if the process dies between.
    """
    point = point_of(trial)
    complete = len(point) > 0 and attrs.N_PARAMS in trial.user_attrs
    queued = any(
        other.user_attrs.get(attrs.RETRY_OF) == trial.number for other in study.get_trials(deepcopy=False)
    )
    # A process that died while it was still proposing leaves half a point, which nobody has seen.
    if complete and not queued:
        kept = (attrs.BASELINE, attrs.REPORTED, attrs.EPOCHS, attrs.N_PARAMS, attrs.SEED)
        carried = {key: trial.user_attrs[key] for key in kept if key in trial.user_attrs}
        study.enqueue_trial(point, user_attrs={**carried, attrs.RETRY_OF: trial.number})
    study._storage.set_trial_user_attr(trial._trial_id, attrs.INTERRUPTED, True)
    study.tell(trial.number, state=TrialState.FAIL)


def _run_trial(job: Job, trial: optuna.Trial, watcher: Watcher, should_stop: Callable[[], bool]) -> TrialState:
    """Trains one trial and tells the study; returns the state it ended in."""
    excess = job.budget.excess(job.space.model(trial.params))
    n_params = excess["n_params"] + job.budget.max_params
    seed = trial.user_attrs.get(attrs.SEED, job.seed + trial.number)
    for key, value in ((attrs.SEED, seed), (attrs.N_PARAMS, n_params)):
        trial.set_user_attr(key, value)
    set_constraints(trial, excess)
    if max(excess.values()) > 0:
        # Only a point that somebody queued by hand can come here: the sampler proposes none.
        trial.set_user_attr(attrs.OVER_BUDGET, True)
        trial.set_user_attr(attrs.REASON, f"over the budget of {job.budget}: refused, not trained")
        job.study.tell(trial, state=TrialState.PRUNED)
        return TrialState.PRUNED
    frozen = _frozen(job.study, trial.number)
    epochs = epochs_of(frozen, job.epochs)
    watcher.started(frozen, n_params, epochs)
    records: list[EpochRecord] = []
    state, reason = TrialState.COMPLETE, None
    recipe = job.space.decode(trial.params, epochs=epochs)
    try:
        for record in train(recipe, job.data, seed=seed, device=job.device, should_stop=should_stop):
            records.append(record)
            trial.report(record.val_accuracy, record.epoch)
            watcher.epoch(record)
            if record.epoch < epochs and trial.should_prune():
                state = TrialState.PRUNED
                break
    except Diverged as error:
        # Pruned rather than failed: samplers learn from pruned trials, and ignore failed ones.
        state, reason = TrialState.PRUNED, str(error)
    except (RuntimeError, MemoryError) as error:
        state, reason = TrialState.FAIL, f"{type(error).__name__}: {error}"[:500]
    trial.set_user_attr(attrs.CURVE, pack_curve(records))
    trial.set_user_attr(
        attrs.ENVIRONMENT,
        {"device": job.device, "threads": torch.get_num_threads(), "torch": torch.__version__},
    )
    if reason is not None:
        trial.set_user_attr(attrs.REASON, reason)
    job.study.tell(trial, value_of(records) if state == TrialState.COMPLETE else None, state=state)
    return state


def _frozen(study: optuna.Study, number: int) -> FrozenTrial:
    return study.get_trials(deepcopy=False)[number]
