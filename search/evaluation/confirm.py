"""Verdicts: steps trained from scratch on all training images, with several seeds, against the test set."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from drill_models.data import full_data
from drill_models.networks import environment
from drill_models.resolve import DataSource, resolve_itself
from drill_models.result import EpochRecord
from drill_models.run import with_verdict
from drill_models.size import check_size
from drill_models.step import Step
from search.context import RunContext
from search.evaluation.run_cache import FILE, ConfirmedRun, ConfirmedRuns, RunKey, key_of
from search.evaluation.statistics import make_verdict
from search.executors.base import Executor
from search.executors.machines import Machines
from search.executors.run_tasks import train_all
from search.executors.tasks import Task
from search.text import counted


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
        epoch: Given step, seed and record after each epoch.
        run: Given step, run, and whether it is of an earlier sitting.
    """

    epoch: Callable[[Step, int, EpochRecord], None]
    run: Callable[[Step, ConfirmedRun, bool], None]


def confirm(
    steps: Sequence[Step],
    source: DataSource,
    *,
    seeds: Sequence[int],
    machines: Machines,
    kept: ConfirmedRuns,
    watcher: Watcher,
    context: RunContext,
) -> tuple[Confirmed, ...]:
    """Trains each step with each seed, as many runs at a time as the machine takes.

    Args:
        steps: Of one data set or several; what two of them share is trained once.
        source: Where data sets are looked for.
        seeds: Different ones.
        machines: What trains.
        kept: Runs of earlier sittings, which are not repeated; new ones are added as they end.
        watcher: What is told.
        context: Told what begins and when a worker died, and asked all the time whether to stop.

    Returns:
        One a step, in their order.

    Raises:
        DrillError: Data are not to be had, or a run failed.
        Interrupted: The context said so; what had ended is kept.
    """
    for step in steps:
        check_size(step)
    names = dict.fromkeys(step.dataset for step in steps)
    found = [resolve_itself(name, source, f"a verdict on {name}") for name in names]
    keys = [key_of(step, environment(step.model, machines.backend)) for step in steps]
    confirmed: dict[int, Confirmed] = {}
    for resolved in found:
        data = full_data(resolved)
        mine = [i for i, step in enumerate(steps) if step.dataset == data.name]
        left: dict[tuple[RunKey, int], Step] = {}
        for i in mine:
            for seed in seeds:
                run = kept.find(keys[i], seed)
                if run is not None and not run.fits(steps[i].training.epochs, len(data.held_out)):
                    source.say(
                        f"{steps[i].name}: the run of seed {seed} in {FILE} does not fit; it is trained anew"
                    )
                    run = None
                if run is None:
                    left.setdefault((keys[i], seed), steps[i])
                else:
                    watcher.run(steps[i], run, True)
        if left:
            at_a_time = min(len(left), machines.places)
            context.notify(
                f"training from scratch on all {len(data.train):,} training images of {data.name}: "
                f"{counted(len(left), 'run')}, {at_a_time} at a time; -v shows each epoch"
            )
            with machines.executor(data, at_a_time, context.should_stop) as executor:
                for run in _train(left, executor, watcher, context):
                    kept.add(run)
                    for i in mine:
                        if keys[i] == run.key:
                            watcher.run(steps[i], run, False)
        for i in mine:
            runs = [run for seed in seeds if (run := kept.find(keys[i], seed)) is not None]
            confirmed[i] = _confirmed(steps[i], runs, len(data.held_out))
    return tuple(confirmed[i] for i in range(len(steps)))


def _train(
    left: Mapping[tuple[RunKey, int], Step],
    executor: Executor,
    watcher: Watcher,
    context: RunContext,
) -> Iterator[ConfirmedRun]:
    """Each run, as they end."""
    cases = list(left.items())
    tasks = [
        Task(key=i, label=f"{step.name}, seed {seed}", recipe=step.recipe, seed=seed, mistakes=True)
        for i, ((_, seed), step) in enumerate(cases)
    ]

    def on_epoch(task: Task, record: EpochRecord) -> None:
        watcher.epoch(cases[task.key][1], task.seed, record)

    for ended in train_all(tasks, executor, on_epoch=on_epoch, context=context):
        yield ConfirmedRun(
            key=cases[ended.task.key][0][0],
            seed=ended.task.seed,
            epochs=ended.records,
            mistakes=ended.mistakes,
            diverged=ended.diverged,
        )


def _confirmed(step: Step, runs: Sequence[ConfirmedRun], n_images: int) -> Confirmed:
    diverged = any(run.diverged is not None for run in runs)
    return Confirmed(
        step=with_verdict(step, None if diverged else make_verdict(runs)), runs=tuple(runs), n_images=n_images
    )
