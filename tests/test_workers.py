"""Executors: in this process, in worker processes; and the one loop over several trials at a time."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from multiprocessing import Pipe
from pathlib import Path

import optuna
import pytest
import torch
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial, TrialState

from drill_models.backend import Backend
from drill_models.data import ResidentData
from drill_models.device import _cpu_quota, threads_each, usable_cores
from drill_models.errors import DrillError, Interrupted
from drill_models.result import EpochRecord
from drill_models.step import Recipe
from drill_models.train import Diverged, train
from drill_models.train_config import Augment
from search.context import RunContext
from search.engine.trial_loop import run_trials
from search.executors import worker_handle as worker
from search.executors.base import InProcess, open_executor
from search.executors.process_pool import ProcessPool
from search.executors.tasks import Began, Ended, Epoch, Event, Lost, Task, perform
from search.executors.worker_handle import Worker
from search.executors.worker_main import Order, Place, Said, Stop, serve
from search.schema import attributes as attrs
from search.study.trials import curve, tally
from tests.jobs import Log, record, small_job
from tests.spaces_for_tests import SPACE


def pretend(
    recipe: Recipe, data: ResidentData, *, should_stop: Callable[[], bool], **others: object
) -> Iterator[EpochRecord]:
    """Trains nothing; asks before each epoch whether to stop, as training does before each batch."""
    for epoch in range(1, recipe.training.epochs + 1):
        if should_stop():
            raise Interrupted
        yield record(epoch)


class SideBySide:
    """Several pretended trainings in this process, an epoch of each at a time; workers die as told."""

    def __init__(self, data: ResidentData, workers: int, deaths: int = 0) -> None:
        self.data, self.workers, self.deaths = data, workers, deaths
        self.tasks: list[Task] = []
        self.running: dict[int, Iterator[Event]] = {}
        self.most = 0
        self.stopped: list[int] = []

    here = False

    @property
    def free(self) -> int:
        return self.workers - len(self.running)

    def submit(self, task: Task) -> None:
        self.tasks.append(task)
        self.running[task.key] = perform(task, self.data, Backend(), lambda: False, pretend)
        self.most = max(self.most, len(self.running))

    def stop(self, key: int) -> None:
        self.stopped.append(key)
        self.running.pop(key, None)

    def events(self, timeout: float) -> list[Event]:
        events = [next(task) for task in self.running.values()]
        for event in [e for e in events if isinstance(e, Ended)]:
            assert event.key is not None
            del self.running[event.key]
        epochs = [e for e in events if isinstance(e, Epoch)]
        if epochs and self.deaths > 0:
            self.deaths -= 1
            del self.running[epochs[0].key]
            # Its last words are still in the pipe.
            return [
                *events,
                Lost(epochs[0].key, "worker 1 was ended by SIGKILL", True),
                Lost(None, "worker 2, too", True),
            ]
        return events

    def close(self) -> None:
        self.running.clear()


def test_never_more_trials_than_are_missing(few_digits: ResidentData) -> None:
    executor = SideBySide(few_digits, workers=3)
    job = small_job(trials=5, epochs=2)
    assert run_trials(job, executor, Log(), RunContext())
    assert executor.most == 3
    assert len(job.study.trials) == len(executor.tasks) == 5
    assert tally(job.study).complete == 5
    assert run_trials(replace(job, trials=6), executor, Log(), RunContext())
    assert len(job.study.trials) == 6


def test_a_lost_trial_is_run_again_with_its_point_and_seed(few_digits: ResidentData) -> None:
    executor, log = SideBySide(few_digits, workers=2, deaths=3), Log()
    job = small_job(trials=4, epochs=2)
    assert run_trials(job, executor, log, RunContext())
    counts = tally(job.study)
    assert (counts.trained, counts.interrupted, counts.waiting) == (4, 3, 0)
    assert len([line for line in log.lines if line == "lost nothing"]) == 3
    for lost in [t for t in job.study.trials if attrs.INTERRUPTED in t.user_attrs]:
        assert f"lost {lost.number}" in log.lines
        (again,) = [t for t in job.study.trials if t.user_attrs.get(attrs.RETRY_OF) == lost.number]
        assert again.params == lost.params
        assert again.user_attrs[attrs.SEED] == lost.user_attrs[attrs.SEED]


def test_a_point_that_ends_every_worker_fails_and_the_search_goes_on(few_digits: ResidentData) -> None:
    class Deadly(SideBySide):
        """Whatever trains trial 0's point ends its worker in the first epoch."""

        def events(self, timeout: float) -> list[Event]:
            events: list[Event] = []
            for event in super().events(timeout):
                seed = next((task.seed for task in self.tasks if task.key == event.key), None)
                if isinstance(event, Epoch) and seed == self.tasks[0].seed:
                    del self.running[event.key]
                    events.append(Lost(event.key, "worker 1 ended by itself with code -11", False))
                else:
                    events.append(event)
            return events

    job = small_job(trials=4, epochs=2)
    assert run_trials(job, Deadly(few_digits, workers=2), Log(), RunContext())
    counts = tally(job.study)
    assert (counts.complete, counts.failed, counts.interrupted, counts.waiting) == (3, 1, 2, 0)
    (failed,) = [t for t in job.study.trials if attrs.REASON in t.user_attrs]
    assert failed.user_attrs[attrs.CRASHES] == 3
    assert "as 3 workers did with this network" in failed.user_attrs[attrs.REASON]


def test_what_does_not_go_together_ends_the_search_in_a_sentence(few_digits: ResidentData) -> None:
    class Refusing(SideBySide):
        def events(self, timeout: float) -> list[Event]:
            (key, *_) = self.running
            return [Ended(key, "refused", "--engine native does not cover this")]

    job = small_job(trials=4, epochs=2)
    with pytest.raises(DrillError, match="--engine native does not cover this"):
        run_trials(job, Refusing(few_digits, workers=2), Log(), RunContext())
    assert tally(job.study).waiting == 2


def test_an_interruption_queues_all_that_run(few_digits: ResidentData) -> None:
    executor, log = SideBySide(few_digits, workers=3), Log()
    job = small_job(trials=9, epochs=3)
    assert not run_trials(job, executor, log, RunContext(lambda: "epoch 1 of 2" in log.lines))
    counts = tally(job.study)
    assert (counts.trained, counts.interrupted, counts.waiting) == (0, 3, 3)
    assert executor.stopped == [0, 1, 2]


def test_what_comes_after_a_trial_was_pruned_is_ignored(few_digits: ResidentData) -> None:
    class Late(SideBySide):
        """Hands on an epoch, and the end, of a trial that was stopped."""

        def events(self, timeout: float) -> list[Event]:
            late: list[Event] = [
                event for key in self.stopped for event in (Epoch(key, record(2)), Ended(key, "complete"))
            ]
            self.stopped.clear()
            return late + super().events(timeout)

    class AtOnce(BasePruner):
        def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
            return trial.number == 0

    job = small_job(trials=3, epochs=3)
    job.study.pruner = AtOnce()
    assert run_trials(job, Late(few_digits, workers=2), Log(), RunContext())
    states = [t.state for t in job.study.trials]
    assert states == [TrialState.PRUNED, TrialState.COMPLETE, TrialState.COMPLETE]
    assert len(curve(job.study.trials[0])) == 1


def test_points_of_running_trials_are_not_proposed_again() -> None:
    class Repeating(optuna.samplers.RandomSampler):
        """Proposes one point again and again, as a sampler may that is asked twice without an answer."""

        point: dict[str, object] | None = None

        def sample_relative(self, study: object, trial: object, search_space: object) -> dict[str, object]:
            if self.point is None:
                self.point = optuna.create_study().ask(dict(SPACE.distributions)).params
            return self.point

        def infer_relative_search_space(
            self, study: object, trial: object
        ) -> dict[str, optuna.distributions.BaseDistribution]:
            return dict(SPACE.distributions)

    from search.sampling.budget import BudgetSampler
    from spaces.budgeted import BudgetedSpace
    from tests.jobs import BUDGET

    space = BudgetedSpace(SPACE, BUDGET)
    study = optuna.create_study(sampler=BudgetSampler(Repeating(seed=0), space, max_draws=1))
    asked = [study.ask(dict(SPACE.distributions)) for _ in range(4)]
    assert len({space.identity(trial.params) for trial in asked}) == 4
    assert all(space.fits(trial.params) for trial in asked)


def test_in_this_process_an_epoch_a_call(few_digits: ResidentData, small_recipe: Recipe) -> None:
    stop = False
    executor = InProcess(few_digits, Backend(), lambda: stop, pretend)
    assert executor.free == 1
    executor.submit(Task(key=7, recipe=small_recipe, seed=0))
    assert executor.free == 0
    with pytest.raises(ValueError, match="task 7 still trains"):
        executor.submit(Task(key=8, recipe=small_recipe, seed=0))
    kinds = [type(event) for _ in range(4) for event in executor.events(0)]
    assert kinds == [Began, Epoch, Epoch, Ended]
    assert executor.free == 1
    assert executor.events(0) == []
    executor.submit(Task(key=8, recipe=small_recipe, seed=0))
    executor.events(0)
    stop = True
    with pytest.raises(Interrupted):
        executor.events(0)
    executor.stop(8)
    assert executor.free == 1
    executor.close()


def test_outcomes_of_a_task(few_digits: ResidentData, small_recipe: Recipe) -> None:
    def raising(error: Exception) -> Event:
        def trainer(recipe: Recipe, data: ResidentData, **others: object) -> Iterator[EpochRecord]:
            yield record(1)
            raise error

        task = Task(key=1, recipe=small_recipe, seed=0)
        return list(perform(task, few_digits, Backend(), lambda: False, trainer))[-1]

    assert raising(Diverged("loss is nan")) == Ended(1, "diverged", "loss is nan")
    assert raising(RuntimeError("no memory")) == Ended(1, "failed", "RuntimeError: no memory")
    with pytest.raises(TypeError):  # a mistake in the program is not a failed trial
        raising(TypeError("what"))


def test_a_worker_drops_a_stopped_task_and_ends_with_the_main_process(
    few_digits: ResidentData, small_recipe: Recipe
) -> None:
    endless = small_recipe.model_copy(
        update={"training": small_recipe.training.model_copy(update={"epochs": 1000})}
    )
    ours, theirs = Pipe()
    thread = threading.Thread(target=serve, args=(theirs, few_digits, Backend(), pretend))
    # The task after a stopped one is sent without waiting for an answer, and may have its key.
    first, second = Task(key=1, recipe=endless, seed=0), Task(key=1, recipe=small_recipe, seed=0)
    for message in (Order(1, first), Stop(1), Order(2, second)):
        ours.send(message)
    thread.start()
    said: list[Said] = []
    while not said or said[-1] != Said(2, Ended(1, "complete")):
        said.append(ours.recv())
    assert len([one for one in said if one.number == 1]) < 1000
    assert not [one for one in said if one.number == 1 and isinstance(one.event, Ended)]
    ours.close()
    thread.join(10)
    assert not thread.is_alive()
    theirs.close()


@pytest.fixture
def pool(few_digits: ResidentData) -> Iterator[ProcessPool]:
    pool = ProcessPool(few_digits, Backend(), 2)
    yield pool
    pool.close()


def _until(pool: ProcessPool, done: Callable[[list[Event]], bool]) -> list[Event]:
    events: list[Event] = []
    deadline = time.monotonic() + 120
    while not done(events):
        assert time.monotonic() < deadline
        events += pool.events(0.1)
    return events


def _bits(records: list[EpochRecord]) -> list[dict[str, float]]:
    return [record.model_dump(exclude={"seconds"}) for record in records]


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available() or torch.version.cuda is None, reason="there would be a GPU")
def test_a_gpu_that_takes_no_images_is_no_networks_fault(few_digits: ResidentData, small_recipe: Recipe) -> None:
    with open_executor(few_digits, Backend(device="cuda", engine="torch"), 1, lambda: False) as one:
        one.submit(Task(key=3, recipe=small_recipe, seed=0))
        assert isinstance(one, ProcessPool)  # a process that failed on a GPU can be replaced
        (ended,) = _until(one, bool)
    assert isinstance(ended, Ended)
    assert (ended.key, ended.outcome) == (3, "refused")
    assert str(ended.reason).startswith("GPU 0 takes no images: ")


@pytest.mark.slow
def test_a_key_comes_again_after_its_task_was_stopped(pool: ProcessPool, small_recipe: Recipe) -> None:
    """As finalists' keys are numbers of trials that may have been stopped by the same worker."""
    endless = small_recipe.model_copy(
        update={"training": small_recipe.training.model_copy(update={"epochs": 1000})}
    )
    for key in (3, 4):
        pool.submit(Task(key=key, recipe=endless, seed=0))
    _until(pool, lambda events: {e.key for e in events if isinstance(e, Epoch)} == {3, 4})
    for key in (3, 4):
        pool.stop(key)
        pool.submit(Task(key=key, recipe=small_recipe, seed=0))
    events = _until(pool, lambda events: sum(isinstance(e, Ended) for e in events) == 2)
    for key in (3, 4):
        mine = [e for e in events if e.key == key]
        assert [e.record.epoch for e in mine if isinstance(e, Epoch)] == [1, 2]
        assert mine[-1] == Ended(key, "complete")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="sends signals")
def test_the_pool_trains_as_this_process_does_and_replaces_the_dead(
    pool: ProcessPool, few_digits: ResidentData, small_recipe: Recipe
) -> None:
    assert pool.free == 2
    for seed in (1, 2):
        pool.submit(Task(key=seed, recipe=small_recipe, seed=seed))
    assert pool.free == 0
    with pytest.raises(ValueError, match="every worker has a task"):
        pool.submit(Task(key=3, recipe=small_recipe, seed=3))
    events = _until(pool, lambda events: sum(isinstance(e, Ended) for e in events) == 2)
    (where,) = {e.where for e in events if isinstance(e, Began)}
    for seed in (1, 2):
        mine = [e.record for e in events if isinstance(e, Epoch) and e.key == seed]
        if where.threads == 1:
            import torch

            threads = torch.get_num_threads()
            torch.set_num_threads(1)
            try:
                assert _bits(mine) == _bits(list(train(small_recipe, few_digits, seed=seed)))
            finally:
                torch.set_num_threads(threads)

    # An idle one dies: nothing is lost. A starting one dies with its task.
    processes = [one._process for one in pool._workers]
    assert processes[0] is not None
    assert processes[0].pid is not None
    os.kill(processes[0].pid, signal.SIGKILL)
    (lost,) = _until(pool, lambda events: len(events) > 0)
    assert lost == Lost(None, "worker 1 was ended by SIGKILL", True)
    for key in (4, 5):
        pool.submit(Task(key=key, recipe=small_recipe, seed=0))
    starting = pool._workers[0]._process
    assert starting is not None
    assert starting.pid is not None
    os.kill(starting.pid, signal.SIGKILL)
    events = _until(
        pool, lambda events: any(isinstance(e, Lost) for e in events) and Ended(4, "complete") in events
    )
    assert [e.key for e in events if isinstance(e, Lost)] == [5]
    assert pool.free == 2


@pytest.mark.slow
def test_a_worker_that_cannot_start_is_not_started_for_ever(
    few_digits: ResidentData, small_recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "MAX_CRASHES", 2)
    bad = Worker(0, few_digits, Place(backend=Backend(), gpu=0, threads=-1))
    task = Task(key=1, recipe=small_recipe, seed=0)
    for _ in range(2):
        bad.begin(task)
        assert bad._process is not None
        bad._process.join(60)
        assert bad.read() == [Lost(1, "worker 1 ended by itself with code 1", False)]
    with pytest.raises(DrillError, match=r"worker 1 died 2 times in a row without finishing an epoch"):
        bad.begin(task)


def test_cores_keep_a_cgroup_quota(tmp_path: Path) -> None:
    groups, root = tmp_path / "cgroup", tmp_path / "fs"
    (root / "a" / "b").mkdir(parents=True)
    assert _cpu_quota(tmp_path / "none", root) == float("inf")
    groups.write_text("0::/a/b\n", encoding="utf-8")
    assert _cpu_quota(groups, root) == float("inf")
    (root / "a" / "b" / "cpu.max").write_text("max 100000\n", encoding="utf-8")
    (root / "a" / "cpu.max").write_text("150000 100000\n", encoding="utf-8")
    assert _cpu_quota(groups, root) == 1.5
    (root / "cpu,cpuacct").mkdir()
    (root / "cpu,cpuacct" / "cpu.cfs_quota_us").write_text("-1\n", encoding="utf-8")
    (root / "cpu,cpuacct" / "cpu.cfs_period_us").write_text("100000\n", encoding="utf-8")
    groups.write_text("5:memory:/x\n4:cpu,cpuacct:/docker/x\n", encoding="utf-8")
    assert _cpu_quota(groups, root) == float("inf")
    (root / "cpu,cpuacct" / "cpu.cfs_quota_us").write_text("300000\n", encoding="utf-8")
    assert _cpu_quota(groups, root) == 3


def test_threads_and_workers_keep_to_the_cores() -> None:
    cores = usable_cores()
    assert cores >= 1
    assert threads_each(cores) == 1
    assert threads_each(2 * cores) == 1
    assert threads_each(1) == cores


def test_own_kernels_give_the_same_bits_whatever_threads_there_are(
    few_digits: ResidentData, small_recipe: Recipe
) -> None:
    training = small_recipe.training.model_copy(update={"augment": Augment(rotation=10, scale=0.1)})
    task = Task(key=1, recipe=small_recipe.model_copy(update={"training": training}), seed=0)

    def losses(threads: int) -> list[float]:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        seen = set()

        def should_stop() -> bool:
            seen.add(torch.get_num_threads())
            return False

        try:
            events = list(perform(task, few_digits, Backend(engine="native"), should_stop))
            assert torch.get_num_threads() == threads
        finally:
            torch.set_num_threads(before)
        assert seen == {1}
        return [event.record.train_loss for event in events if isinstance(event, Epoch)]

    assert losses(1) == losses(2)
