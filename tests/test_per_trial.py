"""A search in several sessions, also interrupted ones, proposes and trains what one session does."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import optuna
import pytest

from search.context import RunContext
from search.engine.trial_loop import run_trials
from search.executors.tasks import Task
from search.names import WrappedSamplerName
from search.sampling.budget import BudgetSampler, base_sampler, max_draws
from search.sampling.per_trial import PerTrialSampler
from search.schema import attributes as attrs
from search.study.trials import is_interrupted
from spaces.budgeted import BudgetedSpace, EverySize
from tests.jobs import BUDGET, Instant, Log, small_job
from tests.spaces_for_tests import SPACE


class Stoppable(Instant):
    """A training that can be interrupted."""

    def stop(self, key: int) -> None:
        self._events = []


def _accuracy(task: Task) -> float:
    return task.seed % 97 / 97


def _sampler(name: WrappedSamplerName, *, pareto: bool = False) -> BudgetSampler:
    """As a session makes it."""
    return BudgetSampler(
        PerTrialSampler(partial(base_sampler, name), 5),
        BudgetedSpace(SPACE, BUDGET),
        max_draws=max_draws(name),
        tighter=EverySize(SPACE, BUDGET, share=9, seed=5).of if pareto else None,
    )


def _session(
    study: optuna.Study, name: WrappedSamplerName, trials: int, should_stop: Callable[[], bool] = lambda: False
) -> bool:
    study.sampler = _sampler(name, pareto=len(study.directions) > 1)
    return run_trials(small_job(trials=trials, study=study), Stoppable(_accuracy), Log(), RunContext(should_stop))


def _what(study: optuna.Study) -> list[tuple[dict[str, object], int]]:
    """Points and seeds, in their order, without interrupted trials."""
    return [(trial.params, trial.user_attrs[attrs.SEED]) for trial in study.trials if not is_interrupted(trial)]


def _study(directions: int = 1) -> optuna.Study:
    directed = [optuna.study.StudyDirection.MAXIMIZE, optuna.study.StudyDirection.MINIMIZE]
    return optuna.create_study(directions=directed[:directions])


@pytest.mark.parametrize(("name", "directions"), [("tpe", 1), ("tpe", 2), ("random", 1), ("nsga2", 1)])
def test_several_sessions_are_one(name: WrappedSamplerName, directions: int) -> None:
    one, several = _study(directions), _study(directions)
    _session(one, name, 24)
    for trials in (7, 8, 24):
        _session(several, name, trials)
    assert _what(several) == _what(one)


@pytest.mark.parametrize("directions", [1, 2])
def test_an_interruption_changes_nothing(directions: int) -> None:
    one, other = _study(directions), _study(directions)
    _session(one, "tpe", 20)
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked == 26

    assert not _session(other, "tpe", 20, stop)
    assert any(is_interrupted(trial) for trial in other.trials)
    _session(other, "tpe", 20)
    assert _what(other) == _what(one)


def test_another_seed_is_another_search() -> None:
    one, other = _study(), _study()
    one.sampler = PerTrialSampler(partial(base_sampler, "random"), 0)
    other.sampler = PerTrialSampler(partial(base_sampler, "random"), 1)
    points = [[study.ask(dict(SPACE.distributions)).params for _ in range(2)] for study in (one, other)]
    assert points[0] != points[1]
    assert points[0][0] != points[0][1]


def test_a_seed_of_training_is_not_shifted_by_an_interruption() -> None:
    """Which would make other values of the same points."""
    study = _study()
    study.sampler = _sampler("random")
    job = replace(small_job(trials=3, study=study), seed=100)
    asked = iter([False, False, False, True])
    run_trials(job, Stoppable(_accuracy), Log(), RunContext(lambda: next(asked, True)))
    run_trials(job, Stoppable(_accuracy), Log(), RunContext())
    assert sorted(seed for _, seed in _what(study)) == [100, 101, 102]
