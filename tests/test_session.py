"""A sitting of a search: what comes after the trials survives interruptions and failures."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial

import search.executors.base
from drill_models.step_io import load_step
from search.commands.attached import Exporting, Publishing, Tracking
from search.config import SearchConfig, TrainingOptions
from search.engine.events import Opened, Outcome
from search.engine.finalists import Rerun
from search.engine.observers import NullObserver, Observers
from search.engine.run_search import search as run_search
from search.engine.smallest import Candidate
from search.executors.tasks import Ended, Event, Task, perform
from search.report.dashboard import Publisher
from search.schema import attributes as attrs
from search.storage.storage import sole_owner
from search.storage.url import DEFAULT_STORAGE, parse
from search.study.ranking import finalists_of, ranked, reruns
from search.study.trials import accuracy_of
from spaces.budget import Budget
from spaces.skeletons import load_skeletons
from tests.command_line import Run
from tests.jobs import Log

CONFIG = SearchConfig(
    budget=Budget(max_params=2000),
    skeletons=load_skeletons(),
    trials=4,
    epochs=1,
    dataset="mnist-5k",
    training=TrainingOptions(offline=True, workers=1),
    baselines=(),
    starts=False,
    finalists=2,
    finalist_seeds=2,
)


@dataclass
class Told(Log, NullObserver):
    """A display that writes down what it was told."""

    again: list[Rerun] = field(default_factory=list)
    study: Opened | None = None

    def started(self, trial: FrozenTrial, n_params: int, epochs: int) -> None:
        self.lines.append(f"start {trial.number}")

    def notice(self, line: str) -> None:
        self.lines.append(line)

    def opened(self, opened: Opened) -> None:
        self.study = opened

    def proposed(self, seconds: float) -> None:
        pass

    def finals(self, trials: Sequence[FrozenTrial], trainings: int) -> None:
        self.lines.append(f"finals of {sorted(trial.number for trial in trials)}")

    def rerun(self, rerun: Rerun) -> None:
        self.again.append(rerun)

    def candidate(self, candidate: Candidate) -> None:
        raise AssertionError


@pytest.fixture(autouse=True)
def _empty_folder(run: Run) -> None:
    """Each search in a folder of its own."""


def _session(config: SearchConfig, told: Told, should_stop: Callable[[], bool]) -> tuple[Outcome, Path | None]:
    """A session with all that the command hangs on it but its display; how it ended, and the file it wrote."""
    exporting = Exporting(config)
    observers = Observers(told, exporting, Tracking(config, told.notice), Publishing(told.notice))
    return run_search(config, observers, should_stop), exporting.exported


def _opened(told: Told) -> Opened:
    assert told.study is not None
    return told.study


def test_interrupted_finals_go_on_where_they_stopped() -> None:
    first = Told()
    outcome, exported = _session(CONFIG, first, lambda: len(first.again) == 1)
    study = _opened(first).study
    assert not outcome.finished
    assert exported is not None  # the best by its own run, for the time being
    assert sum(map(len, reruns(study).values())) == 1
    assert ranked(study)[0].number == max(ranked(study), key=accuracy_of).number

    second = Told()
    outcome, _ = _session(CONFIG, second, lambda: False)
    assert outcome.finished
    assert [line for line in second.lines if line.startswith("start")] == []
    assert len(second.again) == 3
    trained = {(one.trial.number, one.seed) for one in (*first.again, *second.again)}
    assert len(trained) == 4
    assert ranked(_opened(second).study)[0].number in finalists_of(_opened(second).study)

    third = Told()
    assert _session(CONFIG, third, lambda: False)[0].finished
    assert third.again == []


def test_a_failure_in_the_finals_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The best is written by its own run; the next sitting trains what is missing."""
    trained = 0

    def fails_once(task: Task, *args: Any) -> Iterator[Event]:
        nonlocal trained
        trained += 1
        if trained == CONFIG.trials + 2:
            return iter([Ended(task.key, "failed", "the disk is full")])
        return perform(task, *args)

    monkeypatch.setattr(search.executors.base, "perform", fails_once)
    first = Told()
    _, exported = _session(CONFIG, first, lambda: False)
    assert exported is not None
    assert any("the best were not all trained again" in line for line in first.lines)
    assert len(first.again) == 1

    second = Told()
    assert _session(CONFIG, second, lambda: False)[0].finished
    assert len(second.again) == 3


def test_one_process_at_a_time_looks_for_the_smallest(run: Run) -> None:
    words = (
        "frontier",
        "--target",
        "0.15",
        "--trials",
        "1",
        "--epochs",
        "1",
        "--budget",
        "2000",
        "--study",
        "one",
    )
    with sole_owner(parse(DEFAULT_STORAGE), "one"):
        code, _, error = run(*words)
    assert code == 2
    assert "study one" in error
    assert list(Path("studies").glob("*.yaml")) == []


def test_what_others_end_meanwhile_is_not_said_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    display = Told()

    def refresh(self: Publisher, *, now: bool = False) -> None:
        if now:
            assert display.study is not None
            best = ranked(display.study.study)[0]
            curve = best.user_attrs[attrs.CURVE]
            display.study.study.add_trial(
                optuna.create_trial(
                    value=1.0,
                    params=best.params,
                    distributions=best.distributions,
                    user_attrs={**best.user_attrs, attrs.CURVE: [[*row[:5], 1.0, row[6]] for row in curve]},
                    system_attrs=best.system_attrs,
                )
            )

    monkeypatch.setattr(Publisher, "refresh", refresh)
    outcome, exported = _session(replace(CONFIG, trials=1, finalists=0), display, lambda: False)
    assert outcome.found is not None
    assert exported is not None
    assert load_step(exported).name.endswith(f", trial {outcome.found.number}")
    assert ranked(outcome.opened.study)[0].number != outcome.found.number
