"""Trains one step file again: on the validation split, or on everything against the test set."""

import statistics
from collections.abc import Callable, Sequence

from drill_models.backend import Environment
from drill_models.errors import DrillError
from drill_models.resolve import DataSource, Resolved, resolve
from drill_models.result import EpochRecord, Run
from drill_models.run import load, recorded_run, result_of
from drill_models.step import Step
from search.context import RunContext
from search.executors.machines import Machines
from search.executors.run_tasks import seed_range, train_all
from search.executors.tasks import Task
from search.study.caveats import OLDER_SMALL_DATA, SMALL_DATA
from search.text import mean_of_last


def retrain(
    step: Step,
    source: DataSource,
    *,
    full: bool,
    seed: int | None,
    seeds: int = 1,
    machines: Machines,
    on_data: Callable[[Resolved], None],
    on_epoch: Callable[[int, EpochRecord], None],
    context: RunContext,
) -> tuple[Step, ...]:
    """Trains a step from scratch, with one seed or several side by side.

    Args:
        step: What to train.
        source: Where its data set is looked for.
        full: Train on all training images and measure on the test set, after each epoch, as published
            steps do; else train on 5/6 of them and measure on the rest, as a search does.
        seed: None for the seed of the step's recorded run, or 0 where it has none.
        seeds: How many: `seed` and those that follow it.
        machines: What trains.
        on_data: Called once with the data set that was found.
        on_epoch: Called with seed and record after each epoch.
        context: Told when a worker died, and asked before each batch whether to stop.

    Returns:
        For each seed, in order, the step with the new run in its result.

    Raises:
        DrillError: The data are not to be had, or training diverged or failed.
        Interrupted: The context said so.
    """
    resolved = resolve(step.dataset, source)
    on_data(resolved)
    data = load(resolved, full=full)
    old = result_of(step)
    if seed is None:
        seed = old.run.seed if old.run is not None else 0
    chosen = seed_range(seed, seeds)
    caveats = tuple(caveat for caveat in old.caveats if caveat not in (SMALL_DATA, OLDER_SMALL_DATA))
    if data.name == "mnist-5k":
        caveats += (SMALL_DATA,)
    at_a_time = min(seeds, machines.places)
    tasks = [Task(key=each, label=f"{step.name}, seed {each}", recipe=step.recipe, seed=each) for each in chosen]
    runs: dict[int, Run] = {}
    with machines.executor(data, at_a_time, context.should_stop) as executor:
        for ended in train_all(
            tasks,
            executor,
            on_epoch=lambda task, record: on_epoch(task.seed, record),
            context=context,
        ):
            if ended.diverged is not None:
                raise DrillError(f"{ended.task.label}: training diverged: {ended.diverged}")
            runs[ended.task.seed] = recorded_run(ended.records, full=full, seed=ended.task.seed, where=ended.where)
    return tuple(
        step.model_copy(
            update={"dataset": data.name, "result": old.model_copy(update={"run": runs[each], "caveats": caveats})}
        )
        for each in chosen
    )


def summary(trained: Sequence[Step]) -> str:
    """What several seeds say together, in a sentence."""
    runs = [step.result.run for step in trained if step.result is not None and step.result.run is not None]
    values = [run.value for run in runs]
    lowest = min(record.val_accuracy for run in runs for record in run.epochs[-5:])
    return (
        f"{len(values)} seeds: {statistics.mean(values):.2%} ({mean_of_last(len(runs[0].epochs))}), from "
        f"{min(values):.2%} to {max(values):.2%}, standard deviation {100 * statistics.stdev(values):.2f} points; "
        f"the lowest of their last five epochs is {lowest:.2%}"
    )


def otherwise(then: Run, now: Run | Environment) -> list[str]:
    """What is not as it was when a run was recorded: with any of it, the curve may come out differently."""
    facts = [
        ("engine", then.engine, now.engine),
        ("PyTorch", then.torch, now.torch),
        ("drill-search", then.program or now.program, now.program),
        ("precision", then.precision, now.precision),
        ("device", then.device, now.device),
        ("GPU", then.gpu or now.gpu, now.gpu or then.gpu),
        ("threads", then.threads, now.threads),
    ]
    if isinstance(now, Run):
        facts.insert(0, ("seed", then.seed, now.seed))
    return [f"{what} was {old}, is {new}" for what, old, new in facts if old != new]


def comparison(before: Step, after: Step) -> str | None:
    """How a new run compares with what the step file says, in a sentence; None where it says nothing."""
    result, new = before.result, after.result
    if result is None or new is None or new.run is None:
        return None
    run = new.run
    if before.dataset != after.dataset and (result.run is not None or result.reported is not None):
        return f"not compared with what the step says: that is of {before.dataset}, this of {after.dataset}"
    if result.run is not None and result.run.held_out == run.held_out:
        then = [record.val_accuracy for record in result.run.epochs]
        now = [record.val_accuracy for record in run.epochs]
        if then == now:
            return "the recorded curve is reproduced exactly"
        changed = otherwise(result.run, run)
        why = f" ({'; '.join(changed)})" if changed else ""
        return (
            f"the recorded run has {result.run.value:.2%} ({mean_of_last(len(then))}), this one "
            f"{run.value:.2%}; they differ by {abs(result.run.value - run.value):.2%}{why}"
        )
    reported = result.reported
    if reported is None or run.held_out != "test" or not reported.test_curve:
        return None
    last5 = reported.test_curve[-5:]
    mine = [record.val_accuracy for record in run.epochs][-5:]
    published, replayed = sum(last5) / len(last5), sum(mine) / len(mine)
    return (
        f"mean test accuracy of the last five epochs: published {published:.2%}, here {replayed:.2%} "
        f"(best epoch: reported {reported.test_accuracy:.2%}, here "
        f"{max(record.val_accuracy for record in run.epochs):.2%})"
    )
