"""`confirm` and `baselines` with real, tiny trainings on the embedded digits."""

from pathlib import Path
from typing import Any

import pytest
from optuna.artifacts import get_all_artifact_meta
from optuna_dashboard._note import get_note_from_system_attrs

from drill_models.result import Verdict
from drill_models.step import Recipe, Step, Target
from drill_models.step_io import load_step, save_step
from search.evaluation.run_cache import FILE, ConfirmedRuns
from search.study.open import open_to_read
from search.study.ranking import ranked
from tests.command_line import Run

SMALL = ("--epochs", "1", "--budget", "2000", "--baselines", "none", "--no-starts", "--workers", "1")

QUICK = ("--workers", "1")


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
    assert (
        f"verdict: test accuracy {verdict.mean:.2%} in the last epoch (mean of 2 seeds"
        in run("show", str(file))[1]
    )
    assert "the target of 5.00% holds in all 2 seeds throughout the last 2 epochs" in text
    assert f"{verdict.mean:.2%}" in text
    lines = FILE.read_bytes()

    # A line that was cut off, as by a power failure, costs that run only.
    FILE.write_bytes(lines[:-100])
    code, text, _ = run("confirm", str(file), "--seeds", "3", *QUICK)
    assert code == 0
    assert text.count("from earlier") == 1
    assert _verdict(file).runs[:2] == verdict.runs
    assert FILE.read_bytes().count(b"\n") == 4

    # Fewer seeds say less, and do not take the place of more.
    code, _, error = run("confirm", str(file), "--seeds", "1", "--seed", "7", *QUICK)
    assert code == 0
    assert f"{file} keeps its verdict of 3 seeds" in error
    assert len(_verdict(file).runs) == 3

    # Another recipe under the same name is trained.
    changed = load_step(file)
    training = changed.training.model_copy(update={"label_smoothing": 0.1})
    save_step(file, changed.model_copy(update={"training": training}))
    assert "changed since it was confirmed" in run("show", str(file))[1]
    code, text, _ = run("confirm", str(file), "--seeds", "1", *QUICK)
    assert "from earlier" not in text
    verdict = _verdict(file)
    assert f"{verdict.mean:.2%} in the last epoch (one seed); in" in run("show", str(file))[1]
    assert verdict.std is None
    # Nor do as many other seeds: who tries them until they are lucky has chosen on the test set.
    assert "keeps its verdict of 1 seed" in run("confirm", str(file), "--seeds", "1", "--seed", "5", *QUICK)[2]
    assert _verdict(file) == verdict


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
    code, text, _ = run("confirm", str(file), str(other), "--seeds", "2", "-v", *QUICK)
    assert code == 0
    assert "slow less tiny: -" in text
    assert "paired over seeds and test images" in text
    assert text.count("epoch  2/2") == 4
    assert _verdict(other).mean < _verdict(file).mean


def test_the_best_of_a_study_gets_its_verdict(run: Run, tmp_path: Path) -> None:
    assert run("--trials", "2", *SMALL)[0] == 0
    (file,) = Path("studies").glob("mnist-5k-2000-*.yaml")
    code, text, error = run("confirm", "--top", "2", "--seeds", "1", "--workers", "1")
    assert "a page on it: drill-search report --study mnist-5k-2000-" in error
    assert code == 0
    assert text.count("written to") == 2
    written = [load_step(path) for path in Path("studies").glob("*-trial*.yaml")]
    assert len(written) == 2
    assert all(step.verdict is not None and step.verdict.seeds == 1 for step in written)
    assert sorted(step.analysis.split(" of ")[0] for step in written) == ["Best", "Number 2"]
    # It is in the study: in its notes and files, in the report, and in the next export.
    with open_to_read(None, None) as study:
        notes = study._storage.get_study_system_attrs(study._study_id)
        assert "There the target holds with 0 of 1 seed" in get_note_from_system_attrs(notes, None)["body"]
        files = {meta.filename for meta in get_all_artifact_meta(study, storage=study._storage)}
        assert files == {f"trial-{number}-verdict-1-seed.yaml" for number in (0, 1)}
    assert load_step(file).verdict is None
    assert run("export")[0] == 0
    assert len(_verdict(file).runs) == 1
    # A verdict of fewer seeds takes the place of none: not in the study, nor among its files, nor in the export.
    assert run("confirm", "--seeds", "2", "--workers", "1")[0] == 0
    assert run("confirm", "--seeds", "1", "--seed", "7", "--workers", "1")[0] == 0
    with open_to_read(None, None) as study:
        best = ranked(study)[0].number
        metas = get_all_artifact_meta(study, storage=study._storage)
        more = {meta.filename for meta in metas} - files
        assert more == {f"trial-{best}-verdict-2-seeds.yaml"}
        assert len(metas) == 3
    assert run("report")[0] == 0
    (page,) = Path("studies").glob("*.html")
    assert "does not hold (test set of mnist-5k, 0 of 2 seeds)" in page.read_text()
    assert len(_verdict(file).runs) == 2


def test_a_verdict_of_the_exported_file_survives_the_next_export(run: Run) -> None:
    assert run("--trials", "1", *SMALL)[0] == 0
    (file,) = Path("studies").glob("mnist-5k-2000-*.yaml")
    assert run("confirm", str(file), "--seeds", "1", "--workers", "1")[0] == 0
    before = load_step(file)
    assert before.verdict is not None
    assert run("export")[0] == 0
    assert load_step(file) == before


def test_what_was_written_into_the_file_meanwhile_stays(
    run: Run, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from search.commands import confirm as confirm_job

    trained = confirm_job._confirm

    def meanwhile(*arguments: Any) -> Any:
        confirmed = trained(*arguments)
        save_step(file, load_step(file).model_copy(update=update))
        return confirmed

    monkeypatch.setattr(confirm_job, "_confirm", meanwhile)
    update: dict[str, Any] = {"analysis": "Written meanwhile."}
    assert run("confirm", str(file), "--seeds", "1", *QUICK)[0] == 0
    step = load_step(file)
    assert step.analysis == "Written meanwhile."
    assert step.verdict is not None
    update = {"training": step.training.model_copy(update={"batch_size": 64}), "result": None}
    code, _, error = run("confirm", str(file), "--seeds", "1", *QUICK)
    assert code == 0
    assert "was changed while it was trained" in error
    assert load_step(file).result is None


def test_names_that_look_like_markup_and_equal_recipes(run: Run, file: Path, tmp_path: Path) -> None:
    step = load_step(file).model_copy(update={"name": "net [v2] [/b]"})
    save_step(file, step)
    other = tmp_path / "other.yaml"
    save_step(other, step)
    code, text, _ = run("confirm", str(file), str(other), "--seeds", "2", *QUICK)
    assert code == 0
    assert "net [v2] [/b]  seed 0" in text
    # The same recipe is trained once for both files.
    assert FILE.read_bytes().count(b"\n") == 2
    assert load_step(file).verdict == load_step(other).verdict


def test_the_embedded_digits_make_no_verdict_on_mnist(run: Run, file: Path) -> None:
    save_step(file, load_step(file).model_copy(update={"dataset": "mnist"}))
    before = file.read_bytes()
    for words in (("confirm", str(file)), ("baselines", "e-codes/4")):
        code, _, error = run(*words)
        assert code == 2
        assert "a verdict on mnist needs mnist" in error
    assert file.read_bytes() == before


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
    code, text, _ = run("baselines", "a-runs/5", "--seeds", "5", *QUICK)
    assert code == 0
    assert "99.41%" in text
    assert "points too high" in text
    assert "in the last 2" in text
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
