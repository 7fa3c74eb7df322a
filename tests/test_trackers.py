"""Trials in MLflow and TensorBoard; a tracker that fails does not stop a search."""

from pathlib import Path

import pytest

from search.report.trackers import MLflow, TensorBoard
from tests.command_line import Run

SMALL = (
    "--trials",
    "2",
    "--epochs",
    "2",
    "--budget",
    "2000",
    "--baselines",
    "none",
    "--workers",
    "1",
    "--study",
    "s",
)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_each_trial_is_a_run(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    code, text, error = run(*SMALL, "--tracker", "mlflow", "--tracker", "tensorboard")
    assert code == 0, error
    assert "failed and is left out" not in text
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("s")
    runs = {found.info.run_name: found for found in client.search_runs([experiment.experiment_id])}
    assert set(runs) == {"trial 0", "trial 1"}
    for number in (0, 1):
        found = runs[f"trial {number}"]
        assert found.info.status == "FINISHED"
        assert int(found.data.params["n_params"]) <= 2000
        history = client.get_metric_history(found.info.run_id, "val_accuracy")
        assert [metric.step for metric in history] == [1, 2]
        assert [file.path for file in client.list_artifacts(found.info.run_id)] == ["step.yaml"]

        events = EventAccumulator(f"studies/tensorboard/s/trial-{number}")
        events.Reload()
        curve = [event.value for event in events.Scalars("val/accuracy")]
        assert curve == pytest.approx([metric.value for metric in history])


@pytest.mark.slow
def test_a_tracker_that_fails_is_left_out(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow")
    pytest.importorskip("tensorboard")

    def refuse(self: object, *others: object) -> None:
        raise ConnectionError("http://u:sEcr3t@h is gone\nfor good")

    monkeypatch.setattr(MLflow, "__init__", refuse)
    monkeypatch.setattr(TensorBoard, "epoch", refuse)
    code, text, _ = run(*SMALL, "--tracker", "mlflow", "--tracker", "tensorboard")
    assert code == 0
    assert "tracker mlflow failed and is left out: http://***@h is gone\n" in text
    assert text.count("tracker tensorboard failed") == 1
    assert "2 trials: 2 complete" in text


def test_unknown_trackers_and_missing_libraries(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    code, _, error = run("--tracker", "wandb", "--budget", "2000")
    assert code == 2
    assert "--tracker must be one of mlflow, tensorboard, got 'wandb'" in error
    monkeypatch.setattr("search.options.find_spec", lambda name: None)
    code, _, error = run("--tracker", "mlflow", "--budget", "2000")
    assert code == 2
    assert "pip install mlflow-skinny" in error
