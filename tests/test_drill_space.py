"""The drill space: contains all hand steps exactly, and every point of it is a recipe."""

from collections import Counter

import pytest
from optuna.distributions import CategoricalDistribution

from drill_models.build import count_built
from drill_models.count import count
from drill_models.errors import StepError
from drill_models.hand_steps import all_steps, ladder
from drill_models.step import Step
from drill_models.train_config import SGD, Augment
from spaces.drill import DrillSpace
from spaces.skeletons import load_skeletons
from tests.spaces_for_tests import SPACE, random_points


@pytest.mark.parametrize("step", all_steps(), ids=lambda step: step.name)
def test_hand_step_is_a_point(step: Step) -> None:
    point = SPACE.encode(step.recipe)
    assert point.keys() == SPACE.distributions.keys()
    assert SPACE.decode(point, epochs=step.training.epochs) == step.recipe


def test_a_thousand_points_come_back_and_count_as_built() -> None:
    for point in random_points(1000):
        recipe = SPACE.decode(point, epochs=15)
        again = SPACE.encode(recipe)
        assert SPACE.decode(again, epochs=15) == recipe
        assert count(recipe.model).n_params == count_built(recipe.model)


def test_points_use_every_choice() -> None:
    points = random_points(500)
    for name, distribution in SPACE.distributions.items():
        if isinstance(distribution, CategoricalDistribution):
            assert Counter(p[name] for p in points).keys() == set(distribution.choices)


def test_classes_follow_the_data_set() -> None:
    letters = DrillSpace(load_skeletons(), num_classes=26)
    for step in all_steps():
        model = letters.decode(SPACE.encode(step.recipe), epochs=15).model
        assert model.num_classes == 26
        assert count(model).layers[-1].out_shape[0] >= 26


def _hand(name: str, number: int) -> Step:
    return ladder(name)[number - 1]


def test_what_is_missing_is_named() -> None:
    step = _hand("e-codes", 4)
    sheared = step.recipe.model_copy(
        update={
            "training": step.training.model_copy(
                update={
                    "augment": Augment(rotation=7.5),
                    "optimizer": SGD(kind="sgd", lr=0.01, momentum=0.5),
                    "batch_size": 100,
                }
            )
        }
    )
    with pytest.raises(StepError) as caught:
        SPACE.assert_contains(sheared)
    message = str(caught.value)
    for part in ("skeleton e-codes", "training.augment.rotation", "momentum", "batch_size"):
        assert part in message


def test_strange_blocks_are_said() -> None:
    step = _hand("e-codes", 4)
    blocks = step.model.blocks[:-1]
    recipe = step.recipe.model_copy(update={"model": step.model.model_copy(update={"blocks": blocks})})
    with pytest.raises(StepError, match="no skeleton of the space has these blocks"):
        SPACE.encode(recipe)


def test_unequal_tied_widths_are_not_contained() -> None:
    point = {**random_points(1)[0], "skeleton": "separable-medium", "c5": 8}
    recipe = SPACE.decode(point, epochs=15)
    blocks = list(recipe.model.blocks)
    blocks[5] = blocks[5].model_copy(update={"channels": 9, "residual": False})
    blocks[6] = blocks[6].model_copy(update={"residual": False})
    other = recipe.model_copy(update={"model": recipe.model.model_copy(update={"blocks": tuple(blocks)})})
    with pytest.raises(StepError, match="the space lacks this step"):
        SPACE.encode(other)
