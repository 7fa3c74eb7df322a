"""After --timeout nothing starts, the top-k re-evaluation neither; --hard-timeout ends what trains, too."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import search.executors.base
from drill_models.errors import DrillError
from search.context import RunContext
from search.deadline import Deadline, TimeIsUp
from search.engine.run_search import search as session
from search.executors.run_tasks import train_all
from search.executors.tasks import Event, Task, perform
from search.options import search_config, training_options
from search.study.ranking import reruns
from tests.command_line import Run
from tests.jobs import Instant
from tests.spaces_for_tests import SPACE, random_points
from tests.test_session import CONFIG, Told, _opened


@pytest.fixture(autouse=True)
def _empty_folder(run: Run) -> None:
    """Each search in a folder of its own."""


class _Until(Deadline):
    """A deadline that is over when something has happened."""

    def __init__(self, over: Callable[[], bool]) -> None:
        object.__setattr__(self, "over", over)

    def may_start(self) -> bool:
        over: Callable[[], bool] = self.over  # type: ignore[attr-defined]
        return not over()


def _with_deadline(monkeypatch: pytest.MonkeyPatch, over: Callable[[], bool]) -> None:
    monkeypatch.setattr(Deadline, "after", lambda seconds: _Until(over))


def test_no_reevaluation_starts_after_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was trained again before it is stored, and the same command goes on."""
    first = Told()
    with monkeypatch.context() as patched:
        _with_deadline(patched, lambda: len(first.again) == 1)
        outcome = session(CONFIG, first, lambda: False)
    assert outcome.finished
    assert not outcome.looked
    assert outcome.found is not None
    assert sum(map(len, reruns(_opened(first).study).values())) == 1

    second = Told()
    assert session(CONFIG, second, lambda: False).looked
    assert len(second.again) == 3


def test_the_smallest_is_not_looked_for_after_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    told = Told()
    config = replace(CONFIG, objective="pareto", hold_seeds=3, target=0.01)
    trained = []

    def counts(task: Task, *args: Any) -> Iterator[Event]:
        trained.append(task.seed)
        return perform(task, *args)

    monkeypatch.setattr(search.executors.base, "perform", counts)
    _with_deadline(monkeypatch, lambda: len(trained) > CONFIG.trials)
    outcome = session(config, told, lambda: False)
    assert (outcome.finished, outcome.looked, outcome.found) == (True, False, None)
    assert len(trained) == CONFIG.trials + 1


def test_what_runs_comes_to_its_end() -> None:
    tasks = [
        Task(key=i, label=str(i), recipe=SPACE.decode(p, epochs=1), seed=i) for i, p in enumerate(random_points(3))
    ]
    ended: list[int] = []
    runs = train_all(
        tasks,
        Instant(lambda task: 0.5),
        on_epoch=lambda task, record: None,
        context=RunContext(deadline=_Until(lambda: bool(ended))),
    )
    ended.append(next(runs).task.key)
    with pytest.raises(TimeIsUp):
        next(runs)
    assert ended == [0]


SHORT = ("--budget", "1000", "--dataset", "mnist-5k", "--baselines", "none", "--no-starts", "--workers", "1")


def test_a_hard_timeout_ends_a_training(run: Run, tmp_path: Path) -> None:
    """Its exit code is that of an interruption, and the point is queued."""
    code, _, error = run(*SHORT, "--trials", "1", "--epochs", "1000", "--hard-timeout", "4", "--json")
    assert code == 130
    assert "--hard-timeout" in error
    code, out, _ = run("studies", "list", "--json")
    assert code == 0
    assert '"complete": 0' in out


def test_a_hard_timeout_is_a_number_of_seconds() -> None:
    training = training_options(data=None, offline=True, device="auto", engine="auto", precision="auto", workers=1)
    with pytest.raises(DrillError, match="--hard-timeout"):
        search_config(
            budget=1000, trials=1, epochs=1, target=0.99, dataset="mnist-5k", training=training, hard_timeout=0
        )
