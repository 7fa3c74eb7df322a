"""Every trade of accuracy against parameters in one study: search, export, and the smallest that holds."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from drill_models.count import count
from drill_models.step_io import load_step
from search.config import SearchConfig
from search.context import RunContext
from search.engine.reevaluation import Finals, trainings_left
from search.engine.smallest import Candidate
from search.engine.trial_loop import run_trials
from search.executors.tasks import Ended, Epoch, Event, Task
from search.pruning.pruners import make_pruner
from search.schema import attributes as attrs
from search.study.open import open_to_read
from search.study.ranking import front, standing_of
from search.study.trials import accuracy_of, figures
from tests.command_line import Run
from tests.jobs import BUDGET, Instant, Log, made_study, record, small_job
from tests.spaces_for_tests import SPACE, random_points

SMALL = ("--epochs", "1", "--budget", "2000", "--workers", "1")


def _parameters(text: str) -> list[int]:
    return [int(line.split("-")[-1].split(".")[0]) for line in text.splitlines() if line.startswith("written to")]


def test_search_and_export_of_a_front(run: Run) -> None:
    code, text, error = run("--objective", "pareto", "--trials", "7", *SMALL)
    assert code == 0, error
    assert "Best of every size on mnist-5k" in text
    assert "drill-search export --front" in text
    assert list(Path("studies").glob("*.yaml")) == []

    with open_to_read(None, None) as study:
        assert study.directions == [optuna.study.StudyDirection.MAXIMIZE, optuna.study.StudyDirection.MINIMIZE]
        points = front(study)
        # The same as Optuna's own, but that of equals one is enough.
        assert {trial.number for trial in points} <= {trial.number for trial in study.best_trials}
        sizes = [trial.user_attrs[attrs.N_PARAMS] for trial in points]
        values = [accuracy_of(trial) for trial in points]
    assert sizes == sorted(sizes)
    assert values == sorted(values)

    code, text, _ = run("export", "--front")
    assert code == 0
    assert _parameters(text) == sizes
    for file in Path("studies").glob("*-pareto-*.yaml"):
        step = load_step(file)
        assert file.stem.endswith(f"-{count(step.model).n_params}")

    code, text, _ = run("export", "--at-most", str(sizes[-1] + 5), "--at-most", str(sizes[0]))
    assert code == 0
    assert _parameters(text) == [sizes[-1], sizes[0]]
    (file,) = Path("studies").glob(f"*-{sizes[-1]}.yaml")
    assert load_step(file).target.max_params == min(sizes[-1] + 5, 2000)

    code, _, error = run("export", "--at-most", str(sizes[0] - 1))
    assert code == 2
    assert f"the smallest has {sizes[0]:,}" in error
    code, _, error = run("export", "--front", "--out", "x.yaml")
    assert code == 2
    assert "do not go together" in error

    # It goes on, and may be given other seeds at its end.
    code, text, error = run("--objective", "pareto", "--trials", "8", "--finalists", "2", *SMALL)
    assert code == 0, error
    assert "trainings with other seeds" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--pruner", "median"), "--pruner median knows one value only"),
        (("--sampler", "cmaes"), "--sampler cmaes knows one value only"),
    ],
)
def test_what_knows_one_value_only_is_refused(run: Run, words: tuple[str, str], message: str) -> None:
    code, _, error = run("--objective", "pareto", "--trials", "1", *SMALL, *words)
    assert code == 2
    assert message in error


def test_the_smallest_that_holds_a_target(run: Run) -> None:
    small = ("--trials", "4", "--seeds", "2", *SMALL)
    code, text, error = run("frontier", "--target", "0.15", *small)
    assert code == 0, error
    assert "holds 15.00% (" in text
    assert "again, 1 training with other seeds\n" in text + error
    (file,) = Path("studies").glob("*.yaml")
    assert f"written to {file}" in text
    step = load_step(file)
    assert "every one of 2 seeds reaches 15.00%" in step.target.purpose
    with open_to_read(None, None) as study:
        found = next(t for t in study.trials if t.user_attrs[attrs.N_PARAMS] == count(step.model).n_params)
        mean = standing_of(study, found).mean
    assert f"mnist-5k: {mean:.2%}, mean of 2 seeds\n" in text  # of this network, not of the best
    assert f"drill-search confirm {file} (" in text
    assert "a page on it" not in text  # the report is on the best
    # The same again trains nothing, and gives the same.
    before = file.read_text()
    code, text, _ = run("frontier", "--target", "0.15", *small, "--json")
    assert code == 0
    assert file.read_text() == before
    document = json.loads(text)
    assert (document["found"]["trial"], document["found"]["mean"]) == (found.number, mean)
    assert document["found"]["n_params"] == count(step.model).n_params
    assert document["holds"] is True
    assert "the target of 15.00% holds" in document["said"]
    assert list(Path("studies").glob("*.yaml")) == [file]

    code, text, error = run("frontier", "--target", "0.999", *small, "--json")
    assert code == 0
    document = json.loads(text)
    assert [document[key] for key in ("found", "holds")] == [None, None]
    said = "no network of this study holds 99.90% with every one of 2 seeds; more --trials may find one"
    assert document["said"] == said
    code, text, _ = run("frontier", "--target", "0.999", *small)
    assert (code, text.splitlines()[-1]) == (0, said)  # after the tables, where it is seen


def _made(values: dict[str, list[float]]) -> Instant:
    """A task ends with the next of the values that its trial has left."""
    return Instant(lambda task: values[task.label.split(",")[0]].pop(0))


class Shown:
    """A display that keeps what it is told of trainings of one study, and how many are left each time."""

    def __init__(self, config: SearchConfig, study: optuna.Study) -> None:
        self._config, self._study = config, study
        self.told: list[Candidate] = []
        self.left: list[int] = []
        self.began: list[int] = []
        self.trainings: list[int] = []

    def finals(self, trials: Sequence[FrozenTrial], trainings: int) -> None:
        self.began += [trial.number for trial in trials]
        self.trainings.append(trainings)
        self.left.append(trainings_left(self._config, self._study))

    def rerun(self, rerun: object) -> None:
        self.left.append(trainings_left(self._config, self._study))

    def candidate(self, candidate: Candidate) -> None:
        self.told.append(candidate)

    def notice(self, line: str) -> None: ...


def _smallest(study: optuna.Study, values: dict[str, list[float]]) -> tuple[int | None, Shown]:
    """The number of the smallest trial that holds 99.4 % with three seeds, and what was shown."""
    config = SearchConfig(
        budget=BUDGET, skeletons=(), target=0.994, hold_seeds=3, objective="pareto", trials=len(study.trials)
    )
    shown = Shown(config, study)
    opened = SimpleNamespace(study=study, space=SPACE)
    found = Finals(config, opened, _made(values), shown, RunContext()).smallest()  # type: ignore[arg-type]
    return None if found is None else found.number, shown


def test_a_lucky_network_hides_none_that_holds() -> None:
    """3,000 parameters had luck once; 3,010 hold, though they are behind the front; 2,000 were never there."""
    study = made_study([(2000, 0.9935), (3000, 0.995), (3010, 0.9945), (9000, 0.996)])
    assert [trial.user_attrs[attrs.N_PARAMS] for trial in front(study)] == [2000, 3000, 9000]
    values = {"trial 1": [0.9930, 0.9950], "trial 2": [0.9942, 0.9944]}
    found, shown = _smallest(study, values)
    assert found == 2
    assert [(one.trial.number, one.holds, one.values) for one in shown.told] == [
        (1, False, (0.995, 0.9930, 0.9950)),
        (2, True, (0.9945, 0.9942, 0.9944)),
    ]
    assert shown.began == [1, 2]
    assert shown.trainings == [2, 2]
    # Two of the first candidate; as soon as one was too low, two of the next follow.
    assert shown.left == [2, 2, 2, 2, 1, 0]
    # What is known is not trained again.
    again, shown = _smallest(study, {})
    assert (again, shown.began) == (2, [])
    assert [(one.trial.number, one.holds) for one in shown.told] == [(2, True)]


def test_trainings_are_left_where_the_smallest_is_still_to_come() -> None:
    study = made_study([(2000, 0.99)])
    config = SearchConfig(budget=BUDGET, skeletons=(), target=0.994, hold_seeds=3, objective="pareto", trials=2)
    assert trainings_left(config, study) == 2
    assert trainings_left(replace(config, trials=1), study) == 0  # none may hold it


class Curves:
    """An executor of two workers that trains nothing: trials below `good` rise, the others stay where they are."""

    def __init__(self, good: int, epochs: int) -> None:
        self._good, self._epochs = good, epochs
        self._running: dict[int, int] = {}
        self.together = 0

    here = False

    @property
    def free(self) -> int:
        return 2 - len(self._running)

    def submit(self, task: Task) -> None:
        self._running[task.key] = 0
        self.together = max(self.together, len(self._running))

    def stop(self, key: int) -> None:
        del self._running[key]

    def events(self, timeout: float) -> list[Event]:
        events: list[Event] = []
        for key, done in list(self._running.items()):
            if done == self._epochs:
                events.append(Ended(key, "complete"))
                del self._running[key]
                continue
            accuracy = 0.9 + 0.01 * done if key < self._good else 0.5
            events.append(Epoch(key, record(done + 1, accuracy)))
            self._running[key] = done + 1
        return events

    def close(self) -> None:
        pass


def test_weak_trials_are_stopped_where_there_are_two_values() -> None:
    """Optuna's trials of several values take no reports; the pruner reads the curve."""
    epochs, good = 8, 6
    study = optuna.create_study(directions=["maximize", "minimize"], pruner=make_pruner("forecast", epochs))
    job = small_job(trials=9, epochs=epochs, study=study)
    point = next(point for point in random_points(500) if job.budget.excess(SPACE.model(point))["n_params"] <= 0)
    for _ in range(9):
        study.enqueue_trial(point)
    executor = Curves(good, epochs)
    assert run_trials(job, executor, Log(), RunContext())
    assert executor.together == 2
    for trial in study.trials:
        if trial.number < good:
            assert trial.state == TrialState.COMPLETE
            assert trial.values[1] == trial.user_attrs[attrs.N_PARAMS]
        else:
            assert trial.state == TrialState.PRUNED
            assert 0 < len(figures(trial, "val_accuracy")) < epochs
    assert front(study)[-1].number < good
