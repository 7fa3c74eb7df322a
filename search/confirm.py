"""Verdicts: steps trained from scratch on all training images, with several seeds, against the test set."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from drill_models.backend import Backend
from drill_models.count import count
from drill_models.data import ResidentData, full_data
from drill_models.datasets import DatasetName
from drill_models.device import default_workers
from drill_models.errors import DrillError
from drill_models.networks import environment
from drill_models.resolve import DataSource, Resolved, resolve
from drill_models.result import EpochRecord, Result
from drill_models.step import Step
from search.confirmed import ConfirmedRun, ConfirmedRuns, key_of
from search.retrain import SMALL_DATA
from search.several import train_all
from search.tasks import Task
from search.verdict import make_verdict
from search.workers import Executor, open_executor


@dataclass(frozen=True, kw_only=True)
class Confirmed:
    """A step with its runs.

    Attributes:
        step: With the verdict in its result, unless a run diverged.
        runs: One a seed, in order.
        n_images: In the test set.
    """

    step: Step
    runs: tuple[ConfirmedRun, ...]
    n_images: int

    @property
    def diverged(self) -> tuple[int, ...]:
        """Seeds whose run has no end."""
        return tuple(run.seed for run in self.runs if run.diverged is not None)


@dataclass(frozen=True, kw_only=True)
class Watcher:
    """What is told while verdicts are made.

    Attributes:
        data: Given each data set that was found.
        epoch: Given step, seed and record after each epoch.
        run: Given step, run, and whether it is of an earlier sitting.
    """

    data: Callable[[Resolved], None]
    epoch: Callable[[Step, int, EpochRecord], None]
    run: Callable[[Step, ConfirmedRun, bool], None]


def confirm(
    steps: Sequence[Step],
    source: DataSource,
    *,
    seeds: Sequence[int],
    backend: Backend,
    workers: int | None,
    kept: ConfirmedRuns,
    watcher: Watcher,
    should_stop: Callable[[], bool],
) -> tuple[Confirmed, ...]:
    """Trains each step with each seed, as many runs at a time as the machine takes.

    Args:
        steps: Of one data set or several.
        source: Where data sets are looked for.
        seeds: Different ones.
        backend: What trains.
        workers: Runs at a time; None for one a usable core, on CUDA up to four a GPU.
        kept: Runs of earlier sittings, which are not repeated; new ones are added as they end.
        watcher: What is told.
        should_stop: Asked all the time.

    Returns:
        One a step, in their order.

    Raises:
        DrillError: Data are not to be had, or a run failed.
        Interrupted: `should_stop` said yes; what had ended is kept.
    """
    confirmed: dict[int, Confirmed] = {}
    for name in dict.fromkeys(step.dataset for step in steps):
        resolved = resolve(name, source)
        watcher.data(resolved)
        data = full_data(resolved)
        mine = [i for i, step in enumerate(steps) if step.dataset == name]
        cases = [_Case(step=steps[i], seed=seed) for i in mine for seed in seeds]
        runs = _kept(cases, data, backend, kept)
        for case, run in runs.items():
            watcher.run(case.step, run, True)
        left = [case for case in cases if case not in runs]
        if left:
            at_a_time = min(len(left), workers or default_workers(backend.device))
            with open_executor(data, backend, at_a_time, should_stop) as executor:
                for case, run in _train(left, executor, data.name, watcher, source.say, should_stop):
                    kept.add(run)
                    runs[case] = run
                    watcher.run(case.step, run, False)
        for i in mine:
            confirmed[i] = _confirmed(steps[i], [runs[_Case(step=steps[i], seed=seed)] for seed in seeds], data)
    return tuple(confirmed[i] for i in range(len(steps)))


@dataclass(frozen=True, kw_only=True)
class _Case:
    step: Step
    seed: int


def _kept(
    cases: Sequence[_Case], data: ResidentData, backend: Backend, kept: ConfirmedRuns
) -> dict[_Case, ConfirmedRun]:
    found = {}
    for case in cases:
        key = key_of(case.step.recipe, data.name, environment(case.step.model, backend))
        run = kept.find(key, case.seed)
        if run is not None:
            found[case] = run
    return found


def _train(
    cases: Sequence[_Case],
    executor: Executor,
    dataset: DatasetName,
    watcher: Watcher,
    say: Callable[[str], None],
    should_stop: Callable[[], bool],
) -> Iterator[tuple[_Case, ConfirmedRun]]:
    """Each case with its run, as they end."""
    tasks = [
        Task(key=key, recipe=case.step.recipe, seed=case.seed, mistakes=True) for key, case in enumerate(cases)
    ]

    def on_epoch(task: Task, record: EpochRecord) -> None:
        watcher.epoch(cases[task.key].step, task.seed, record)

    for ended in train_all(tasks, executor, on_epoch=on_epoch, say=say, should_stop=should_stop):
        yield (
            cases[ended.task.key],
            ConfirmedRun(
                key=key_of(ended.task.recipe, dataset, ended.where),
                seed=ended.task.seed,
                epochs=ended.records,
                mistakes=ended.mistakes,
                diverged=ended.diverged,
            ),
        )


def check_seeds(first: int, n: int) -> range:
    """So many seeds from the first on.

    Raises:
        DrillError: The last is too large.
    """
    if first + n > 2**63:
        raise DrillError(f"--seeds {n}: the last seed would be beyond 2^63 - 1")
    return range(first, first + n)


def _confirmed(step: Step, runs: Sequence[ConfirmedRun], data: ResidentData) -> Confirmed:
    old = step.result or Result(n_params=count(step.model).n_params)
    caveats = tuple(caveat for caveat in old.caveats if caveat != SMALL_DATA)
    if data.name == "mnist-5k":
        caveats += (SMALL_DATA,)
    diverged = any(run.diverged is not None for run in runs)
    result = old.model_copy(update={"verdict": None if diverged else make_verdict(runs), "caveats": caveats})
    step = step.model_copy(update={"dataset": data.name, "result": result})
    return Confirmed(step=step, runs=tuple(runs), n_images=len(data.held_out))
