"""The main job: ask, have trained, report, prune, tell; interrupted work is kept and run again."""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from drill_models.backend import Environment
from drill_models.errors import DrillError, Interrupted
from drill_models.result import EpochRecord
from search.context import RunContext
from search.engine.asking import ask
from search.engine.job import Job, Watcher
from search.executors.base import Executor
from search.executors.tasks import MAX_CRASHES, MAX_KILLS, Began, Ended, Epoch, Event, Lost, Task
from search.pruning.pruners import is_hopeless
from search.sampling.per_trial import place_of
from search.schema import attributes as attrs
from search.storage.advisory_locks import LockLost
from search.study.constraints import set_constraints
from search.study.requeue import requeue
from search.study.trials import has_two_values, is_interrupted, pack_curve, tally, value_of

MAX_FAILURES = 3
"""So many failed trials in a row end the search: the cause is not in the points."""

WAIT = 0.1
"""Seconds after which `should_stop` is asked again where nothing happens."""


IDLE = 0.5
"""Seconds after which a process that was given no trial asks again: those who train the last ones may die."""


def run_trials(job: Job, executor: Executor, watcher: Watcher, context: RunContext) -> bool:
    """Has trials trained until the study has `job.trials` trained networks.

    The executor trains; this process asks and tells, and others may do so for the same study.

    Args:
        job: What to work on.
        executor: What trains.
        watcher: Told of each trial.
        context: Asked whether to stop and whether there is time for a further trial, and told why nothing
            happens for a while.

    Returns:
        Whether it came to its end; false where the context stopped it. The trials that were running are then
        queued again, with their points.

    Raises:
        DrillError: Several trials in a row failed, or workers die again and again.
    """
    sitting, ask_again = _Sitting(job, executor, watcher, context.notify), 0.0
    try:
        while True:
            in_time = context.may_start()
            while context.may_start() and executor.free and time.monotonic() >= ask_again:
                if not sitting.start_one():
                    ask_again = time.monotonic() + IDLE
                context.check()
            context.check()
            if not sitting.running:
                if not in_time or sitting.all_trained:
                    return True
                sitting.say_that_it_waits()
                time.sleep(WAIT)
            for event in executor.events(WAIT):
                sitting.take(event)
    except Interrupted:
        with suppress(Interrupted):  # where the database is gone, the next search queues them again
            sitting.requeue_all()
        return False
    except DrillError:
        sitting.requeue_all()
        raise


@dataclass
class _Running:
    """A trial that trains."""

    trial: optuna.Trial
    epochs: int
    records: list[EpochRecord] = field(default_factory=list)
    where: Environment | None = None


class _Sitting:
    """The trials that run now, and what becomes of them."""

    def __init__(self, job: Job, executor: Executor, watcher: Watcher, notify: Callable[[str], None]) -> None:
        self.running: dict[int, _Running] = {}
        self._job = job
        self._executor = executor
        self._watcher = watcher
        self._notify = notify
        self._failures = 0
        self._said = False

    @property
    def all_trained(self) -> bool:
        """Whether the study has all the networks that it is to have."""
        return tally(self._job.study).trained >= self._job.trials

    def say_that_it_waits(self) -> None:
        """Says once that others train the last trials."""
        running = 0 if self._said else tally(self._job.study).running
        if running:
            self._said = True
            others = "trial that another process trains" if running == 1 else "trials that others train"
            self._notify(f"waiting for {running} {others}")

    def start_one(self) -> bool:
        """Asks for a trial and submits it, if one is missing; says whether it was.

        One over the budget is refused, which costs nothing.
        """
        trial: optuna.Trial | None = None
        job = self._job
        try:
            with job.peers.turn():
                for number in self._job.peers.requeue_dead(self._job.study):
                    self._watcher.lost(
                        None, f"the process that trained trial {number} is gone; it is queued again"
                    )
                counts = tally(self._job.study)
                if counts.trained + counts.running >= self._job.trials:
                    return False
                trial = ask(job.study, job.space.distributions, job.together, job.proposed)
                self._mark(trial)
        except (LockLost, UpdateFinishedTrialError):
            # Somebody else may have taken the same place, or this trial for a dead process's: it is given back.
            # In a turn, lest another process queues its point at the same moment.
            if trial is not None:
                with suppress(LockLost), self._job.peers.turn():
                    requeue(self._job.study, _frozen(self._job.study, trial.number))
            return True
        with suppress(UpdateFinishedTrialError):
            self._begin(trial)
        return True

    def _mark(self, trial: optuna.Trial) -> None:
        """Writes down all that others need to know of a trial, in the turn in which it was asked for.

        Raises:
            UpdateFinishedTrialError: Another process took it for a dead one's meanwhile.
        """
        job = self._job
        trial.set_user_attr(attrs.OWNER, job.peers.mark)
        place = place_of(job.study, _frozen(job.study, trial.number))
        excess = job.budget.excess(job.space.model(trial.params))
        trial.set_user_attr(attrs.N_PARAMS, excess["n_params"] + job.budget.max_params)
        trial.set_user_attr(attrs.SEED, trial.user_attrs.get(attrs.SEED, job.seed + place))
        trial.set_user_attr(attrs.EPOCHS, trial.user_attrs.get(attrs.EPOCHS, job.epochs))
        set_constraints(trial, excess)

    def _begin(self, trial: optuna.Trial) -> None:
        """Submits a trial, unless it is over the budget."""
        job = self._job
        n_params, seed, epochs = (trial.user_attrs[name] for name in (attrs.N_PARAMS, attrs.SEED, attrs.EPOCHS))
        if max(job.budget.excess(job.space.model(trial.params)).values()) > 0:
            # Only a point that somebody queued by hand can come here: the sampler proposes none.
            trial.set_user_attr(attrs.OVER_BUDGET, True)
            trial.set_user_attr(attrs.REASON, f"over the budget of {job.budget}: refused, not trained")
            _tell(job.study, trial, None, TrialState.PRUNED)
            self._failures = 0
            self._watcher.ended(_frozen(job.study, trial.number))
            return
        self.running[trial.number] = _Running(trial, epochs)
        recipe = job.space.decode(trial.params, epochs=epochs)
        self._executor.submit(Task(key=trial.number, recipe=recipe, seed=seed, weights=job.keep is not None))
        self._watcher.started(_frozen(job.study, trial.number), n_params, epochs)

    def take(self, event: Event) -> None:
        """Does what an event calls for.

        Raises:
            DrillError: Several trials in a row failed.
        """
        running = None if event.key is None else self.running.get(event.key)
        if running is None:
            if isinstance(event, Lost):
                self._watcher.lost(None, event.reason)
            return  # else of a trial that was stopped meanwhile
        try:
            self._take(running, event)
        except UpdateFinishedTrialError:
            self._give_up(running)

    def _take(self, running: _Running, event: Event) -> None:
        match event:
            case Began(where=where):
                running.where = where
                if self._executor.here:
                    running.trial.set_user_attr(attrs.BEGAN, True)
            case Epoch(record=record):
                self._epoch(running, record)
            case Ended(outcome="complete", weights=weights):
                self._end(running, TrialState.COMPLETE, weights=weights)
            case Ended(outcome="diverged", reason=reason):
                # Pruned rather than failed: samplers learn from pruned trials, and ignore failed ones.
                self._end(running, TrialState.PRUNED, reason)
            case Ended(outcome="refused", reason=reason):
                raise DrillError(reason or "a worker refused to train")
            case Ended(reason=reason):
                self._end(running, TrialState.FAIL, reason)
            case Lost(reason=reason, killed=killed):
                self._lose(running, reason, killed=killed)

    def _lose(self, running: _Running, reason: str, *, killed: bool) -> None:
        """Queues the point of a trial whose worker died; a point that does so each time fails instead."""
        trial = running.trial
        kind, most = (attrs.KILLS, MAX_KILLS) if killed else (attrs.CRASHES, MAX_CRASHES)
        times = trial.user_attrs.get(kind, 0) + 1
        trial.set_user_attr(kind, times)
        if times >= most:
            self._end(running, TrialState.FAIL, f"{reason}, as {times} workers did with this network")
            return
        self._requeue(running)
        self._watcher.lost(_frozen(self._job.study, trial.number), reason)

    def _give_up(self, running: _Running) -> None:
        """Drops a trial that another process took for dead and ended: its point is queued."""
        number = running.trial.number
        self._executor.stop(number)
        del self.running[number]
        self._watcher.lost(
            _frozen(self._job.study, number), "another process took this one for dead, as it gave no sign of life"
        )

    def requeue_all(self) -> None:
        """Stops what runs, and queues it again."""
        for running in list(self.running.values()):
            self._executor.stop(running.trial.number)
            self._requeue(running)

    def _requeue(self, running: _Running) -> None:
        number = running.trial.number
        requeue(self._job.study, _frozen(self._job.study, number))
        del self.running[number]

    def _epoch(self, running: _Running, record: EpochRecord) -> None:
        number = running.trial.number
        running.records.append(record)
        if not has_two_values(self._job.study):
            running.trial.report(record.val_accuracy, record.epoch)
        if self._executor.here and record.epoch == 1:
            running.trial.set_user_attr(attrs.BEGAN, False)
        self._watcher.epoch(number, record)
        if record.epoch < running.epochs and is_hopeless(self._job.study, number, running.records):
            self._executor.stop(number)
            self._end(running, TrialState.PRUNED)

    def _values(self, running: _Running) -> list[float]:
        accuracy = value_of(running.records)
        if not has_two_values(self._job.study):
            return [accuracy]
        return [accuracy, running.trial.user_attrs[attrs.N_PARAMS]]

    def _end(
        self, running: _Running, state: TrialState, reason: str | None = None, weights: bytes | None = None
    ) -> None:
        """Tells the study.

        Raises:
            DrillError: Several trials in a row failed.
        """
        trial, study = running.trial, self._job.study
        trial.set_user_attr(attrs.CURVE, pack_curve(running.records))
        if running.where is not None:
            trial.set_user_attr(attrs.ENVIRONMENT, asdict(running.where))
        if reason is not None:
            trial.set_user_attr(attrs.REASON, reason)
        if self._job.keep is not None and running.records and running.where is not None:
            self._job.keep(trial, running.records, running.where, weights)
        _tell(study, trial, self._values(running) if state == TrialState.COMPLETE else None, state)
        del self.running[trial.number]
        self._watcher.ended(_frozen(study, trial.number))
        self._failures = self._failures + 1 if state == TrialState.FAIL else 0
        if self._failures == MAX_FAILURES:
            raise DrillError(f"{MAX_FAILURES} trials in a row failed, the last because of: {reason}")


def _tell(study: optuna.Study, trial: optuna.Trial, values: Sequence[float] | None, state: TrialState) -> None:
    """Ends a trial.

    Raises:
        UpdateFinishedTrialError: Another process did, otherwise.
    """
    try:
        study.tell(trial, values, state=state)
    except (UpdateFinishedTrialError, ValueError):
        # A server that went away may have stored it all the same.
        ended = _frozen(study, trial.number)
        if ended.state != state or is_interrupted(ended):
            if not ended.state.is_finished():
                raise
            raise UpdateFinishedTrialError(f"trial {trial.number} has ended") from None


def _frozen(study: optuna.Study, number: int) -> FrozenTrial:
    return study.get_trials(deepcopy=False)[number]
