"""Averaged weights: the formula, and that training itself does not notice them."""

from typing import Literal

import pytest
import torch

from drill_models.average import MovingAverage
from drill_models.backend import Backend
from drill_models.data import ResidentData
from drill_models.networks import Network
from drill_models.step import Recipe
from drill_models.train import evaluate, train


def test_the_average_follows_its_formula() -> None:
    value, other = torch.tensor([1.0, 2.0]), torch.tensor([[5.0]])
    average = MovingAverage([value, other], decay=0.25)
    value.add_(10)
    average.update()  # (1 + 1) / (10 + 1) = 0.1818...
    expected = 2 / 11 * torch.tensor([1.0, 2.0]) + 9 / 11 * torch.tensor([11.0, 12.0])
    value.add_(10)
    average.update()  # 3 / 12 = 0.25, which is the decay, too
    average.update()
    now = torch.tensor([21.0, 22.0])
    expected = 0.25 * (0.25 * expected + 0.75 * now) + 0.75 * now
    average.swap()
    torch.testing.assert_close(value, expected)
    assert other.item() == 5
    average.swap()
    assert value.tolist() == [21.0, 22.0]


@pytest.mark.parametrize("engine", ["native", "torch"])
def test_training_goes_on_from_its_own_weights(
    few_digits: ResidentData, small_recipe: Recipe, engine: Literal["native", "torch"]
) -> None:
    backend = Backend(engine=engine)
    training = small_recipe.training.model_copy(update={"epochs": 3, "ema_decay": 0.9})
    averaged = small_recipe.model_copy(
        update={"training": training},
    )
    plain = small_recipe.model_copy(update={"training": training.model_copy(update={"ema_decay": 0.0})})
    kept: list[tuple[float, float]] = []

    def keep(network: Network) -> None:
        kept.append(evaluate(network, few_digits.held_out, few_digits))

    with_it = list(train(averaged, few_digits, seed=0, backend=backend, keep=keep))
    without = list(train(plain, few_digits, seed=0, backend=backend, keep=keep))
    assert [r.train_loss for r in with_it] == [r.train_loss for r in without]
    assert [r.val_loss for r in with_it] != [r.val_loss for r in without]
    # The network that is kept is the one that was measured.
    assert [round(loss, 6) for loss, _ in kept] == [with_it[-1].val_loss, without[-1].val_loss]
