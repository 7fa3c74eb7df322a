"""Several training runs side by side: recipes and seeds in, finished runs out. No study in sight."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from drill_models.backend import Environment
from drill_models.errors import DrillError
from drill_models.result import EpochRecord
from search.context import RunContext
from search.deadline import TimeIsUp
from search.executors.base import Executor
from search.executors.tasks import MAX_CRASHES, MAX_KILLS, Began, Ended, Epoch, Lost, Task


def seed_range(first: int, n: int) -> range:
    """So many seeds from the first on.

    Raises:
        DrillError: The last is too large.
    """
    if first + n > 2**63:
        raise DrillError(f"--seeds {n}: the last seed would be beyond 2^63 - 1")
    return range(first, first + n)


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A run that ended by itself.

    Attributes:
        task: What was trained.
        records: Its epochs; of a run that diverged, those before.
        where: Where and by what.
        mistakes: Positions of the held-out images that the network gets wrong, where the task asked for them.
        diverged: Why the run has no end, or None where it has.
        weights: The trained weights as safetensors, where the task asked for them.
    """

    task: Task
    records: tuple[EpochRecord, ...]
    where: Environment
    mistakes: tuple[int, ...] = ()
    diverged: str | None = None
    weights: bytes | None = None


@dataclass
class _Running:
    task: Task
    records: list[EpochRecord] = field(default_factory=list)
    where: Environment | None = None


def train_all(
    tasks: Sequence[Task],
    executor: Executor,
    *,
    on_epoch: Callable[[Task, EpochRecord], None],
    context: RunContext,
) -> Iterator[Finished]:
    """Trains each task, as many at a time as the executor takes, and yields each as it ends.

    Args:
        tasks: With different keys.
        executor: What trains.
        on_epoch: Called after each epoch.
        context: Told when a worker died, asked all the time whether to stop, and before each task
            whether there is time for it. Where there is none, those that run come to their end.

    Raises:
        DrillError: A run failed or was refused.
        Interrupted: The context said so.
        TimeIsUp: There was no time for all, and what ran has ended.
    """
    waiting = deque(tasks)
    running: dict[int, _Running] = {}
    losses: dict[tuple[int, bool], int] = {}
    while waiting or running:
        context.check()
        while waiting and executor.free and context.may_start():
            task = waiting.popleft()
            running[task.key] = _Running(task)
            executor.submit(task)
        if not running and not context.may_start():
            raise TimeIsUp
        for event in executor.events(0.1):
            match event:
                case Began(key=key, where=where):
                    running[key].where = where
                case Epoch(key=key, record=record):
                    running[key].records.append(record)
                    on_epoch(running[key].task, record)
                case Ended(key=key, outcome="complete" | "diverged" as outcome, reason=reason) as end:
                    ended = running.pop(key)
                    assert ended.where is not None
                    yield Finished(
                        task=ended.task,
                        records=tuple(ended.records),
                        where=ended.where,
                        mistakes=end.mistakes,
                        weights=end.weights,
                        diverged=reason if outcome == "diverged" else None,
                    )
                case Ended(key=key, outcome=outcome, reason=reason):
                    raise DrillError(f"{running[key].task.label}: training {outcome}: {reason}")
                case Lost(key=None, reason=reason):
                    context.notify(reason)
                case Lost(key=int(key), reason=reason, killed=killed):
                    task = running.pop(key).task
                    times = losses[key, killed] = losses.get((key, killed), 0) + 1
                    if times == (MAX_KILLS if killed else MAX_CRASHES):
                        raise DrillError(f"{task.label}: {reason}, as {times} workers did")
                    context.notify(f"{reason}; {task.label} begins anew")
                    waiting.appendleft(task)
