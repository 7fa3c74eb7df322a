"""`confirm` and `baselines` with real, tiny trainings on the embedded digits."""

from pathlib import Path

import pytest

from drill_models.result import Verdict
from drill_models.step import Recipe, Step, Target
from drill_models.step_io import load_step, save_step
from search.confirmed import FILE, ConfirmedRuns
from tests.command_line import Run

QUICK = ("--workers", "1", "--engine", "torch")


@pytest.fixture
def file(tmp_path: Path, small_recipe: Recipe) -> Path:
    """A step of 400 parameters and two epochs."""
    step = Step(
        name="tiny",
        provenance="own",
        dataset="mnist-5k",
        target=Target(purpose="To be quick.", accuracy=0.05, max_params=1000, epochs=2),
        model=small_recipe.model,
        training=small_recipe.training,
    )
    path = tmp_path / "tiny.yaml"
    save_step(path, step)
    return path


def _verdict(path: Path) -> Verdict:
    result = load_step(path).result
    assert result is not None
    assert result.verdict is not None
    return result.verdict


def test_a_file_gets_its_verdict_and_runs_are_not_repeated(run: Run, file: Path) -> None:
    before = load_step(file)
    code, text, _ = run("confirm", str(file), "--seeds", "2", *QUICK)
    assert code == 0
    verdict = _verdict(file)
    assert [each.seed for each in verdict.runs] == [0, 1]
    assert all(len(each.accuracies) == 2 for each in verdict.runs)
    assert load_step(file).model_copy(update={"result": None}) == before
    assert "tiny: the target of 5.00% holds in all 2 seeds throughout the last five epochs" in text
    assert f"{verdict.mean:.2%}" in text
    lines = FILE.read_bytes()

    # A line that was cut off, as by a power failure, costs that run only.
    FILE.write_bytes(lines[:-100])
    code, text, _ = run("confirm", str(file), "--seeds", "3", *QUICK)
    assert code == 0
    assert text.count("from earlier") == 1
    assert _verdict(file).runs[:2] == verdict.runs
    assert FILE.read_bytes().count(b"\n") == 4

    # Another recipe under the same name is trained.
    changed = load_step(file)
    training = changed.training.model_copy(update={"label_smoothing": 0.1})
    save_step(file, changed.model_copy(update={"training": training}))
    code, text, _ = run("confirm", str(file), "--seeds", "1", *QUICK)
    assert "from earlier" not in text
    assert _verdict(file).std is None


def test_mistakes_are_those_of_the_last_epoch(run: Run, file: Path) -> None:
    run("confirm", str(file), "--seeds", "2", *QUICK)
    runs = list(ConfirmedRuns()._runs.values())
    assert len(runs) == 2
    for each in runs:
        assert len(each.mistakes) == round((1 - each.accuracies[-1]) * 1000)
        assert list(each.mistakes) == sorted(set(each.mistakes))


def test_two_files_are_compared(run: Run, file: Path, tmp_path: Path) -> None:
    step = load_step(file)
    other = tmp_path / "other.yaml"
    slow = step.training.model_copy(update={"optimizer": step.training.optimizer.model_copy(update={"lr": 1e-4})})
    save_step(other, step.model_copy(update={"name": "slow", "training": slow}))
    code, text, _ = run("confirm", str(file), str(other), "--seeds", "2", "--epochs", *QUICK)
    assert code == 0
    assert "slow less tiny: -" in text
    assert "paired over seeds and test images" in text
    assert text.count("epoch  2/2") == 4
    assert _verdict(other).mean < _verdict(file).mean


def test_the_best_of_a_study_gets_its_verdict(run: Run, tmp_path: Path) -> None:
    words = ("--trials", "2", "--epochs", "1", "--budget", "2000", "--baselines", "none", "--workers", "1")
    assert run(*words)[0] == 0
    (file,) = Path("studies").glob("mnist-5k-2000-*.yaml")
    code, text, _ = run("confirm", "--top", "2", "--seeds", "1", "--workers", "1")
    assert code == 0
    assert text.count("written to") == 2
    assert load_step(file).result != load_step(next(Path("studies").glob("*-trial*.yaml"))).result
    # It is in the study: the next export has it.
    assert run("export")[0] == 0
    assert len(_verdict(file).runs) == 1


def test_divergence_gives_no_verdict(run: Run, file: Path) -> None:
    step = load_step(file)
    # Each step multiplies the weights by 1 - 100.
    optimizer = step.training.optimizer.model_copy(update={"lr": 100.0, "weight_decay": 1.0})
    wild = step.training.model_copy(update={"optimizer": optimizer})
    save_step(file, step.model_copy(update={"training": wild}))
    before = file.read_bytes()
    code, _, error = run("confirm", str(file), "--seeds", "1", *QUICK)
    assert code == 2
    assert "no verdict, because training diverged: tiny (seed 0)" in error
    assert file.read_bytes() == before


def test_hand_steps_are_replayed_with_their_caveats(run: Run, monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    tiny = load_step(file)

    def pretended(names: object) -> tuple[Step, ...]:
        from drill_models.hand_steps import ladder

        real = ladder("a-runs")[4]
        return (real.model_copy(update={"dataset": tiny.dataset, "model": tiny.model, "training": tiny.training}),)

    monkeypatch.setattr("drill_models.hand_steps.choose", pretended)
    code, text, _ = run("baselines", "a-runs/5", "--seeds", "2", *QUICK)
    assert code == 0
    assert "99.41%" in text
    assert "points too high" in text
    assert "a-runs 5, selected-on-test:" in text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("confirm", "none.yaml"), "none.yaml"),
        (("confirm", "FILE", "--top", "2"), "step files, or --top"),
        (("confirm", "FILE", "FILE"), "named twice"),
        (("confirm", "FILE", "--study", "x"), "step files, or --top"),
        (("confirm", "--top", "2", "--out", "x.yaml"), "--out takes one step"),
        (("confirm", "FILE", "--out", "FILE/x.yaml"), "is not a folder"),
        (("confirm", "FILE", "--device", "tpu"), "--device"),
        (("confirm",), "stud"),
        (("baselines", "z-none"), "no such ladder"),
        (("baselines", "none"), "no hand step is named"),
    ],
)
def test_mistakes_are_one_sentence(run: Run, file: Path, words: tuple[str, ...], said: str) -> None:
    code, _, error = run(*[word.replace("FILE", str(file)) for word in words])
    assert code == 2
    assert said in error
    assert len(error.strip().splitlines()) == 1
