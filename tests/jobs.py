"""Small searches for tests: a study in memory, a few hundred digits, one epoch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import optuna
from optuna.trial import FrozenTrial

from drill_models.backend import Backend, Environment
from drill_models.data import ResidentData
from drill_models.result import EpochRecord
from drill_models.train import train
from search.context import RunContext
from search.engine.job import Job, Watcher
from search.engine.trial_loop import run_trials
from search.executors.base import InProcess
from search.executors.tasks import Began, Ended, Epoch, Event, Task, Trainer
from search.sampling.budget import BudgetSampler, base_sampler
from search.schema import attributes as attrs
from spaces.budget import Budget
from spaces.budgeted import BudgetedSpace
from tests.spaces_for_tests import SPACE, random_points

BUDGET = Budget(max_params=1_500)


def record(epoch: int, accuracy: float = 0.5) -> EpochRecord:
    """A made-up epoch."""
    return EpochRecord(
        epoch=epoch, lr=0.1, train_loss=1, train_accuracy=0.5, val_loss=1, val_accuracy=accuracy, seconds=0.0
    )


def made_study(values: Sequence[tuple[int, float]]) -> optuna.Study:
    """A study of accuracy against parameters: a complete trial for each number of them and its accuracy."""
    study = optuna.create_study(directions=["maximize", "minimize"])
    for number, (n_params, accuracy) in enumerate(values):
        study.add_trial(
            optuna.create_trial(
                values=[accuracy, n_params],
                params=random_points(1)[0],
                distributions=dict(SPACE.distributions),
                user_attrs={attrs.N_PARAMS: n_params, attrs.SEED: number, attrs.EPOCHS: 1},
            )
        )
    return study


@dataclass
class Log:
    """A watcher that writes down what it was told."""

    lines: list[str] = field(default_factory=list)

    def started(self, trial: FrozenTrial, n_params: int, epochs: int) -> None:
        assert n_params <= BUDGET.max_params
        self.lines.append(f"start {trial.number}")

    def epoch(self, number: int, record: EpochRecord) -> None:
        self.lines.append(f"epoch {record.epoch} of {number}")

    def ended(self, trial: FrozenTrial) -> None:
        self.lines.append(f"end {trial.number} {trial.state.name}")

    def lost(self, trial: FrozenTrial | None, reason: str) -> None:
        self.lines.append(f"lost {'nothing' if trial is None else trial.number}")


class Instant:
    """An executor that trains nothing: a task ends at once, after an epoch with the accuracy that it is given."""

    here = False

    def __init__(self, accuracy: Callable[[Task], float]) -> None:
        self._accuracy = accuracy
        self._events: list[Event] = []

    @property
    def free(self) -> int:
        return 0 if self._events else 1

    def submit(self, task: Task) -> None:
        where = Environment(device="cpu", threads=1, torch="2")
        epoch = Epoch(task.key, record(1, self._accuracy(task)))
        self._events = [Began(task.key, where), epoch, Ended(task.key, "complete")]

    def stop(self, key: int) -> None:
        raise AssertionError

    def events(self, timeout: float) -> list[Event]:
        events, self._events = self._events, []
        return events

    def close(self) -> None:
        pass


def small_job(*, trials: int, epochs: int = 1, study: optuna.Study | None = None) -> Job:
    """A job over the drill space at 1,500 parameters."""
    if study is None:
        sampler = BudgetSampler(base_sampler("random", 0), BudgetedSpace(SPACE, BUDGET))
        study = optuna.create_study(sampler=sampler, direction="maximize", pruner=optuna.pruners.NopPruner())
    return Job(study=study, space=SPACE, budget=BUDGET, epochs=epochs, trials=trials, seed=0)


def run_here(
    job: Job, data: ResidentData, watcher: Watcher, should_stop: Callable[[], bool], trainer: Trainer = train
) -> bool:
    """Runs a job in this process."""
    return run_trials(job, InProcess(data, Backend(), should_stop, trainer), watcher, RunContext(should_stop))
