"""What each part of a recipe is worth: trained without it, with several seeds, on the validation split.

    python tests/benchmarks/ablation.py studies/best/1000.yaml --seeds 5 --lines ablation.jsonl

Each change is made to the step's recipe alone; a change that changes nothing is left out. A row: mean over seeds
of the mean validation accuracy of the last three epochs, and the difference from the whole recipe with its
standard error, paired by seed. Finished trainings are lines of `--lines`; the same command goes on after them.
"""

import argparse
import json
import math
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

from bench import add_shared_options, find_mnist, one_sentence, versions, write_json

from drill_models.backend import Backend
from drill_models.data import validation_data
from drill_models.device import default_workers
from drill_models.json_lines import append_line, read_lines
from drill_models.result import last_three_mean
from drill_models.step import ConvBlock, Recipe
from drill_models.step_io import load_step
from drill_models.train_config import Augment, CosineSchedule, OneCycleSchedule
from search.context import RunContext
from search.executors.base import open_executor
from search.executors.run_tasks import train_all
from search.executors.tasks import Task

Change = Callable[[Recipe], Recipe]


def training(**changes: object) -> Change:
    """Other values of the training's fields."""
    return lambda recipe: recipe.model_copy(update={"training": recipe.training.model_copy(update=changes)})


def optimizer(**changes: object) -> Change:
    """Other values of the optimiser's fields, as far as it has them."""

    def change(recipe: Recipe) -> Recipe:
        before = recipe.training.optimizer
        known = {key: value for key, value in changes.items() if key in type(before).model_fields}
        return training(optimizer=before.model_copy(update=known))(recipe)

    return change


def rate(factor: float) -> Change:
    """Another learning rate."""
    return lambda recipe: optimizer(lr=recipe.training.optimizer.lr * factor)(recipe)


def augment(**changes: object) -> Change:
    """Other values of the augmentation's fields."""

    def change(recipe: Recipe) -> Recipe:
        after = (recipe.training.augment or Augment()).model_copy(update=changes)
        return training(augment=after if after.changes else None)(recipe)

    return change


def batches(size: int) -> Change:
    """Another batch size, with a learning rate in proportion."""

    def change(recipe: Recipe) -> Recipe:
        return rate(size / recipe.training.batch_size)(training(batch_size=size)(recipe))

    return change


def blocks(**changes: object) -> Change:
    """Other values of every convolution block's fields."""

    def change(recipe: Recipe) -> Recipe:
        after = tuple(
            block.model_copy(update=changes) if isinstance(block, ConvBlock) else block
            for block in recipe.model.blocks
        )
        return recipe.model_copy(update={"model": recipe.model.model_copy(update={"blocks": after})})

    return change


CHANGES: dict[str, Change] = {
    "without averaged weights": training(ema_decay=0.0),
    "averaged weights, 0.99": training(ema_decay=0.99),
    "without any augmentation": training(augment=None),
    "without rotation": augment(rotation=0.0),
    "without translation": augment(translation=0.0),
    "without scale": augment(scale=0.0),
    "with shear of 10 degrees": augment(shear=10.0),
    "rotation 15": augment(rotation=15.0),
    "nearest neighbour": augment(interpolation="nearest", fill=1),
    "label smoothing 0.05": training(label_smoothing=0.05),
    "without label smoothing": training(label_smoothing=0.0),
    "without weight decay": optimizer(weight_decay=0.0),
    "weight decay 5e-4": optimizer(weight_decay=5e-4),
    "without Nesterov": optimizer(nesterov=False),
    "half the rate": rate(0.5),
    "twice the rate": rate(2.0),
    "cosine without warm-up": training(schedule=CosineSchedule(kind="cosine")),
    "OneCycle, 40 % warm-up": training(schedule=OneCycleSchedule(kind="onecycle", warmup=0.4)),
    "batches of 64, rate in proportion": batches(64),
    "batches of 128, rate in proportion": batches(128),
    "batch norm after ReLU": blocks(then=("relu", "batch_norm")),
    "without identity paths": blocks(residual=False),
}
"""One part each."""


def checked(recipe: Recipe) -> Recipe:
    """The recipe, validated anew: copies are not."""
    return Recipe.model_validate(recipe.model_dump())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="step file")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, help="default: the step's")
    parser.add_argument("--only", nargs="*", help="changes whose name begins with one of these")
    parser.add_argument("--lines", type=Path, required=True, help="file of finished trainings")
    add_shared_options(parser)
    arguments = parser.parse_args()
    with one_sentence():
        whole = load_step(arguments.file).recipe
        if arguments.epochs is not None:
            whole = training(epochs=arguments.epochs)(whole)
        cases = {"the whole recipe": whole}
        for name, change in CHANGES.items():
            changed = checked(change(whole))
            if changed != whole and (not arguments.only or name.startswith(tuple(arguments.only))):
                cases[name] = changed
        done: dict[tuple[str, int], float] = {}
        for line in read_lines(arguments.lines):
            found = json.loads(line)
            done[found["recipe"], found["seed"]] = found["value"]
        keys = {name: recipe.model_dump_json() for name, recipe in cases.items()}
        left = [(n, s) for s in range(arguments.seeds) for n in cases if (keys[n], s) not in done]
        tasks = [Task(key=i, label=n, recipe=cases[n], seed=s) for i, (n, s) in enumerate(left)]
        if tasks:
            data = validation_data(find_mnist(arguments.data))
            with open_executor(data, Backend(), default_workers("cpu"), lambda: False) as executor:
                for ended in train_all(
                    tasks, executor, on_epoch=lambda task, record: None, context=RunContext(notify=print)
                ):
                    name, seed = left[ended.task.key]
                    diverged = ended.diverged is not None
                    value = 0.0 if diverged else last_three_mean([each.val_accuracy for each in ended.records])
                    if diverged:
                        print(f"{name}, seed {seed}: diverged, counted as 0")
                    done[keys[name], seed] = value
                    ended_line = {"case": name, "recipe": keys[name], "seed": seed, "value": value}
                    append_line(arguments.lines, json.dumps(ended_line))
        rows = []
        print(f"{'':36} mean %   less the whole, points (standard error), n={arguments.seeds}")
        base = [done[keys["the whole recipe"], seed] for seed in range(arguments.seeds)]
        for name in cases:
            values = [done[keys[name], seed] for seed in range(arguments.seeds)]
            off = [value - other for value, other in zip(values, base, strict=True)]
            error = statistics.stdev(off) / math.sqrt(len(off)) if len(off) > 1 else float("nan")
            rows.append({"case": name, "values": values})
            said = "" if name == "the whole recipe" else f"{100 * statistics.mean(off):+.3f} ({100 * error:.3f})"
            print(f"{name:36} {100 * statistics.mean(values):.3f}   {said}")
        write_json(arguments.out, {"file": str(arguments.file), "rows": rows, **versions()})
    return 0


if __name__ == "__main__":
    sys.exit(main())
