"""The best trials trained again with other seeds: what is kept, and who is best then."""

from types import SimpleNamespace

import optuna
import pytest

from drill_models.backend import Backend
from drill_models.data import ResidentData
from drill_models.errors import Interrupted
from search.config import SearchConfig
from search.context import RunContext
from search.engine.finalists import (
    SEED_STEP,
    Rerun,
    default_finalists,
    evaluated,
    next_finalists,
    other_seeds,
    train_again,
)
from search.engine.reevaluation import Finals
from search.executors.base import InProcess
from search.executors.tasks import Task
from search.schema import attributes as attrs
from search.study.ranking import finalists_of, front, keep_finalists, keep_rerun, ranked, reruns, standing_of
from search.study.trials import accuracy_of, curve
from tests.jobs import BUDGET, Instant, Log, made_study, record, run_here, small_job
from tests.spaces_for_tests import SPACE


@pytest.fixture
def searched(few_digits: ResidentData) -> optuna.Study:
    """Four trials of one epoch."""
    job = small_job(trials=4)
    run_here(job, few_digits, Log(), lambda: False)
    return job.study


def _again(study: optuna.Study, data: ResidentData, seeds: int, top: int = 2) -> list[Rerun]:
    return list(
        train_again(
            study,
            next_finalists(study, top, seeds),
            SPACE,
            seeds=seeds,
            executor=InProcess(data, Backend(), lambda: False),
            context=RunContext(notify=print),
        )
    )


def test_each_is_trained_once_with_each_other_seed(searched: optuna.Study, few_digits: ResidentData) -> None:
    chosen = [trial.number for trial in next_finalists(searched, 2, 2)]
    found = _again(searched, few_digits, seeds=2)
    assert sorted({one.trial.number for one in found}) == sorted(chosen)
    assert {one.seed - one.trial.user_attrs[attrs.SEED] for one in found} == {SEED_STEP, 2 * SEED_STEP}
    for one in found:
        assert one.value == reruns(searched)[one.trial.number][one.seed]
        assert standing_of(searched, one.trial).runs == 3
    assert _again(searched, few_digits, seeds=2) == []
    assert len(_again(searched, few_digits, seeds=3)) == 2


def test_a_rerun_is_another_training(searched: optuna.Study, few_digits: ResidentData) -> None:
    first, second = _again(searched, few_digits, seeds=2, top=1)
    assert len({accuracy_of(first.trial), first.value, second.value}) > 1


def test_the_best_is_chosen_among_finalists_by_their_mean(
    searched: optuna.Study, few_digits: ResidentData
) -> None:
    first, second, third, last = ranked(searched)
    perfect = [curve(third)[-1].model_copy(update={"val_accuracy": 1.0})]
    keep_rerun(searched, third.number, 7, perfect)
    keep_rerun(searched, first.number, 7, [])  # as one that diverged
    assert standing_of(searched, first).mean == pytest.approx(accuracy_of(first) / 2)
    # While not all finalists were trained again, nothing is said by those that were.
    assert ranked(searched) == [first, second, third, last]
    keep_finalists(searched, [first, third])
    assert [trial.number for trial in ranked(searched)] == [third.number, first.number, second.number, last.number]
    # Nor once further trials are complete, of which each may be better.
    run_here(small_job(trials=5, study=searched), few_digits, Log(), lambda: False)
    assert accuracy_of(ranked(searched)[0]) == max(map(accuracy_of, ranked(searched)))


def test_an_interruption_keeps_what_ended(searched: optuna.Study, few_digits: ResidentData) -> None:
    ended: list[Rerun] = []

    def stop() -> bool:
        return len(ended) == 1

    training = train_again(
        searched,
        next_finalists(searched, 2, 1),
        SPACE,
        seeds=1,
        executor=InProcess(few_digits, Backend(), stop),
        context=RunContext(stop, print),
    )
    ended.append(next(training))
    with pytest.raises(Interrupted):
        next(training)
    assert len(_again(searched, few_digits, seeds=1)) == 1


def test_how_many() -> None:
    assert [default_finalists(n) for n in (1, 20, 39, 40, 60, 100, 1000)] == [0, 0, 0, 2, 3, 5, 5]
    assert [default_finalists(n, every_size=True) for n in (1, 11, 12, 60, 100)] == [0, 0, 2, 10, 12]


def test_a_smaller_second_round_keeps_the_first(searched: optuna.Study, few_digits: ResidentData) -> None:
    _again(searched, few_digits, seeds=1, top=3)
    keep_finalists(searched, evaluated(searched, 1))
    before = ranked(searched)
    assert next_finalists(searched, 2, 1) == []
    keep_finalists(searched, evaluated(searched, 1))
    assert ranked(searched) == before
    assert len(finalists_of(searched)) == 3


def _reach(study: optuna.Study, number: int, accuracy: float, seeds: int = 2) -> None:
    trial = study.trials[number]
    for seed in other_seeds(trial, seeds):
        keep_rerun(study, number, seed, [record(1, accuracy)])


def test_a_front_is_trained_again_until_no_single_run_is_on_it() -> None:
    study = made_study([(1000, 0.98), (2000, 0.99), (2100, 0.985), (3000, 0.995), (3100, 0.992)])
    chosen = [trial.number for trial in next_finalists(study, 9, 2)]
    assert chosen == [3, 1, 0]  # the front, most accurate first
    for number, accuracy in ((0, 0.98), (1, 0.98), (3, 0.989)):
        _reach(study, number, accuracy)
    # 1 and 3 had luck: those behind them come onto the front.
    assert [trial.number for trial in next_finalists(study, 9, 2)] == [4, 2]
    assert [trial.number for trial in next_finalists(study, 3, 2, trained=3)] == []
    for number in (2, 4):
        _reach(study, number, 0.97)
    assert next_finalists(study, 9, 2) == []
    keep_finalists(study, evaluated(study, 2))
    assert [trial.number for trial in front(study)] == [0, 1, 3]
    assert [trial.number for trial in ranked(study)][:2] == [3, 1]


class Quiet:
    """A display that is not looked at."""

    def finals(self, trials: object, trainings: int) -> None: ...
    def rerun(self, rerun: object) -> None: ...
    def notice(self, line: str) -> None: ...


def _finals(study: optuna.Study, top: int) -> list[int]:
    """Has the best trained again as a search does at its end; the numbers of the trials that were."""
    numbers: list[int] = []

    def reached(task: Task) -> float:
        numbers.append(int(task.label.split(",")[0].removeprefix("trial ")))
        return accuracy_of(study.trials[numbers[-1]])  # as in its first run

    config = SearchConfig(budget=BUDGET, skeletons=(), finalists=top, finalist_seeds=1, objective="pareto")
    opened = SimpleNamespace(study=study, space=SPACE)
    Finals(config, opened, Instant(reached), Quiet(), RunContext()).best()  # type: ignore[arg-type]
    return numbers


def test_what_was_on_the_front_stays_on_it_where_not_all_are_trained_again() -> None:
    study = made_study([(1000 * i, 0.98 + 0.001 * i) for i in range(1, 9)])
    assert _finals(study, 3) == [7, 6, 5]
    assert [trial.number for trial in front(study)] == list(range(8))
    # The same again trains nothing; asked for more, it does.
    assert _finals(study, 3) == []
    assert _finals(study, 4) == [4, 3, 2, 1]


def test_a_further_round_trains_what_came_onto_the_front() -> None:
    study = made_study([(1000 * i, 0.98 + 0.001 * i) for i in range(1, 5)])
    assert _finals(study, 2) == [3, 2]
    for n_params, accuracy in ((900, 0.9855), (3500, 0.999)):
        study.add_trials(made_study([(n_params, accuracy)]).trials)
    assert _finals(study, 2) == [5, 4]
    assert [trial.number for trial in front(study)] == [4, 5]
    assert ranked(study)[0].number == 5
