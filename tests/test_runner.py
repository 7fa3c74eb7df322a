"""Ask, train, report, prune, tell; interruption and failure."""

from collections.abc import Mapping
from copy import copy
from dataclasses import replace
from typing import Any, Literal

import optuna
import pytest
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial, TrialState

from drill_models.backend import Backend
from drill_models.data import ResidentData
from drill_models.errors import DrillError
from drill_models.result import EpochRecord, last_three_mean
from search.context import RunContext
from search.deadline import Deadline
from search.engine import trial_loop as runner
from search.engine.job import Job
from search.executors.base import InProcess
from search.schema import attributes as attrs
from search.study import constraints, requeue
from search.study.coordination import OnlyProcess
from search.study.ranking import ranked
from search.study.trials import curve, is_interrupted, point_of, tally
from tests.jobs import BUDGET, Log, run_here, small_job
from tests.spaces_for_tests import SPACE, random_points


def never() -> bool:
    return False


def test_trains_to_the_total_and_records_everything(few_digits: ResidentData) -> None:
    job, log = small_job(trials=3, epochs=4), Log()
    assert run_here(job, few_digits, log, never)
    trials = job.study.trials
    assert [t.state for t in trials] == [TrialState.COMPLETE] * 3
    assert log.lines[:6] == [
        "start 0",
        "epoch 1 of 0",
        "epoch 2 of 0",
        "epoch 3 of 0",
        "epoch 4 of 0",
        "end 0 COMPLETE",
    ]
    for trial in trials:
        records = curve(trial)
        accuracies = [r.val_accuracy for r in records]
        assert trial.value == pytest.approx(last_three_mean(accuracies))
        assert trial.intermediate_values == dict(enumerate(accuracies, start=1))
        assert trial.constraints["n_params"] == trial.user_attrs[attrs.N_PARAMS] - BUDGET.max_params
        assert trial.system_attrs["constraints"] == [trial.constraints["n_params"]]
        assert trial.user_attrs[attrs.SEED] == trial.number
    # The same again does nothing: the total is reached.
    assert run_here(job, few_digits, log, never)
    assert len(job.study.trials) == 3


def test_goes_on_to_a_larger_total(few_digits: ResidentData) -> None:
    job = small_job(trials=2)
    run_here(job, few_digits, Log(), never)
    run_here(replace(job, trials=4), few_digits, Log(), never)
    assert tally(job.study).trained == 4


class StopAtTwo(BasePruner):
    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        return trial.number == 1 and trial.last_step == 2


def test_a_pruned_trial_costs_the_epochs_it_ran(few_digits: ResidentData) -> None:
    job = small_job(trials=2, epochs=4)
    job.study.pruner = StopAtTwo()
    run_here(job, few_digits, Log(), never)
    first, second = job.study.trials
    assert (first.state, second.state) == (TrialState.COMPLETE, TrialState.PRUNED)
    assert len(curve(second)) == 2
    assert tally(job.study).pruned == 1


def test_interruption_queues_the_same_point_again(few_digits: ResidentData) -> None:
    job, log = small_job(trials=3, epochs=2), Log()

    def stop() -> bool:
        return "start 1" in log.lines

    assert not run_here(job, few_digits, log, stop)
    counts = tally(job.study)
    assert (counts.trained, counts.interrupted, counts.waiting) == (1, 1, 1)
    assert run_here(job, few_digits, Log(), never)
    counts = tally(job.study)
    assert (counts.trained, counts.interrupted, counts.waiting) == (3, 1, 0)
    broken, again = job.study.trials[1], job.study.trials[2]
    assert again.params == broken.params
    assert again.user_attrs[attrs.RETRY_OF] == 1
    assert again.user_attrs[attrs.SEED] == broken.user_attrs[attrs.SEED]


def test_what_a_dead_process_left_is_queued_once(few_digits: ResidentData) -> None:
    job = small_job(trials=2)
    left = job.study.ask(dict(SPACE.distributions))
    left.set_user_attr(attrs.N_PARAMS, 1000)
    half = job.study.ask()
    half.suggest_int("c1", 4, 128, log=True)
    # As if the process had died after queueing, before ending the old trial.
    job.study.enqueue_trial(left.params, user_attrs={attrs.RETRY_OF: 0, attrs.N_PARAMS: 1000})
    assert OnlyProcess().requeue_dead(job.study) == [0, 1]
    assert OnlyProcess().requeue_dead(job.study) == []
    counts = tally(job.study)
    # The half proposed point was nobody's; the whole one is queued once.
    assert (counts.waiting, counts.interrupted, counts.trained) == (1, 2, 0)
    run_here(job, few_digits, Log(), never)
    assert tally(job.study).trained == 2


def test_a_trial_that_ends_while_it_is_taken_for_dead_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    study = small_job(trials=1).study
    trial = study.ask(dict(SPACE.distributions))
    trial.set_user_attr(attrs.N_PARAMS, 1000)
    queue = requeue._queue_again

    def queue_and_end(study: optuna.Study, frozen: FrozenTrial) -> None:
        queue(study, frozen)
        study.tell(trial, 0.5)  # its process was only held up

    monkeypatch.setattr(requeue, "_queue_again", queue_and_end)
    requeue.requeue(study, study.get_trials()[0])
    counts = tally(study)
    assert (counts.complete, counts.trained, counts.waiting, counts.interrupted) == (1, 1, 0, 1)
    assert not is_interrupted(study.trials[0])
    # Where the one that queued it died at that moment, the next to look finds it.
    study.enqueue_trial(trial.params, user_attrs={attrs.RETRY_OF: 0, attrs.N_PARAMS: 1000})
    requeue.end_doubles(study)
    assert tally(study).waiting == 0


def test_a_point_that_another_process_ended_while_it_was_drawn_is_kept() -> None:
    study = small_job(trials=1).study
    trial = study.ask(dict(SPACE.distributions))
    seen = study.get_trials()[0]  # by another process, which takes it for a dead one's
    trial.set_user_attr(attrs.N_PARAMS, 1000)
    requeue.requeue(study, seen)
    assert tally(study).waiting == 0
    for _ in range(2):
        requeue.requeue(study, study.get_trials()[0])  # its own process finds it ended
        counts = tally(study)
        assert (counts.waiting, counts.interrupted, counts.trained) == (1, 1, 0)
    assert point_of(study.get_trials()[1]) == trial.params


def test_a_point_that_another_process_ended_while_it_was_marked_is_kept(
    few_digits: ResidentData, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one saw it before its size was written down, and so did not queue it."""
    job, whole = small_job(trials=2), constraints.set_constraints

    def taken(trial: optuna.Trial, excess: Mapping[str, float]) -> None:
        if trial.number == 0:
            seen = copy(job.study.get_trials(deepcopy=False)[0])
            seen.user_attrs = {}
            requeue.requeue(job.study, seen)
        whole(trial, excess)

    monkeypatch.setattr(runner, "set_constraints", taken)
    assert run_here(job, few_digits, Log(), never)
    first, again, _ = job.study.trials
    assert (is_interrupted(first), again.user_attrs[attrs.RETRY_OF]) == (True, 0)
    assert again.params == first.params
    counts = tally(job.study)
    assert (counts.trained, counts.interrupted, counts.waiting) == (2, 1, 0)


def test_a_point_that_another_process_ended_before_it_was_marked_is_queued_by_the_next_turn(
    few_digits: ResidentData,
) -> None:
    """The other one saw no point, and its own process finds out when the trial has begun to train."""

    class HealsAtEachTurn(OnlyProcess):
        def requeue_dead(self, study: optuna.Study) -> list[int]:
            requeue.queue_lost(study)
            return super().requeue_dead(study)

    class EndedByAnother(Log):
        def started(self, trial: FrozenTrial, n_params: int, epochs: int) -> None:
            super().started(trial, n_params, epochs)
            if trial.number == 0:
                seen = copy(trial)
                seen.user_attrs = {}
                requeue.requeue(job.study, seen)
                assert tally(job.study).waiting == 0

    for peers, queued in ((OnlyProcess(), 0), (HealsAtEachTurn(), 1)):
        job = replace(small_job(trials=2), peers=peers)
        log = EndedByAnother()
        assert run_here(job, few_digits, log, never)
        first, *others = job.study.trials
        assert is_interrupted(first)
        assert "lost 0" in log.lines
        again = [trial for trial in others if attrs.RETRY_OF in trial.user_attrs]
        assert [trial.params for trial in again] == [first.params] * queued
        counts = tally(job.study)
        assert (counts.trained, counts.interrupted, counts.waiting) == (2, 1, 0)
        requeue.queue_lost(job.study)
        requeue.queue_lost(job.study)
        assert tally(job.study).waiting == 1 - queued  # once


def _dies(job: Job, data: ResidentData, after: str) -> None:
    """The search's process dies when that is said, and whatever ran stays as it is."""

    class Killed(BaseException):
        pass

    class Dies(Log):
        def epoch(self, number: int, record: EpochRecord) -> None:
            if after == "epoch":
                raise Killed

    def stop() -> bool:
        if after == "batch" and any(
            attrs.BEGAN in t.user_attrs and not t.state.is_finished() for t in _trials(job)
        ):
            raise Killed
        return False

    with pytest.raises(Killed):
        run_here(job, data, Dies(), stop)


def _trials(job: Job) -> list[FrozenTrial]:
    return job.study.get_trials(deepcopy=False)


def test_a_network_of_which_processes_die_fails_in_the_end(few_digits: ResidentData) -> None:
    job = small_job(trials=2)
    for _ in range(requeue.MAX_DEATHS):
        _dies(replace(job, peers=OnlyProcess()), few_digits, "batch")
    assert run_here(replace(job, peers=OnlyProcess()), few_digits, Log(), never)
    (failed,) = [t for t in _trials(job) if t.state == TrialState.FAIL and not is_interrupted(t)]
    assert failed.user_attrs[attrs.REASON] == "5 processes died in the first epoch of this network"
    counts = tally(job.study)
    assert (counts.trained, counts.failed, counts.complete, counts.waiting) == (2, 1, 1, 0)
    assert counts.interrupted == requeue.MAX_DEATHS - 1


@pytest.mark.parametrize("directions", [("maximize",), ("maximize", "minimize")])
def test_a_network_that_gets_further_is_trained_however_often_its_process_dies(
    few_digits: ResidentData, directions: tuple[Literal["maximize", "minimize"], ...]
) -> None:
    study = optuna.create_study(directions=directions, pruner=optuna.pruners.NopPruner())
    study.enqueue_trial(random_points(1)[0])
    job = small_job(trials=1, epochs=2, study=study)
    for _ in range(requeue.MAX_DEATHS + 1):
        _dies(replace(job, peers=OnlyProcess()), few_digits, "epoch")
    assert run_here(replace(job, peers=OnlyProcess()), few_digits, Log(), never)
    counts = tally(job.study)
    assert (counts.trained, counts.failed, counts.complete) == (1, 0, 1)


def test_a_queued_point_is_kept_when_its_process_dies_while_it_asks() -> None:
    study = small_job(trials=1).study
    study.enqueue_trial({"c1": 8, "c2": 9})
    study.ask().suggest_int("c1", 4, 128, log=True)
    assert OnlyProcess().requeue_dead(study) == [0]
    assert [point_of(trial) for trial in study.get_trials(states=(TrialState.WAITING,))] == [{"c1": 8, "c2": 9}]


def test_a_point_over_the_budget_is_refused_and_not_trained(few_digits: ResidentData) -> None:
    job, log = small_job(trials=1), Log()
    large = next(p for p in random_points(50) if not BUDGET.admits(SPACE.model(p)))
    job.study.enqueue_trial(large)
    run_here(job, few_digits, log, never)
    refused, trained = job.study.trials
    assert refused.state == TrialState.PRUNED
    assert refused.constraints["n_params"] > 0
    assert not curve(refused)
    assert "start 0" not in log.lines
    assert trained.state == TrialState.COMPLETE
    assert ranked(job.study) == [trained]


def test_divergence_is_pruned_with_its_reason(few_digits: ResidentData) -> None:
    job = small_job(trials=1, epochs=15)
    wild: Mapping[str, Any] = {
        **random_points(1)[0],
        "skeleton": "c-short",
        **{f"c{i}": 4 for i in range(1, 9)},
        "batch_norm": "none",
        "head": "gap",
        "dropout": "none",
        "optimizer": "sgd",
        "schedule": "none",
    }

    class Wild:
        """The space, with a rate that no space would have."""

        distributions = SPACE.distributions

        def model(self, point: Mapping[str, Any]) -> Any:
            return SPACE.model(point)

        def decode(self, point: Mapping[str, Any], *, epochs: int) -> Any:
            recipe = SPACE.decode(point, epochs=epochs)
            sgd = recipe.training.optimizer.model_copy(update={"lr": 100.0, "weight_decay": 1.0, "momentum": 0.99})
            return recipe.model_copy(update={"training": recipe.training.model_copy(update={"optimizer": sgd})})

    job.study.enqueue_trial(dict(wild))
    run_here(replace(job, space=Wild()), few_digits, Log(), never)  # type: ignore[arg-type]
    (trial,) = job.study.trials
    assert trial.state == TrialState.PRUNED
    assert "training loss is" in trial.user_attrs[attrs.REASON]


def test_failures_in_a_row_end_the_search(few_digits: ResidentData) -> None:
    def broken(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("the disk of the GPU is full")

    job = small_job(trials=10)
    with pytest.raises(DrillError, match=r"3 trials in a row failed.*disk of the GPU"):
        run_here(job, few_digits, Log(), never, broken)
    assert tally(job.study).failed == 3


def test_timeout_starts_no_further_trial(few_digits: ResidentData) -> None:
    job = small_job(trials=50)
    context = RunContext(never, deadline=Deadline.after(0))
    assert runner.run_trials(job, InProcess(few_digits, Backend(), never), Log(), context)
    assert tally(job.study).trained == 0
