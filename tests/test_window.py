"""What a sampler sees of a long study."""

import optuna
import pytest
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from search.sampling.windowed import WindowSampler

X: dict[str, BaseDistribution] = {"x": FloatDistribution(0, 1)}


class Eyes(RandomSampler):
    """Writes down which trials it is shown."""

    def __init__(self) -> None:
        super().__init__(seed=0)
        self.seen: list[int] = []

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return X

    def sample_relative(self, study: Study, trial: FrozenTrial, search_space: object) -> dict[str, float]:
        self.seen = [other.number for other in study._get_trials(deepcopy=False)]
        assert [other.number for other in study.get_trials()] == self.seen
        return {}


def _study(values: list[list[float]], sampler: BaseSampler) -> Study:
    directions = (StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE)
    study = optuna.create_study(directions=directions[: len(values[0])], sampler=sampler)
    for each in values:
        study.add_trial(optuna.create_trial(values=each, params={"x": 0.5}, distributions=X))
    return study


def test_a_short_study_is_shown_whole() -> None:
    eyes = Eyes()
    _study([[float(i)] for i in range(9)], WindowSampler(eyes, most=10, best=2)).ask(dict(X))
    assert eyes.seen == list(range(10))


def test_of_a_long_study_the_best_the_latest_and_what_runs_are_shown() -> None:
    eyes = Eyes()
    values = [[0.1], [0.9], [0.2], [0.8], [0.3], [0.3], [0.3], [0.3]]
    study = _study(values[:5], WindowSampler(eyes, most=5, best=2))
    running = study.ask()
    for each in values[5:]:
        study.add_trial(optuna.create_trial(values=each, params={"x": 0.5}, distributions=X))
    study.ask(dict(X))
    assert running.number == 5
    # Of nine and the one that is asked: the latest three, the best two of the others, and the running one.
    assert eyes.seen == [1, 3, 5, 7, 8, 9]


def test_of_several_values_each_has_its_best() -> None:
    eyes = Eyes()
    values = [[0.1, 5.0], [0.9, 9.0], [0.2, 1.0], [0.8, 7.0], [0.3, 6.0], [0.3, 6.0]]
    _study(values, WindowSampler(eyes, most=4, best=1)).ask(dict(X))
    assert eyes.seen == [1, 2, 5, 6]


def test_tpe_reads_through_it(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[int] = []
    whole = TPESampler._build_parzen_estimator

    def spy(
        self: TPESampler, study: Study, space: object, trials: list[FrozenTrial], handle_below: bool
    ) -> object:
        shown.append(len(trials))
        return whole(self, study, space, trials, handle_below)  # type: ignore[arg-type]

    monkeypatch.setattr(TPESampler, "_build_parzen_estimator", spy)
    study = _study([[i / 100] for i in range(100)], WindowSampler(TPESampler(seed=0), most=40, best=10))
    study.ask(dict(X))
    assert sum(shown) == 39  # without the trial that is asked
    assert study.trials[-1].state == TrialState.RUNNING


def test_where_the_best_of_all_values_are_all_that_is_shown() -> None:
    eyes = Eyes()
    values = [[0.1, 5.0], [0.9, 9.0], [0.2, 1.0], [0.8, 7.0], [0.3, 6.0], [0.3, 6.0]]
    study = _study(values, WindowSampler(eyes, most=2, best=1))
    study.ask(dict(X))
    assert eyes.seen == [1, 2, 6]  # and the one that is asked, which runs


@pytest.mark.parametrize(("best", "near"), [(25, True), (0, False)])
def test_a_good_region_is_not_forgotten(best: int, near: bool) -> None:
    """The best trials were long ago: TPE still draws near them, and would not without them."""
    sampler = WindowSampler(TPESampler(seed=0), most=250, best=best)
    values = [[0.7 + 0.004 * i if i < 25 else (i % 50) / 100] for i in range(600)]
    study = optuna.create_study(direction="maximize", sampler=sampler)
    for (x,) in values:
        study.add_trial(optuna.create_trial(value=float(x >= 0.7), params={"x": x}, distributions=X))
    drawn = [study.ask(dict(X)).params["x"] for _ in range(20)]
    assert (sum(0.65 < x < 0.85 for x in drawn) > 15) == near


def test_the_window_is_of_the_moment_in_which_a_trial_is_asked_for() -> None:
    """Trials that end between two proposals are seen by the next one."""
    eyes = Eyes()
    study = _study([[i / 10] for i in range(6)], WindowSampler(eyes, most=3, best=1))
    study.ask(dict(X))
    assert eyes.seen == [4, 5, 6]
    study.add_trial(optuna.create_trial(value=0.99, params={"x": 0.5}, distributions=X))
    study.ask(dict(X))
    assert eyes.seen == [5, 6, 7, 8]
