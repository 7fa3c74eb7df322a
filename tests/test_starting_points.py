"""Starting points: in the space, and made just small enough for any budget."""

import optuna
import pytest

from drill_models.count import count
from drill_models.hand_steps import choose
from drill_models.starting_points import all_starts
from search.engine.warm_start import seed_baselines, seed_starts
from search.schema import attributes as attrs
from search.study.trials import point_of
from spaces.budget import Budget
from tests.spaces_for_tests import SPACE


def test_they_are_wide_points_of_the_space() -> None:
    assert len(all_starts()) >= 3
    for step in all_starts():
        assert SPACE.decode(SPACE.encode(step.recipe), epochs=step.training.epochs) == step.recipe
        assert count(step.model).n_params > 10_000
        assert step.provenance == "own"


@pytest.mark.parametrize("max_params", [1_000, 3_000, 10_000, 100_000])
def test_each_is_made_just_small_enough(max_params: int) -> None:
    study = optuna.create_study()
    queued = seed_starts(study, all_starts(), SPACE, [Budget(max_params=max_params)])
    assert queued == tuple(step.name for step in all_starts())
    for trial, step in zip(study.trials, all_starts(), strict=True):
        assert trial.user_attrs == {attrs.START: step.name}
        n_params = count(SPACE.model(point_of(trial))).n_params
        # What is left is less than another channel would take.
        assert 0.85 * min(max_params, count(step.model).n_params) < n_params <= max_params
    assert seed_starts(study, all_starts(), SPACE, [Budget(max_params=max_params)]) == ()


def test_several_budgets_name_theirs_and_impossible_ones_are_left_out() -> None:
    study = optuna.create_study()
    queued = seed_starts(study, all_starts(), SPACE, [Budget(max_params=n) for n in (2_000, 500, 10)])
    assert {name.rsplit("/")[-1] for name in queued} == {"2000", "500"}
    # A skeleton that cannot be made so small is not replaced by another under its name.
    assert "separable-medium/500" not in queued
    for trial in study.trials:
        name = trial.user_attrs[attrs.START].split("/")[0]
        assert point_of(trial)["skeleton"] == name


def test_what_another_trial_is_already_is_not_queued() -> None:
    (step,) = choose(["b-cyclic/5"])
    study = optuna.create_study()
    budget = Budget(max_params=10_000)
    seed_baselines(study, [step], SPACE, budget, epochs=15)
    assert seed_starts(study, [step], SPACE, [budget]) == ()
