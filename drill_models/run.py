"""One whole training run of a step, and the record of it."""

from collections.abc import Callable, Sequence

from drill_models.backend import Backend, Environment
from drill_models.count import count
from drill_models.data import ResidentData, full_data, validation_data
from drill_models.device import using_threads
from drill_models.networks import environment
from drill_models.resolve import Resolved
from drill_models.result import EpochRecord, Result, Run, Verdict, last_three_mean
from drill_models.step import Recipe, Step
from drill_models.train import DEFAULT_BACKEND, train


def load(resolved: Resolved, *, full: bool) -> ResidentData:
    """The data of a run: all training images and the test set where `full`, else the validation split.

    Raises:
        DataError: A file is unreadable or corrupt.
    """
    return full_data(resolved) if full else validation_data(resolved)


def run(
    recipe: Recipe,
    data: ResidentData,
    *,
    full: bool,
    seed: int,
    backend: Backend = DEFAULT_BACKEND,
    on_epoch: Callable[[EpochRecord], None] = lambda record: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Run:
    """Trains a recipe to its end.

    Raises:
        Interrupted: `should_stop` said yes.
        Diverged: The loss became infinite or NaN.
    """
    records = []
    where = environment(recipe.model, backend)
    with using_threads(where.threads):
        for record in train(recipe, data, seed=seed, backend=backend, should_stop=should_stop):
            records.append(record)
            on_epoch(record)
    return recorded_run(records, full=full, seed=seed, where=where)


def result_of(step: Step) -> Result:
    """A step's result, or one that holds its count only."""
    return step.result or Result(n_params=count(step.model).n_params)


def with_verdict(step: Step, verdict: Verdict | None) -> Step:
    """The step with that verdict in its result."""
    return step.model_copy(update={"result": result_of(step).model_copy(update={"verdict": verdict})})


def recorded_run(records: Sequence[EpochRecord], *, full: bool, seed: int, where: Environment) -> Run:
    """The record of a run from its epochs."""
    accuracies = [record.val_accuracy for record in records]
    return Run(
        held_out="test" if full else "validation",
        seed=seed,
        device=where.device,
        threads=where.threads,
        torch=where.torch,
        program=where.program,
        engine=where.engine,
        precision=where.precision,
        gpu=where.gpu,
        value=round(last_three_mean(accuracies), 6),
        best_epoch=accuracies.index(max(accuracies)) + 1,
        seconds=round(sum(record.seconds for record in records), 1),
        epochs=tuple(records),
    )
