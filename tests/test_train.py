"""Training: every setting of the schema runs, the same seed gives the same bits, and it learns."""

import itertools
import math

import pytest
import torch

from drill_models.backend import Backend
from drill_models.data import ResidentData
from drill_models.device import keep_freed_memory, resolve_device
from drill_models.errors import DrillError, Interrupted
from drill_models.hand_steps import ladder
from drill_models.networks import Network
from drill_models.result import EpochRecord
from drill_models.run import run
from drill_models.step import ConvBlock, Dropout, PoolBlock, Recipe
from drill_models.train import Diverged, train
from drill_models.train_config import SGD, NoSchedule, OneCycleSchedule, PlateauSchedule, Schedule, StepSchedule
from tests.strategies import AUGMENTS, OPTIMIZERS, SCHEDULES, training


@pytest.mark.parametrize(("optimizer", "schedule"), list(itertools.product(range(5), range(7))))
def test_every_optimizer_with_every_schedule(
    few_digits: ResidentData, small_recipe: Recipe, optimizer: int, schedule: int
) -> None:
    config = training(optimizer, schedule, augment=(optimizer + schedule) % len(AUGMENTS))
    recipe = small_recipe.model_copy(update={"training": config})
    records = list(train(recipe, few_digits, seed=0))
    assert [record.epoch for record in records] == [1, 2]
    assert all(math.isfinite(record.train_loss) and math.isfinite(record.val_loss) for record in records)
    assert OPTIMIZERS[optimizer].lr > 0
    assert SCHEDULES[schedule].kind


def test_learns_digits(digits: ResidentData) -> None:
    step = ladder("b-cyclic")[4]
    recipe = step.recipe.model_copy(update={"training": step.training.model_copy(update={"epochs": 4})})
    *_, last = train(recipe, digits, seed=0)
    assert last.val_accuracy > 0.9


def _bits(records: list[EpochRecord]) -> list[dict[str, float]]:
    return [record.model_dump(exclude={"seconds"}) for record in records]


def test_same_seed_same_bits(few_digits: ResidentData, small_recipe: Recipe) -> None:
    model = small_recipe.model.model_copy(
        update={
            "dropout": Dropout(rate=0.1),
            "blocks": tuple(
                block.model_copy(update={"then": (*block.then, "dropout")}) if block.kind == "conv" else block
                for block in small_recipe.model.blocks
            ),
        }
    )
    recipe = Recipe(model=model, training=training(1, 4, 2, epochs=3))
    weights = []

    def keep(network: Network) -> None:
        weights.append({name: value.clone() for name, value in network.module().state_dict().items()})

    first = list(train(recipe, few_digits, seed=7, keep=keep))
    torch.rand(5)  # whatever else draws random numbers changes nothing
    second = list(train(recipe, few_digits, seed=7, keep=keep))
    assert _bits(first) == _bits(second)
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert _bits(list(train(recipe, few_digits, seed=8))) != _bits(first)


def _rates(recipe: Recipe, data: ResidentData, schedule: Schedule, epochs: int) -> list[float]:
    config = recipe.training.model_copy(update={"schedule": schedule, "epochs": epochs})
    return [r.lr for r in train(recipe.model_copy(update={"training": config}), data, seed=0)]


def test_rates_follow_the_schedule(few_digits: ResidentData, small_recipe: Recipe) -> None:
    assert _rates(small_recipe, few_digits, NoSchedule(kind="none"), 3) == [0.05] * 3
    stepped = _rates(small_recipe, few_digits, StepSchedule(kind="step", every=2, gamma=0.1), 5)
    # The rate that an epoch trained with: it falls after every second one.
    assert stepped == pytest.approx([0.05, 0.05, 0.005, 0.005, 0.0005])
    cycle = _rates(small_recipe, few_digits, OneCycleSchedule(kind="onecycle", warmup=0.5), 4)
    assert max(cycle) == pytest.approx(0.05, rel=0.05)
    assert cycle[-1] < 1e-3
    assert cycle[0] < cycle[1] > cycle[2] > cycle[3]


def test_plateau_watches_the_training_loss(few_digits: ResidentData, small_recipe: Recipe) -> None:
    # At a rate this high the training loss jumps about, so the rate falls.
    config = small_recipe.training.model_copy(
        update={
            "optimizer": SGD(kind="sgd", lr=50, momentum=0),
            "schedule": PlateauSchedule(kind="plateau", factor=0.1, patience=0),
            "epochs": 8,
        }
    )
    rates = [r.lr for r in train(small_recipe.model_copy(update={"training": config}), few_digits, seed=0)]
    assert rates[-1] < rates[0]


def test_stops_within_a_batch(few_digits: ResidentData, small_recipe: Recipe) -> None:
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked > 3

    with pytest.raises(Interrupted):
        list(train(small_recipe, few_digits, seed=0, should_stop=stop))
    assert asked == 4


def test_divergence_is_said(few_digits: ResidentData, small_recipe: Recipe) -> None:
    wild = small_recipe.training.model_copy(
        update={"optimizer": SGD(kind="sgd", lr=100, momentum=0.99, weight_decay=1)}
    )
    recipe = small_recipe.model_copy(update={"training": wild.model_copy(update={"epochs": 30})})
    # Without batch norm nothing holds the activations down.
    bare = tuple(
        block.model_copy(update={"then": ("relu",)}) if block.kind == "conv" else block
        for block in recipe.model.blocks
    )
    recipe = recipe.model_copy(update={"model": recipe.model.model_copy(update={"blocks": bare})})
    with pytest.raises(Diverged, match=r"training loss is (nan|inf) in epoch"):
        list(train(recipe, few_digits, seed=0))


def test_batch_larger_than_the_data(few_digits: ResidentData, small_recipe: Recipe) -> None:
    config = small_recipe.training.model_copy(update={"batch_size": 10_000})
    records = list(train(small_recipe.model_copy(update={"training": config}), few_digits, seed=0))
    assert len(records) == 2


def test_a_single_last_image_joins_the_batch_before(few_digits: ResidentData, small_recipe: Recipe) -> None:
    # Batch norm refuses to train on one value a channel, which is what a 1x1 map of one image is.
    model = small_recipe.model.model_copy(
        update={
            "blocks": (
                *small_recipe.model.blocks,
                PoolBlock(kind="pool", size=4),
                PoolBlock(kind="pool", size=2),
                ConvBlock(channels=8, kernel=1, then=("batch_norm", "relu")),
            )
        }
    )
    config = small_recipe.training.model_copy(update={"batch_size": len(few_digits.train) - 1})
    records = list(train(Recipe(model=model, training=config), few_digits, seed=0))
    assert len(records) == 2


def test_onecycle_with_a_warmup_of_one_batch(few_digits: ResidentData, small_recipe: Recipe) -> None:
    config = small_recipe.training.model_copy(
        update={"batch_size": 10_000, "schedule": OneCycleSchedule(kind="onecycle", warmup=0.5)}
    )
    assert len(list(train(small_recipe.model_copy(update={"training": config}), few_digits, seed=0))) == 2


def test_run_is_the_record_of_it(few_digits: ResidentData, small_recipe: Recipe) -> None:
    seen: list[int] = []
    record = run(
        small_recipe,
        few_digits,
        full=False,
        seed=1,
        on_epoch=lambda r: seen.append(r.epoch),
    )
    assert seen == [1, 2]
    accuracies = [r.val_accuracy for r in record.epochs]
    assert record.value == pytest.approx(sum(accuracies) / 2, abs=1e-6)
    assert accuracies[record.best_epoch - 1] == max(accuracies)
    assert (record.seed, record.device, record.held_out) == (1, "cpu", "validation")
    assert (record.engine, record.threads) == ("native", 1)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_device_without_a_gpu() -> None:
    assert resolve_device("auto") == "cpu"
    with pytest.raises(DrillError, match="no CUDA GPU"):
        resolve_device("cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU here")
def test_trains_on_the_gpu(few_digits: ResidentData, small_recipe: Recipe) -> None:
    backend = Backend(device="cuda", engine="torch")
    first, again = (_bits(list(train(small_recipe, few_digits, seed=0, backend=backend))) for _ in "12")
    assert len(first) == 2
    assert first == again


def test_allocator_setting_is_harmless() -> None:
    keep_freed_memory()
    assert torch.ones(1000).sum() == 1000
