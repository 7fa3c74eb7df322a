"""Every trade of accuracy against parameters in one study: search, export, and the smallest that holds."""

from pathlib import Path

import optuna
import pytest

from drill_models.count import count
from drill_models.step_io import load_step
from search import attrs
from search.history import accuracy_of, front
from search.reading import open_to_read
from tests.command_line import Run

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
    assert load_step(file).target.max_params == sizes[-1] + 5

    code, _, error = run("export", "--at-most", str(sizes[0] - 1))
    assert code == 2
    assert f"the smallest has {sizes[0]:,}" in error
    code, _, error = run("export", "--front", "--out", "x.yaml")
    assert code == 2
    assert "do not go together" in error

    # It goes on, and may be given other seeds at its end.
    code, text, error = run("--objective", "pareto", "--trials", "8", "--finalists", "1", *SMALL)
    assert code == 0, error
    assert "the best 1 again, with 2 other seeds" in text


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
    code, text, error = run("frontier", "--target", "0.15", "--trials", "4", "--seeds", "2", *SMALL)
    assert code == 0, error
    assert "holds 15.00% (" in text
    (file,) = Path("studies").glob("*.yaml")
    assert f"is written to {file}" in text
    step = load_step(file)
    with open_to_read(None, None) as study:
        smaller = [t for t in front(study) if t.user_attrs[attrs.N_PARAMS] < count(step.model).n_params]
        assert all(accuracy_of(trial) < 0.16 for trial in smaller)
    # Nothing is trained again, and the answer is the same.
    assert run("frontier", "--target", "0.15", "--trials", "4", "--seeds", "2", *SMALL)[0] == 0

    code, text, _ = run("frontier", "--target", "0.999", "--trials", "4", "--seeds", "2", *SMALL)
    assert code == 0
    assert "no network of this study holds 99.90% with 2 seeds" in text
